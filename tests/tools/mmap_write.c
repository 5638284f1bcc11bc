/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mmap_write [--append] FILE OFFSET TEXT: writes TEXT into FILE, opened to append, through a shared mapping and syncs it. Exit
 * status 0, or 1 with the failed call and its errno's text on standard error.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/base/cleanup.h"

int main(int argc, char **argv)
{
	bool append = argc > 1 && strcmp(argv[1], "--append") == 0;
	char *end = NULL;

	argc -= append;
	argv += append;
	size_t offset = argc == 4 ? strtoul(argv[2], &end, 10) : 0;
	struct stat st;

	if (argc != 4 || *end != '\0') {
		fprintf(stderr, "usage: mmap_write [--append] FILE OFFSET TEXT\n");
		return 2;
	}
	cleanup_close int fd = open(argv[1], O_RDWR | O_CLOEXEC | (append ? O_APPEND : 0));
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror("open");
		return 1;
	}
	if (offset + strlen(argv[3]) > (size_t)st.st_size) {
		fprintf(stderr, "mmap_write: beyond the end of '%s'\n", argv[1]);
		return 2;
	}
	char *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	memcpy(map + offset, argv[3], strlen(argv[3]));
	if (msync(map, (size_t)st.st_size, MS_SYNC) < 0) {
		perror("msync");
		return 1;
	}
	return munmap(map, (size_t)st.st_size) < 0;
}
