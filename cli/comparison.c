/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/comparison.h"

#include <errno.h>

#include "store/component.h"
#include "store/edits.h"

/* What only the other base has and a tree lacks, gathered. */
struct gap {
	struct repo *repo;
	const struct oid *tree;
	struct edits edits;
};

static int add_missing(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct gap *gap = arg;
	struct tree_entry there;

	if (old_entry || !new_entry || repo_tree_lookup(gap->repo, gap->tree, path, &there, NULL) == 0)
		return 0;
	return edits_add(&gap->edits, path, new_entry->mode, &new_entry->oid, err);
}

/* TREE with what FROM lacks and TO has, where TREE has nothing there. */
static int complete_tree(struct repo *repo, const struct oid *from, const struct oid *to,
	struct oid *tree, struct error *err)
{
	struct gap gap = { repo, tree, EDITS_INIT };
	struct oid completed = *tree;
	int r = repo_tree_compare(repo, from, to, NULL, true, add_missing, &gap, err);

	if (r == 0 && gap.edits.count > 0)
		r = repo_tree_edit(repo, tree, gap.edits.changes, gap.edits.count, &completed, err);
	edits_release(&gap.edits);
	if (r == 0)
		*tree = completed;
	return r;
}

static int load_side(struct store *store, const struct oid *commit, struct comparison_side *side,
	struct error *err)
{
	cleanup_commit struct commit read = { .parents = NULL };
	struct oid base;
	int r = repo_commit_read(store->repo, commit, &read, err);

	if (r < 0)
		return r;
	*side = (struct comparison_side){ .tree = read.tree };
	/* A commit without a base below it can still be compared. */
	if (commit_find_base(store, commit, &base, &side->base_tree, NULL) < 0)
		side->base_tree = (struct oid){ { 0 } };
	return 0;
}

int comparison_prepare(struct store *store, const struct oid *a, const struct oid *b,
	struct comparison *ret, struct error *err)
{
	struct comparison both;
	struct oid base_a, base_b;
	int r = load_side(store, a, &both.a, err);

	if (r == 0)
		r = load_side(store, b, &both.b, err);
	if (r < 0)
		return r;
	base_a = both.a.base_tree;
	base_b = both.b.base_tree;
	if (!oid_equal(&base_a, &base_b) && !oid_is_zero(&base_a) && !oid_is_zero(&base_b)) {
		r = complete_tree(store->repo, &base_a, &base_b, &both.a.tree, err);
		if (r == 0)
			r = complete_tree(store->repo, &base_a, &base_b, &both.a.base_tree, err);
		if (r == 0)
			r = complete_tree(store->repo, &base_b, &base_a, &both.b.tree, err);
		if (r == 0)
			r = complete_tree(store->repo, &base_b, &base_a, &both.b.base_tree, err);
	}
	if (r == 0)
		*ret = both;
	return r;
}
