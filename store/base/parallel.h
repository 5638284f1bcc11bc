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

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "store/base/error.h"

#define PARALLEL_MAX 4u

/* Items FROM…TO-1. 0 or a negative errno with ERR. Runs beside others of its kind. */
typedef int (*parallel_fn)(void *arg, size_t from, size_t to, struct error *err);

/* COUNT items; a range has PIECE_MIN (at least 1) of them or more, so that few items do not pay for threads. */
int parallel_run(size_t count, size_t piece_min, parallel_fn fn, void *arg, struct error *err);

/* ---- one item at a time, beside the caller ---- */

/* Item INDEX. 0 or a negative errno with ERR. Runs beside others of its kind. */
typedef int (*parallel_item_fn)(void *arg, size_t index, struct error *err);

/*
 * For items that take unequally long, and for a caller with something else to do meanwhile: a thread that is done with one item
 * takes the next that nobody has, and the caller does so from parallel_end() on.
 *
 * Calling sequence: parallel_begin(), whatever else, parallel_end(), which must not be left out. In between the items are the
 * helpers', and the struct stays where it is.
 *
 * Error handling: as above; all items before the one whose error is told have been worked on.
 */
struct parallel {
	parallel_item_fn fn;
	void *arg; /* borrowed */
	size_t count;
	atomic_size_t next; /* the first item that no thread has taken yet */
	pthread_mutex_t lock; /* guards failed and err until the helpers have ended */
	size_t failed; /* the first item known to have failed */
	struct error err; /* its error; code 0: none has */
	pthread_t helpers[PARALLEL_MAX - 1];
	size_t helper_count;
};

void parallel_begin(struct parallel *ret, size_t count, parallel_item_fn fn, void *arg);
/* No item is taken any more that no thread has taken yet. Before parallel_end(), whose answer then says nothing. */
void parallel_cancel(struct parallel *parallel);
/* 0 or the first error; every helper has ended. */
int parallel_end(struct parallel *parallel, struct error *err);

#endif
