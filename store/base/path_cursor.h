/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_PATH_CURSOR_H
#define VENEER_BASE_PATH_CURSOR_H

/*
 * Looks at many paths beneath one directory, one after another. The directory of the last one is kept open, so that
 * neighbours cost one system call each instead of three, and no second walk down their path.
 *
 * Calling sequence: PATH_CURSOR_INIT; path_cursor_stat() for paths in any order, best in the order of a tree;
 * path_cursor_release(). The directories are those of the moment when they were opened: for one pass, not for long.
 */

#include <stddef.h>
#include <sys/stat.h>

struct path_cursor {
	int rootfd;	 /* borrowed */
	int fd;		 /* O_PATH of the directory DIRECTORY, or why it cannot be opened (negative errno) */
	char *directory; /* owned; NULL: none yet */
	size_t length;	 /* of it */
};
#define PATH_CURSOR_INIT(rootfd) { (rootfd), -EBADF, NULL, 0 }

/* As path_stat(). */
int path_cursor_stat(struct path_cursor *cursor, const char *path, struct stat *ret);
void path_cursor_release(struct path_cursor *cursor);

#endif
