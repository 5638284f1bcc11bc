/* SPDX-License-Identifier: Apache-2.0 */
/* Files by their nodes: of the base by path, of a patch by object. */
#include "fs/overlay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

#define RENAME_TRIES_MAX 10000 /* one try a rename that passes by */

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

static bool is_file_of(int fd, const struct node_info *info, uint64_t *ret_size)
{
	struct node_key key;
	struct stat st;

	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return false;
	key = node_key_of_base(st.st_dev, st.st_ino);
	if (key.high != info->key.high || key.low != info->key.low)
		return false;
	*ret_size = (uint64_t)st.st_size;
	return true;
}

/* The node's file, if its path leads to it. */
static int open_by_path_once(struct overlay *overlay, const struct node_info *info, int flags, uint64_t *ret_size)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	cleanup_close int fd = -EBADF;
	int r = node_path(overlay->nodes, info->id, &path);

	if (r < 0)
		return r;
	fd = open_long(overlay->config.base_fd, strbuf_text(&path), flags);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -ESTALE : fd;
	return is_file_of(fd, info, ret_size) ? TAKE_FD(fd) : -ESTALE;
}

/*
 * The node's file, if its path still leads to it. A rename through the mount changes the base first and the
 * node table at once after: a path made in between leads nowhere, and is made anew.
 */
