/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A library to be preloaded: says that data is durable, and does nothing for it, so that a test of what a power cut leaves can show that
 * it would notice. NO_SYNC says of what: `files`, `directories`, or `all`. Whole filesystems are never synced.
 *
 * Or, with NO_SYNC=die: it is as it was, but the process is killed when it asks for the NO_SYNC_CALL-th time.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool dies(const char *what)
{
	static atomic_ulong calls;
	const char *call = getenv("NO_SYNC_CALL");

	if (!what || strcmp(what, "die") != 0)
		return false;
	if (call && atomic_fetch_add(&calls, 1) + 1 == strtoul(call, NULL, 10))
		kill(getpid(), SIGKILL);
	return true;
}

static bool is_skipped(int fd)
{
	const char *what = getenv("NO_SYNC");
	struct stat st;

	if (dies(what))
		return false;
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
	return dies(getenv("NO_SYNC")) ? (int)syscall(SYS_syncfs, fd) : 0;
}

int sync_file_range(int fd, off_t offset, off_t length, unsigned flags)
{
	return 0;
}
