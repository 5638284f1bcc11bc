/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_VIEW_INTERNAL_H
#define VENEER_STORE_VIEW_INTERNAL_H

/* What the parts of the view share: view.c, view_build.c, view_complete.c, view_diff.c, view_survey.c, view_fit.c. */

#include <stdatomic.h>

#include "store/difference.h"
#include "store/pool.h"
#include "store/view.h"

#define VIEW_ENTRIES_MAX 1000000u

/* What the base *commit* has at the path of an entry. */
enum base_record { BASE_NONE, BASE_FILE, BASE_SYMLINK, BASE_DIRECTORY, BASE_SPECIAL };

/* What the base commit has beneath a directory that the view takes away or puts something else in place of. */
struct view_beneath {
	const char *path; /* in the pool */
	uint32_t top;	  /* the entry that takes it away */
	uint8_t record;	  /* enum base_record; BASE_NONE: a directory that only leads on */
	struct oid blob;  /* as view->recorded */
};

struct view {
	atomic_uint references;
	struct oid commit, base;
	int64_t time; /* the commit's, for what has no other mtime */
	struct view_entry *entries; /* owned */
	uint8_t *records;	    /* owned; enum base_record of each entry */
	struct oid *recorded;	    /* owned; the blob that the base commit has there: of BASE_FILE and BASE_SYMLINK, else zero */
	atomic_uint *ended;	    /* owned; how often view_end() was called of each entry; NULL until completed */
	struct view_found *found;   /* owned; what the base has at each entry; NULL until completed */
	size_t count;
	struct view_beneath *beneath; /* owned; in order of paths; NULL: nothing */
	size_t beneath_count;
	struct pool pool;
	struct blobmap *known; /* borrowed; of what was served: what git has lost is as it was. NULL: git must have it all */
	struct view *origin; /* counted; a copy's, which holds what its entries point at; NULL */
};

/* A copy of the attributes of META into ENTRY; 0 or pool_error(). */
int view_set_xattrs(struct pool *pool, struct view_entry *entry, const struct meta *meta,
	struct error *err);
/* entry->identity, from all that it says now and its PATH, to which it appends. 0 or -ENOMEM. */
int view_set_identity(struct view_entry *entry, struct strbuf *path);
static inline bool view_kind_is_directory(enum view_kind kind)
{
	return kind == VIEW_THROUGH || kind == VIEW_DIRECTORY;
}

/* The trie of DIFFERENCES (base against TREE, their paths in view->pool) in VIEW, fresh but for its time. */
int view_build(struct repo *repo, struct view *view, const struct oid *tree,
	const struct differences *differences, struct error *err);

#endif
