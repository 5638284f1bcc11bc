/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "fs/sandbox_internal.h"
#include "store/base/cleanup.h"
#include "store/base/tree_remove.h"

#define TRIES 16

static int open_directory(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* True: the lock is ours, and the name still leads to it. */
static bool lock_directory(int fd)
{
	struct stat st;

	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* What nobody holds was left by processes that were killed. What cannot be removed now is no reason not to go on. */
static void remove_abandoned(int run_fd)
{
	int fd = open_directory(run_fd, ".");
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		cleanup_closep(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		cleanup_close int found = -EBADF;

		if (strncmp(entry->d_name, SANDBOX_PREFIX, strlen(SANDBOX_PREFIX)) != 0)
			continue;
		found = open_directory(run_fd, entry->d_name);
		if (found >= 0 && lock_directory(found))
			tree_remove(run_fd, entry->d_name);
	}
}

/* -EAGAIN: the name is taken, or someone removed the directory before it was locked. */
static int make_locked(struct sandbox *sandbox)
{
	cleanup_close int fd = -EBADF;
	uint64_t number;

	if (getrandom(&number, sizeof number, 0) != sizeof number)
		return -errno;
	snprintf(sandbox->name, sizeof sandbox->name, SANDBOX_PREFIX "%016" PRIx64, number);
	if (mkdirat(sandbox->run_fd, sandbox->name, 0700) < 0)
		return errno == EEXIST ? -EAGAIN : -errno;
	fd = open_directory(sandbox->run_fd, sandbox->name);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (!lock_directory(fd))
		return -EAGAIN;
	sandbox->directory_fd = TAKE_FD(fd);
	return 0;
}

int sandbox_make_directory(struct store *store, struct sandbox *sandbox, struct error *err)
{
	int r = -EAGAIN;

	remove_abandoned(store->run_fd);
	sandbox->run_fd = fcntl(store->run_fd, F_DUPFD_CLOEXEC, 0);
	if (sandbox->run_fd < 0)
		return error_errno(err, errno, "directory '%s/run'", store->path);
	for (int i = 0; r == -EAGAIN && i < TRIES; i++)
		r = make_locked(sandbox);
	if (r < 0) {
		sandbox->name[0] = '\0';
		return error_errno(err, -r, "make a directory in '%s/run'", store->path);
	}
	if (mkdirat(sandbox->directory_fd, "upper", 0700) < 0 || mkdirat(sandbox->directory_fd, "work", 0700) < 0)
		return error_errno(err, errno, "make a directory in '%s/run/%s'", store->path, sandbox->name);
	sandbox->upper_fd = open_directory(sandbox->directory_fd, "upper");
	if (sandbox->upper_fd < 0)
		return error_errno(err, errno, "directory '%s/run/%s/upper'", store->path, sandbox->name);
	return 0;
}

void sandbox_remove_directory(const struct sandbox *sandbox)
{
	if (sandbox->name[0] != '\0')
		tree_remove(sandbox->run_fd, sandbox->name);
}
