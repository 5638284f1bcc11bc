/* SPDX-License-Identifier: Apache-2.0 */
/* What both ends of the control socket do: its address, its lock, its packets. */
#include "fs/control_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/passing.h"
#include "store/base/cleanup.h"
#include "store/base/lock.h"
#include "store/component.h"

int control_address(int run_fd, const char *name, struct sockaddr_un *ret)
{
	/* By way of the open directory: a store's path may be longer than a socket's address. */
	int n;

	memset(ret, 0, sizeof *ret);
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s.sock", run_fd, name);
	return n < 0 || (size_t)n >= sizeof ret->sun_path ? -ENAMETOOLONG : 0;
}

static int lock_file(const char *name, char file[COMPONENT_NAME_MAX + sizeof ".lock"])
{
	int n = snprintf(file, COMPONENT_NAME_MAX + sizeof ".lock", "%s.lock", name);

	return n < 0 || (size_t)n >= COMPONENT_NAME_MAX + sizeof ".lock" ? -ENAMETOOLONG : 0;
}

int control_lock(int run_fd, const char *name, int timeout_ms, struct error *err)
{
	char file[COMPONENT_NAME_MAX + sizeof ".lock"];
	int r = lock_file(name, file);

	return r < 0 ? error_errno(err, -r, "component '%s'", name) : lock_acquire(run_fd, file, timeout_ms, err);
}

void control_unlock(int run_fd, const char *name, int lock_fd)
{
	char file[COMPONENT_NAME_MAX + sizeof ".lock"];

	if (lock_fd >= 0 && lock_file(name, file) == 0)
		lock_remove(run_fd, file, lock_fd);
}

int control_send(int fd, const char *text, int passed_fd, int flags)
{
	const struct passing packet = { .data = text, .size = strlen(text), .fds = &passed_fd, .fd_count = passed_fd >= 0 };

	return passing_send(fd, &packet, flags);
}

ssize_t control_receive(int fd, char *buf, size_t size, int flags, int *ret_fd)
{
	bool cut;
	ssize_t n = passing_receive(fd, buf, size, ret_fd, 1, flags, &cut);

	if (n < 0 || !cut)
		return n;
	if (*ret_fd >= 0)
		close(*ret_fd);
	*ret_fd = -EBADF;
	return -EMSGSIZE;
}
