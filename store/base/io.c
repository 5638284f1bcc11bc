/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"

ssize_t io_read(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t io_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t io_pread_direct(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	/* What ends within a sector is the end of the file, behind which nothing can be asked for. */
	while (done < len && done % IO_DIRECT_ALIGNMENT == 0) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_write(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int io_pwrite(int fd, const void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int io_read_all(int fd, size_t limit, struct strbuf *sb)
{
	size_t start = sb->len;

	for (;;) {
		ssize_t n;
		size_t room;

		if (strbuf_grow(sb, 16384) < 0)
			return -ENOMEM;
		room = sb->alloc - sb->len - 1;
		n = io_read(fd, sb->buf + sb->len, room);
		if (n < 0)
			return (int)n;
		sb->len += (size_t)n;
		sb->buf[sb->len] = '\0';
		if (sb->len - start > limit)
			return -E2BIG;
		if ((size_t)n < room)
			return 0;
	}
}

int io_read_file_at(int dirfd, const char *path, size_t limit, struct strbuf *sb, struct error *err)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", path);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "stat '%s'", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "'%s' is not a regular file", path);
	r = io_read_all(fd, limit, sb);
	if (r == -E2BIG)
		return error_set(err, r, "'%s' is larger than %zu bytes", path, limit);
	if (r < 0)
		return error_errno(err, -r, "read '%s'", path);
	return 0;
}

/*
 * TEMPORARY gets the name NAME, and that is on the disk. The old file takes the temporary name meanwhile, so that it comes back where
 * it cannot be had; a filesystem that cannot exchange keeps the new one then.
 */
static int exchange_durably(int dirfd, const char *temporary, const char *name)
{
	bool exchanged, existed;
	struct stat st;
	int r;

	/* rename(2) would refuse to put a file in a directory's place, an exchange does not. */
	existed = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (existed && S_ISDIR(st.st_mode))
		return -EISDIR;
	exchanged = renameat2(dirfd, temporary, dirfd, name, RENAME_EXCHANGE) == 0;
	if (!exchanged && errno != ENOENT && errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (!exchanged && renameat(dirfd, temporary, dirfd, name) < 0)
		return -errno;
	r = io_sync_dir(dirfd);
	if (r < 0 && exchanged)
		renameat2(dirfd, temporary, dirfd, name, RENAME_EXCHANGE);
	else if (r < 0 && !existed)
		unlinkat(dirfd, name, 0);
	return r;
}

static int replace_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode, bool durable,
	struct error *err)
{
	char temporary[64];
	uint64_t token;
	cleanup_close int fd = -EBADF;
	int r;

	if (getrandom(&token, sizeof token, 0) != sizeof token)
		return error_errno(err, errno, "random number for a temporary name");
	snprintf(temporary, sizeof temporary, ".tmp-%016llx", (unsigned long long)token);
	fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return error_errno(err, errno, "create a temporary file for '%s'", name);
	r = io_write(fd, data, len);
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	if (r == 0)
		r = durable ? exchange_durably(dirfd, temporary, name) : renameat(dirfd, temporary, dirfd, name) < 0 ? -errno : 0;
	/* The new file, where it failed; else the old one, if there was any. */
	if (r < 0 || durable)
		unlinkat(dirfd, temporary, 0);
	return r < 0 ? error_errno(err, -r, "write '%s'", name) : 0;
}

int io_write_file_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
	struct error *err)
{
	return replace_file(dirfd, name, data, len, mode, true, err);
}

int io_write_cache_file_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
	struct error *err)
{
	return replace_file(dirfd, name, data, len, mode, false, err);
}

int io_sync_dir(int fd)
{
	cleanup_close int dir = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	return fsync(dir) < 0 ? -errno : 0;
}
