/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/tree_remove.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

#define DEPTH_MAX (PATH_LENGTH_MAX / 2)

static int remove_directory(int dirfd, const char *name, dev_t device, unsigned depth);

static int remove_name(int dirfd, const char *name, dev_t device, unsigned depth)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	/* EISDIR of Linux, EPERM of POSIX; else the reason is a real one. */
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	return remove_directory(dirfd, name, device, depth);
}

static int remove_content(DIR *dir, dev_t device, unsigned depth)
{
	for (struct dirent *entry; errno = 0, (entry = readdir(dir));) {
		int r;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = remove_name(dirfd(dir), entry->d_name, device, depth + 1);
		if (r < 0)
			return r;
	}
	return -errno;
}

static int remove_directory(int dirfd, const char *name, dev_t device, unsigned depth)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct stat st;
	int r;

	if (!dir) {
		r = -errno;
		cleanup_closep(&fd);
		return r == -ENOENT ? 0 : r;
	}
	if (depth > DEPTH_MAX)
		return -ELOOP;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != device)
		return -EXDEV;
	r = remove_content(dir, device, depth);
	if (r < 0)
		return r;
	return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

int tree_remove(int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return remove_name(dirfd, name, st.st_dev, 0);
}
