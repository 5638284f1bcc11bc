/* SPDX-License-Identifier: Apache-2.0 */

/*
 * object_check OBJECTS: reads every object below a store's objects/ and prints the name (`ab/cdef…`) of each, sorted by nothing. An
 * object whose bytes do not hash to its name is said on standard error. Exit 0: all are whole; 1: not; 2: it could not look.
 * What has no object's name is passed over.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"
#include "store/base/strbuf.h"

#define OBJECT_BYTES_LIMIT (1u << 30)

/* 0 whole, 1 not, 2 could not look */
static int check_object(int dirfd, const char *directory, const char *name)
{
	cleanup_strbuf struct strbuf bytes = STRBUF_INIT;
	char hex[HASH128_HEX_LENGTH + 1];
	struct hash128 expected, is;
	struct error err = ERROR_INIT;

	snprintf(hex, sizeof hex, "%.2s%.30s", directory, name);
	if (strlen(name) != HASH128_HEX_LENGTH - 2 || hash128_from_hex(hex, strlen(hex), &expected) < 0)
		return 0;
	if (io_read_file_at(dirfd, name, OBJECT_BYTES_LIMIT, &bytes, &err) < 0) {
		fprintf(stderr, "object '%s/%s': %s\n", directory, name, err.message);
		return 2;
	}
	is = hash128_of(bytes.len ? bytes.buf : "", bytes.len);
	if (!hash128_equal(&is, &expected)) {
		fprintf(stderr, "object '%s/%s': its %zu bytes hash to something else\n", directory, name, bytes.len);
		return 1;
	}
	printf("%s/%s\n", directory, name);
	return 0;
}

typedef int (*entry_fn)(int dirfd, const char *directory, const char *name);

/* The worst that FN said of the entries of DIRFD/NAME. */
static int each_entry(int dirfd, const char *name, entry_fn fn)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), worst = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		fprintf(stderr, "open '%s': %s\n", name, strerror(errno));
		return 2;
	}
	while ((entry = readdir(dir)) != NULL) {
		int r = entry->d_name[0] == '.' ? 0 : fn(fd, name, entry->d_name);

		worst = r > worst ? r : worst;
	}
	closedir(dir);
	return worst;
}

static int check_directory(int dirfd, const char *directory, const char *name)
{
	return strlen(name) == 2 ? each_entry(dirfd, name, check_object) : 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: object_check OBJECTS\n", stderr);
		return 2;
	}
	return each_entry(AT_FDCWD, argv[1], check_directory);
}
