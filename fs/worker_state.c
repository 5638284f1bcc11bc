/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/worker_state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "fs/stuck.h"
#include "store/base/thread.h"

#define OWN_POLL_MS 1

/* When a process that lingers has ended. */
static void *own_later(void *arg)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl((int)(intptr_t)arg, F_SETLKW, &lock) < 0 && errno == EINTR)
		;
	return NULL;
}

int worker_state_own(const struct shared *shared)
{
	const int fd = shared->fds[SHARED_STATE];
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	pthread_t thread;
	pid_t owner;

	while (fcntl(fd, F_SETLK, &lock) < 0) {
		if (errno != EINTR && errno != EAGAIN && errno != EACCES)
			return -errno;
		owner = worker_state_owner(shared);
		if (owner > 0 && process_lingers(owner))
			return thread_start(&thread, own_later, (void *)(intptr_t)fd);
		nanosleep(&(struct timespec){ .tv_nsec = OWN_POLL_MS * 1000000L }, NULL);
	}
	return 0;
}

pid_t worker_state_owner(const struct shared *shared)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(shared->fds[SHARED_STATE], F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}
