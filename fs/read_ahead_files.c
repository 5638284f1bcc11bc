/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/read_ahead_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/base/cleanup.h"

#define PAGE_BYTES_MIN 4096

/* Is some of what is wanted of FD, a file of SIZE bytes (not 0), in memory? Nothing is brought in by this. */
static bool is_in_memory(int fd, off_t size)
{
	size_t length = size < READ_AHEAD_BYTES ? (size_t)size : READ_AHEAD_BYTES;
	unsigned char resident[READ_AHEAD_BYTES / PAGE_BYTES_MIN] = { 0 };
	void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	bool found = false;

	if (map == MAP_FAILED)
		return false;
	if (mincore(map, length, resident) == 0)
		found = memchr(resident, 1, sizeof resident) != NULL;
	munmap(map, length);
	return found;
}

/* One of the base's files, if it is one and can be read. */
static void read_file(struct read_ahead *ahead, int directory, const char *name, struct read_ahead_found *found)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC;
	cleanup_close int fd = -EBADF;
	struct stat st;

	(void)ahead;
	/* To open what is no file may do something. */
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	fd = openat(directory, name, flags);
	if (fd < 0)
		return;
	found->opened++;
	if (st.st_size == 0)
		return;
	found->full++;
	/* Beside one that is not in memory others hardly are; to ask for what is costs little. */
	if (!found->cold && is_in_memory(fd, st.st_size))
		return;
	found->cold += posix_fadvise(fd, 0, READ_AHEAD_BYTES, POSIX_FADV_WILLNEED) == 0;
}

const struct read_ahead_kind read_ahead_files = {
	.siblings = { DT_REG, READ_AHEAD_FILES, READ_AHEAD_FILES },
	.bring = read_file,
	.warm = READ_AHEAD_FILES_WARM,
	.rest = READ_AHEAD_FILES_REST,
};
