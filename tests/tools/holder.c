/* SPDX-License-Identifier: Apache-2.0 */

/*
 * holder FILE: opens and maps FILE, prints "ready", and for each line on its standard input answers
 * "fd DIGEST map DIGEST size N": what a process that opened the file before a switch still sees. A
 * page is read for the first time only when asked, so nothing was cached beforehand.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"

static int print_state(int fd, const void *map, size_t mapped)
{
	char from_fd[HASH128_HEX_LENGTH + 1], from_map[HASH128_HEX_LENGTH + 1];
	cleanup_free char *bytes = malloc(mapped + 1);
	struct hash128 hash;
	struct stat st;
	ssize_t n = bytes ? io_pread(fd, bytes, mapped + 1, 0) : -ENOMEM;

	if (n < 0 || fstat(fd, &st) < 0) {
		printf("error %s\n", strerror(n < 0 ? (int)-n : errno));
		return 1;
	}
	hash = hash128_of(bytes, (size_t)n);
	hash128_to_hex(&hash, from_fd);
	hash = hash128_of(map, mapped);
	hash128_to_hex(&hash, from_map);
	printf("fd %s map %s size %" PRIu64 "\n", from_fd, from_map, (uint64_t)st.st_size);
	return 0;
}

int main(int argc, char **argv)
{
	cleanup_close int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -EBADF;
	char line[256];
	struct stat st;
	int failed = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		fprintf(stderr, "holder: cannot hold '%s'\n", argc == 2 ? argv[1] : "");
		return 1;
	}
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED) {
		perror("holder: mmap");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof line, stdin))
		failed |= print_state(fd, map, (size_t)st.st_size);
	return failed;
}
