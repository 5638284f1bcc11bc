/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_READ_AHEAD_H
#define VENEER_FS_READ_AHEAD_H

/*
 * Who reads the files of a directory one after the other waits for the disk at each of them; the kernel's readahead knows of one
 * file only. So a thread of its own has the base's filesystem read the files that are probably next (fs/siblings.h), the first
 * READ_AHEAD_BYTES of each, into the page cache, where the requests that follow find them.
 *
 * It is of use only where files are not in memory (mincore(2)). Where all that it looked at were, READ_AHEAD_WARM times in a row, it
 * is left alone for the next READ_AHEAD_REST readings, but for those in directories where it found some that were not. A directory is
 * listed again after READ_AHEAD_MISSES readings of names that it did not have, and twice as many each time; and READ_AHEAD_REST
 * readings after it could not be listed, or nothing in it could be opened.
 *
 * Memory: the names of READ_AHEAD_DIRECTORIES directories at most, those read from last (fs/siblings.h).
 * Threads: any number tell; none waits for the disk or for the thread. Without the thread, which is started with the first
 * directory that is read from twice, nothing is done and nothing is wrong.
 */

#include <stddef.h>
#include <stdint.h>

#include "fs/fdcache.h"

#define READ_AHEAD_BYTES (128 * 1024) /* what Linux reads ahead in a file at most, by default */
#define READ_AHEAD_DIRECTORIES 8u
#define READ_AHEAD_REST 256u
#define READ_AHEAD_WARM 2u
#define READ_AHEAD_MISSES 16u

struct read_ahead;

/* Opens the directory ID of the base (O_PATH). 0 or a negative errno. Called by the thread. */
typedef int (*read_ahead_open_fn)(void *arg, uint64_t id, struct fdref *ret);

struct read_ahead *read_ahead_new(read_ahead_open_fn open, void *arg); /* NULL: out of memory */
/* What is being done is ended first. NULL: nothing. */
void read_ahead_free(struct read_ahead *ahead);
/* The beginning of file NAME in directory ID is about to be read. */
void read_ahead_tell(struct read_ahead *ahead, uint64_t id, const char *name);
/* How many files were read ahead; for tests. */
unsigned long long read_ahead_count(struct read_ahead *ahead);

#endif
