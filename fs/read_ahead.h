/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_READ_AHEAD_H
#define VENEER_FS_READ_AHEAD_H

/*
 * Who reads the files of a directory one after the other, or lists its subdirectories so, waits for the disk at each of them. So a
 * thread of its own goes before him and does with those that are probably next (fs/siblings.h) what brings them into memory, where the
 * requests that follow find them. What is read ahead, and how, is a kind: fs/read_ahead_files.h, fs/read_ahead_directories.h.
 *
 * It is of use only where things are not in memory, which the kind finds out. Where all that it looked at were, so many times in a row
 * as the kind says, it is left alone for the kind's rest, but in those directories where it found some that were not. A directory is
 * listed again after READ_AHEAD_MISSES readings of names that it did not have, and twice as many each time; and a rest after it could
 * not be listed, or READ_AHEAD_FAILURES in a row of its names could not be opened.
 *
 * Calling sequence: read_ahead_new(); read_ahead_tell() of each reading, and read_ahead_begin() of each directory that is listed, where
 * who lists it probably reads in it next; read_ahead_free().
 *
 * Memory: the names of READ_AHEAD_DIRECTORIES directories at most, those read from last (fs/siblings.h).
 * Threads: any number tell; none waits for the disk or for the thread. Without the thread, which is started when there is something
 * to do for the first time, nothing is done and nothing is wrong.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/fdcache.h"
#include "fs/siblings.h"

#define READ_AHEAD_DIRECTORIES 8u
#define READ_AHEAD_MISSES 16u
#define READ_AHEAD_FAILURES 4u

struct read_ahead;

/* Of the names that were said together. */
struct read_ahead_found {
	unsigned opened;
	unsigned full; /* of them, those that hold something */
	unsigned cold; /* of those, the ones that were not in memory */
};

struct read_ahead_kind {
	struct siblings_kind siblings;
	/* Brings NAME of DIRECTORY (O_PATH) into memory. One that takes long asks read_ahead_is_ending() now and then. */
	void (*bring)(struct read_ahead *ahead, int directory, const char *name, struct read_ahead_found *found);
	unsigned warm; /* so many times in a row nothing was cold: */
	unsigned rest; /* so many readings are let pass */
};

/* Opens the directory ID of the base (O_PATH). 0 or a negative errno. Called by the thread. */
typedef int (*read_ahead_open_fn)(void *arg, uint64_t id, struct fdref *ret);

/* KIND is borrowed. NULL: out of memory. */
struct read_ahead *read_ahead_new(const struct read_ahead_kind *kind, read_ahead_open_fn open, void *arg);
/* What is being done is ended first. NULL: nothing. */
void read_ahead_free(struct read_ahead *ahead);
/* NAME in directory ID is about to be read: the beginning of the file, or of the subdirectory's listing. */
void read_ahead_tell(struct read_ahead *ahead, uint64_t id, const char *name);
/*
 * Directory ID itself is listed just now: who goes on with the first that it holds goes in order, and need not be seen to read a second.
 * Holds until the next is begun.
 */
void read_ahead_begin(struct read_ahead *ahead, uint64_t id);
/* For the kind. */
bool read_ahead_is_ending(struct read_ahead *ahead);
/* How many were not in memory and brought there; for tests. */
unsigned long long read_ahead_count(struct read_ahead *ahead);

#endif
