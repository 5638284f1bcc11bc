/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/invalidate.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

struct invalidation {
	struct session *session;
	int base_fd;
	const struct view *old, *new;
	uint64_t paths;
	/* The directory of the last path: neighbours come one after another. */
	char *directory;     /* owned; NULL: none yet */
	uint64_t directory_id; /* 0: the kernel does not know it */
};

/* A directory that a view has and the base lacks is known by its identity. */
static uint64_t find_by_view(struct node_table *nodes, const struct view *view, const char *path)
{
	uint32_t index = view ? view_lookup(view, path) : VIEW_NONE;
	struct node_key key;

	if (index == VIEW_NONE)
		return 0;
	key = node_key_of_view(&view_at(view, index)->identity);
	return node_find(nodes, &key);
}

static uint64_t find_directory(struct invalidation *state, const char *path)
{
	struct node_table *nodes = overlay_nodes(state->session->overlay);
	struct node_key key;
	struct stat st;
	uint64_t id = 0;

	if (*path == '\0')
		return NODE_ROOT;
	if (path_stat(state->base_fd, path, &st) == 0) {
		key = node_key_of_base(st.st_dev, st.st_ino);
		id = node_find(nodes, &key);
	}
	if (!id)
		id = find_by_view(nodes, state->old, path);
	if (!id)
		id = find_by_view(nodes, state->new, path);
	return id;
}

/* The listing of the directory that was worked on, once all its names are through. */
static void finish_directory(struct invalidation *state)
{
	if (state->directory && state->directory_id)
		session_notify_inode(state->session, state->directory_id);
	free(state->directory);
	state->directory = NULL;
}

static int enter_directory(struct invalidation *state, const char *path, size_t length)
{
	if (state->directory && strlen(state->directory) == length &&
		memcmp(state->directory, path, length) == 0)
		return 0;
	finish_directory(state);
	state->directory = strndup(path, length);
	if (!state->directory)
		return -ENOMEM;
	state->directory_id = find_directory(state, state->directory);
	return 0;
}

static bool is_directory(const struct view *view, uint32_t index)
{
	return index != VIEW_NONE &&
		(view_at(view, index)->kind == VIEW_DIRECTORY || view_at(view, index)->kind == VIEW_THROUGH);
}

static int tell(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	struct invalidation *state = arg;
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;

	state->paths++;
	/* A directory stays the node it is; its attributes are asked for again. */
	if (*path == '\0' || is_directory(state->old, old_index) || is_directory(state->new, new_index)) {
		uint64_t id = find_directory(state, path);

		if (id)
			session_notify_inode(state->session, id);
	}
	if (*path == '\0')
		return 0;
	/* Without memory to remember the directory by, each of its names finds it anew. */
	if (enter_directory(state, path, length) < 0)
		return 0;
	if (state->directory_id)
		session_notify_entry(state->session, state->directory_id, slash ? slash + 1 : path);
	return 0;
}

uint64_t invalidate_difference(struct session *session, int base_fd, const struct view *old,
	const struct view *new)
{
	struct invalidation state = { .session = session, .base_fd = base_fd, .old = old, .new = new };

	view_diff(old, new, tell, &state);
	finish_directory(&state);
	return state.paths;
}
