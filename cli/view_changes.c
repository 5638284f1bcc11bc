/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/view_changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

struct finder {
	struct store *store;
	int basefd;
	const struct view *old, *new;
	struct oid base_tree; /* where the content of base files is known */
	struct view_changes *list;
};

/* One side of a difference; type 0: nothing there. */
struct side {
	mode_t type;
	struct oid blob; /* zero: not known */
};

void view_changes_release(struct view_changes *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->changes[i].path);
	free(list->changes);
	*list = (struct view_changes)VIEW_CHANGES_INIT;
}

static int base_side(const struct finder *finder, const char *path, struct side *ret)
{
	struct tree_entry entry;
	struct stat st;
	int r = path_stat(finder->basefd, path, &st);

	*ret = (struct side){ 0 };
	/* -ENOTDIR, -ELOOP: a file or symlink stands where the path has a directory. */
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return 0;
	if (r < 0)
		return r;
	ret->type = st.st_mode & S_IFMT;
	if (repo_tree_lookup(finder->store->repo, &finder->base_tree, path, &entry, NULL) == 0)
		ret->blob = entry.oid;
	return 0;
}

static int find_side(const struct finder *finder, const struct view *view, uint32_t index,
	const char *path, struct side *ret)
{
	const struct view_entry *entry;

	if (!view || index == VIEW_NONE)
		return base_side(finder, path, ret);
	entry = view_at(view, index);
	*ret = (struct side){ 0 };
	switch (entry->kind) {
	case VIEW_THROUGH:
		return base_side(finder, path, ret);
	case VIEW_DELETED:
		break;
	case VIEW_DIRECTORY:
		ret->type = S_IFDIR;
		break;
	case VIEW_FILE:
	case VIEW_SYMLINK:
		ret->type = entry->kind == VIEW_FILE ? S_IFREG : S_IFLNK;
		ret->blob = entry->blob;
		break;
	case VIEW_SPECIAL:
		ret->type = entry->mode & S_IFMT;
		break;
	}
	return 0;
}

static char status_of(const struct side *old, const struct side *new)
{
	if (old->type == 0)
		return 'A';
	if (new->type == 0)
		return 'D';
	if (old->type != new->type)
		return 'T';
	if (S_ISREG(old->type) || S_ISLNK(old->type))
		return oid_equal(&old->blob, &new->blob) ? 'm' : 'M';
	return 'm';
}

static int add_change(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	struct finder *finder = arg;
	struct view_changes *list = finder->list;
	struct view_change *grown;
	struct side old, new;
	int r = find_side(finder, finder->old, old_index, path, &old);

	if (r == 0)
		r = find_side(finder, finder->new, new_index, path, &new);
	if (r < 0)
		return r;
	if (old.type == 0 && new.type == 0)
		return 0;
	grown = reallocarray(list->changes, list->count + 1, sizeof *grown);
	if (!grown)
		return -ENOMEM;
	list->changes = grown;
	grown[list->count].path = strdup(path);
	if (!grown[list->count].path)
		return -ENOMEM;
	grown[list->count++].status = status_of(&old, &new);
	return 0;
}

int view_changes_find(struct store *store, int basefd, const struct view *old, const struct view *new,
	struct view_changes *ret, struct error *err)
{
	struct finder finder = { store, basefd, old, new, { { 0 } }, ret };
	cleanup_commit struct commit base = { .parents = NULL };
	int r = repo_commit_read(store->repo, view_base(new), &base, err);

	if (r < 0)
		return r;
	finder.base_tree = base.tree;
	r = view_diff(old, new, add_change, &finder);
	if (r < 0)
		return error_errno(err, -r, "compare what is served before and after");
	return 0;
}

static int compare_change(const void *key, const void *element)
{
	return path_compare(key, ((const struct view_change *)element)->path);
}

bool view_changes_cover(const struct view_changes *list, const char *path)
{
	cleanup_free char *at = strdup(path);
	bool whole = true;

	while (at && list->count > 0) {
		const struct view_change *change = bsearch(at, list->changes, list->count,
			sizeof *list->changes, compare_change);
		char *slash = strrchr(at, '/');

		if (change && (whole || change->status == 'D' || change->status == 'T'))
			return true;
		if (!slash)
			break;
		*slash = '\0';
		whole = false;
	}
	return false;
}

struct json_object *view_changes_rows(const struct view_changes *list)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < list->count; i++) {
		struct json_object *row = json_object_new_object();
		char status[] = { list->changes[i].status, '\0' };

		row_text(row, "status", status);
		row_text(row, "path", list->changes[i].path);
		json_object_array_add(rows, row);
	}
	return rows;
}
