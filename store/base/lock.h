/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_LOCK_H
#define VENEER_BASE_LOCK_H

#include "store/base/error.h"

/*
 * A lock file: flock(2) on DIRFD/NAME, made when missing. The lock belongs to the open file, so it
 * is gone with the process, however that ends. Returns an fd whose close releases the lock, or a
 * negative errno; -ETIMEDOUT after TIMEOUT_MS milliseconds (0: try once; -1: wait for ever).
 */
int lock_acquire(int dirfd, const char *name, int timeout_ms, struct error *err);

/*
 * Give back the lock FD on DIRFD/NAME, and remove the file: for locks of which there may be many. Whoever waits
 * for it makes a new one.
 */
void lock_remove(int dirfd, const char *name, int fd);

/*
 * Is FD, which may have come from another process, an open file of DIRFD/NAME with the lock on it (or can it
 * have it at once)? 0, -EACCES: another file, -EWOULDBLOCK: someone else has the lock.
 */
int lock_confirm(int dirfd, const char *name, int fd);

#endif
