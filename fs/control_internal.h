/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CONTROL_INTERNAL_H
#define VENEER_FS_CONTROL_INTERNAL_H

/* Between the two ends of the control socket. */

#include <sys/socket.h>
#include <sys/un.h>

#include "fs/control.h"
#include "fs/switch.h"

/* The address of a component's socket, reached through the open directory run/. */
int control_address(int run_fd, const char *name, struct sockaddr_un *ret);

/* ---- the daemon's end: a thread that answers one packet after another ---- */

struct control_server;

struct control_server_config {
	int run_fd; /* borrowed */
	const char *name;
	struct switcher *switcher;
	struct session *session;
	int base_fd; /* handed to clients that ask for the base */
	const char *io, *io_reason, *write;
};
int control_server_start(const struct control_server_config *config, struct control_server **ret,
	struct error *err);
/* Close and unlink the socket, and end the thread. NULL is fine. */
void control_server_stop(struct control_server *server);
/* Readable when a client said "detach": the mount was taken off. */
int control_server_detach_fd(const struct control_server *server);

#endif
