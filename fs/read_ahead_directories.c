/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/read_ahead_directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/clock.h"

/* To look at what is mounted, or would be by opening it, is not to look at the base. */
static bool is_directory_here(int directory, const char *name)
{
	struct stat parent, st;

	return fstatat(directory, "", &parent, AT_EMPTY_PATH) == 0 &&
		fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 && S_ISDIR(st.st_mode) &&
		st.st_dev == parent.st_dev;
}

struct looks {
	unsigned count;
	unsigned slow; /* of them */
};

/* One entry, that may be gone meanwhile: no matter. */
static void look(int directory, const char *name, struct looks *looks)
{
	uint64_t start = clock_monotonic_ns();
	struct stat st;

	looks->count++;
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return;
	looks->slow += clock_monotonic_ns() - start >= READ_AHEAD_LOOK_NS;
}

static void look_at_all(struct read_ahead *ahead, DIR *stream, struct looks *looks)
{
	const struct dirent *entry;

	while (looks->count < READ_AHEAD_ENTRIES && !read_ahead_is_ending(ahead) && (entry = readdir(stream)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			look(dirfd(stream), entry->d_name, looks);
}

static void walk_directory(struct read_ahead *ahead, int directory, const char *name, struct read_ahead_found *found)
{
	cleanup_closedir DIR *stream = NULL;
	cleanup_close int fd = -EBADF;
	struct looks looks = { 0, 0 };

	if (!is_directory_here(directory, name))
		return;
	fd = siblings_open(directory, name);
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream)
		return;
	(void)TAKE_FD(fd);
	found->opened++;
	look_at_all(ahead, stream, &looks);
	found->full += looks.count > 0;
	found->cold += looks.slow > 0 && looks.slow >= looks.count / 4;
}

const struct read_ahead_kind read_ahead_directories = {
	.siblings = { DT_DIR, READ_AHEAD_WALK, 1 },
	.bring = walk_directory,
	.warm = READ_AHEAD_WALK_WARM,
	.rest = READ_AHEAD_WALK_REST,
};
