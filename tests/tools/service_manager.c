/* SPDX-License-Identifier: Apache-2.0 */

/*
 * service_manager SOCKET RESTARTS COMMAND…: what a service manager does for a service of Type=notify with a file descriptor store
 * (sd_notify(3), sd_listen_fds(3)): COMMAND is started with NOTIFY_SOCKET=SOCKET, the descriptors that it sends are kept, and when its main
 * process is killed it is started again with them, RESTARTS times at most (environment: after RESTART_AFTER_MS, without what is stored as FORGET; DEAF: also
 * when it ends by itself, and of another main process it does not hear). SIGTERM goes to the main process. Prints a line for what it is
 * told: `ready`, `main PID`, `stored NAME`, `removed NAME`, `ended`, `started with N`, `left N`. Exit 0: the main process ended by itself.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/cleanup.h"

#define STORED_MAX 4096
#define FIRST_FD 3
#define HIGH_FD 8192

static struct {
	char name[128];
	int fd;
} stored[STORED_MAX];
static int stored_count;
static pid_t main_pid, former_pid; /* the former one was another program's */
static int main_fd = -1;

static void follow(pid_t pid)
{
	if (main_fd >= 0)
		close(main_fd);
	main_pid = pid;
	main_fd = pidfd_open(pid, 0);
}

/* What was stored as NAME is lost. */
static void lose(const char *name)
{
	for (int i = stored_count - 1; i >= 0; i--) {
		if (strcmp(stored[i].name, name) != 0)
			continue;
		close(stored[i].fd);
		stored[i] = stored[--stored_count];
	}
}

static void start(const char *socket_path, char **command)
{
	char text[32], names[STORED_MAX * 40] = "";
	pid_t pid = fork();

	if (pid == 0) {
		setenv("NOTIFY_SOCKET", socket_path, 1);
		for (int i = 0; i < stored_count; i++) {
			strcat(names, i ? ":" : "");
			strcat(names, stored[i].name);
			fcntl(stored[i].fd, F_DUPFD, HIGH_FD + i); /* in this order, none of them is there yet */
		}
		for (int i = 0; i < stored_count; i++)
			dup2(HIGH_FD + i, FIRST_FD + i);
		close_range((unsigned)(FIRST_FD + stored_count), ~0u, 0);
		if (stored_count > 0) {
			snprintf(text, sizeof text, "%d", (int)getpid());
			setenv("LISTEN_PID", text, 1);
			snprintf(text, sizeof text, "%d", stored_count);
			setenv("LISTEN_FDS", text, 1);
			setenv("LISTEN_FDNAMES", names, 1);
		}
		execvp(command[0], command);
		_exit(127);
	}
	printf("started with %d\n", stored_count);
	follow(pid);
}

static const char *value_of(const char *text, const char *key, char value[128])
{
	const char *found = strstr(text, key);

	if (!found)
		return NULL;
	snprintf(value, 128, "%.*s", (int)strcspn(found + strlen(key), "\n"), found + strlen(key));
	return value;
}

/* The same file by the same name is kept once. */
static bool is_stored(const char *name, int fd)
{
	struct stat a, b;

	for (int i = 0; i < stored_count; i++) {
		if (strcmp(stored[i].name, name) == 0 && fstat(stored[i].fd, &a) == 0 && fstat(fd, &b) == 0 && a.st_dev == b.st_dev &&
			a.st_ino == b.st_ino)
			return true;
	}
	return false;
}

static void hear(const char *text, int fd)
{
	char name[128] = "", value[128];

	value_of(text, "FDNAME=", name);
	if (strstr(text, "FDSTOREREMOVE=1")) {
		lose(name);
		printf("removed %s\n", name);
	} else if (strstr(text, "FDSTORE=1") && fd >= 0 && stored_count < STORED_MAX && !is_stored(name, fd)) {
		snprintf(stored[stored_count].name, sizeof stored->name, "%s", name);
		stored[stored_count++].fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
		printf("stored %s\n", name);
	}
	if (strstr(text, "READY=1"))
		printf("ready\n");
	if (value_of(text, "MAINPID=", value) && atoi(value) != main_pid && !getenv("DEAF")) {
		former_pid = main_pid;
		follow(atoi(value));
		printf("main %d\n", (int)main_pid);
	}
}

static void receive(int socket_fd)
{
	char text[4096];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { text, sizeof text - 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room };
	ssize_t n = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *passed = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	int fd = -1;

	if (n < 0)
		return;
	text[n] = '\0';
	if (passed && passed->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(passed), sizeof fd);
	hear(text, fd);
	if (fd >= 0)
		close(fd);
}

static void pass_on(int signal)
{
	if (main_fd >= 0)
		pidfd_send_signal(main_fd, signal, NULL, 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), restarts, status;

	if (argc < 4 || strlen(argv[1]) >= sizeof address.sun_path) {
		fprintf(stderr, "usage: service_manager SOCKET RESTARTS COMMAND...\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	restarts = atoi(argv[2]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (socket_fd < 0 || bind(socket_fd, (struct sockaddr *)&address, sizeof address) < 0)
		return 2;
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = pass_on }, NULL);
	start(argv[1], argv + 3);
	for (;;) {
		struct pollfd fds[2] = { { socket_fd, POLLIN, 0 }, { main_fd, POLLIN, 0 } };

		if (former_pid && waitpid(former_pid, NULL, WNOHANG) != 0)
			former_pid = 0;
		if (poll(fds, 2, former_pid ? 20 : -1) < 0)
			continue;
		if (fds[0].revents) {
			receive(socket_fd);
			continue; /* all that it said before it ended comes first */
		}
		if (!fds[1].revents)
			continue;
		printf("ended\nleft %d\n", stored_count);
		/* What another program's process ended with, which is no child, is not known. */
		if (waitpid(main_pid, &status, 0) < 0 || (WIFEXITED(status) && !(getenv("DEAF") && restarts > 0)))
			return status == 0 || errno == ECHILD ? 0 : 1;
		if (restarts-- == 0)
			return 1;
		if (getenv("FORGET"))
			lose(getenv("FORGET"));
		if (getenv("RESTART_AFTER_MS"))
			usleep((useconds_t)atoi(getenv("RESTART_AFTER_MS")) * 1000);
		start(argv[1], argv + 3);
	}
}
