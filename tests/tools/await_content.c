/* SPDX-License-Identifier: Apache-2.0 */

/*
 * await_content FILE TEXT SECONDS: prints "waiting", opens FILE afresh every millisecond until it begins with TEXT and a
 * newline, and prints when that was, in microseconds since the epoch. Exit 1 where it never is, or FILE
 * cannot be read.
 */

#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

static long long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	char buffer[4096], *end = NULL;
	long long seconds = argc == 4 ? strtoll(argv[3], &end, 10) : 0, limit;
	size_t len = argc == 4 ? strlen(argv[2]) : 0;

	if (seconds < 1 || seconds > 3600 || *end != '\0' || len == 0 || len >= sizeof buffer) {
		fprintf(stderr, "usage: await_content FILE TEXT SECONDS\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("waiting");
	for (limit = now_us() + seconds * 1000000; now_us() < limit;) {
		cleanup_close int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -errno : io_read(fd, buffer, sizeof buffer);

		if (n < 0) {
			fprintf(stderr, "await_content: %s: %s\n", argv[1], strerror((int)-n));
			return 1;
		}
		if ((size_t)n > len && memcmp(buffer, argv[2], len) == 0 && buffer[len] == '\n') {
			printf("%lld\n", now_us());
			return 0;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	fprintf(stderr, "await_content: %s: never '%s'\n", argv[1], argv[2]);
	return 1;
}
