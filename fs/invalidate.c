/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/invalidate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/path_cursor.h"

/* The nodes that the kernel may know one directory by: the base's, and the views' where the base lacks it. */
#define DIRECTORY_NODES_MAX 8

struct directory {
	uint64_t ids[DIRECTORY_NODES_MAX];
	bool forgotten[DIRECTORY_NODES_MAX]; /* its listing: with a name of it */
	size_t count;
	bool in_base; /* one of them is the base's */
	bool relinked; /* it has other subdirectories: another link count */
};

/* A directory of the base that the one view shows and the other does not. */
struct turned {
	char *path; /* owned */
	bool vanished;
};

/* Where a path stands in both views; VIEW_NONE: not at all. */
struct place {
	uint32_t old_index, new_index;
};

struct invalidation {
	struct node_table *nodes;
	const struct notices *notices;
	struct path_cursor base;
	const struct view *old, *new;
	const struct view_found *old_found, *new_found; /* what the base has at their directories; NULL: not known */
	bool view_directories;	   /* a directory may be known that is there for a view alone */
	uint64_t paths;
	int failed; /* the first error; 0 */
	/* The directory of the last path: neighbours come one after another. */
	char path[PATH_LENGTH_MAX + 1];
	struct directory directory;
	bool entered;
	bool directories_turn; /* a directory of the base may vanish or return */
	/* In order of paths, none beneath another. */
	struct turned *turned;
	size_t turned_count, turned_alloc;
};

static void invalidation_release(struct invalidation *state)
{
	for (size_t i = 0; i < state->turned_count; i++)
		free(state->turned[i].path);
	free(state->turned);
	path_cursor_release(&state->base);
}

static void note(struct invalidation *state, int r)
{
	if (r < 0 && r != -ENOENT && !state->failed)
		state->failed = r;
}

static bool is_directory(const struct view *view, uint32_t index)
{
	return index != VIEW_NONE &&
		(view_at(view, index)->kind == VIEW_DIRECTORY || view_at(view, index)->kind == VIEW_THROUGH);
}

static bool hides(const struct view *view, uint32_t index)
{
	return index != VIEW_NONE && !is_directory(view, index);
}

/* Does the view show a directory at the entry? IN_BASE: the base has one there. */
static bool shows_directory(const struct view *view, uint32_t index, bool in_base)
{
	if (index == VIEW_NONE || view_at(view, index)->kind == VIEW_THROUGH)
		return in_base;
	return view_at(view, index)->kind == VIEW_DIRECTORY;
}

/* ---- the nodes of a path ---- */

static int directory_add(struct directory *directory, uint64_t id)
{
	for (size_t i = 0; i < directory->count; i++) {
		if (directory->ids[i] == id)
			return 0;
	}
	if (!id)
		return 0;
	if (directory->count == DIRECTORY_NODES_MAX)
		return -EOVERFLOW;
	directory->forgotten[directory->count] = false;
	directory->ids[directory->count++] = id;
	return 0;
}

/* A directory that a view has and the base lacks is known by its identity. */
static uint64_t find_by_view(struct invalidation *state, const struct view *view, uint32_t index)
{
	struct node_key key;

	if (!state->view_directories || !is_directory(view, index))
		return 0;
	key = node_key_of_view(&view_at(view, index)->identity);
	return node_find(state->nodes, &key);
}

/* The base could not be asked: look at each node that there is. */
static int find_by_walk(struct node_table *nodes, const char *path, struct directory *ret)
{
	cleanup_strbuf struct strbuf at = STRBUF_INIT;
	struct node_met node;
	uint32_t slot = 0;
	int r;

	while ((r = node_walk(nodes, &slot, &node, &at)) > 0) {
		if (!S_ISDIR(node.type) || node.pinned || strcmp(strbuf_text(&at), path) != 0)
			continue;
		ret->in_base |= !node.patched;
		r = directory_add(ret, node.id);
		if (r < 0)
			break;
	}
	return r;
}

/* As it was found shortly before; NULL: nobody has looked there. */
static const struct view_found *found_before(const struct invalidation *state, struct place place)
{
	if (state->new_found && is_directory(state->new, place.new_index))
		return &state->new_found[place.new_index];
	if (state->old_found && is_directory(state->old, place.old_index))
		return &state->old_found[place.old_index];
	return NULL;
}

/* What the base has at PATH. As path_cursor_stat(). */
static int find_in_base(struct invalidation *state, const char *path, struct place place, mode_t *ret_type,
	struct node_key *ret)
{
	const struct view_found *found = found_before(state, place);
	struct stat st;
	int r;

