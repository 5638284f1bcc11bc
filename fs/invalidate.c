/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/invalidate.h"

#include <errno.h>
#include <string.h>

#include "store/base/path.h"

/* The nodes that the kernel may know one directory by: the base's, and the views' where the base lacks it. */
#define DIRECTORY_NODES_MAX 8

struct directory {
	uint64_t ids[DIRECTORY_NODES_MAX];
	size_t count;
};

struct invalidation {
	struct node_table *nodes;
	const struct notices *notices;
	int base_fd;
	const struct view *old, *new;
	uint64_t paths;
	int failed; /* the first error; 0 */
	/* The directory of the last path: neighbours come one after another. */
	char path[PATH_LENGTH_MAX + 1];
	struct directory directory;
	bool entered;
};

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
	directory->ids[directory->count++] = id;
	return 0;
}

/* A directory that a view has and the base lacks is known by its identity. */
static uint64_t find_by_view(struct node_table *nodes, const struct view *view, const char *path)
{
	uint32_t index = view ? view_lookup(view, path) : VIEW_NONE;
	struct node_key key;

	if (!is_directory(view, index))
		return 0;
	key = node_key_of_view(&view_at(view, index)->identity);
	return node_find(nodes, &key);
}

/* The base could not be asked: look at each node that there is. */
static int find_by_walk(struct node_table *nodes, const char *path, struct directory *ret)
{
	cleanup_strbuf struct strbuf at = STRBUF_INIT;
	struct node_met node;
	uint32_t slot = 0;
	int r;

	while ((r = node_walk(nodes, &slot, &node, &at)) > 0) {
		if (S_ISDIR(node.type) && strcmp(strbuf_text(&at), path) == 0)
			r = directory_add(ret, node.id);
		if (r < 0)
			break;
	}
	return r;
}

/* Does the base say for certain that it has nothing at a path? (-ELOOP: a symlink is on the way.) */
static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

static int find_directory(struct invalidation *state, const char *path, struct directory *ret)
{
	struct node_key key;
	struct stat st;
	int r;

	ret->count = 0;
	if (*path == '\0')
		return directory_add(ret, NODE_ROOT);
	r = path_stat(state->base_fd, path, &st);
	if (r < 0 && !is_absent(r))
		return find_by_walk(state->nodes, path, ret);
	if (r == 0 && S_ISDIR(st.st_mode)) {
		key = node_key_of_base(st.st_dev, st.st_ino);
		directory_add(ret, node_find(state->nodes, &key));
	}
	directory_add(ret, find_by_view(state->nodes, state->old, path));
	return directory_add(ret, find_by_view(state->nodes, state->new, path));
}

/* ---- the notices ---- */

static void tell_directory(struct invalidation *state, const struct directory *directory)
{
	for (size_t i = 0; i < directory->count; i++)
		note(state, state->notices->inode(state->notices->arg, directory->ids[i]));
}

static void tell_name(struct invalidation *state, const struct directory *directory, const char *name)
{
	for (size_t i = 0; i < directory->count; i++)
		note(state, state->notices->entry(state->notices->arg, directory->ids[i], name));
}

/* The listing of the directory that was worked on, once all its names are through. */
static void finish_directory(struct invalidation *state)
{
	if (state->entered)
		tell_directory(state, &state->directory);
	state->entered = false;
}

static int enter_directory(struct invalidation *state, const char *path, size_t length)
{
	if (state->entered && strlen(state->path) == length && memcmp(state->path, path, length) == 0)
		return 0;
	finish_directory(state);
	if (length >= sizeof state->path)
		return -ENAMETOOLONG;
	memcpy(state->path, path, length);
	state->path[length] = '\0';
	state->entered = true;
	return find_directory(state, state->path, &state->directory);
}

static int tell(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	struct invalidation *state = arg;
	const char *slash = strrchr(path, '/');
	struct directory itself;

	state->paths++;
	/* A directory stays the node it is; its attributes are asked for again. */
	if (*path == '\0' || is_directory(state->old, old_index) || is_directory(state->new, new_index)) {
		note(state, find_directory(state, path, &itself));
		tell_directory(state, &itself);
	}
	if (*path == '\0')
		return 0;
	note(state, enter_directory(state, path, slash ? (size_t)(slash - path) : 0));
	if (state->entered)
		tell_name(state, &state->directory, slash ? slash + 1 : path);
	return 0;
}

int invalidate_tell(struct node_table *nodes, int base_fd, const struct view *old, const struct view *new,
	const struct notices *notices, uint64_t *ret_paths)
{
	struct invalidation state = { .nodes = nodes, .notices = notices, .base_fd = base_fd, .old = old,
		.new = new };
	int r = view_diff(old, new, tell, &state);

	finish_directory(&state);
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

int invalidate_difference(struct session *session, int base_fd, const struct view *old,
	const struct view *new, uint64_t *ret_paths)
{
	struct notices notices = { notify_entry, notify_inode, session };

	return invalidate_tell(overlay_nodes(session->overlay), base_fd, old, new, &notices, ret_paths);
}
