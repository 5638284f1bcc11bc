/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_BASELINE_QUEUE_H
#define VENEER_STORE_BASELINE_QUEUE_H

/*
 * The entries of a base between the walk that finds them and the tree that records them. They wait until there are enough, then
 * all processors read and hash them: git's SHA-1 with collision detection takes a sixth of the time of a full snapshot.
 *
 * Calling sequence: base_queue_add() for one entry after another until base_queue_full(); base_queue_start(); something else, such
 *   as filling another queue; base_queue_finish(); take what is in the items, in their order; base_queue_clear().
 *
 * Error handling: messages name the path; the first error in the order of the items is told. -EAGAIN: a file changed while it
 *   was read.
 *
 * Threads: one thread's. From base_queue_start() on others read it too; they have ended when base_queue_finish() or
 *   base_queue_clear() returns.
 */

#include "store/base/parallel.h"
#include "store/source.h"

#define BASE_QUEUE_ITEMS 128u	    /* each holds a descriptor while it waits */
#define BASE_QUEUE_BYTES (8u << 20) /* of files that are in memory at once, in each queue; a larger one comes alone */

struct base_item {
	char *path; /* owned */
	struct source_entry entry; /* owned; the descriptor is closed when it has been read */
	struct blob_draft content; /* of a regular file or a symlink */
	struct blob_draft meta; /* of every entry */
};

struct base_queue {
	struct base_item items[BASE_QUEUE_ITEMS];
	size_t count;
	uint64_t bytes; /* the sizes of the regular files in it */
	struct parallel reading;
	bool started; /* and not finished */
};

struct base_queue *base_queue_new(void); /* NULL: out of memory */
/* ENTRY has no room any more beside what is in the queue. */
bool base_queue_full(const struct base_queue *queue, const struct source_entry *entry);
/*
 * Not to a full queue. The descriptor of ENTRY becomes the queue's, except a directory's: that one stays the caller's, and the
 * metadata is read at once. On failure the queue is as it was, and ENTRY the caller's.
 */
int base_queue_add(struct base_queue *queue, struct source_entry *entry, const char *path, struct error *err);
/* Begins to read content and metadata of each item, as the entry is when its turn comes. */
void base_queue_start(struct base_queue *queue);
/* Ends it, with the caller's help; does nothing where it was not started. */
int base_queue_finish(struct base_queue *queue, struct error *err);
/* Empty again, wherever it was. */
void base_queue_clear(struct base_queue *queue);
void base_queue_free(struct base_queue *queue);

#endif
