/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/worker_state.h"

#include <errno.h>
#include <fcntl.h>

int worker_state_own(const struct shared *shared)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(shared->fds[SHARED_STATE], F_SETLKW, &lock) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

pid_t worker_state_owner(const struct shared *shared)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(shared->fds[SHARED_STATE], F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}
