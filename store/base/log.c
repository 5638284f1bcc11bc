/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

/* The one piece of process-wide state: where lines go. Written before threads start, then read only. */
static struct {
	const char *ident;
	int socket_fd;
	int to_stderr;
	int max_level;
} sink = { "veneer", -EBADF, 1, LOG_WARNING };

void log_open(const char *ident, int to_stderr, int max_level)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

	log_close();
	sink.ident = ident;
	sink.to_stderr = to_stderr;
	sink.max_level = max_level;
	sink.socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sink.socket_fd >= 0 &&
		connect(sink.socket_fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(sink.socket_fd);
		sink.socket_fd = -EBADF;
	}
}

void log_close(void)
{
	if (sink.socket_fd >= 0)
		close(sink.socket_fd);
	sink.socket_fd = -EBADF;
}

void log_message(int level, const char *format, ...)
{
	char line[LINE_MAX_BYTES], prefix[128];
	va_list args;
	struct iovec iov[3];
	ssize_t written;

	if (level > sink.max_level)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (sink.socket_fd >= 0) {
		snprintf(prefix, sizeof prefix, "<%d>%s[%d]: ", LOG_DAEMON | level, sink.ident, getpid());
		iov[0] = (struct iovec){ prefix, strlen(prefix) };
		iov[1] = (struct iovec){ line, strlen(line) };
		/* A full or dead log may not stop a filesystem: the datagram is dropped. */
		written = writev(sink.socket_fd, iov, 2);
		(void)written;
	}
	if (sink.to_stderr) {
		iov[0] = (struct iovec){ (char *)"veneer: ", 8 };
		iov[1] = (struct iovec){ line, strlen(line) };
		iov[2] = (struct iovec){ (char *)"\n", 1 };
		written = writev(STDERR_FILENO, iov, 3);
		(void)written;
	}
}
