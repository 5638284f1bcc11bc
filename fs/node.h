/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_NODE_H
#define VENEER_FS_NODE_H

/*
 * The node table: what the kernel knows of us. One node, one content, for ever: a node is bound at
 * birth to one inode of the base, or to one content of a patch (path, bytes, metadata), and found
 * again by that key; a switch leads a name to another node and never changes a node.
 *
 * A node is 64 bytes and a name, in memory that outlives the process (fs/shared.h), and holds no file descriptor: files are reopened by path (the chain
 * of parents) and compared with the key. Ids are never reused while the mount lives: a 40-bit number
 * that only grows, and the slot in the low 24 bits. A node lives while the kernel counts look-ups of
 * it, or another node names it as its parent, or it is open.
 *
 * Threads: all functions lock the table for themselves; nothing that blocks is done under the lock.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/content.h"
#include "store/base/strbuf.h"

#define NODE_ROOT 1ull	    /* FUSE_ROOT_ID */
#define NODE_SLOT_BITS 24   /* at most 16 million nodes */

struct node_key {
	uint64_t high; /* base: the device; patch: half of the identity, top bit set */
	uint64_t low;  /* base: the inode; patch: the other half */
};
struct node_key node_key_of_base(dev_t device, ino_t inode);
struct node_key node_key_of_view(const struct hash128 *identity);
static inline bool node_key_is_view(const struct node_key *key)
{
	return key->high >> 63;
}

struct node_table;
struct shared;

/*
 * The root is bound to ROOT. The table is in SHARED (borrowed; fs/shared.h); NULL: in memory of its own. Where there is one already, from a
 * process that has ended, it is taken over: each node with its look-ups, openings, name and content as they were; none is watched.
 * 0, -ENOMEM, or -EIO: what is in SHARED is no table over that base.
 */
int node_table_new(const struct node_key *root, struct shared *shared, struct node_table **ret);
void node_table_free(struct node_table *table); /* NULL is fine; what is in SHARED stays */

/* What a handler needs of a node; a copy. */
struct node_info {
	uint64_t id;
	struct node_key key;
	mode_t type;		 /* S_IFMT part */
	struct content *content; /* counted; NULL for nodes of the base. node_info_release() */
	bool pinned;		 /* its path is gone: an fd or a handle is kept for it elsewhere */
};
#define NODE_INFO_INIT { .content = NULL }
void node_info_release(struct node_info *info);
#define cleanup_node_info __attribute__((cleanup(node_info_release)))

/* -ESTALE: no such node. */
int node_get(struct node_table *table, uint64_t id, struct node_info *ret);

/*
 * The node of KEY, made if there is none, known as NAME in PARENT from now on, looked up once more.
 * CONTENT (borrowed; counted by the node) for nodes of a patch. -ESTALE: no such parent; -ENOSPC: the
 * table is full; -ELOOP: PARENT lies below the node; -EIO: two contents of one key. 1 for 0 where it was pinned: it
 * has a name again, and what was kept for it may go.
 */
int node_look_up(struct node_table *table, uint64_t parent, const char *name, const struct node_key *key,
	mode_t type, struct content *content, uint64_t *ret_id);

/*
 * One look-up more of a node, as NAME in PARENT: it stays known by the name that it had. -ESTALE: no such node, or its path is gone;
 * -ENOMEM.
 */
int node_look_up_again(struct node_table *table, uint64_t id, uint64_t parent, const char *name);
/* That one of the names of a node went through the mount: the kernel has seen it. */
void node_unalias(struct node_table *table, uint64_t id, uint64_t parent, const char *name);
/* COUNT look-ups are forgotten. Unknown ids are ignored. */
void node_forget(struct node_table *table, uint64_t id, uint64_t count);
/* REAP hears of each node that is gone, under the table's lock. Set before threads start. */
typedef void (*node_reap_fn)(void *arg, uint64_t id);
void node_table_on_reap(struct node_table *table, node_reap_fn reap, void *arg);

/* The id of KEY's node, or 0. */
uint64_t node_find(struct node_table *table, const struct node_key *key);
/* Is any directory known that is there for a view alone? */
bool node_knows_view_directories(struct node_table *table);

/*
 * The name that a node of the base is known by, and its directory's id. -ESTALE: no such node, or its path is gone; the root has none
 * either; -ENOENT: it is a patch's.
 */