static int open_by_path(struct overlay *overlay, const struct node_info *info, int flags, uint64_t *ret_size)
{
	int fd = -ESTALE;

	for (int tries = 0; tries < RENAME_TRIES_MAX; tries++) {
		unsigned ended = atomic_load(&overlay->renames_ended);
		unsigned begun = atomic_load(&overlay->renames_begun);

		fd = open_by_path_once(overlay, info, flags, ret_size);
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

/* The node's file by the handle that was put aside when its name went; -ESTALE: none was, or the file is gone. */
static int open_by_handle(struct overlay *overlay, const struct node_info *info, int flags, uint64_t *ret_size)
{
	cleanup_free struct file_handle *handle = node_handle(overlay->nodes, info->id);
	cleanup_close int fd = -EBADF;

	if (!handle)
		return -ESTALE;
	fd = open_by_handle_at(overlay->handles_fd, handle, flags | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return is_file_of(fd, info, ret_size) ? TAKE_FD(fd) : -ESTALE;
}

union handle {
	struct file_handle header;
	char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static bool handle_make(int fd, union handle *ret)
{
	int mount;

	ret->header.handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(fd, "", &ret->header, &mount, AT_EMPTY_PATH) == 0;
}

int overlay_open_handles(int base_fd)
{
	cleanup_close int fd = reopen(base_fd, O_RDONLY | O_DIRECTORY);
	cleanup_close int probe = -EBADF;
	union handle handle;
	struct statfs st;

	/* A FUSE filesystem may make handles that are good only as long as the kernel remembers the inode. */
	if (fd < 0 || fstatfs(fd, &st) < 0 || st.f_type == FUSE_SUPER_MAGIC || !handle_make(fd, &handle))
		return -EBADF;
	/* It takes CAP_DAC_READ_SEARCH, where the filesystem is of this user namespace. */
	probe = open_by_handle_at(fd, &handle.header, O_PATH | O_CLOEXEC);
	return probe < 0 ? -EBADF : TAKE_FD(fd);
}

int overlay_keep_handle(struct overlay *overlay, uint64_t id, int fd, dev_t device)
{
	union handle handle;

	if (overlay->handles_fd < 0 || device != overlay->base_device || !handle_make(fd, &handle))
		return -EOPNOTSUPP;
	return node_keep_handle(overlay->nodes, id, &handle.header);
}

/* *RET_SIZE: the file's, as it was just now; UINT64_MAX: it was not asked. */
static int open_lower_with(struct overlay *overlay, const struct node_info *info, enum fd_kind kind, int flags, uint64_t *ret_size)
{
	int fd = -ESTALE;
	cleanup_close int pinned = -EBADF;

	*ret_size = UINT64_MAX;
	if (!info->pinned)
		fd = open_by_path(overlay, info, flags, ret_size);
	if (fd != -ESTALE)
		return fd;
	/* Its name is gone, maybe since just now: then an fd was put aside before. */
	pinned = fdcache_pinned(overlay->fds, info->id);
	if (pinned == -EBADF)
		return open_by_handle(overlay, info, flags, ret_size);
	if (pinned < 0)
		return pinned;
	return kind == FD_PATH ? TAKE_FD(pinned) : reopen(pinned, flags);
}

static int open_lower(struct overlay *overlay, const struct node_info *info, enum fd_kind kind, uint64_t *ret_size)
{
	int flags = open_flags_of(kind), fd = open_lower_with(overlay, info, kind, flags, ret_size);

	/* A file that can only be appended to is opened in no other way. */
	if (fd == -EPERM && kind == FD_WRITE)
		fd = open_lower_with(overlay, info, kind, flags | O_APPEND, ret_size);
	return fd;
}

int overlay_open_lower(struct overlay *overlay, const struct node_info *info, enum fd_kind kind)
{
	uint64_t size;

	return open_lower(overlay, info, kind, &size);
}

int overlay_open_lower_cached(struct overlay *overlay, const struct node_info *info, enum fd_kind kind,
	struct fdref *ret)
{
	int fd;

	if (fdcache_get(overlay->fds, info->id, kind, ret))
		return 0;
	fd = overlay_open_lower(overlay, info, kind);
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
	return overlay_open_lower_cached(overlay, &info, FD_PATH, ret);
}

/* A directory that was there for the view alone when its node was made: the base may have one by now. Not kept, for it is no node's. */
static int open_base_beneath_view(struct overlay *overlay, uint64_t id, struct fdref *ret)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	int fd, r = node_path(overlay->nodes, id, &path);

	if (r < 0)
		return r;
	fd = open_long(overlay->config.base_fd, strbuf_text(&path), O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
	fdref_alone(fd, ret);
	return 0;
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
		return open_base_beneath_view(overlay, id, ret);
	return overlay_open_lower_cached(overlay, &info, FD_PATH, ret);
}

int overlay_heal(struct overlay *overlay, const struct content *content)
{
	if (!overlay->config.heal)
		return -EIO;
	return overlay->config.heal(overlay->config.heal_arg, &content->object, &content->blob, (uint64_t)content->st.st_size);
}

static bool is_damage(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -EIO || r == -EUCLEAN || r == -ENOTDIR;
}

static int open_object(struct overlay *overlay, const struct content *content)
{
	uint64_t size = (uint64_t)content->st.st_size;
	int fd = object_open(overlay->config.objects_fd, &content->object, size, NULL);

	if (!is_damage(fd))
		return fd;
	if (overlay_heal(overlay, content) < 0)
		return -EIO;
	fd = object_open(overlay->config.objects_fd, &content->object, size, NULL);
	return is_damage(fd) ? -EIO : fd;
}

/* The file of a node of which no descriptor is kept; *RET_SIZE as with open_lower(). */
static int open_node(struct overlay *overlay, uint64_t id, enum fd_kind kind, uint64_t *ret_size)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int r = node_get(overlay->nodes, id, &info);

	if (r < 0)
		return r;
	if (!info.content)
		return open_lower(overlay, &info, kind, ret_size);
	if (kind == FD_WRITE) {
		overlay_tell(overlay, OVERLAY_REFUSED, id, NULL, 0, 0);
		return -EROFS;
	}
	if (info.content->kind != VIEW_FILE)
		return -EINVAL;
	*ret_size = (uint64_t)info.content->st.st_size;
	return open_object(overlay, info.content);
}

/* What a patch was made for is about to be written: said each time, hence no descriptor is kept for it. */
static bool writes_hidden(struct overlay *overlay, uint64_t id)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;

	if (node_get(overlay->nodes, id, &info) < 0 || info.content || !overlay_hides(overlay, &info.key))
		return false;
	overlay_tell(overlay, OVERLAY_WRITTEN, id, NULL, 0, 0);
	return true;
}

int overlay_open(struct overlay *overlay, uint64_t id, enum fd_kind kind, struct fdref *ret)
{
	uint64_t size;
	int fd;

	if (kind == FD_WRITE && overlay->config.deny_write)
		return -EROFS;
	if (fdcache_get(overlay->fds, id, kind, ret))
		return 0;
	fd = open_node(overlay, id, kind, &size);
	if (fd < 0)
		return fd;
	if (kind == FD_WRITE && writes_hidden(overlay, id))
		fdref_alone(fd, ret);
	else
		fdcache_add(overlay->fds, id, kind, fd, ret);
	return 0;
}

int overlay_open_to_read(struct overlay *overlay, uint64_t id, uint64_t from, uint64_t to, struct fdref *ret, uint64_t *ret_size)
{
	int fd;

	*ret_size = UINT64_MAX;
	if (fdcache_get(overlay->fds, id, FD_READ, ret))
		return 0;
	fd = open_node(overlay, id, FD_READ, ret_size);
	if (fd < 0)
		return fd;
	if (from == 0 && to >= *ret_size)
		fdref_alone(fd, ret);
	else
		fdcache_add(overlay->fds, id, FD_READ, fd, ret);
	return 0;
}
