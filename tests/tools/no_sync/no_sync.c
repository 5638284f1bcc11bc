/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A library to be preloaded: says that data is durable, and does nothing for it, so that a test of what a power cut leaves can show that
 * it would notice. NO_SYNC says of what: `files`, `directories`, or `all`. Whole filesystems are never synced.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_skipped(int fd)
{
	const char *what = getenv("NO_SYNC");
	struct stat st;

	if (!what || strcmp(what, "all") == 0 || fstat(fd, &st) < 0)
		return true;
	return S_ISDIR(st.st_mode) == (strcmp(what, "directories") == 0);
}

int fsync(int fd)
{
	return is_skipped(fd) ? 0 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return is_skipped(fd) ? 0 : (int)syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
	return 0;
}

int sync_file_range(int fd, off_t offset, off_t length, unsigned flags)
{
	return 0;
}
