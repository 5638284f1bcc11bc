/* SPDX-License-Identifier: Apache-2.0 */
/* Names and attributes: view over base. */
#include "fs/overlay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/path.h"

ino_t overlay_base_inode(const struct overlay *overlay, dev_t device, ino_t inode)
{
	uint64_t both[2] = { device, inode };

	if (device == overlay->base_device && !(inode >> 63))
		return inode;
	/* 10…: apart from the base device's (0…) and the views' (11…). */
	return (hash64_of(both, sizeof both) >> 2) | 1ull << 63;
}

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

/* Is a leaf of the view served at INDEX: a file or a deletion that has not ended? */
static bool is_served(const struct view *view, uint32_t index)
{
	const enum view_kind kind = view_at(view, index)->kind;

	return kind == VIEW_DIRECTORY || kind == VIEW_THROUGH || !view_is_ended(view, index);
}

bool overlay_leads_somewhere(const struct view *view, uint32_t index)
{
	const struct view_entry *directory = view_at(view, index);

	for (uint32_t i = directory->first_child; i < directory->first_child + directory->child_count; i++) {
		const enum view_kind kind = view_served_kind(view, i);

		if (is_served(view, i) && (kind == VIEW_THROUGH ? overlay_leads_somewhere(view, i) : kind != VIEW_DELETED))
			return true;
	}
	return false;
}

/* How many subdirectories the view adds to (or takes from) what the base's link count says. */
static int link_count_delta(const struct view *view, uint32_t index, int base_fd)
{
	const struct view_entry *directory = view_at(view, index);
	int delta = 0;

	for (uint32_t i = directory->first_child; i < directory->first_child + directory->child_count; i++) {
		const struct view_entry *child = view_at(view, i);
		const enum view_kind kind = view_served_kind(view, i);
		struct stat st;
		bool before = base_fd >= 0 && fstatat(base_fd, child->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISDIR(st.st_mode);
		bool now = is_served(view, i) ? kind == VIEW_DIRECTORY ||
				(kind == VIEW_THROUGH && (before || overlay_leads_somewhere(view, i))) : before;

		delta += (int)now - (int)before;
	}
	return delta;
}

static void stat_base_directory(struct overlay_guard *guard, uint32_t view_index, int fd, struct stat *st)
{
	if (view_index == VIEW_NONE)
		return;
	if (view_served_kind(guard->view, view_index) == VIEW_DIRECTORY)
		override_directory(view_at(guard->view, view_index), st);
	/* Some filesystems (btrfs) do not count: their directories say 1. */
	if (st->st_nlink >= 2)
		st->st_nlink = (nlink_t)((long)st->st_nlink + link_count_delta(guard->view, view_index, fd));
}

/* What every inode of the base shows: its number, and the links that the view has left it. */
static void stat_base(struct overlay_guard *guard, const struct node_key *key, struct stat *st)
{
	nlink_t hidden = S_ISDIR(st->st_mode) ? 0 : hidden_links(guard->hidden, key);

	st->st_nlink -= hidden < st->st_nlink ? hidden : st->st_nlink;
	st->st_ino = overlay_base_inode(guard->overlay, st->st_dev, st->st_ino);
}

static int resolve_base(struct overlay_guard *guard, int base_fd, const char *name, uint32_t view_index,
	struct stat *ret_st, struct node_key *ret_key)
{
	struct stat st;

	if (base_fd < 0)
		return -ENOENT;
	if (fstatat(base_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_key = node_key_of_base(st.st_dev, st.st_ino);
	stat_base(guard, ret_key, &st);
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
	if (!S_ISDIR(content->st.st_mode) && view_served_kind(view, index) == VIEW_THROUGH) {
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
		index = view_served_child(guard->view, place->view_index, name, length);
	if (index == VIEW_NONE)
		return resolve_base(guard, base_fd, name, VIEW_NONE, ret_st, ret_key);
	switch (view_served_kind(guard->view, index)) {
	case VIEW_DELETED:
		return -ENOENT;
	case VIEW_THROUGH:
	case VIEW_DIRECTORY:
		/* Where the base has the directory too, it is the base's node, seen through. */
		r = resolve_base(guard, base_fd, name, index, ret_st, ret_key);
		if (r != -ENOENT)
			return r;
		if (view_served_kind(guard->view, index) == VIEW_THROUGH && !overlay_leads_somewhere(guard->view, index))
			return resolve_base(guard, base_fd, name, VIEW_NONE, ret_st, ret_key);
		return resolve_view(guard->view, index, ret_st, ret_key, ret_content);
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

/* The node of what NAME was resolved to, counted once. */
static int look_up_node(struct overlay_guard *guard, uint64_t parent, const char *name, const struct node_key *key,
	struct content *content, struct overlay_entry *entry)
{
	int r = node_look_up(guard->overlay->nodes, parent, name, key, entry->st.st_mode, content, &entry->id);

	if (r > 0)
		fdcache_unpin_all(guard->overlay->fds, entry->id);
	return r < 0 ? r : 0;
}

int overlay_lookup_at(struct overlay_guard *guard, uint64_t parent, const struct overlay_place *place,
	int base_fd, const char *name, struct overlay_entry *ret)
{
	cleanup_content struct content *content = NULL;
	struct overlay_entry entry;
	struct node_key key;
	int r = overlay_resolve(guard, place, base_fd, name, &entry.st, &key, &content);

	if (r == 0)
		r = look_up_node(guard, parent, name, &key, content, &entry);
	if (r == 0)
		*ret = entry;
	return r;
}

int overlay_lookup_made(struct overlay_guard *guard, uint64_t parent, const char *name, int fd, struct overlay_entry *ret)
{
	struct overlay_entry entry;
	struct node_key key;
	int r;

	if (fstatat(fd, "", &entry.st, AT_EMPTY_PATH) < 0)
		return -errno;
	key = node_key_of_base(entry.st.st_dev, entry.st.st_ino);
	stat_base(guard, &key, &entry.st);
	r = look_up_node(guard, parent, name, &key, NULL, &entry);
	if (r == 0)
		*ret = entry;
	return r;
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
	if (view_served_kind(guard->view, place.view_index) == VIEW_DIRECTORY)
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
		r = overlay_open_lower_cached(overlay, &info, FD_PATH, &ref);
	} else if (!fdcache_get(overlay->fds, id, FD_READ, &ref) && !fdcache_get(overlay->fds, id, FD_WRITE, &ref)) {
		int fd = overlay_open_lower(overlay, &info, FD_PATH);

		/* Once: attributes are asked for seldom, and the cache is for what is used again. */
		if (fd < 0)
			return fd;
		r = fstatat(fd, "", &st, AT_EMPTY_PATH) < 0 ? -errno : 0;
		close(fd);
		if (r < 0)
			return r;
		stat_base(guard, &info.key, &st);
		*ret = st;
		return 0;
	}
	if (r < 0)
		return r;
	if (fstatat(ref.fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	stat_base(guard, &info.key, &st);
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
	fd = overlay_open_lower(overlay, &info, FD_PATH);
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
