/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

#include "store/base/cleanup.h"

#define POLL_MS 5

int lock_acquire(int dirfd, const char *name, int timeout_ms, struct error *err)
{
	cleanup_close int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int waited = 0;

	if (fd < 0)
		return error_errno(err, errno, "open the lock '%s'", name);
	for (;;) {
		int operation = timeout_ms < 0 ? LOCK_EX : LOCK_EX | LOCK_NB;

		if (flock(fd, operation) == 0)
			return TAKE_FD(fd);
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return error_errno(err, errno, "lock '%s'", name);
		if (waited >= timeout_ms)
			return error_set(err, -ETIMEDOUT,
				"another veneer command is working on this store (lock '%s'); try again when it is done",
				name);
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
		waited += POLL_MS;
	}
}
