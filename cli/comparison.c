/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/comparison.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/component.h"
#include "store/edits.h"
#include "store/tree_cursor.h"
#include "store/tree_meta.h"

#define META_PREFIX PATH_RESERVED "/meta/"

/* What only the other base has and a tree lacks, gathered. */
struct gap {
	struct repo *repo;
	const struct oid *tree;
	struct tree_cursor content, meta; /* of TREE */
	struct tree_cursor own_meta;	  /* of the base that it stands on */
	struct edits edits;
};

static void gap_release(struct gap *gap)
{
	tree_cursor_release(&gap->content);
	tree_cursor_release(&gap->meta);
	tree_cursor_release(&gap->own_meta);
	edits_release(&gap->edits);
}

static int gap_init(struct gap *gap, struct repo *repo, const struct oid *base, const struct oid *tree,
	struct error *err)
{
	struct oid meta, own_meta;
	int r = tree_meta_root(repo, tree, &meta, err);

	if (r == 0)
		r = tree_meta_root(repo, base, &own_meta, err);
	if (r < 0)
		return r;
	gap->repo = repo;
	gap->tree = tree;
	tree_cursor_init(&gap->content, repo, tree);
	tree_cursor_init(&gap->meta, repo, &meta);
	tree_cursor_init(&gap->own_meta, repo, &own_meta);
	return 0;
}

/* Is DIRECTORY none in the tree: something else, or one that its base has on record and it has nothing of? 1, 0, -Exxx. */
static int is_gone(struct gap *gap, const char *directory, struct error *err)
{
	struct tree_entry content, meta;
	struct tree_side own;
	bool of_directory;
	int r = tree_cursor_find(&gap->content, directory, &content, err);

	if (r == 0)
		r = tree_cursor_find(&gap->meta, directory, &meta, err);
	if (r < 0)
		return r;
	if (content.mode != 0)
		return content.mode != TREE_MODE_DIRECTORY;
	if (meta.mode != 0)
		return meta.mode != TREE_MODE_DIRECTORY;
	r = tree_meta_find(&gap->own_meta, directory, &own, &of_directory, err);
	return r < 0 ? r : own.mode != 0 && of_directory;
}

/* Does the path that the entry at PATH, content or metadata, belongs to lead through something that is no directory? */
static int leads_nowhere(struct gap *gap, const char *path, struct error *err)
{
	const bool is_meta = strncmp(path, META_PREFIX, strlen(META_PREFIX)) == 0;
	cleanup_free char *subject = strdup(is_meta ? path + strlen(META_PREFIX) : path);
	int r = 0;

	if (!subject)
		return error_set(err, -ENOMEM, "out of memory");
	for (char *slash = strchr(subject, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = is_gone(gap, subject, err);
		*slash = '/';
	}
	return r;
}

static int add_missing(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct gap *gap = arg;
	struct tree_entry there;
	int r;

	if (old_entry || !new_entry || repo_tree_lookup(gap->repo, gap->tree, path, &there, NULL) == 0)
		return 0;
	r = leads_nowhere(gap, path, err);
	if (r != 0)
		return r < 0 ? r : 0;
	return edits_add(&gap->edits, path, new_entry->mode, &new_entry->oid, err);
}

/* TREE, which stands on the base FROM, with what that lacks and TO has, where TREE has nothing there. */
static int complete_tree(struct repo *repo, const struct oid *from, const struct oid *to,
	struct oid *tree, struct error *err)
{
	CLEANUP(gap_release) struct gap gap = { .edits = EDITS_INIT };
	int r = gap_init(&gap, repo, from, tree, err);

	if (r == 0)
		r = repo_tree_compare(repo, from, to, NULL, true, add_missing, &gap, err);
	if (r < 0 || gap.edits.count == 0)
		return r;
	return repo_tree_edit(repo, tree, gap.edits.changes, gap.edits.count, tree, err);
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