int node_name(struct node_table *table, uint64_t id, uint64_t *ret_parent, char ret[NAME_MAX + 1]);
/* The component-relative path, "" for the root, appended to SB. -ESTALE; -ENOMEM. */
int node_path(struct node_table *table, uint64_t id, struct strbuf *sb);

/* A node as a walk of the table meets it. */
struct node_met {
	uint64_t id, parent;
	mode_t type;  /* S_IFMT part */
	bool patched; /* its content is a patch's */
	bool pinned;
};
/*
 * One node after the other, but for the root: *SLOT, 0 at first, moves on; *RET is the node, PATH (overwritten) its path. 1; 0: that
 * was all; -ENOMEM. What comes or goes in the meantime is met or not.
 */
int node_walk(struct node_table *table, uint32_t *slot, struct node_met *ret, struct strbuf *path);

/* A name that the kernel may know a node by. */
struct node_named {
	uint64_t id, parent;
	struct node_key key;
	size_t name;  /* into the list's text */
	mode_t type;  /* S_IFMT part */
	bool patched; /* its content is a patch's */
	bool alias;   /* the node is known by another one */
};
struct node_list {
	struct node_named *names; /* owned */
	size_t count, alloc;
	struct strbuf text;
};
#define NODE_LIST_INIT { NULL, 0, 0, STRBUF_INIT }
void node_list_release(struct node_list *list);
#define cleanup_node_list __attribute__((cleanup(node_list_release)))
static inline const char *node_list_name(const struct node_list *list, const struct node_named *named)
{
	return list->text.buf + named->name;
}
/*
 * Add all names to RET, in no order, but for those of nodes whose path is gone; or those that are WANTED (may be NULL; called under
 * the table's lock). 0 or -ENOMEM. What comes or goes in the meantime is in the list or not.
 */
int node_list_names(struct node_table *table, bool (*wanted)(void *arg, uint64_t parent, const char *name), void *arg,
	struct node_list *ret);

/* The node of KEY is now called NAME in PARENT (rename through the mount). 1 for 0 as with node_look_up(). */
int node_move(struct node_table *table, const struct node_key *key, uint64_t parent, const char *name);
/* Is NAME in PARENT the path that the node is known by, and has not gone? */
bool node_is_named(struct node_table *table, uint64_t id, uint64_t parent, const char *name);
/*
 * Its path has gone: a handle, or for HELD an fd, is kept for it (fdcache_pin). Was an fd kept already? (Of unknown ids: yes.)
 * So it stays until the node is looked up or moved.
 */
bool node_set_pinned(struct node_table *table, uint64_t id, bool held);
/* The same, nothing being kept, where NAME in PARENT was its path until now; else false. */
bool node_lose(struct node_table *table, uint64_t id, uint64_t parent, const char *name);

/*
 * Keep a copy of HANDLE (name_to_handle_at(2)) for the node, in place of one that there was, until it has a name again or is gone. 0,
 * -ESTALE or -ENOSPC.
 */
struct file_handle;
int node_keep_handle(struct node_table *table, uint64_t id, const struct file_handle *handle);
/* A copy of the handle, the caller's to free; NULL: there is none, or no memory. */
struct file_handle *node_handle(struct node_table *table, uint64_t id);

/* Is the directory watched (fs/base_watch.h)? Of unknown ids: yes. */
bool node_is_watched(struct node_table *table, uint64_t id);
void node_set_watched(struct node_table *table, uint64_t id);

/*
 * Passthrough: backing ids, one a node, kept while it is open. node_backing_use() counts an opening and
 * says the id there is (0: none: make one, then node_backing_offer() it, which returns the one to use:
 * another may have been faster, then *RET_SURPLUS is yours to close, where it is one). BACKING_PLAIN is offered like an id,
 * and says that the node is opened without a backing file, and so is whoever opens it before all have closed it.
 * node_backing_drop() counts a closing; what it returns (0: nothing) is to be closed.
 */
#define BACKING_PLAIN (-1)
int node_backing_use(struct node_table *table, uint64_t id, int32_t *ret_backing);
int32_t node_backing_offer(struct node_table *table, uint64_t id, int32_t backing, int32_t *ret_surplus);
int32_t node_backing_drop(struct node_table *table, uint64_t id);

size_t node_count(struct node_table *table);
/* How often the node was looked up, or OPENINGS: opened. UINT64_MAX: no such node. */
uint64_t node_counts(struct node_table *table, uint64_t id, bool openings);

#endif
