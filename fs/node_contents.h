/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_NODE_CONTENTS_H
#define VENEER_FS_NODE_CONTENTS_H

/*
 * The contents of patched nodes: packed in the arena of names, where they outlive the process, and as they are used, in its own memory.
 * A reference is to the first piece of a packed one; a node that has it is the only one.
 *
 * Threads: the owner's lock.
 */

#include "fs/arena.h"
#include "fs/content.h"

struct node_contents;

struct node_contents *node_contents_new(struct arena *arena); /* ARENA is borrowed. NULL: out of memory */
void node_contents_free(struct node_contents *contents);      /* NULL is fine; what is in the arena stays */

/* CONTENT (counted here) packed: its reference; 0: out of memory, or the arena is full. */
uint32_t node_contents_add(struct node_contents *contents, struct content *content);
/* Borrowed. */
struct content *node_contents_at(const struct node_contents *contents, uint32_t reference);
void node_contents_drop(struct node_contents *contents, uint32_t reference);
/* Between arena_new() and arena_recover(): one that was packed by another process. -EIO: it is none; -ENOMEM. */
int node_contents_recover(struct node_contents *contents, uint32_t reference);

#endif
