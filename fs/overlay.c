/* SPDX-License-Identifier: Apache-2.0 */
/* The overlay's life, its current view, and where directories stand in it. */
#include "fs/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/keeper.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"

static void reaped(void *arg, uint64_t id)
{
	struct overlay *overlay = arg;

	fdcache_forget(overlay->fds, id);
	if (overlay->on_forget)
		overlay->on_forget(overlay->on_forget_arg, id);
}

/* An fd that was kept for a node by a worker that has ended; or by one that ended before it could say that the node is gone. */
static void adopt(void *arg, uint64_t key, int fd)
{
	struct overlay *overlay = arg;
	cleanup_node_info struct node_info info = NODE_INFO_INIT;

	if (!KEEP_IS_NODE(key))
		return;
	if (node_get(overlay->nodes, key, &info) == 0) {
		/*
		 * Its last name may be gone, and the worker was killed before it could note that: whoever takes the name away again finds none. If it has one
		 * still, the next look-up says so.
		 */
		if (fdcache_adopt(overlay->fds, key, fd) == 0)
			node_set_pinned(overlay->nodes, key, true);
	} else {
		close(fd);
		keeper_drop(overlay->config.keeper, key);
	}
}

int overlay_new(const struct overlay_config *config, struct view *view, struct overlay **ret)
{
	struct overlay *overlay = calloc(1, sizeof *overlay);
	pthread_condattr_t monotonic;
	struct node_key root;
	struct stat st;
	int r;

	if (!overlay)
		return -ENOMEM;
	if (fstatat(config->base_fd, "", &st, AT_EMPTY_PATH) < 0) {
		free(overlay);
		return -errno;
	}
	overlay->config = *config;
	overlay->base_device = st.st_dev;
	root = node_key_of_base(st.st_dev, st.st_ino);
	pthread_mutex_init(&overlay->view_lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&overlay->view_drained, &monotonic);
	pthread_condattr_destroy(&monotonic);
	overlay->handles_fd = overlay_open_handles(config->base_fd);
	r = node_table_new(&root, config->shared, &overlay->nodes);
	overlay->fds = r == 0 ? fdcache_new(config->fd_capacity) : NULL;
	if (!overlay->fds) {
		overlay_free(overlay);
		return r < 0 ? r : -ENOMEM;
	}
	if (config->keeper)
		keeper_each(config->keeper, adopt, overlay);
	fdcache_set_keeper(overlay->fds, config->keeper);
	node_table_on_reap(overlay->nodes, reaped, overlay);
	overlay->view = view ? view_ref(view) : NULL;
	hidden_count(view, config->base_fd, &overlay->hidden, &overlay->hides_directories);
	*ret = overlay;
	return 0;
}

void overlay_free(struct overlay *overlay)
{
	if (!overlay)
		return;
	view_unref(overlay->view);
	hidden_free(overlay->hidden);
	hidden_free(overlay->hidden_before);
	node_table_free(overlay->nodes);
	fdcache_free(overlay->fds);
	if (overlay->handles_fd >= 0)
		close(overlay->handles_fd);
	pthread_cond_destroy(&overlay->view_drained);
	pthread_mutex_destroy(&overlay->view_lock);
	free(overlay);
}

struct node_table *overlay_nodes(struct overlay *overlay)
{
	return overlay->nodes;
}

struct fdcache *overlay_fds(struct overlay *overlay)
{
	return overlay->fds;
}

void overlay_on_forget(struct overlay *overlay, node_reap_fn fn, void *arg)
{
	overlay->on_forget = fn;
	overlay->on_forget_arg = arg;
}

bool overlay_denies_write(const struct overlay *overlay)
{
	return overlay->config.deny_write;
}

/* ---- the current view ---- */

void overlay_enter(struct overlay *overlay, struct overlay_guard *ret)
{
	SCOPED_LOCK(&overlay->view_lock);

	overlay->inside[overlay->generation & 1]++;
	*ret = (struct overlay_guard){ .overlay = overlay, .view = overlay->view, .hidden = overlay->hidden,
		.generation = overlay->generation };
}

void overlay_leave(struct overlay_guard *guard)
{
	struct overlay *overlay = guard->overlay;

	if (!overlay)
		return;
	SCOPED_LOCK(&overlay->view_lock);
	if (--overlay->inside[guard->generation & 1] == 0)
		pthread_cond_broadcast(&overlay->view_drained);
	guard->overlay = NULL;
}

bool overlay_hides(struct overlay *overlay, const struct node_key *key)
{
	SCOPED_LOCK(&overlay->view_lock);

	return hidden_has(overlay->hidden, key);
}

/* Who has a file open that is hidden from now on may write it: each write is seen where no descriptor for it is kept. */
static void forget_writer(void *arg, const struct node_key *key)
{
	struct overlay *overlay = arg;
	uint64_t id = node_find(overlay->nodes, key);

	if (id)
		fdcache_drop(overlay->fds, id, FD_WRITE);
}

