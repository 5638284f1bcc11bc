/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CONTROL_INTERNAL_H
#define VENEER_FS_CONTROL_INTERNAL_H

/* Between the two ends of the control socket. */

#include <sys/socket.h>
#include <sys/un.h>

#include "fs/control.h"
#include "fs/keeper.h"
#include "fs/switch.h"

/* The address of a component's socket, reached through the open directory run/. */
int control_address(int run_fd, const char *name, struct sockaddr_un *ret);

/* One packet, with PASSED_FD (-EBADF: none) along. */
int control_send(int fd, const char *text, int passed_fd, int flags);
/* Its length, or a negative errno; -EMSGSIZE: longer than SIZE. The fd that came along in *RET_FD, or -EBADF. */
ssize_t control_receive(int fd, char *buf, size_t size, int flags, int *ret_fd);

/* ---- the daemon's end: a thread that answers one packet after another ---- */

struct control_server;

struct control_server_config {
	int run_fd; /* borrowed */
	int lock_fd; /* control_lock(); becomes the server's, also on failure */
	struct keeper *keeper; /* borrowed: the socket is taken from it, or kept by it */
	const char *name;
	const char *directory; /* where it is mounted */
	dev_t device;	       /* of the mount */
	struct switcher *switcher;
	struct session *session;
	struct healer *healer;
	struct scrub *scrub;
	int base_fd; /* handed to clients that ask for the base */
	const char *write;
};
int control_server_start(const struct control_server_config *config, struct control_server **ret,
	struct error *err);
/* Close and unlink the socket, give the lock back, and end the thread. NULL is fine. */
void control_server_stop(struct control_server *server);
/* Readable when a client said "detach": the mount was taken off. */
int control_server_detach_fd(const struct control_server *server);

#endif
