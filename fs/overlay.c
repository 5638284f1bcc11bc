/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

#define RENAME_TRIES_MAX 10000

int overlay_new(const struct overlay_config *config, struct view *view, struct overlay **ret)
{
	struct overlay *overlay = calloc(1, sizeof *overlay);
	pthread_condattr_t monotonic;
	struct node_key root;
	struct stat st;

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
	overlay->nodes = node_table_new(&root);
	overlay->fds = fdcache_new(config->fd_capacity);
	if (!overlay->nodes || !overlay->fds) {
		overlay_free(overlay);
		return -ENOMEM;
	}
	node_table_on_reap(overlay->nodes, (node_reap_fn)fdcache_forget, overlay->fds);
	overlay->view = view ? view_ref(view) : NULL;
	*ret = overlay;
	return 0;
}

void overlay_free(struct overlay *overlay)
{
	if (!overlay)
		return;
	view_unref(overlay->view);
	node_table_free(overlay->nodes);
	fdcache_free(overlay->fds);
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

bool overlay_denies_write(const struct overlay *overlay)
{
	return overlay->config.deny_write;
}

/* ---- the current view ---- */

void overlay_enter(struct overlay *overlay, struct overlay_guard *ret)
{
	SCOPED_LOCK(&overlay->view_lock);

	overlay->inside[overlay->generation & 1]++;
	*ret = (struct overlay_guard){ overlay, overlay->view, overlay->generation };
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

struct view *overlay_publish(struct overlay *overlay, struct view *view)
{
	SCOPED_LOCK(&overlay->view_lock);
	struct view *old = overlay->view;

	overlay->view = view ? view_ref(view) : NULL;
	overlay->generation++;
	return old;
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
		const struct view_entry *entry;

		index = view_child(view, index, at, (size_t)(end - at));
		place->view_index = index;
		if (index == VIEW_NONE)
			return;
		entry = view_at(view, index);
		if (entry->kind != VIEW_THROUGH && entry->kind != VIEW_DIRECTORY) {
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

/* ---- files of the base ---- */

/* A path may be longer than one system call takes: then it is opened in pieces. */
static int open_long(int base_fd, const char *path, int flags)
{
	cleanup_close int at = -EBADF;
	int from = base_fd;

	while (strlen(path) > PATH_LENGTH_MAX) {
		cleanup_free char *piece = NULL;
		size_t cut = PATH_LENGTH_MAX;
		int next;

		while (cut > 0 && path[cut] != '/')
			cut--;
		piece = strndup(path, cut);
		if (!piece)
			return -ENOMEM;
		next = path_open(from, piece, O_PATH | O_DIRECTORY, 0);
		if (next < 0)
			return next;
		cleanup_closep(&at);
		at = from = next;
		path += cut + 1;
	}
	return path_open(from, path, flags, 0);
}

/* The node's file, if its path leads to it. */
static int open_by_path_once(struct overlay *overlay, const struct node_info *info, int flags)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	cleanup_close int fd = -EBADF;
	struct node_key key;
	struct stat st;
	int r = node_path(overlay->nodes, info->id, &path);

	if (r < 0)
		return r;
	fd = open_long(overlay->config.base_fd, strbuf_text(&path), flags);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -ESTALE : fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	key = node_key_of_base(st.st_dev, st.st_ino);
	if (key.high != info->key.high || key.low != info->key.low)
		return -ESTALE;
	return TAKE_FD(fd);
}

/*
 * The node's file, if its path still leads to it. A rename through the mount changes the base first and the
 * node table at once after: a path made in between leads nowhere, and is made anew.
 */
static int open_by_path(struct overlay *overlay, const struct node_info *info, int flags)
{
	int fd = -ESTALE;

	for (int tries = 0; tries < RENAME_TRIES_MAX; tries++) {
		unsigned ended = atomic_load(&overlay->renames_ended);
		unsigned begun = atomic_load(&overlay->renames_begun);

		fd = open_by_path_once(overlay, info, flags);
		if (fd != -ESTALE || (begun == ended && begun == atomic_load(&overlay->renames_begun)))
			return fd;
		sched_yield();
	}
	return fd;
}

static int reopen(int fd, int flags)
{
	char link[64];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	fd = open(link, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_flags_of(enum fd_kind kind)
{
	return kind == FD_PATH ? O_PATH : kind == FD_WRITE ? O_RDWR | O_NONBLOCK : O_RDONLY | O_NONBLOCK;
}

static int open_base(struct overlay *overlay, const struct node_info *info, enum fd_kind kind)
{
	int flags = open_flags_of(kind), fd = -ESTALE, pinned;

	if (!info->pinned)
		fd = open_by_path(overlay, info, flags);
	if (fd != -ESTALE)
		return fd;
	/* Its name is gone, maybe since just now: then an fd was put aside before. */
	pinned = fdcache_pinned(overlay->fds, info->id);
	if (pinned < 0)
		return -ESTALE;
	if (kind != FD_PATH)
		return reopen(pinned, flags);
	fd = fcntl(pinned, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int open_cached(struct overlay *overlay, const struct node_info *info, enum fd_kind kind,
	struct fdref *ret)
{
	int fd;

	if (fdcache_get(overlay->fds, info->id, kind, ret))
		return 0;
	fd = open_base(overlay, info, kind);
	if (fd < 0)
		return fd;
	fdcache_add(overlay->fds, info->id, kind, fd, ret);
	return 0;
}

int overlay_open_path(struct overlay *overlay, uint64_t id, struct fdref *ret)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int r = node_get(overlay->nodes, id, &info);

	if (r < 0)
		return r;
	if (info.content)
		return -ENOENT;
	return open_cached(overlay, &info, FD_PATH, ret);
}

int overlay_base_directory(struct overlay *overlay, uint64_t id, struct fdref *ret)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int r = node_get(overlay->nodes, id, &info);

	if (r < 0)
		return r;
	if (!S_ISDIR(info.type))
		return -ENOTDIR;
	if (info.content)
		return -ENOENT;
	return open_cached(overlay, &info, FD_PATH, ret);
}

ino_t overlay_base_inode(const struct overlay *overlay, dev_t device, ino_t inode)
{
	uint64_t both[2] = { device, inode };

	if (device == overlay->base_device && !(inode >> 63))
		return inode;
	/* 10…: apart from the base device's (0…) and the views' (11…). */
	return (hash64_of(both, sizeof both) >> 2) | 1ull << 63;
}

/* ---- entries ---- */

/* Metadata that the view gives to a directory of the base. */
static void override_directory(const struct view_entry *entry, struct stat *st)
{
	if (entry->present & META_MODE)
		st->st_mode = S_IFDIR | (entry->mode & 07777);
	if (entry->present & META_UID)
		st->st_uid = entry->uid;
	if (entry->present & META_GID)
		st->st_gid = entry->gid;
	if (entry->present & META_MTIME)
		st->st_mtim = entry->mtime;
}

/* How many subdirectories the view adds to (or takes from) what the base's link count says. */
static int link_count_delta(const struct view *view, uint32_t index, int base_fd)
{
	const struct view_entry *directory = view_at(view, index);
	int delta = 0;

	for (uint32_t i = 0; i < directory->child_count; i++) {
		const struct view_entry *child = view_at(view, directory->first_child + i);
		bool now = child->kind == VIEW_DIRECTORY || child->kind == VIEW_THROUGH;
		struct stat st;
		bool before = base_fd >= 0 && fstatat(base_fd, child->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISDIR(st.st_mode);

		delta += (int)now - (int)before;
	}
	return delta;
}

static void stat_base_directory(struct overlay_guard *guard, uint32_t view_index, int fd, struct stat *st)
{
	if (view_index == VIEW_NONE)
		return;
	if (view_at(guard->view, view_index)->kind == VIEW_DIRECTORY)
		override_directory(view_at(guard->view, view_index), st);
	/* Some filesystems (btrfs) do not count: their directories say 1. */
	if (st->st_nlink >= 2)
		st->st_nlink = (nlink_t)((long)st->st_nlink + link_count_delta(guard->view, view_index, fd));
}

static int resolve_base(struct overlay_guard *guard, int base_fd, const char *name, uint32_t view_index,
	struct stat *ret_st, struct node_key *ret_key)
{
	struct overlay *overlay = guard->overlay;
	struct stat st;

	if (base_fd < 0)
		return -ENOENT;
	if (fstatat(base_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_key = node_key_of_base(st.st_dev, st.st_ino);
	st.st_ino = overlay_base_inode(overlay, st.st_dev, st.st_ino);
	if (view_index != VIEW_NONE) {
		cleanup_close int fd = -EBADF;

		if (!S_ISDIR(st.st_mode))
			return -ENOENT;
		fd = path_open(base_fd, name, O_PATH | O_DIRECTORY, 0);
		if (fd < 0)
			return fd;
		stat_base_directory(guard, view_index, fd, &st);
	}
	*ret_st = st;
	return 0;
}

static int resolve_view(const struct view *view, uint32_t index, struct stat *ret_st,
	struct node_key *ret_key, struct content **ret_content)
{
	const struct view_entry *entry = view_at(view, index);
	struct content *content = content_new(entry);

	if (!content)
		return -ENOMEM;
	if (!S_ISDIR(content->st.st_mode) && entry->kind == VIEW_THROUGH) {
		/* A way through to entries below, whose base directory has gone since: a plain directory. */
		content->st.st_mode = S_IFDIR | 0755;
		content->st.st_nlink = 2;
	}
	*ret_st = content->st;
	if (S_ISDIR(ret_st->st_mode))
		ret_st->st_nlink = (nlink_t)((long)ret_st->st_nlink + link_count_delta(view, index, -EBADF));
	*ret_key = node_key_of_view(&entry->identity);
	*ret_content = content;
	return 0;
}

int overlay_resolve(struct overlay_guard *guard, const struct overlay_place *place, int base_fd,
	const char *name, struct stat *ret_st, struct node_key *ret_key, struct content **ret_content)
{
	uint32_t index = VIEW_NONE;
	size_t length = strlen(name);
	int r;

	*ret_content = NULL;
	if (length > PATH_NAME_MAX)
		return -ENAMETOOLONG;
	if (place->gone)
		return -ENOENT;
	if (place->view_index != VIEW_NONE)
		index = view_child(guard->view, place->view_index, name, length);
	if (index == VIEW_NONE)
		return resolve_base(guard, base_fd, name, VIEW_NONE, ret_st, ret_key);
	switch (view_at(guard->view, index)->kind) {
	case VIEW_DELETED:
		return -ENOENT;
	case VIEW_THROUGH:
	case VIEW_DIRECTORY:
		/* Where the base has the directory too, it is the base's node, seen through. */
		r = resolve_base(guard, base_fd, name, index, ret_st, ret_key);
		return r == -ENOENT ? resolve_view(guard->view, index, ret_st, ret_key, ret_content) : r;
	default:
		return resolve_view(guard->view, index, ret_st, ret_key, ret_content);
	}
}

int overlay_lookup(struct overlay_guard *guard, uint64_t parent, const char *name, struct overlay_entry *ret)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	cleanup_fdref struct fdref directory = FDREF_INIT;
	int r = overlay_place(guard, parent, &place);

	if (r < 0)
		return r;
	r = overlay_base_directory(guard->overlay, parent, &directory);
	if (r < 0 && r != -ENOENT)
		return r;
	return overlay_lookup_at(guard, parent, &place, directory.fd, name, ret);
}

int overlay_lookup_at(struct overlay_guard *guard, uint64_t parent, const struct overlay_place *place,
	int base_fd, const char *name, struct overlay_entry *ret)
{
	cleanup_content struct content *content = NULL;
	struct overlay_entry entry;
	struct node_key key;
	int r = overlay_resolve(guard, place, base_fd, name, &entry.st, &key, &content);

	if (r < 0)
		return r;
	r = node_look_up(guard->overlay->nodes, parent, name, &key, entry.st.st_mode, content, &entry.id);
	if (r < 0)
		return r;
	*ret = entry;
	return 0;
}

void overlay_forget(struct overlay *overlay, uint64_t id, uint64_t count)
{
	node_forget(overlay->nodes, id, count);
}

/* A directory that is there for the view alone: its attributes as the current view has them, else as at its birth. */
static int getattr_view_directory(struct overlay_guard *guard, const struct node_info *info, struct stat *ret)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	int r = overlay_place(guard, info->id, &place);

	if (r < 0)
		return r;
	*ret = info->content->st;
	if (place.view_index == VIEW_NONE) {
		ret->st_nlink = 0;
		return 0;
	}
	if (view_at(guard->view, place.view_index)->kind == VIEW_DIRECTORY)
		content_stat(view_at(guard->view, place.view_index), ret);
	ret->st_nlink = (nlink_t)(2 + link_count_delta(guard->view, place.view_index, -EBADF));
	return 0;
}

int overlay_getattr(struct overlay_guard *guard, uint64_t id, struct stat *ret)
{
	struct overlay *overlay = guard->overlay;
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	cleanup_fdref struct fdref ref = FDREF_INIT;
	struct stat st;
	int r = node_get(overlay->nodes, id, &info);

	if (r < 0)
		return r;
	if (info.content && info.content->kind != VIEW_DIRECTORY && info.content->kind != VIEW_THROUGH) {
		*ret = info.content->st;
		return 0;
	}
	if (info.content)
		return getattr_view_directory(guard, &info, ret);
	if (S_ISDIR(info.type)) {
		r = overlay_place(guard, id, &place);
		if (r < 0)
			return r;
		r = open_cached(overlay, &info, FD_PATH, &ref);
	} else if (!fdcache_get(overlay->fds, id, FD_READ, &ref) && !fdcache_get(overlay->fds, id, FD_WRITE, &ref)) {
		int fd = open_base(overlay, &info, FD_PATH);

		/* Once: attributes are asked for seldom, and the cache is for what is used again. */
		if (fd < 0)
			return fd;
		r = fstatat(fd, "", &st, AT_EMPTY_PATH) < 0 ? -errno : 0;
		close(fd);
		if (r < 0)
			return r;
		st.st_ino = overlay_base_inode(overlay, st.st_dev, st.st_ino);
		*ret = st;
		return 0;
	}
	if (r < 0)
		return r;
	if (fstatat(ref.fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	st.st_ino = overlay_base_inode(overlay, st.st_dev, st.st_ino);
	if (S_ISDIR(info.type))
		stat_base_directory(guard, place.view_index, ref.fd, &st);
	*ret = st;
	return 0;
}

int overlay_readlink(struct overlay *overlay, uint64_t id, struct strbuf *sb)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_close int fd = -EBADF;
	char target[PATH_LENGTH_MAX + 1];
	ssize_t n;
	int r = node_get(overlay->nodes, id, &info);

	if (r < 0)
		return r;
	if (!S_ISLNK(info.type))
		return -EINVAL;
	if (info.content) {
		strbuf_addstr(sb, info.content->target);
		return strbuf_failed(sb) ? -ENOMEM : 0;
	}
	fd = open_base(overlay, &info, FD_PATH);
	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", target, sizeof target);
	if (n < 0)
		return -errno;
	if ((size_t)n == sizeof target)
		return -ENAMETOOLONG;
	strbuf_add(sb, target, (size_t)n);
	return strbuf_failed(sb) ? -ENOMEM : 0;
}

static int open_object(struct overlay *overlay, const struct content *content)
{
	uint64_t size = (uint64_t)content->st.st_size;
	int fd = object_open(overlay->config.objects_fd, &content->object, size, NULL);

	if (fd != -ENOENT && fd != -EBADMSG)
		return fd;
	if (!overlay->config.heal || overlay->config.heal(overlay->config.heal_arg, &content->object,
		&content->blob, size) < 0)
		return -EIO;
	fd = object_open(overlay->config.objects_fd, &content->object, size, NULL);
	return fd == -ENOENT || fd == -EBADMSG ? -EIO : fd;
}

int overlay_open(struct overlay *overlay, uint64_t id, enum fd_kind kind, struct fdref *ret)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int r, fd;

	if (kind == FD_WRITE && overlay->config.deny_write)
		return -EROFS;
	if (fdcache_get(overlay->fds, id, kind, ret))
		return 0;
	r = node_get(overlay->nodes, id, &info);
	if (r < 0)
		return r;
	if (!info.content)
		return open_cached(overlay, &info, kind, ret);
	if (kind == FD_WRITE)
		return -EROFS;
	if (info.content->kind != VIEW_FILE)
		return -EINVAL;
	fd = open_object(overlay, info.content);
	if (fd < 0)
		return fd;
	fdcache_add(overlay->fds, id, kind, fd, ret);
	return 0;
}