static struct view *swap_view(struct overlay *overlay, struct view *view, struct hidden *hidden, bool directories)
{
	struct view *old;

	SCOPED_LOCK(&overlay->view_lock);
	old = overlay->view;
	overlay->view = view ? view_ref(view) : NULL;
	overlay->hidden_before = overlay->hidden;
	overlay->hidden = hidden;
	overlay->hid_directories = overlay->hides_directories;
	overlay->hides_directories = directories;
	overlay->generation++;
	return old;
}

struct view *overlay_publish(struct overlay *overlay, struct view *view)
{
	struct hidden *hidden;
	struct view *old;
	bool directories;

	hidden_count(view, overlay->config.base_fd, &hidden, &directories);
	hidden_free(overlay->hidden_before);
	old = swap_view(overlay, view, hidden, directories);
	/* It is the overlay's until the next publish, which has the same caller. */
	hidden_each(hidden, forget_writer, overlay);
	return old;
}

void overlay_set_base_change(struct overlay *overlay, enum base_change base_change)
{
	atomic_store(&overlay->base_change, (int)base_change);
}

void overlay_tell(struct overlay *overlay, enum overlay_event event, uint64_t id, const char *path, pid_t pid, uid_t uid)
{
	cleanup_strbuf struct strbuf found = STRBUF_INIT;

	if (!overlay->config.event)
		return;
	if (!path && node_path(overlay->nodes, id, &found) == 0)
		path = strbuf_text(&found);
	if (path)
		overlay->config.event(overlay->config.event_arg, event, path, pid, uid);
}

void overlay_tell_unseen(struct overlay *overlay, const char *cause)
{
	if (overlay->config.event)
		overlay->config.event(overlay->config.event_arg, OVERLAY_UNSEEN, cause, 0, 0);
}

unsigned overlay_changes(const struct overlay *overlay)
{
	return atomic_load(&overlay->changes);
}

bool overlay_turns_directories(struct overlay *overlay)
{
	SCOPED_LOCK(&overlay->view_lock);

	return overlay->hides_directories || overlay->hid_directories;
}

bool overlay_drain(struct overlay *overlay, int timeout_ms)
{
	SCOPED_LOCK(&overlay->view_lock);
	unsigned old = (overlay->generation - 1) & 1;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (overlay->inside[old]) {
		if (pthread_cond_timedwait(&overlay->view_drained, &overlay->view_lock, &until) == ETIMEDOUT)
			return overlay->inside[old] == 0;
	}
	return true;
}

struct view *overlay_view(struct overlay *overlay)
{
	SCOPED_LOCK(&overlay->view_lock);

	return overlay->view ? view_ref(overlay->view) : NULL;
}

struct relinked {
	struct overlay *overlay;
	overlay_node_fn fn;
	void *arg;
};

static void tell_relinked(void *arg, const struct node_key *key)
{
	struct relinked *relinked = arg;
	uint64_t id = node_find(relinked->overlay->nodes, key);

	if (id)
		relinked->fn(relinked->arg, id);
}

void overlay_each_relinked(struct overlay *overlay, overlay_node_fn fn, void *arg)
{
	struct relinked relinked = { overlay, fn, arg };

	hidden_diff(overlay->hidden_before, overlay->hidden, tell_relinked, &relinked);
}

/* ---- places ---- */

void overlay_place_release(struct overlay_place *place)
{
	free(place->path);
	place->path = NULL;
}

/* Walk the view down PATH, a directory's: which entry it is, or that the view has taken it away. */
static void view_descend(const struct view *view, struct overlay_place *place)
{
	const char *at = place->path;
	uint32_t index = 0;

	place->gone = false;
	place->view_index = view ? 0 : VIEW_NONE;
	while (*at && place->view_index != VIEW_NONE) {
		const char *end = strchrnul(at, '/');
		enum view_kind kind;

		index = view_served_child(view, index, at, (size_t)(end - at));
		place->view_index = index;
		if (index == VIEW_NONE)
			return;
		kind = view_served_kind(view, index);
		if (kind != VIEW_THROUGH && kind != VIEW_DIRECTORY) {
			place->gone = true;
			place->view_index = VIEW_NONE;
			return;
		}
		at = *end ? end + 1 : end;
	}
}

int overlay_place(struct overlay_guard *guard, uint64_t id, struct overlay_place *ret)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	int r = node_path(guard->overlay->nodes, id, &path);

	if (r < 0)
		return r;
	ret->path = strbuf_detach(&path, NULL);
	if (!ret->path)
		return -ENOMEM;
	view_descend(guard->view, ret);
	return 0;
}

bool overlay_is_gone(struct overlay_guard *guard, uint64_t id)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };

	return overlay_place(guard, id, &place) < 0 || place.gone;
}
