/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_DIFFERENCE_H
#define VENEER_STORE_DIFFERENCE_H

/*
 * What differs between the trees of two commits, by path: content and metadata (`.veneer/meta`) joined.
 * The view, composition and `create --commit` all begin with it.
 *
 * Error handling: trees are hostile. -EBADMSG names the path and what is wrong: a bad or too long
 * name, too deep, a path that stands there twice, anything but `meta` below `.veneer`, a tree that is
 * missing or corrupt, more than DIFFERENCES_MAX paths.
 */

#include <stdbool.h>
#include <stddef.h>

#include "store/base/error.h"
#include "store/git/repo.h"
#include "store/pool.h"
#include "store/tree_meta.h"

#define DIFFERENCES_MAX 1000000u

/* One path at which the old ([0]) and the new tree ([1]) differ. */
struct difference {
	const char *path; /* in the pool; "" is the root, which has metadata only */
	bool content_changed, meta_changed;
	struct tree_side content[2]; /* meaningful where content_changed */
	struct tree_side meta[2];    /* meaningful where meta_changed */
	bool meta_of_directory[2];   /* the blob stands at PATH/.veneer */
};

struct differences {
	struct difference *items; /* owned; in order of path_compare, unique */
	size_t count, alloc;
};
#define DIFFERENCES_INIT { NULL, 0, 0 }
void differences_release(struct differences *differences);
#define cleanup_differences __attribute__((cleanup(differences_release)))

/* Paths go into POOL, which must outlive RET. */
int differences_collect(struct repo *repo, struct pool *pool, const struct oid *old_tree,
	const struct oid *new_tree, struct differences *ret, struct error *err);

/*
 * A path at which both differ, or that one of them changes beneath another that the other one changes: but
 * for a directory that stays one. NULL: neither knows of the other. Valid as long as both.
 */
const char *differences_overlap(const struct differences *a, const struct differences *b);

#endif
