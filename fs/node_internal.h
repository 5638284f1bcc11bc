/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_NODE_INTERNAL_H
#define VENEER_FS_NODE_INTERNAL_H

/*
 * Between the files of the node table: node.c (life and names), node_list.c (walks), node_recover.c (after a crash).
 *
 * A node is 64 bytes of the region SHARED_NODES; its name, its content and its handle are in the arena of SHARED_NAMES. What a
 * node is, is known by its own fields alone: a node is there where its id is set, the last store of its birth and the first of its
 * death. Chains, counts of children and what is free are made anew from that (node_recover.c).
 */

#include <pthread.h>

#include "fs/aliases.h"
#include "fs/arena.h"
#include "fs/node.h"
#include "fs/node_contents.h"
#include "fs/shared.h"

#define SLOT_MAX (1u << NODE_SLOT_BITS)
#define SLOT_MASK (SLOT_MAX - 1)
#define SLOTS_PER_PAGE 64u
#define PAGE_MAX (SLOT_MAX / SLOTS_PER_PAGE)
#define BUCKETS_MIN 1024u
#define LOOKUPS_MAX UINT32_MAX /* so many that it is never forgotten */

enum {
	NODE_PINNED = 1, /* no path leads to it */
	NODE_HELD = 2,	 /* and an fd is kept for it */
	NODE_WATCHED = 4,
};

/* Links are slots; 0: none. All fields are guarded by the table's lock. */
struct node {
	uint64_t id; /* 0: a free slot */
	struct node_key key;
	union {
		struct {
			uint32_t parent;
			uint32_t name; /* arena reference; 0 for the root */
		};
		uint64_t place; /* both, so that they change in one store */
	};
	uint32_t lookups;
	uint32_t opens;
	int32_t backing;
	uint32_t content; /* arena reference of what was packed; 0: of the base */
	uint32_t handle;  /* arena reference; 0: none is kept */
	uint16_t type;	  /* S_IFMT part >> 12 */
	uint16_t flags;
	/* Made anew: */
	uint32_t next; /* in the chain of its bucket */
	uint32_t children;
};
_Static_assert(sizeof(struct node) == 64, "64 nodes fill a page, and one word says which are in use");

/* In the place of slot 0, which is none. */
struct node_header {
	uint64_t sequence; /* high part of the last id given; 0: nothing was ever here */
	uint32_t page_end; /* no slot of this page or of a later one was ever in use */
	uint32_t reserved[13];
};
_Static_assert(sizeof(struct node_header) == sizeof(struct node), "the header has the place of a slot");

struct node_table {
	pthread_mutex_t lock;
	struct shared *shared;
	bool shared_owned;
	struct node *slots; /* SLOT_MAX of them reserved */
	struct node_header *header;
	uint32_t *buckets; /* SLOT_MAX of them reserved, bucket_count in use */
	uint32_t bucket_count;
	uint64_t *pages;    /* for each page of slots, which of its 64 are in use */
	uint32_t page_hint; /* no page below it has a free slot */
	size_t used;
	node_reap_fn reap;
	void *reap_arg;
	struct arena *names;
	struct aliases *aliases;
	struct node_contents *contents;
	size_t view_directories; /* nodes of directories with a content */
};

static inline struct node *node_by_id(struct node_table *table, uint64_t id)
{
	struct node *node = &table->slots[id & SLOT_MASK];

	return id && id & SLOT_MASK && node->id == id ? node : NULL;
}

static inline uint32_t node_slot(const struct node_table *table, const struct node *node)
{
	return (uint32_t)(node - table->slots);
}

uint32_t node_bucket_of(const struct node_table *table, const struct node_key *key);
/* Free NODE and then each ancestor that lived only for it, where nobody has anything to do with it. */
void node_reap(struct node_table *table, struct node *node);
/* The chain of names that leads to NODE, appended to SB. 0 or -ENOMEM. */
int node_path_add(const struct node_table *table, const struct node *node, struct strbuf *sb);
/* Take over what is in the regions. 0, -ENOMEM, or -EIO: it is not a table over the base of ROOT. */
int node_table_recover(struct node_table *table, const struct node_key *root);

#endif
