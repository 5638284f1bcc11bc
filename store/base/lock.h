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

#endif
