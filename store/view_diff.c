/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths two views serve differently: a walk of both tries at once. */
#include <errno.h>
#include <string.h>

#include "store/base/strbuf.h"
#include "store/view_internal.h"

struct diff {
	const struct view *old, *new;
	view_diff_fn fn;
	void *arg;
	struct strbuf path;
};

static const struct view_entry *entry_of(const struct view *view, uint32_t index)
{
	return index == VIEW_NONE ? NULL : &view->entries[index];
}

static bool xattrs_equal(const struct view_entry *a, const struct view_entry *b)
{
	if (a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++)
		if (strcmp(a->xattrs[i].name, b->xattrs[i].name) != 0 ||
			a->xattrs[i].size != b->xattrs[i].size ||
			memcmp(a->xattrs[i].value, b->xattrs[i].value, a->xattrs[i].size) != 0)
			return false;
	return true;
}

/* The identity of a directory is its path alone; what it shows is compared here. */
static bool directories_equal(const struct view_entry *a, const struct view_entry *b)
{
	return a->present == b->present && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
		a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
		xattrs_equal(a, b);
}

static bool served_differently(const struct view_entry *old, const struct view_entry *new)
{
	bool old_plain = !old || old->kind == VIEW_THROUGH, new_plain = !new || new->kind == VIEW_THROUGH;

	if (old_plain || new_plain)
		return !(old_plain && new_plain);
	if (old->kind != new->kind || !hash128_equal(&old->identity, &new->identity))
		return true;
	return old->kind == VIEW_DIRECTORY && !directories_equal(old, new);
}

/* Then the base was to be seen there, or is. */
static bool has_ended(const struct view *view, uint32_t index)
{
	return index != VIEW_NONE && view_is_ended(view, index);
}

static int diff_children(struct diff *diff, uint32_t old_index, uint32_t new_index);

/* The entry NAME, in one view or both. */
static int diff_entry(struct diff *diff, uint32_t old_index, uint32_t new_index)
{
	const struct view_entry *old = entry_of(diff->old, old_index), *new = entry_of(diff->new, new_index);
	const struct view_entry *named = old ? old : new;
	size_t len = diff->path.len;
	int r = 0;

	if (len > 0)
		strbuf_addch(&diff->path, '/');
	strbuf_add(&diff->path, named->name, named->name_length);
	if (strbuf_failed(&diff->path))
		return -ENOMEM;
	if (served_differently(old, new) || has_ended(diff->old, old_index) || has_ended(diff->new, new_index))
		r = diff->fn(diff->arg, strbuf_text(&diff->path), old_index, new_index);
	if (r == 0)
		r = diff_children(diff, old_index, new_index);
	strbuf_truncate(&diff->path, len);
	return r;
}

static int names_compare(const struct view_entry *a, const struct view_entry *b)
{
	uint32_t len = a->name_length < b->name_length ? a->name_length : b->name_length;
	int r = memcmp(a->name, b->name, len);

	if (r != 0)
		return r;
	return a->name_length < b->name_length ? -1 : a->name_length > b->name_length;
}

static int diff_children(struct diff *diff, uint32_t old_index, uint32_t new_index)
{
	const struct view_entry *old = entry_of(diff->old, old_index), *new = entry_of(diff->new, new_index);
	uint32_t i = 0, j = 0, old_count = old ? old->child_count : 0, new_count = new ? new->child_count : 0;
	int r = 0;

	while (r == 0 && (i < old_count || j < new_count)) {
		int order;

		if (i == old_count || j == new_count)
			order = i == old_count ? 1 : -1;
		else
			order = names_compare(entry_of(diff->old, old->first_child + i),
				entry_of(diff->new, new->first_child + j));
		r = diff_entry(diff, order <= 0 ? old->first_child + i : VIEW_NONE,
			order >= 0 ? new->first_child + j : VIEW_NONE);
		i += order <= 0;
		j += order >= 0;
	}
	return r;
}

int view_diff(const struct view *old, const struct view *new, view_diff_fn fn, void *arg)
{
	struct diff diff = { .old = old, .new = new, .fn = fn, .arg = arg, .path = STRBUF_INIT };
	uint32_t old_root = old ? 0 : VIEW_NONE, new_root = new ? 0 : VIEW_NONE;
	int r = 0;

	strbuf_addstr(&diff.path, "");
	if (served_differently(entry_of(old, old_root), entry_of(new, new_root)))
		r = fn(arg, "", old_root, new_root);
	if (r == 0)
		r = diff_children(&diff, old_root, new_root);
	strbuf_release(&diff.path);
	return r;
}

static int count_path(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	uint64_t *count = arg;

	++*count;
	return 0;
}

int view_diff_count(const struct view *old, const struct view *new, uint64_t *ret)
{
	*ret = 0;
	return view_diff(old, new, count_path, ret);
}
