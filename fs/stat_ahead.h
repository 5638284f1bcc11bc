/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_STAT_AHEAD_H
#define VENEER_FS_STAT_AHEAD_H

/*
 * An answer to READDIRPLUS asks the base for the attributes of each name, one after another; where they are not in memory that is
 * most of its time, and the kernel and the other processors wait. So a thread of its own looks at the second half of the names
 * while the answer is made of the first: what the answer then asks for is there.
 *
 * It is of use only where attributes are not in memory. That is measured: a thread that finds them at once (STAT_WARM_NS each,
 * on the average of a directory) is left alone for the next STAT_REST_DIRECTORIES.
 *
 * Calling sequence: stat_ahead_new(); stat_ahead_give() as often as there are names, which never waits; stat_ahead_free().
 * Without the thread, which is started with the first names, nothing is done and nothing is wrong.
 *
 * Threads: any number give.
 */

#include <stddef.h>

#include "fs/fdcache.h"

#define STAT_AHEAD_MIN 32 /* fewer names are not worth a wake-up */
#define STAT_WARM_NS 5000u
#define STAT_REST_DIRECTORIES 64u

struct stat_ahead;

/* Names in the order in which they will be asked for. */
struct stat_names {
	void *owner; /* of what follows; let go of by RELEASE */
	void (*release)(void *owner);
	const char *(*name)(void *owner, size_t index);
	size_t from, to;
};

struct stat_ahead *stat_ahead_new(void); /* NULL: out of memory */
/* What is being looked at is let go of first. */
void stat_ahead_free(struct stat_ahead *ahead);
/* NAMES of DIRECTORY (O_PATH). Both are taken over, also where nothing is done. AHEAD may be NULL. */
void stat_ahead_give(struct stat_ahead *ahead, struct fdref *directory, const struct stat_names *names);
/* How many names were looked at; for tests. */
unsigned long long stat_ahead_count(struct stat_ahead *ahead);

#endif
