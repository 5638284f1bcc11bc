/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of files: what a patch serves is right, or is not handed out (docs/decisions/self-healing.md). */
#include "fs/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

/* Of the base. Where the end is known, it need not be found. */
static ssize_t read_base(struct overlay *overlay, uint64_t id, void *buf, uint64_t from, size_t size)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	uint64_t file_size;
	int r = overlay_open_to_read(overlay, id, from, from + size, &file, &file_size);

	if (r < 0 || from >= file_size)
		return r;
	return io_pread(file.fd, buf, file_size - from < size ? (size_t)(file_size - from) : size, from);
}

/* It was damaged when the worker began, and could not be made again: by now it may have been. All of it is read, until it is whole once. */
static int find_blocks(int fd, struct content *content)
{
	struct object_blocks *blocks = NULL, *none = NULL;
	int r = object_verify_fd(fd, &content->object, (uint64_t)content->st.st_size, &blocks, NULL);

	if (r == 0 && !atomic_compare_exchange_strong(&content->blocks, &none, blocks))
		object_blocks_unref(blocks);
	return r;
}

/* SIZE bytes, whole blocks of an object, into BUF. -EBADMSG: they are not what it has. */
static int read_blocks(int fd, struct content *content, uint8_t *buf, uint64_t from, size_t size)
{
	int r = !content->blocks && object_needs_blocks((uint64_t)content->st.st_size) ? find_blocks(fd, content) : 0;
	ssize_t n = r < 0 ? r : io_pread(fd, buf, size, from);

	if (n < 0)
		return (int)n;
	if ((size_t)n < size || !object_blocks_match(content->blocks, &content->object, from, buf, size))
		return -EBADMSG;
	return 0;
}

/* FROM…FROM+SIZE-1, which lie within the file. The blocks that they lie in are read; where those are more, into memory of their own. */
static int read_object(int fd, struct content *content, void *buf, uint64_t from, size_t size)
{
	const uint64_t file_size = (uint64_t)content->st.st_size;
	const uint64_t begin = from / OBJECT_BLOCK_BYTES * OBJECT_BLOCK_BYTES;
	uint64_t end = (from + size + OBJECT_BLOCK_BYTES - 1) / OBJECT_BLOCK_BYTES * OBJECT_BLOCK_BYTES;
	cleanup_free uint8_t *blocks = NULL;
	int r;

	end = end < file_size ? end : file_size;
	if (begin == from && end == from + size)
		return read_blocks(fd, content, buf, from, size);
	blocks = malloc((size_t)(end - begin));
	if (!blocks)
		return -ENOMEM;
	r = read_blocks(fd, content, blocks, begin, (size_t)(end - begin));
	if (r == 0)
		memcpy(buf, blocks + (from - begin), size);
	return r;
}

static int read_once(struct overlay *overlay, uint64_t id, struct content *content, void *buf, uint64_t from, size_t size)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	uint64_t file_size;
	int r = overlay_open_to_read(overlay, id, from, from + size, &file, &file_size);

	return r < 0 ? r : read_object(file.fd, content, buf, from, size);
}

static ssize_t read_patched(struct overlay *overlay, uint64_t id, struct content *content, void *buf, uint64_t from, size_t size)
{
	const uint64_t file_size = (uint64_t)content->st.st_size;
	int r;

	if (content->kind != VIEW_FILE)
		return -EINVAL;
	if (from >= file_size)
		return 0;
	size = file_size - from < size ? (size_t)(file_size - from) : size;
	r = read_once(overlay, id, content, buf, from, size);
	if (r != -EBADMSG && r != -EIO && r != -EUCLEAN)
		return r < 0 ? r : (ssize_t)size;
	if (overlay_heal(overlay, content) < 0)
		return -EIO;
	/* It may be another file now. */
	fdcache_drop(overlay->fds, id, FD_READ);
	r = read_once(overlay, id, content, buf, from, size);
	return r == -EBADMSG ? -EIO : r < 0 ? r : (ssize_t)size;
}

ssize_t overlay_read(struct overlay *overlay, uint64_t id, void *buf, uint64_t from, size_t size)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int r = node_get(overlay->nodes, id, &info);

	if (r < 0)
		return r;
	return info.content ? read_patched(overlay, id, info.content, buf, from, size) : read_base(overlay, id, buf, from, size);
}

int overlay_open_to_pass(struct overlay *overlay, uint64_t id, struct fdref *ret)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	struct stat st;
	bool right;
	int r = node_get(overlay->nodes, id, &info);

	if (r == 0)
		r = overlay_open(overlay, id, FD_READ, ret);
	if (r < 0 || !info.content)
		return r;
	/* One that was open already may have been cut short, or removed, since. */
	right = fstat(ret->fd, &st) == 0 && st.st_size == info.content->st.st_size;
	if (right && st.st_nlink > 0)
		return 0;
	if (overlay_heal(overlay, info.content) < 0)
		return right ? 0 : -EIO;
	fdref_release(ret);
	fdcache_drop(overlay->fds, id, FD_READ);
	return overlay_open(overlay, id, FD_READ, ret);
}

bool overlay_is_patched(struct overlay *overlay, uint64_t id)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;

	return node_get(overlay->nodes, id, &info) == 0 && info.content;
}
