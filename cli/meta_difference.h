/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_META_DIFFERENCE_H
#define VENEER_CLI_META_DIFFERENCE_H

/* The metadata of one path on two sides, as readable values. */

#include "cli/tree_difference.h"
#include "store/meta.h"

/*
 * The meta of PATH in TREE, completed from BASE_TREE (may be zero) and the defaults of a commit (root:root;
 * the mode as git has it is left to the caller). *RET_FOUND: TREE itself has one. META fresh.
 */
int meta_side_load(struct store *store, const struct oid *tree, const struct oid *base_tree,
	const char *path, struct meta *meta, bool *ret_found, struct error *err);

/* OLD or NEW is NULL where nothing is on that side. 0 or -ENOMEM. */
int meta_differences_find(const struct meta *old, const struct meta *new, struct meta_difference **ret,
	size_t *ret_count);
void meta_differences_free(struct meta_difference *list, size_t count);
/* "mode 0644 → 04755" */
void meta_difference_print(const struct meta_difference *difference, struct strbuf *sb);
/* Is the new value what any plain file has: root's, no set-id bits, no attributes? */
bool meta_is_plain(const struct meta_difference *difference);
/* [{"key","old","new"}] */
struct json_object *meta_differences_rows(const struct meta_difference *list, size_t count);

#endif
