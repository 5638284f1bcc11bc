/* SPDX-License-Identifier: Apache-2.0 */
#include "store/reserve.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/tree_remove.h"

#define RESERVE_DIRECTORY "reserve"

static void file_name(unsigned index, char name[16])
{
	snprintf(name, 16, "%u", index);
}

/* The last one is made last: where it is, all are. */
static bool is_whole(int store_fd)
{
	char path[sizeof RESERVE_DIRECTORY + 16], name[16];
	struct stat st;

	file_name(RESERVE_FILES - 1, name);
	snprintf(path, sizeof path, RESERVE_DIRECTORY "/%s", name);
	return fstatat(store_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && (uint64_t)st.st_blocks * 512 >= RESERVE_FILE_BYTES;
}

/* Blocks of its own, also where the filesystem cannot reserve them. */
static int file_fill(int fd)
{
	static const char bytes[RESERVE_FILE_BYTES];

	if (fallocate(fd, 0, 0, RESERVE_FILE_BYTES) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS ? io_pwrite(fd, bytes, sizeof bytes, 0) : -errno;
}

static int files_make(int directory)
{
	for (unsigned i = 0; i < RESERVE_FILES; i++) {
		cleanup_close int fd = -EBADF;
		char name[16];
		int r;

		file_name(i, name);
		fd = openat(directory, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		r = fd < 0 ? -errno : file_fill(fd);
		if (r < 0)
			return r;
	}
	return 0;
}

void reserve_make(struct store *store)
{
	cleanup_close int directory = -EBADF;

	if (is_whole(store->fd) || (mkdirat(store->fd, RESERVE_DIRECTORY, 0700) < 0 && errno != EEXIST))
		return;
	directory = openat(store->fd, RESERVE_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	/* Half of one would only take what others need now. */
	if (directory < 0 || files_make(directory) < 0)
		tree_remove(store->fd, RESERVE_DIRECTORY);
}

bool reserve_spend(struct store *store)
{
	struct stat st;

	if (fstatat(store->fd, RESERVE_DIRECTORY, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (tree_remove(store->fd, RESERVE_DIRECTORY) < 0)
		return false;
	/* Some filesystems give blocks back when the removal is on the disk, not before. */
	syncfs(store->fd);
	return true;
}
