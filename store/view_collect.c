/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a view, first half: the paths at which base and active tree differ, content and metadata joined. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/view_internal.h"

struct collect {
	struct view_arena *arena;
	struct view_changes *changes;
	bool meta; /* walking `.veneer/meta` */
};

void view_changes_release(struct view_changes *changes)
{
	free(changes->items);
	*changes = (struct view_changes){ NULL, 0, 0 };
}

static int changes_add(struct view_changes *changes, struct view_change **ret, struct error *err)
{
	if (changes->count == 2 * (size_t)VIEW_ENTRIES_MAX)
		return error_set(err, -EBADMSG, "more than %u paths differ from the base", VIEW_ENTRIES_MAX);
	if (changes->count == changes->alloc) {
		size_t alloc = changes->alloc ? changes->alloc + changes->alloc / 2 : 64;
		struct view_change *items = reallocarray(changes->items, alloc, sizeof *items);

		if (!items)
			return error_set(err, -ENOMEM, "out of memory");
		changes->items = items;
		changes->alloc = alloc;
	}
	*ret = &changes->items[changes->count++];
	memset(*ret, 0, sizeof **ret);
	return 0;
}

static struct view_side side_of(const struct tree_entry *entry)
{
	struct view_side side = { 0 };

	if (entry) {
		side.mode = entry->mode;
		side.oid = entry->oid;
	}
	return side;
}

static int collect_content(struct collect *collect, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct view_change *change;
	int r = changes_add(collect->changes, &change, err);

	if (r < 0)
		return r;
	change->path = view_strndup(collect->arena, path, strlen(path));
	if (!change->path)
		return view_memory_error(collect->arena, err);
	change->content_changed = true;
	change->content[0] = side_of(old_entry);
	change->content[1] = side_of(new_entry);
	return 0;
}

/* Length of the path that the metadata at PATH (below `.veneer/meta`) belongs to. */
static size_t meta_subject(const char *path, bool *ret_directory)
{
	size_t len = strlen(path), tail = strlen(META_DIRECTORY);

	*ret_directory = true;
	if (strcmp(path, META_DIRECTORY + 1) == 0)
		return 0;
	if (len > tail && strcmp(path + len - tail, META_DIRECTORY) == 0)
		return len - tail;
	*ret_directory = false;
	return len;
}

static int collect_meta(struct collect *collect, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct view_change *change;
	bool directory;
	size_t len = meta_subject(path, &directory);
	char *subject = view_strndup(collect->arena, path, len);
	int r;

	if (!subject)
		return view_memory_error(collect->arena, err);
	if (path_check(subject, err) < 0)
		return error_prefix(err, -EBADMSG, "metadata");
	if (new_entry && new_entry->mode == TREE_MODE_SYMLINK)
		return error_set(err, -EBADMSG, "metadata of '%s': a symlink", subject);
	r = changes_add(collect->changes, &change, err);
	if (r < 0)
		return r;
	change->path = subject;
	change->meta_changed = true;
	change->meta[0] = side_of(old_entry);
	change->meta[1] = side_of(new_entry);
	change->meta_of_directory[0] = change->meta_of_directory[1] = directory;
	return 0;
}

static int collect_entry(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct collect *collect = arg;

	if (collect->meta)
		return collect_meta(collect, path, old_entry, new_entry, err);
	return collect_content(collect, path, old_entry, new_entry, err);
}

static int change_compare(const void *a, const void *b)
{
	return path_compare(((const struct view_change *)a)->path, ((const struct view_change *)b)->path);
}

/* One path may come as content, as metadata, and as metadata at its other place; never twice as one of these. */
static bool change_join(struct view_change *into, const struct view_change *from)
{
	if (from->content_changed) {
		if (into->content_changed)
			return false;
		into->content_changed = true;
		memcpy(into->content, from->content, sizeof into->content);
	}
	if (!from->meta_changed)
		return true;
	for (size_t side = 0; side < 2; side++) {
		if (from->meta[side].mode == 0)
			continue;
		if (into->meta[side].mode != 0)
			return false;
		into->meta[side] = from->meta[side];
		into->meta_of_directory[side] = from->meta_of_directory[side];
	}
	into->meta_changed = true;
	return true;
}

static int changes_join(struct view_changes *changes, struct error *err)
{
	size_t count = 0;

	if (changes->count == 0)
		return 0;
	qsort(changes->items, changes->count, sizeof *changes->items, change_compare);
	for (size_t i = 1; i < changes->count; i++) {
		struct view_change *last = &changes->items[count], *next = &changes->items[i];

		if (strcmp(last->path, next->path) != 0)
			changes->items[++count] = *next;
		else if (!change_join(last, next))
			return error_set(err, -EBADMSG, "'%s': stands in the tree twice", last->path);
	}
	changes->count = count + 1;
	return 0;
}

int view_meta_tree(struct repo *repo, const struct oid *tree, struct oid *ret, struct error *err)
{
	cleanup_tree struct tree *root = NULL, *reserved = NULL;
	struct tree_entry entry;
	int r;

	memset(ret, 0, sizeof *ret);
	if (oid_is_zero(tree))
		return 0;
	r = repo_tree_read(repo, tree, &root, err);
	if (r < 0)
		return error_prefix(err, -EBADMSG, "tree");
	if (!tree_find(root, PATH_RESERVED, &entry))
		return 0;
	if (entry.mode != TREE_MODE_DIRECTORY)
		return error_set(err, -EBADMSG, "'%s' is not a directory", PATH_RESERVED);
	r = repo_tree_read(repo, &entry.oid, &reserved, err);
	if (r < 0)
		return error_prefix(err, -EBADMSG, "'%s'", PATH_RESERVED);
	for (size_t i = 0; i < tree_count(reserved); i++) {
		entry = tree_at(reserved, i);
		if (strcmp(entry.name, "meta") != 0 || entry.mode != TREE_MODE_DIRECTORY)
			return error_set(err, -EBADMSG, "'%s/%.100s': only the directory 'meta' may stand there",
				PATH_RESERVED, entry.name);
		*ret = entry.oid;
	}
	return 0;
}

int view_collect(struct repo *repo, struct view_arena *arena, const struct oid *base_tree,
	const struct oid *tree, struct view_changes *ret, struct error *err)
{
	cleanup_view_changes struct view_changes changes = { NULL, 0, 0 };
	struct collect collect = { .arena = arena, .changes = &changes };
	struct oid base_meta, meta;
	int r = view_meta_tree(repo, base_tree, &base_meta, err);

	if (r < 0)
		return error_prefix(err, r, "base");
	r = view_meta_tree(repo, tree, &meta, err);
	if (r < 0)
		return r;
	r = repo_tree_compare(repo, base_tree, tree, PATH_RESERVED, false, collect_entry, &collect, err);
	if (r < 0)
		return r;
	collect.meta = true;
	r = repo_tree_compare(repo, &base_meta, &meta, NULL, true, collect_entry, &collect, err);
	if (r < 0)
		return r;
	r = changes_join(&changes, err);
	if (r < 0)
		return r;
	if (changes.count > VIEW_ENTRIES_MAX)
		return error_set(err, -EBADMSG, "more than %u paths differ from the base", VIEW_ENTRIES_MAX);
	*ret = changes;
	changes = (struct view_changes){ NULL, 0, 0 };
	return 0;
}
