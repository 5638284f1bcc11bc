/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are written before they have a name. */
#include "store/object_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/tree_remove.h"

#define OBJECT_MODE 0444

void object_temporary_release(struct object_temporary *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->name[0])
		unlinkat(file->directory_fd, file->name, 0);
	file->fd = -EBADF;
	file->name[0] = '\0';
}

static int temporary_name(char name[OBJECT_TEMPORARY_NAME_MAX])
{
	uint64_t token;

	if (getrandom(&token, sizeof token, 0) != sizeof token)
		return -errno;
	snprintf(name, OBJECT_TEMPORARY_NAME_MAX, ".tmp-%016llx", (unsigned long long)token);
	return 0;
}

static int temporary_open(struct object_temporary *file, int directory_fd)
{
	int r;

	*file = (struct object_temporary){ .directory_fd = directory_fd, .fd = -EBADF };
	file->fd = openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, OBJECT_MODE);
	if (file->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	r = temporary_name(file->name);
	if (r < 0)
		return r;
	file->fd = openat(directory_fd, file->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, OBJECT_MODE);
	if (file->fd < 0) {
		r = -errno;
		file->name[0] = '\0';
	}
	return r;
}

int object_temporary_write(struct object_temporary *file, int directory_fd, const void *data, size_t size)
{
	int r = temporary_open(file, directory_fd);

	if (r == 0)
		r = io_write(file->fd, data, size);
	/* The umask may not decide; and a store's file is read-only for everyone. */
	if (r == 0 && fchmod(file->fd, OBJECT_MODE) < 0)
		r = -errno;
	if (r < 0)
		object_temporary_release(file);
	return r;
}

int object_temporary_link(const struct object_temporary *file, const char *path)
{
	char self[32];

	if (file->name[0])
		return linkat(file->directory_fd, file->name, file->directory_fd, path, 0) < 0 ? -errno : 0;
	if (linkat(file->fd, "", file->directory_fd, path, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno == EEXIST)
		return -EEXIST;
	/* Without CAP_DAC_READ_SEARCH that may be refused; through /proc it is not. */
	snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, self, file->directory_fd, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* BETWEEN gets the name PATH, and what was there is removed. */
static int put_in_place(int directory_fd, const char *between, const char *path)
{
	if (renameat(directory_fd, between, directory_fd, path) == 0)
		return 0;
	if (errno != EISDIR)
		return -errno;
	/* A directory: nothing that we have made, or will miss. */
	if (renameat2(directory_fd, between, directory_fd, path, RENAME_EXCHANGE) < 0)
		return -errno;
	return tree_remove(directory_fd, between);
}

/* link(2) does not replace, rename(2) does. */
int object_temporary_replace(const struct object_temporary *file, const char *path)
{
	char between[OBJECT_TEMPORARY_NAME_MAX];
	int r = temporary_name(between);

	if (r == 0)
		r = object_temporary_link(file, between);
	if (r < 0)
		return r;
	r = put_in_place(file->directory_fd, between, path);
	if (r < 0)
		unlinkat(file->directory_fd, between, 0);
	return r;
}
