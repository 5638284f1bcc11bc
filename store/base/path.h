/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_PATH_H
#define VENEER_BASE_PATH_H

/*
 * Relative paths, and how to reach them without ever leaving their root.
 *
 * A path here is component-relative: "lib/libssl.so.3", no leading slash, no empty component, no
 * "." or "..". The root itself is "". Names come from commits, archives and sockets and are hostile
 * until path_check() has passed them.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "store/base/error.h"

#define PATH_DEPTH_MAX 256	/* components; deeper trees in commits are refused */
#define PATH_LENGTH_MAX 4095	/* bytes of a whole relative path */
#define PATH_NAME_MAX 255	/* bytes of one name */
#define PATH_RESERVED ".veneer" /* what git cannot say stands below this name; no file may bear it */

/*
 * Is NAME (LEN bytes, NUL inside is refused) fit to be one name of a commit's tree? Refused: "",
 * ".", "..", ".git" in any case, ".veneer", '/', NUL, more than PATH_NAME_MAX bytes. Returns NULL,
 * or why not (static text).
 */
const char *path_name_problem(const char *name, size_t len);

/* All names, the depth and the length of a relative path ("" is good); 0 or -EINVAL, naming it. */
int path_check(const char *path, struct error *err);

/*
 * Open PATH ("" is ROOTFD itself) beneath ROOTFD: no "..", no symlink as an ancestor or at the end
 * (O_NOFOLLOW is added; use O_PATH to get hold of a symlink), no escape. FLAGS as open(2), O_CLOEXEC
 * added. Returns the fd or a negative errno (-ELOOP: a symlink on the way). openat2(2), RESOLVE_BENEATH.
 */
int path_open(int rootfd, const char *path, int flags, mode_t mode);

/*
 * The directory that holds PATH, as an O_PATH fd in *RET_FD, and in *RET_NAME (borrowed from PATH)
 * its last name. PATH may not be "".
 */
int path_open_parent(int rootfd, const char *path, int *ret_fd, const char **ret_name);

/* fstatat(2) without following, for PATH beneath ROOTFD; 0 or a negative errno. */
int path_stat(int rootfd, const char *path, struct stat *ret);

/* mkdir -p of PATH beneath ROOTFD; 0 or a negative errno. */
int path_make_directories(int rootfd, const char *path, mode_t mode);

/* Is PATH equal to ROOT or below it? Both absolute and canonical, or both relative. */
bool path_is_beneath(const char *path, const char *root);

/* Order of paths as trees are walked: '/' sorts before every other byte. For qsort and bsearch. */
int path_compare(const char *a, const char *b);

/* "DIR/NAME", or NAME where DIR is "". The caller frees it; NULL: out of memory. */
char *path_join(const char *dir, const char *name);

#endif
