/* SPDX-License-Identifier: Apache-2.0 */
/* A damaged file gets its bytes back where it is (docs/decisions/self-healing.md). */
#include "store/object_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define CHUNK_BYTES (64u << 10)
#define PAGE_BYTES 4096u

struct mending {
	int fd;		/* O_RDWR */
	int disk_fd;	/* O_DIRECT, what the disk has; -EBADF: the filesystem does not know that */
	uint8_t *buf;	/* owned; CHUNK_BYTES, aligned */
	size_t written; /* pages that differed */
};

static void mending_release(struct mending *mending)
{
	cleanup_closep(&mending->fd);
	cleanup_closep(&mending->disk_fd);
	free(mending->buf);
}

/* Does FD have these bytes at OFFSET? What cannot be read is not them. */
static bool has(const struct mending *mending, int fd, const uint8_t *data, size_t length, uint64_t offset)
{
	/* O_DIRECT reads whole sectors, at the end of the file as well. */
	const size_t sectors = (length + IO_DIRECT_ALIGNMENT - 1) / IO_DIRECT_ALIGNMENT * IO_DIRECT_ALIGNMENT;
	ssize_t n = fd == mending->disk_fd ? io_pread_direct(fd, mending->buf, sectors, offset) :
					     io_pread(fd, mending->buf, length, offset);

	return n >= (ssize_t)length && memcmp(mending->buf, data, length) == 0;
}

static bool is_right(const struct mending *mending, const uint8_t *data, size_t length, uint64_t offset)
{
	return has(mending, mending->fd, data, length, offset) &&
		(mending->disk_fd < 0 || has(mending, mending->disk_fd, data, length, offset));
}

/* Page by page, so that nothing is written over that is right. */
static int mend_chunk(struct mending *mending, const uint8_t *data, size_t length, uint64_t offset)
{
	for (size_t at = 0; at < length; at += PAGE_BYTES) {
		size_t page = length - at < PAGE_BYTES ? length - at : PAGE_BYTES;
		int r;

		if (is_right(mending, data + at, page, offset + at))
			continue;
		r = io_pwrite(mending->fd, data + at, page, offset + at);
		if (r < 0)
			return r;
		mending->written++;
	}
	return 0;
}

static int mend_all(struct mending *mending, const uint8_t *data, size_t size)
{
	int r = 0;

	mending->written = 0;
	for (size_t at = 0; r == 0 && at < size; at += CHUNK_BYTES) {
		size_t length = size - at < CHUNK_BYTES ? size - at : CHUNK_BYTES;

		if (!is_right(mending, data + at, length, at))
			r = mend_chunk(mending, data + at, length, at);
	}
	return r;
}

int object_mend(int objects_fd, const char *path, const void *data, size_t size)
{
	CLEANUP(mending_release) struct mending mending = { -EBADF, -EBADF, NULL, 0 };
	const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	struct stat st;
	int r;

	mending.fd = openat(objects_fd, path, O_RDWR | flags);
	if (mending.fd < 0)
		return errno == EISDIR || errno == ELOOP || errno == ENXIO ? -EOPNOTSUPP : -errno;
	if (fstat(mending.fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return -EOPNOTSUPP;
	mending.buf = aligned_alloc(PAGE_BYTES, CHUNK_BYTES);
	if (!mending.buf)
		return -ENOMEM;
	if ((uint64_t)st.st_size > size && ftruncate(mending.fd, (off_t)size) < 0)
		return -errno;
	mending.disk_fd = object_open_direct(objects_fd, path);
	r = mend_all(&mending, data, size);
	if (r == 0 && fsync(mending.fd) < 0)
		r = -errno;
	/* A disk that does not keep what it is given: somewhere else, then. */
	if (r == 0 && mending.written > 0) {
		r = mend_all(&mending, data, size);
		if (r == 0 && mending.written > 0)
			r = -EIO;
	}
	return r;
}
