/* SPDX-License-Identifier: Apache-2.0 */
#include "store/changeset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/source.h"

static void change_release(struct change *change)
{
	free(change->path);
	change->path = NULL;
	meta_release(&change->meta);
}

void changeset_release(struct changeset *set)
{
	for (size_t i = 0; i < set->count; i++)
		change_release(&set->changes[i]);
	free(set->changes);
	*set = (struct changeset)CHANGESET_INIT;
}

static int changeset_grow(struct changeset *set)
{
	size_t alloc = set->alloc ? set->alloc + set->alloc / 2 : 64;
	struct change *changes;

	if (set->count < set->alloc)
		return 0;
	changes = reallocarray(set->changes, alloc, sizeof *changes);
	if (!changes)
		return -ENOMEM;
	set->changes = changes;
	set->alloc = alloc;
	return 0;
}

int changeset_add(struct changeset *set, const char *path, enum change_kind kind, struct change **ret,
	struct error *err)
{
	cleanup_free char *copy = NULL;
	struct change *change;
	int r;

	if (*path == '\0')
		return error_set(err, -EINVAL, "the component's own directory cannot be part of a patch");
	r = path_check(path, err);
	if (r < 0)
		return r;
	if (set->count >= CHANGESET_PATHS_MAX)
		return error_set(err, -E2BIG, "more than %u paths in one patch, at '%s'", CHANGESET_PATHS_MAX,
			path);
	copy = strdup(path);
	if (!copy || changeset_grow(set) < 0)
		return error_errno(err, ENOMEM, "'%s'", path);
	change = &set->changes[set->count++];
	*change = (struct change){ .path = TAKE_PTR(copy), .kind = kind, .meta = META_INIT };
	*ret = change;
	return 0;
}

int changeset_cancel(struct changeset *set, const char *path, struct error *err)
{
	struct change *change = NULL;
	int r = changeset_add(set, path, CHANGE_DELETE, &change, err);

	if (r == 0)
		change->cancelled = true;
	return r;
}

/* qsort(3) keeps no order among equals, and it is the order of addition that says who wins. */
struct ordered {
	struct change change;
	size_t order;
};

static int ordered_compare(const void *a, const void *b)
{
	const struct ordered *x = a, *y = b;
	int order = path_compare(x->change.path, y->change.path);

	if (order)
		return order;
	return x->order < y->order ? -1 : x->order > y->order;
}

int changeset_sort(struct changeset *set, struct error *err)
{
	cleanup_free struct ordered *sorted = NULL;
	size_t count = 0;

	if (set->count == 0)
		return 0;
	sorted = calloc(set->count, sizeof *sorted);
	if (!sorted)
		return error_errno(err, ENOMEM, "sort %zu changes", set->count);
	for (size_t i = 0; i < set->count; i++)
		sorted[i] = (struct ordered){ set->changes[i], i };
	qsort(sorted, set->count, sizeof *sorted, ordered_compare);
	for (size_t i = 0; i < set->count; i++) {
		bool superseded = i + 1 < set->count &&
			strcmp(sorted[i].change.path, sorted[i + 1].change.path) == 0;

		if (superseded || sorted[i].change.cancelled)
			change_release(&sorted[i].change);
		else
			set->changes[count++] = sorted[i].change;
	}
	set->count = count;
	return 0;
}

int changeset_add_from_disk(struct changeset *set, struct store *store, int rootfd, const char *path,
	struct error *err)
{
	cleanup_source_entry struct source_entry entry = SOURCE_ENTRY_INIT;
	int r = source_entry_open(rootfd, path, &entry);

	if (r < 0)
		return error_errno(err, -r, "open '%s'", path);
	return source_add_entry(set, store, &entry, path, NULL, err);
}
