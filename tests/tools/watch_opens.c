/* SPDX-License-Identifier: Apache-2.0 */

/* watch_opens PATH…: says "watching", then each of the paths that is opened, a line each (inotify(7)), until it is ended. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define PATHS_MAX 1024

int main(int argc, char **argv)
{
	_Alignas(struct inotify_event) char buffer[65536];
	int fd = inotify_init1(IN_CLOEXEC);
	ssize_t n;

	if (fd < 0 || argc < 2 || argc > PATHS_MAX) {
		fprintf(stderr, "watch_opens PATH…\n");
		return 2;
	}
	/* The first watch is number 1, and they follow each other. */
	for (int i = 1; i < argc; i++) {
		if (inotify_add_watch(fd, argv[i], IN_OPEN) != i) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			return 1;
		}
	}
	puts("watching");
	fflush(stdout);
	while ((n = read(fd, buffer, sizeof buffer)) > 0) {
		const struct inotify_event *event;

		for (const char *at = buffer; at < buffer + n; at += sizeof *event + event->len) {
			event = (const void *)at;
			if (event->len == 0 && event->wd >= 1 && event->wd < argc)
				puts(argv[event->wd]);
		}
		fflush(stdout);
	}
	return 1;
}