	if (found) {
		*ret_type = found->type;
		*ret = node_key_of_base(found->device, found->inode);
		return found->type ? 0 : -ENOENT;
	}
	r = path_cursor_stat(&state->base, path, &st);
	if (r < 0)
		return r;
	*ret_type = st.st_mode & S_IFMT;
	*ret = node_key_of_base(st.st_dev, st.st_ino);
	return 0;
}

/* Does the base say for certain that it has nothing at a path? (-ELOOP: a symlink is on the way.) */
static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

static int find_directory(struct invalidation *state, const char *path, struct place place, struct directory *ret)
{
	struct node_key key;
	mode_t type;
	int r;

	*ret = (struct directory){ .count = 0 };
	if (*path == '\0')
		return directory_add(ret, NODE_ROOT);
	r = find_in_base(state, path, place, &type, &key);
	if (r < 0 && !is_absent(r))
		return find_by_walk(state->nodes, path, ret);
	if (r == 0 && S_ISDIR(type)) {
		directory_add(ret, node_find(state->nodes, &key));
		ret->in_base = ret->count > 0;
	}
	directory_add(ret, find_by_view(state, state->old, place.old_index));
	return directory_add(ret, find_by_view(state, state->new, place.new_index));
}

/* ---- the notices ---- */

static void tell_directory(struct invalidation *state, const struct directory *directory)
{
	for (size_t i = 0; i < directory->count; i++) {
		if (!directory->forgotten[i])
			note(state, state->notices->inode(state->notices->arg, directory->ids[i]));
		else if (directory->relinked)
			note(state, state->notices->attributes(state->notices->arg, directory->ids[i]));
	}
}

static void tell_name(struct invalidation *state, struct directory *directory, const char *name)
{
	for (size_t i = 0; i < directory->count; i++) {
		int r = state->notices->entry(state->notices->arg, directory->ids[i], name);

		directory->forgotten[i] |= r == 0;
		note(state, r);
	}
}

/* The listing of the directory that was worked on, once all its names are through. */
static void finish_directory(struct invalidation *state)
{
	if (state->entered)
		tell_directory(state, &state->directory);
	state->entered = false;
}

/* The directory that PATH is, of which VIEW has the entry INDEX (VIEW_NONE: it has none of it, and maybe of another). */
static uint32_t parent_index(const struct view *view, uint32_t index, const char *path)
{
	if (index != VIEW_NONE)
		return view_at(view, index)->parent;
	return view ? view_lookup(view, path) : VIEW_NONE;
}

/* ENTRY: of the one that is worked on, in the directory that the first LENGTH bytes of PATH name. */
static int enter_directory(struct invalidation *state, const char *path, size_t length, struct place entry)
{
	struct place place;

	if (state->entered && strlen(state->path) == length && memcmp(state->path, path, length) == 0)
		return 0;
	finish_directory(state);
	if (length >= sizeof state->path)
		return -ENAMETOOLONG;
	memcpy(state->path, path, length);
	state->path[length] = '\0';
	state->entered = true;
	place.old_index = parent_index(state->old, entry.old_index, state->path);
	place.new_index = parent_index(state->new, entry.new_index, state->path);
	return find_directory(state, state->path, place, &state->directory);
}

/* ---- directories of the base that vanish and return ---- */

