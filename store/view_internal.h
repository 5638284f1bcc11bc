/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_VIEW_INTERNAL_H
#define VENEER_STORE_VIEW_INTERNAL_H

/* What the parts of the view share: view.c (reading), view_collect.c and view_build.c (loading), view_complete.c, view_diff.c. */

#include <stdatomic.h>

#include "store/view.h"

#define VIEW_ENTRIES_MAX 1000000u
#define VIEW_BYTES_MAX (512u << 20) /* of names, targets and attributes */

/* Memory that lives as long as the view and is freed at once. */
struct view_arena {
	struct view_chunk *chunks; /* newest first */
	size_t bytes;		   /* handed out */
};

/* What the base *commit* has at the path of an entry. */
enum base_record { BASE_NONE, BASE_FILE, BASE_SYMLINK, BASE_DIRECTORY, BASE_SPECIAL };

struct view {
	atomic_uint references;
	struct oid commit, base;
	int64_t time; /* the commit's, for what has no other mtime */
	struct view_entry *entries; /* owned */
	uint8_t *records;	    /* owned; enum base_record of each entry */
	size_t count;
	struct view_arena arena;
};

/* NULL: out of memory, or beyond VIEW_BYTES_MAX: view_memory_error() says which. */
void *view_alloc(struct view_arena *arena, size_t size);
char *view_strndup(struct view_arena *arena, const char *string, size_t len);
int view_memory_error(const struct view_arena *arena, struct error *err);
void view_arena_release(struct view_arena *arena);

/* A copy of the attributes of META into ENTRY; 0 or view_memory_error(). */
int view_set_xattrs(struct view_arena *arena, struct view_entry *entry, const struct meta *meta,
	struct error *err);
/* entry->identity, from all that it says now. SB is scratch; holds the path on entry. */
int view_set_identity(struct view_entry *entry, struct strbuf *path);
static inline bool view_kind_is_directory(enum view_kind kind)
{
	return kind == VIEW_THROUGH || kind == VIEW_DIRECTORY;
}

/* ---- collecting: what differs between two trees, by path ---- */

struct view_side {
	uint32_t mode; /* of the tree entry; 0: nothing there */
	struct oid oid;
};

/* One path at which base ([0]) and active tree ([1]) differ, in content or in metadata. */
struct view_change {
	const char *path; /* in the arena */
	bool content_changed, meta_changed;
	struct view_side content[2]; /* meaningful where CONTENT_CHANGED */
	struct view_side meta[2];    /* meaningful where META_CHANGED */
	bool meta_of_directory[2];   /* the blob stands at PATH/.veneer */
};

struct view_changes {
	struct view_change *items; /* owned; in order of path_compare, unique */
	size_t count, alloc;
};
void view_changes_release(struct view_changes *changes);
#define cleanup_view_changes __attribute__((cleanup(view_changes_release)))

int view_collect(struct repo *repo, struct view_arena *arena, const struct oid *base_tree,
	const struct oid *tree, struct view_changes *ret, struct error *err);
/* The tree `.veneer/meta` of TREE, zero where it has none; -EBADMSG: something else lies below `.veneer`. */
int view_meta_tree(struct repo *repo, const struct oid *tree, struct oid *ret, struct error *err);

/* The trie of CHANGES in VIEW (fresh: time and arena are set). */
int view_build(struct repo *repo, struct view *view, const struct oid *tree,
	const struct view_changes *changes, struct error *err);

#endif
