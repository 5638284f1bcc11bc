/* SPDX-License-Identifier: Apache-2.0 */

/*
 * make_tree DIR FILES: fills DIR with FILES small files, 500 in a directory, quickly. The content of
 * each is its own number; every thousandth also says "needle".
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define FILES_IN_DIRECTORY 500
#define FILES_MAX 10000000

static int make_file(int dir, unsigned long number)
{
	char name[32], text[64];
	int len = snprintf(text, sizeof text, "%lu%s\n", number, number % 1000 ? "" : " needle");

	snprintf(name, sizeof name, "file-%lu", number);
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? -errno : io_write(fd, text, (size_t)len);
}

int main(int argc, char **argv)
{
	char *end = NULL;
	unsigned long files = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
	cleanup_close int root = argc == 3 ? open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC) : -EBADF;

	if (root < 0 || files == 0 || files > FILES_MAX || *end != '\0') {
		fprintf(stderr, "usage: make_tree DIR FILES\n");
		return 2;
	}
	for (unsigned long first = 0; first < files; first += FILES_IN_DIRECTORY) {
		char name[32];

		snprintf(name, sizeof name, "dir-%lu", first / FILES_IN_DIRECTORY);
		if (mkdirat(root, name, 0755) < 0) {
			perror(name);
			return 1;
		}
		cleanup_close int dir = openat(root, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		for (unsigned long i = first; i < files && i < first + FILES_IN_DIRECTORY; i++) {
			int r = make_file(dir, i);

			if (r < 0) {
				fprintf(stderr, "make_tree: file %lu: %s\n", i, strerror(-r));
				return 1;
			}
		}
	}
	return 0;
}
