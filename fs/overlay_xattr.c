/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>

#include "store/base/cleanup.h"

/* A set that was given, maybe an empty one: never NULL. */
static void give_xattrs(const struct meta_xattr *xattrs, size_t count, const struct meta_xattr **ret,
	size_t *ret_count)
{
	static const struct meta_xattr none;

	*ret = count ? xattrs : &none;
	*ret_count = count;
}

/* The patch's attributes for a node: its content's, or those that the view gives to a directory; NULL: the base's own count. */
static int patched_xattrs(struct overlay_guard *guard, const struct node_info *info,
	const struct meta_xattr **ret, size_t *ret_count)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };

	*ret = NULL;
	*ret_count = 0;
	if (S_ISDIR(info->type)) {
		int r = overlay_place(guard, info->id, &place);

		if (r < 0)
			return r;
	}
	if (place.view_index != VIEW_NONE && !view_is_ended(guard->view, place.view_index) &&
		view_at(guard->view, place.view_index)->present & META_XATTRS) {
		const struct view_entry *entry = view_at(guard->view, place.view_index);

		give_xattrs(entry->xattrs, entry->xattr_count, ret, ret_count);
	} else if (info->content) {
		/* Of a directory that the view has no more: as at its birth. */
		give_xattrs(info->content->meta.xattrs, info->content->meta.xattr_count, ret, ret_count);
	}
	return 0;
}

static ssize_t copy_out(const void *from, size_t have, void *to, size_t size)
{
	if (size == 0)
		return (ssize_t)have;
	if (have > size)
		return -ERANGE;
	memcpy(to, from, have);
	return (ssize_t)have;
}

/* The node's file for the xattr calls: by a descriptor that is open already, or by a path that they follow to the file itself. */
static int open_xattrs(struct overlay_guard *guard, uint64_t id, struct fdref *ref, char link[64])
{
	struct fdcache *fds = guard->overlay->fds;
	int r;

	link[0] = '\0';
	if (fdcache_get(fds, id, FD_WRITE, ref) || fdcache_get(fds, id, FD_READ, ref))
		return 0;
	r = overlay_open_path(guard->overlay, id, ref);
	if (r < 0)
		return r;
	snprintf(link, 64, "/proc/self/fd/%d", ref->fd);
	return 0;
}

ssize_t overlay_getxattr(struct overlay_guard *guard, uint64_t id, const char *name, void *value, size_t size)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	const struct meta_xattr *xattrs;
	char link[64];
	size_t count;
	ssize_t n;
	int r = node_get(guard->overlay->nodes, id, &info);

	if (r < 0)
		return r;
	r = patched_xattrs(guard, &info, &xattrs, &count);
	if (r < 0)
		return r;
	if (xattrs) {
		for (size_t i = 0; i < count; i++) {
			if (strcmp(xattrs[i].name, name) == 0)
				return copy_out(xattrs[i].value, xattrs[i].size, value, size);
		}
		return -ENODATA;
	}
	r = open_xattrs(guard, id, &ref, link);
	if (r < 0)
		return r;
	n = *link ? getxattr(link, name, value, size) : fgetxattr(ref.fd, name, value, size);
	return n < 0 ? -errno : n;
}

static ssize_t list_patched(const struct meta_xattr *xattrs, size_t count, char *list, size_t size,
	bool trusted)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(xattrs[i].name) + 1;

		if (!trusted && strncmp(xattrs[i].name, "trusted.", 8) == 0)
			continue;
		if (size && used + n > size)
			return -ERANGE;
		if (size)
			memcpy(list + used, xattrs[i].name, n);
		used += n;
	}
	return (ssize_t)used;
}

/* Only who may read them is told that "trusted." names exist (the kernel leaves that to the filesystem). */
static ssize_t drop_trusted(char *list, size_t length)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t n = strlen(list + at) + 1;

		if (strncmp(list + at, "trusted.", 8) != 0) {
			memmove(list + kept, list + at, n);
			kept += n;
		}
		at += n;
	}
	return (ssize_t)kept;
}

ssize_t overlay_listxattr(struct overlay_guard *guard, uint64_t id, char *list, size_t size, bool trusted)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	cleanup_free char *whole = NULL;
	const struct meta_xattr *xattrs;
	char link[64];
	size_t count;
	ssize_t n;
	int r = node_get(guard->overlay->nodes, id, &info);

	if (r < 0)
		return r;
	r = patched_xattrs(guard, &info, &xattrs, &count);
	if (r < 0)
		return r;
	if (xattrs)
		return list_patched(xattrs, count, list, size, trusted);
	r = open_xattrs(guard, id, &ref, link);
	if (r < 0)
		return r;
	if (trusted) {
		n = *link ? listxattr(link, list, size) : flistxattr(ref.fd, list, size);
		return n < 0 ? -errno : n;
	}
	whole = malloc(XATTR_LIST_MAX);
	if (!whole)
		return -ENOMEM;
	n = *link ? listxattr(link, whole, XATTR_LIST_MAX) : flistxattr(ref.fd, whole, XATTR_LIST_MAX);
	if (n < 0)
		return -errno;
	n = drop_trusted(whole, (size_t)n);
	return copy_out(whole, (size_t)n, list, size);
}
