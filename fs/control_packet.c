/* SPDX-License-Identifier: Apache-2.0 */
/* What both ends of the control socket do: its address, its lock, its packets. */
#include "fs/control_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/lock.h"
#include "store/component.h"

union ancillary {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

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
	union ancillary ancillary;
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (passed_fd >= 0) {
		memset(&ancillary, 0, sizeof ancillary);
		ancillary.header.cmsg_level = SOL_SOCKET;
		ancillary.header.cmsg_type = SCM_RIGHTS;
		ancillary.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&ancillary.header), &passed_fd, sizeof(int));
		message.msg_control = &ancillary;
		message.msg_controllen = sizeof ancillary;
	}
	return sendmsg(fd, &message, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t control_receive(int fd, char *buf, size_t size, int flags, int *ret_fd)
{
	union ancillary ancillary;
	struct iovec iov = { buf, size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary,
		.msg_controllen = sizeof ancillary };
	struct cmsghdr *header;
	ssize_t n;

	*ret_fd = -EBADF;
	do
		n = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
		header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}
