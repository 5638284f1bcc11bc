/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"

#define POLL_MS 5

/* Is FD still the file of that name? Its holder may have removed it. */
static bool is_current(int dirfd, const char *name, int fd)
{
	struct stat named, opened;

	return fstatat(dirfd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &opened) == 0 &&
		named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/* Once: the locked fd, -EWOULDBLOCK, -ESTALE (try again: it was removed meanwhile), or what went wrong. */
static int try_lock(int dirfd, const char *name, int operation)
{
	cleanup_close int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	do
		r = flock(fd, operation) < 0 ? -errno : 0;
	while (r == -EINTR);
	if (r < 0)
		return r;
	return is_current(dirfd, name, fd) ? TAKE_FD(fd) : -ESTALE;
}

int lock_acquire(int dirfd, const char *name, int timeout_ms, struct error *err)
{
	int waited = 0;

	for (;;) {
		int fd = try_lock(dirfd, name, timeout_ms < 0 ? LOCK_EX : LOCK_EX | LOCK_NB);

		if (fd >= 0)
			return fd;
		if (fd == -ESTALE)
			continue;
		if (fd != -EWOULDBLOCK)
			return error_errno(err, -fd, "lock '%s'", name);
		if (waited >= timeout_ms)
			return error_set(err, -ETIMEDOUT,
				"another veneer command is working on this store (lock '%s'); try again when it is done",
				name);
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
		waited += POLL_MS;
	}
}

void lock_remove(int dirfd, const char *name, int fd)
{
	unlinkat(dirfd, name, 0);
	close(fd);
}

int lock_confirm(int dirfd, const char *name, int fd)
{
	if (!is_current(dirfd, name, fd))
		return -EACCES;
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}
