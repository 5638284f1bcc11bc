/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_PASSING_H
#define VENEER_FS_PASSING_H

/* Packets over Unix sockets, and descriptors that go along with them (SCM_RIGHTS, unix(7)). */

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#define PASSING_FDS_MAX 128u /* the kernel takes 253 */

struct passing {
	const void *data;
	size_t size;
	const int *fds; /* borrowed */
	size_t fd_count;
	const struct sockaddr *to; /* NULL: the socket is connected */
	socklen_t to_length;
};
/* 0, or a negative errno: nothing was sent. No signal where nobody listens (-EPIPE). */
int passing_send(int socket, const struct passing *packet, int flags);

/*
 * The next packet, of SIZE bytes at most, and its descriptors, the caller's, into FDS; those behind the last are -EBADF. Its length (0: the other end is
 * closed), or a negative errno. *RET_CUT: there was more of the one or the other.
 */
ssize_t passing_receive(int socket, void *buf, size_t size, int *fds, size_t fd_max, int flags, bool *ret_cut);

#endif
