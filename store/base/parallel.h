/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_PARALLEL_H
#define VENEER_BASE_PARALLEL_H

/*
 * Many independent items, worked on by as many threads as this process has processors (PARALLEL_MAX at most): for work that
 * waits in system calls or hashes. The items are cut into ranges of about equal length, one for each thread, the caller's own
 * among them.
 *
 * Error handling: the first error in the order of the items is returned; ranges after it may have been worked on or not. Where no
 * thread can be started, the caller's does it all.
 *
 * Threads: the helpers have all signals blocked and have ended on return.
 */

#include <stddef.h>

#include "store/base/error.h"

#define PARALLEL_MAX 4u

/* Items FROM…TO-1. 0 or a negative errno with ERR. Runs beside others of its kind. */
typedef int (*parallel_fn)(void *arg, size_t from, size_t to, struct error *err);

/* COUNT items; a range has PIECE_MIN (at least 1) of them or more, so that few items do not pay for threads. */
int parallel_run(size_t count, size_t piece_min, parallel_fn fn, void *arg, struct error *err);

#endif
