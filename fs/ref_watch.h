/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_REF_WATCH_H
#define VENEER_FS_REF_WATCH_H

/*
 * The watch of refs/veneer/NAME/active: whoever moves it, the daemon follows, within milliseconds where inotify
 * says so, within a second where it cannot. What it did goes into the journal, unless whoever moved the ref has written
 * an entry himself; that may have to wait until he gives the store's lock back, or until there is room on the disk; following never does.
 *
 * Calling sequence: ref_watch_start(), after which the ref has been followed once: what moved it while the daemon
 * was starting is not missed; ref_watch_stop().
 */

#include "fs/switch.h"
#include "store/base/error.h"

struct ref_watch;

/* SWITCHER is borrowed. AFTER_KILL: a worker before this one was killed, perhaps before it had written down what it did. */
int ref_watch_start(struct switcher *switcher, bool after_kill, struct ref_watch **ret, struct error *err);
/* NULL is fine. */
void ref_watch_stop(struct ref_watch *watch);

#endif
