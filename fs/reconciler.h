/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_RECONCILER_H
#define VENEER_FS_RECONCILER_H

/*
 * The thread that follows the base: whoever replaces or removes a patched path through the mount gets his answer at once, and is told of
 * here; then it is looked at what still fits, patches retire as a whole, ref and journal follow (fs/reconcile.h). So no request
 * waits for a disk, a hash, or the store's lock. Also what writes that were refused say in the log, once in RECONCILER_LOG_SECONDS at most.
 *
 * Calling sequence: reconciler_new(), for those who tell (overlay_event_fn); reconciler_start(), once there is a switcher;
 * reconciler_stop() before the switcher goes; reconciler_free() after the overlay has gone.
 *
 * Error handling: what cannot be done is tried again with the next change, and said in the log.
 *
 * Threads: any number tell, and none waits.
 */

#include "fs/overlay.h"
#include "fs/switch.h"

#define RECONCILER_LOG_SECONDS 60
/* After a look, for so long, others wait for RECONCILER_QUIET_MS. */
#define RECONCILER_BUSY_MS 1000
#define RECONCILER_QUIET_MS 100
/* The store's lock is tried for so long at a time. */
#define RECONCILER_LOCK_MS 1000

struct reconciler;

struct reconciler *reconciler_new(void); /* NULL: out of memory */
int reconciler_start(struct reconciler *reconciler, struct switcher *switcher, struct error *err);
/* What was told before is looked at first, where the store's lock can be had at once. NULL: nothing. */
void reconciler_stop(struct reconciler *reconciler);
void reconciler_free(struct reconciler *reconciler); /* NULL: nothing */
/* An overlay_event_fn; ARG is the reconciler. */
void reconciler_tell(void *arg, enum overlay_event event, const char *path, pid_t pid, uid_t uid);
#endif
