/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_TREE_CURSOR_H
#define VENEER_STORE_TREE_CURSOR_H

/*
 * Looking up many paths of one tree, cheaply: the trees that lead to the last path stay read, so that
 * paths asked for in order (path_compare) cost each tree once, however large a directory is.
 *
 * Threads: one.
 */

#include "store/base/error.h"
#include "store/base/path.h"
#include "store/git/repo.h"

#define TREE_CURSOR_DEPTH (PATH_DEPTH_MAX + 4) /* room for ".veneer/meta/" in front and "/.veneer" behind */

struct tree_cursor {
	struct repo *repo;
	struct oid root; /* zero: the empty tree */
	struct tree *trees[TREE_CURSOR_DEPTH];	 /* from the root down; owned */
	size_t ends[TREE_CURSOR_DEPTH];		 /* bytes of DIRECTORY that name trees[i] */
	size_t depth;				 /* trees that are read */
	char directory[PATH_LENGTH_MAX + 32]; /* the path of the deepest of them */
};

/* ROOT NULL: the empty tree. */
void tree_cursor_init(struct tree_cursor *cursor, struct repo *repo, const struct oid *root);
void tree_cursor_release(struct tree_cursor *cursor);
#define cleanup_tree_cursor __attribute__((cleanup(tree_cursor_release)))

/*
 * What stands at PATH: 0, and ret->mode is 0 where there is nothing. ret->name is NULL. "" is the root
 * itself. -EBADMSG: a tree on the way is missing or corrupt.
 */
int tree_cursor_find(struct tree_cursor *cursor, const char *path, struct tree_entry *ret,
	struct error *err);

#endif
