/* SPDX-License-Identifier: Apache-2.0 */
#include "store/difference.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

struct collect {
	struct pool *pool;
	struct differences *differences;
	bool meta; /* walking `.veneer/meta` */
};

void differences_release(struct differences *differences)
{
	free(differences->items);
	*differences = (struct differences)DIFFERENCES_INIT;
}

static int differences_add(struct differences *differences, struct difference **ret, struct error *err)
{
	if (differences->count == 2 * (size_t)DIFFERENCES_MAX)
		return error_set(err, -EBADMSG, "more than %u paths differ", DIFFERENCES_MAX);
	if (differences->count == differences->alloc) {
		size_t alloc = differences->alloc ? differences->alloc + differences->alloc / 2 : 64;
		struct difference *items = reallocarray(differences->items, alloc, sizeof *items);

		if (!items)
			return error_set(err, -ENOMEM, "out of memory");
		differences->items = items;
		differences->alloc = alloc;
	}
	*ret = &differences->items[differences->count++];
	memset(*ret, 0, sizeof **ret);
	return 0;
}

static struct tree_side side_of(const struct tree_entry *entry)
{
	struct tree_side side = { 0 };

	if (entry) {
		side.mode = entry->mode;
		side.oid = entry->oid;
	}
	return side;
}

static int collect_content(struct collect *collect, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct difference *difference;
	int r = differences_add(collect->differences, &difference, err);

	if (r < 0)
		return r;
	difference->path = pool_strndup(collect->pool, path, strlen(path));
	if (!difference->path)
		return pool_error(collect->pool, err);
	difference->content_changed = true;
	difference->content[0] = side_of(old_entry);
	difference->content[1] = side_of(new_entry);
	return 0;
}

/* Length of the path that the metadata at PATH (below `.veneer/meta`) belongs to. */
static size_t meta_subject(const char *path, bool *ret_directory)
{
	size_t len = strlen(path), tail = strlen(META_DIRECTORY);

	*ret_directory = true;
	if (strcmp(path, &META_DIRECTORY[1]) == 0)
		return 0;
	if (len > tail && strcmp(path + len - tail, META_DIRECTORY) == 0)
		return len - tail;
	*ret_directory = false;
	return len;
}

static int collect_meta(struct collect *collect, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct difference *difference;
	bool directory;
	size_t len = meta_subject(path, &directory);
	char *subject = pool_strndup(collect->pool, path, len);
	int r;

	if (!subject)
		return pool_error(collect->pool, err);
	if (path_check(subject, err) < 0)
		return error_prefix(err, -EBADMSG, "metadata");
	if (new_entry && new_entry->mode == TREE_MODE_SYMLINK)
		return error_set(err, -EBADMSG, "metadata of '%s': a symlink", subject);
	r = differences_add(collect->differences, &difference, err);
	if (r < 0)
		return r;
	difference->path = subject;
	difference->meta_changed = true;
	difference->meta[0] = side_of(old_entry);
	difference->meta[1] = side_of(new_entry);
	difference->meta_of_directory[0] = difference->meta_of_directory[1] = directory;
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

static int difference_compare(const void *a, const void *b)
{
	return path_compare(((const struct difference *)a)->path, ((const struct difference *)b)->path);
}

/* One path may come as content, as metadata, and as metadata at its other place; never twice as one of these. */
static bool difference_join(struct difference *into, const struct difference *from)
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

static int differences_join(struct differences *differences, struct error *err)
{
	size_t count = 0;

	if (differences->count == 0)
		return 0;
	qsort(differences->items, differences->count, sizeof *differences->items, difference_compare);
	for (size_t i = 1; i < differences->count; i++) {
		struct difference *last = &differences->items[count], *next = &differences->items[i];

		if (strcmp(last->path, next->path) != 0)
			differences->items[++count] = *next;
		else if (!difference_join(last, next))
			return error_set(err, -EBADMSG, "'%s': stands in the tree twice", last->path);
	}
	differences->count = count + 1;
	return 0;
}

int differences_collect(struct repo *repo, struct pool *pool, const struct oid *old_tree,
	const struct oid *new_tree, struct differences *ret, struct error *err)
{
	cleanup_differences struct differences differences = DIFFERENCES_INIT;
	struct collect collect = { .pool = pool, .differences = &differences };
	struct oid old_meta, new_meta;
	int r = tree_meta_root(repo, old_tree, &old_meta, err);

	if (r < 0)
		return error_prefix(err, r, "the tree it stands on");
	r = tree_meta_root(repo, new_tree, &new_meta, err);
	if (r < 0)
		return r;
	r = repo_tree_compare(repo, old_tree, new_tree, PATH_RESERVED, false, collect_entry, &collect, err);
	if (r < 0)
		return r;
	collect.meta = true;
	r = repo_tree_compare(repo, &old_meta, &new_meta, NULL, true, collect_entry, &collect, err);
	if (r < 0)
		return r;
	r = differences_join(&differences, err);
	if (r < 0)
		return r;
	if (differences.count > DIFFERENCES_MAX)
		return error_set(err, -EBADMSG, "more than %u paths differ", DIFFERENCES_MAX);
	*ret = differences;
	differences = (struct differences)DIFFERENCES_INIT;
	return 0;
}

/* ---- overlap ---- */

static const struct difference *find_path(const struct differences *differences, const char *path)
{
	const struct difference key = { .path = path };

	return differences->count == 0 ? NULL :
					 bsearch(&key, differences->items, differences->count,
						 sizeof *differences->items, difference_compare);
}

static bool stays_directory(const struct difference *difference)
{
	return !difference->content_changed && difference->meta[0].mode != 0 && difference->meta_of_directory[0] &&
		difference->meta[1].mode != 0 && difference->meta_of_directory[1];
}

/* The nearest of DIFFERENCES at an ancestor of PATH that decides what may be there. */
static const struct difference *find_above(const struct differences *differences, const char *path)
{
	char ancestor[PATH_LENGTH_MAX + 1];
	char *slash;

	snprintf(ancestor, sizeof ancestor, "%s", path);
	while ((slash = strrchr(ancestor, '/'))) {
		const struct difference *above;

		*slash = '\0';
		above = find_path(differences, ancestor);
		if (above && !stays_directory(above))
			return above;
	}
	return NULL;
}

const char *differences_overlap(const struct differences *a, const struct differences *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (find_path(a, b->items[i].path) || find_above(a, b->items[i].path))
			return b->items[i].path;
	for (size_t i = 0; i < a->count; i++) {
		const struct difference *above = find_above(b, a->items[i].path);

		if (above)
			return above->path;
	}
	return NULL;
}