/* PATH is a directory on one side alone, as the views have it: where it is one of the base that the kernel knows, all beneath it turned. */
static int remember_turned(struct invalidation *state, const char *path, struct place place, bool vanished)
{
	struct directory directory;
	char *copy;
	int r;

	if (state->turned_count && path_is_beneath(path, state->turned[state->turned_count - 1].path))
		return 0;
	r = find_directory(state, path, place, &directory);
	if (r < 0 || !directory.in_base)
		return r;
	if (state->turned_count == state->turned_alloc) {
		size_t alloc = state->turned_alloc ? state->turned_alloc * 2 : 16;
		struct turned *grown = realloc(state->turned, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		state->turned = grown;
		state->turned_alloc = alloc;
	}
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	state->turned[state->turned_count++] = (struct turned){ copy, vanished };
	return 0;
}

/* The turned directory at or above PATH; NULL. */
static const struct turned *turned_above(const struct invalidation *state, const char *path)
{
	size_t low = 0, high = state->turned_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (path_compare(state->turned[middle].path, path) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low && path_is_beneath(path, state->turned[low - 1].path) ? &state->turned[low - 1] : NULL;
}

/*
 * Who stands in a directory that has vanished, or holds a file of it open, holds names beneath it that nothing
 * else reports. While it is gone nothing is remembered of its names (overlay_is_gone()) but an empty listing.
 */
static void tell_turned(struct invalidation *state)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	struct node_met node;
	uint32_t slot = 0;
	int r = 0;

	while (state->turned_count && (r = node_walk(state->nodes, &slot, &node, &path)) > 0) {
		const struct turned *turned = turned_above(state, path.buf);
		const char *slash = strrchr(path.buf, '/');

		if (!turned || node.pinned)
			continue;
		if (S_ISDIR(node.type))
			note(state, state->notices->inode(state->notices->arg, node.id));
		if (turned->vanished && strcmp(path.buf, turned->path) != 0)
			note(state, state->notices->entry(state->notices->arg, node.parent,
				slash ? slash + 1 : path.buf));
	}
	note(state, r);
}

/*
 * Is there a directory at an entry, of the view or of the base beneath? An answer to GETATTR that was made with the old view may
 * still be on its way, and only INVAL_INODE keeps it from being believed (attr_version in fs/fuse/inode.c): the link count would stay.
 */
static bool may_be_directory(const struct view *view, uint32_t index)
{
	const struct view_found *found = index == VIEW_NONE ? NULL : view_found_at(view, index);

	return is_directory(view, index) || (found && S_ISDIR(found->type));
}

static int tell(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	struct invalidation *state = arg;
	const struct place place = { old_index, new_index };
	const char *slash = strrchr(path, '/');
	struct directory itself;

	state->paths++;
	if (*path == '\0' || is_directory(state->old, old_index) || is_directory(state->new, new_index)) {
		note(state, find_directory(state, path, place, &itself));
		tell_directory(state, &itself);
		/* Its attributes are asked for again; its name leads where it led, and maybe to mounts. */
		if (*path == '\0' || (shows_directory(state->old, old_index, itself.in_base) &&
					     shows_directory(state->new, new_index, itself.in_base)))
			return 0;
	}
	if (state->directories_turn && hides(state->old, old_index) != hides(state->new, new_index))
		note(state, remember_turned(state, path, place, hides(state->new, new_index)));
	note(state, enter_directory(state, path, slash ? (size_t)(slash - path) : 0, place));
	if (state->entered) {
		tell_name(state, &state->directory, slash ? slash + 1 : path);
		state->directory.relinked |= may_be_directory(state->old, old_index) || may_be_directory(state->new, new_index);
	}
	return 0;
}

static void tell_relinked(void *arg, uint64_t id)
{
	struct invalidation *state = arg;

	note(state, state->notices->attributes(state->notices->arg, id));
}

int invalidate_tell(struct overlay *overlay, int base_fd, struct invalidate_side old, struct invalidate_side new,
	const struct notices *notices, uint64_t *ret_paths)
{
	CLEANUP(invalidation_release)
	struct invalidation state = { .nodes = overlay_nodes(overlay), .notices = notices, .base = PATH_CURSOR_INIT(base_fd),
		.old = old.view, .new = new.view,
		.old_found = old.found, .new_found = new.found,
		.view_directories = node_knows_view_directories(overlay_nodes(overlay)),
		.directories_turn = overlay_turns_directories(overlay) };
	int r = view_diff(old.view, new.view, tell, &state);

	finish_directory(&state);
	tell_turned(&state);
	overlay_each_relinked(overlay, tell_relinked, &state);
	*ret_paths = state.paths;
	return r < 0 ? r : state.failed;
}

static int notify_entry(void *session, uint64_t parent, const char *name)
{
	return session_notify_entry(session, parent, name);
}

static int notify_inode(void *session, uint64_t id)
{
	return session_notify_inode(session, id);
}

static int notify_attributes(void *session, uint64_t id)
{
	return session_notify_attributes(session, id);
}

static int notify_expire(void *session, uint64_t parent, const char *name)
{
	return session_notify_expire(session, parent, name);
}

struct notices invalidate_notices(struct session *session)
{
	return (struct notices){ .entry = notify_entry, .inode = notify_inode, .attributes = notify_attributes, .arg = session,
		.expire = session_can_expire(session) ? notify_expire : NULL };
}

int invalidate_difference(struct session *session, int base_fd, struct invalidate_side old, struct invalidate_side new,
	uint64_t *ret_paths)
{
	struct notices notices = invalidate_notices(session);
	int r;

	session_notices_begin(session);
	r = invalidate_tell(session->overlay, base_fd, old, new, &notices, ret_paths);
	session_notices_end(session);
	return r;
}
