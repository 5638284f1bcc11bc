/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TREE_DIFFERENCE_H
#define VENEER_CLI_TREE_DIFFERENCE_H

/*
 * How two commits of a component differ, path by path, content and metadata together. What git shows of
 * the blobs below .veneer/meta is read here as what it means: "mode 0644 → 04755".
 */

#include "cli/comparison.h"
#include "cli/output.h"
#include "store/store.h"

struct meta_difference {
	char *key;	      /* type, mode, uid, gid, mtime, "xattr NAME" */
	char *old_value, *new_value; /* NULL: not there */
};

struct tree_difference {
	char *path;	/* component-relative */
	char status;	/* A added, D deleted, M content, T type, m metadata alone */
	uint32_t old_mode, new_mode; /* git's modes; 0: no file or symlink there */
	struct oid old_blob, new_blob;
	bool meta_differs;	     /* the meta blobs do, or stand on one side alone */
	struct meta_difference *meta;
	size_t meta_count;
};

struct tree_differences {
	struct tree_difference *list; /* in order of paths */
	size_t count, alloc;
};
#define TREE_DIFFERENCES_INIT { NULL, 0, 0 }
void tree_differences_release(struct tree_differences *differences);
#define cleanup_tree_differences __attribute__((cleanup(tree_differences_release)))

/* RET fresh. Keys that a meta leaves out are read from the base that its side stands on. */
int tree_differences_find(struct store *store, const struct comparison *trees,
	struct tree_differences *ret, struct error *err);
/* Keep what is at or below one of PATHS (COUNT of them; 0: keep all). */
void tree_differences_limit(struct tree_differences *differences, const char *const *paths, size_t count);
/* [{"path","status","old_mode","new_mode","old_blob","new_blob","metadata":[{"key","old","new"}]}] */
struct json_object *tree_differences_rows(const struct tree_differences *differences);
/* "mode 0644 → 04755" lines under each path with differing metadata; a lone mtime beside other changes only with ALL. */
void tree_differences_print_meta(const struct tree_differences *differences, bool all, struct strbuf *sb);

#endif
