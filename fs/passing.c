/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/passing.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

union ancillary {
	struct cmsghdr header;
	char room[CMSG_SPACE(PASSING_FDS_MAX * sizeof(int))];
};

int passing_send(int socket, const struct passing *packet, int flags)
{
	union ancillary ancillary = { .room = { 0 } };
	struct iovec part = { (void *)packet->data, packet->size };
	struct msghdr message = { .msg_name = (void *)packet->to, .msg_namelen = packet->to_length, .msg_iov = &part, .msg_iovlen = 1 };
	size_t bytes = packet->fd_count * sizeof(int);
	ssize_t n;

	if (packet->fd_count > PASSING_FDS_MAX)
		return -EINVAL;
	if (packet->fd_count > 0) {
		ancillary.header.cmsg_level = SOL_SOCKET;
		ancillary.header.cmsg_type = SCM_RIGHTS;
		ancillary.header.cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(&ancillary.header), packet->fds, bytes);
		message.msg_control = &ancillary;
		message.msg_controllen = CMSG_SPACE(bytes);
	}
	do
		n = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t passing_receive(int socket, void *buf, size_t size, int *fds, size_t fd_max, int flags, bool *ret_cut)
{
	union ancillary ancillary;
	struct iovec part = { buf, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary };
	const struct cmsghdr *header;
	size_t count = 0;
	ssize_t n;

	message.msg_controllen = CMSG_SPACE((fd_max < PASSING_FDS_MAX ? fd_max : PASSING_FDS_MAX) * sizeof(int));
	do
		n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		/* The room is rounded up: one more than was asked for may have come. */
		for (; count > fd_max; count--)
			close(((const int *)CMSG_DATA(header))[count - 1]);
		memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	}
	for (; count < fd_max; count++)
		fds[count] = -EBADF;
	*ret_cut = n >= 0 && message.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	return n < 0 ? -errno : n;
}
