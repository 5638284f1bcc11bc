/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_BASE_WATCH_H
#define VENEER_FS_BASE_WATCH_H

/*
 * The watch of the base (--watch): what is changed around the mount is told, batch by batch, within milliseconds. By inotify(7), of
 * each directory of the base in which the kernel knows a name, from before it knows the first one until the directory is forgotten
 * (docs/decisions/watch.md). What is changed through the mount is told as well: it cannot be told apart.
 *
 * Not seen are stores through a shared mapping before that is let go of; changes of a file by a hard link in a directory that
 * the kernel does not know; and what inotify does not see: changes by another machine, or in the layers of an overlayfs.
 *
 * Calling sequence: base_watch_new(), before the first request; base_watch_start(), whose thread tells what has been noted since;
 * base_watch_directory() in handlers, before they answer with anything that is in a directory; base_watch_stop(); and base_watch_free(),
 * when no handler runs any more.
 *
 * Where fs.inotify.max_user_watches is reached, directories are not watched until others are forgotten: the log says so, and
 * base_watch_state() until base_watch_all() has found room for all.
 */

#include "fs/overlay.h"
#include "fs/refresh.h"
#include "store/base/error.h"

struct base_watch;

int base_watch_new(struct overlay *overlay, struct base_watch **ret, struct error *err);
void base_watch_free(struct base_watch *watch); /* NULL is fine; stopped first */

/* CHANGES (valid during the call) is NULL where too much changed at once: everything may have. In the watch's thread, no lock held. */
typedef void (*base_watch_fn)(void *arg, struct refresh_change *changes, size_t count);
int base_watch_start(struct base_watch *watch, base_watch_fn tell, void *arg);
void base_watch_stop(struct base_watch *watch); /* NULL is fine */

/* Directory node ID is watched from now on, if it is one of the base. WATCH NULL: nothing is done, and nothing asked. */
void base_watch_directory(struct base_watch *watch, uint64_t id);

struct base_watch_state {
	size_t directories; /* watched */
	bool limited;	    /* others are not */
};
void base_watch_state(struct base_watch *watch, struct base_watch_state *ret);
/* Before everything is told: whatever directory is known is watched, if there is room for it now. WATCH NULL: nothing. */
void base_watch_all(struct base_watch *watch);

#endif
