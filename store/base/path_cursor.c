/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/path_cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

void path_cursor_release(struct path_cursor *cursor)
{
	cleanup_closep(&cursor->fd);
	free(cursor->directory);
	cursor->fd = -EBADF;
	cursor->directory = NULL;
}

static int enter(struct path_cursor *cursor, const char *path, size_t length)
{
	if (cursor->directory && cursor->length == length && memcmp(cursor->directory, path, length) == 0)
		return cursor->fd;
	path_cursor_release(cursor);
	cursor->directory = strndup(path, length);
	cursor->length = length;
	if (!cursor->directory)
		return -ENOMEM;
	cursor->fd = path_open(cursor->rootfd, cursor->directory, O_PATH | O_DIRECTORY, 0);
	return cursor->fd;
}

int path_cursor_stat(struct path_cursor *cursor, const char *path, struct stat *ret)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	int fd;

	if (*path == '\0')
		return path_stat(cursor->rootfd, path, ret);
	fd = enter(cursor, path, slash ? (size_t)(slash - path) : 0);
	/* Why not, of the whole path: a symlink on the way is another error than a file. */
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOMEM ? fd : path_stat(cursor->rootfd, path, ret);
	if (fstatat(fd, slash ? slash + 1 : path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret = st;
	return 0;
}
