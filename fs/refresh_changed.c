/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to have changed. */
#include "fs/refresh_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

/* What the base has at the name of a change now. */
struct seen {
	bool there;
	struct node_key key;
	mode_t type;
};

struct changed {
	struct teller teller;
	const struct refresh_change *changes; /* sorted by directory and name, the directory itself first */
	struct seen *seen;		      /* owned; of each */
	size_t count;
};

static int compare_changes(const void *left, const void *right)
{
	const struct refresh_change *a = left, *b = right;

	if (a->directory != b->directory)
		return a->directory < b->directory ? -1 : 1;
	if (!a->name || !b->name)
		return (a->name != NULL) - (b->name != NULL);
	return strcmp(a->name, b->name);
}

/* Sort, and make one of those for one name. Returns how many there are. */
static size_t merge(struct refresh_change *changes, size_t count)
{
	size_t merged = 0;

	if (count)
		qsort(changes, count, sizeof *changes, compare_changes);
	for (size_t i = 0; i < count; i++) {
		if (merged && compare_changes(&changes[merged - 1], &changes[i]) == 0)
			changes[merged - 1].what |= changes[i].what;
		else
			changes[merged++] = changes[i];
	}
	return merged;
}

static size_t index_of(const struct changed *changed, uint64_t directory, const char *name)
{
	const struct refresh_change like = { .directory = directory, .name = name };
	const struct refresh_change *found = bsearch(&like, changed->changes, changed->count, sizeof like, compare_changes);

	return found ? (size_t)(found - changed->changes) : SIZE_MAX;
}

static bool names_changed(const struct changed *changed, size_t i)
{
	return changed->changes[i].name && changed->changes[i].what & REFRESH_NAME;
}

static bool is_patched(struct overlay_guard *guard, const struct overlay_place *place, const char *name)
{
	if (place->gone)
		return true;
	if (place->view_index == VIEW_NONE)
		return false;
	return !name || view_child(guard->view, place->view_index, name, strlen(name)) != VIEW_NONE;
}

/* One directory's changes, from FIRST up to END. */
static void look_at(struct changed *changed, size_t first, size_t end)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	cleanup_fdref struct fdref directory = FDREF_INIT;
	cleanup_overlay_guard struct overlay_guard guard;
	struct overlay *overlay = changed->teller.overlay;
	uint64_t id = changed->changes[first].directory;

	overlay_enter(overlay, &guard);
	if (overlay_place(&guard, id, &place) < 0 || overlay_base_directory(overlay, id, &directory) < 0)
		return; /* it is gone, or hidden */
	for (size_t i = first; i < end; i++) {
		const char *name = changed->changes[i].name;
		struct stat st;

		changed->teller.counts.patched |= is_patched(&guard, &place, name);
		if (!name || fstatat(directory.fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		changed->seen[i] = (struct seen){ true, node_key_of_base(st.st_dev, st.st_ino), st.st_mode };
	}
}

/* ---- names ---- */

static bool is_changed_name(void *arg, uint64_t parent, const char *name)
{
	const struct changed *changed = arg;
	size_t i = index_of(changed, parent, name);

	return i != SIZE_MAX && names_changed(changed, i);
}

/* A node that the kernel knows by a name that changed. */
static void check_known(struct changed *changed, const struct node_list *list, const struct node_named *named)
{
	const char *name = node_list_name(list, named);
	const struct seen *seen = &changed->seen[index_of(changed, named->parent, name)];
	struct teller *teller = &changed->teller;

	if (named->patched)
		return;
	/* It has more links or fewer, or is called something else. */
	teller_attributes(teller, named->id, named->type);
	if (seen->there && refresh_is(named, &seen->key, seen->type))
		return;
	if (named->alias)
		node_unalias(teller->overlay->nodes, named->id, named->parent, name);
	else
		refresh_lose(teller, named->id, named->type, named->parent, name);
}

/* A node that has lost its name, and is found by this one: by those that have it open, too. */
static void take_in(struct changed *changed, size_t i)
{
	const struct refresh_change *change = &changed->changes[i];
	struct overlay *overlay = changed->teller.overlay;
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	const struct seen *seen = &changed->seen[i];
	uint64_t id = seen->there ? node_find(overlay->nodes, &seen->key) : 0;

	if (!id || node_get(overlay->nodes, id, &info) < 0 || info.type != (seen->type & S_IFMT))
		return;
	if (info.pinned)
		teller_note(&changed->teller, refresh_move(overlay, id, &seen->key, change->directory, change->name,
			change->directory, change->name));
	teller_attributes(&changed->teller, id, info.type);
}

static void tell_names(struct changed *changed)
{
	cleanup_node_list struct node_list known = NODE_LIST_INIT;
	struct teller *teller = &changed->teller;
	uint64_t listed = 0; /* the directory whose listing was told of last */

	teller_note(teller, node_list_names(teller->overlay->nodes, is_changed_name, changed, &known));
	for (size_t i = 0; i < known.count; i++)
		check_known(changed, &known, &known.names[i]);
	for (size_t i = 0; i < changed->count; i++) {
		const struct refresh_change *change = &changed->changes[i];

		if (!names_changed(changed, i))
			continue;
		/* Before its node is known by it again: the kernel may have learned that there is nothing. */
		teller_doubtful_name(teller, change->directory, change->name, changed->seen[i].there ? &changed->seen[i].key : NULL);
		take_in(changed, i);
		if (change->directory != listed)
			teller_inode(teller, change->directory, S_IFDIR);
		listed = change->directory;
	}
}

/* ---- content and attributes ---- */

static void tell_content(struct changed *changed, size_t i)
{
	const struct refresh_change *change = &changed->changes[i];
	const struct seen *seen = &changed->seen[i];
	struct teller *teller = &changed->teller;
	uint64_t id = seen->there ? node_find(teller->overlay->nodes, &seen->key) : 0;

	if (!change->name)
		teller_attributes(teller, change->directory, S_IFDIR);
	else if (id && change->what & REFRESH_CONTENT)
		teller_inode(teller, id, seen->type);
	else if (id && change->what & REFRESH_ATTRIBUTES)
		teller_attributes(teller, id, seen->type);
}

int refresh_changed(struct overlay *overlay, const struct notices *notices, struct refresh_change *changes, size_t count,
	struct refresh_counts *ret)
{
	struct changed changed = { .teller = { .overlay = overlay, .notices = notices }, .changes = changes,
		.count = merge(changes, count) };
	cleanup_free struct seen *seen = calloc(changed.count + 1, sizeof *seen);
	bool names = false;

	*ret = (struct refresh_counts){ 0 };
	if (!seen)
		return -ENOMEM;
	changed.seen = seen;
	for (size_t first = 0, end; first < changed.count; first = end) {
		for (end = first; end < changed.count && changes[end].directory == changes[first].directory; end++)
			names |= names_changed(&changed, end);
		look_at(&changed, first, end);
	}
	if (names)
		tell_names(&changed);
	for (size_t i = 0; i < changed.count; i++)
		tell_content(&changed, i);
	*ret = changed.teller.counts;
	return changed.teller.failed;
}
