/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/path.h"

#include <errno.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store/base/cleanup.h"

const char *path_name_problem(const char *name, size_t len)
{
	if (len == 0)
		return "an empty name";
	if (len > PATH_NAME_MAX)
		return "a name longer than 255 bytes";
	if (memchr(name, '\0', len))
		return "a NUL byte in a name";
	if (memchr(name, '/', len))
		return "a slash in a name";
	if (name[0] != '.')
		return NULL;
	if (len == 1 || (len == 2 && name[1] == '.'))
		return "the name '.' or '..'";
	if (len == 4 && strncasecmp(name, ".git", 4) == 0)
		return "the name '.git'";
	if (len == strlen(PATH_RESERVED) && memcmp(name, PATH_RESERVED, len) == 0)
		return "the reserved name '.veneer'";
	return NULL;
}

int path_check(const char *path, struct error *err)
{
	size_t depth = 0;
	const char *at = path;

	if (*path == '\0')
		return 0;
	if (strnlen(path, PATH_LENGTH_MAX + 1) > PATH_LENGTH_MAX)
		return error_set(err, -EINVAL, "'%.60s…': a path longer than %d bytes", path, PATH_LENGTH_MAX);
	for (;;) {
		const char *end = strchrnul(at, '/');
		const char *problem = path_name_problem(at, (size_t)(end - at));

		if (problem)
			return error_set(err, -EINVAL, "'%.300s': %s is not allowed", path, problem);
		if (++depth > PATH_DEPTH_MAX)
			return error_set(err, -EINVAL, "'%.60s…': nested deeper than %d directories", path,
				PATH_DEPTH_MAX);
		if (*end == '\0')
			return 0;
		at = end + 1;
	}
}

int path_open(int rootfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = (flags & (O_CREAT | O_TMPFILE)) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* RESOLVE_NO_SYMLINKS refuses a final symlink too, except with O_PATH|O_NOFOLLOW. */
	do
		fd = syscall(SYS_openat2, rootfd, *path ? path : ".", &how, sizeof how);
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : (int)fd;
}

int path_open_parent(int rootfd, const char *path, int *ret_fd, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = NULL;
	int fd;

	if (*path == '\0')
		return -EINVAL;
	dir = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
	if (!dir)
		return -ENOMEM;
	fd = path_open(rootfd, dir, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	*ret_name = slash ? slash + 1 : path;
	return 0;
}

int path_stat(int rootfd, const char *path, struct stat *ret)
{
	cleanup_close int fd = path_open(rootfd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret = st;
	return 0;
}

int path_make_directories(int rootfd, const char *path, mode_t mode)
{
	cleanup_close int at = path_open(rootfd, "", O_PATH | O_DIRECTORY, 0);

	if (at < 0)
		return at;
	while (*path) {
		const char *end = strchrnul(path, '/');
		cleanup_free char *name = strndup(path, (size_t)(end - path));
		int next;

		if (!name)
			return -ENOMEM;
		if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
			return -errno;
		next = path_open(at, name, O_PATH | O_DIRECTORY, 0);
		if (next < 0)
			return next;
		close(at);
		at = next;
		path = *end ? end + 1 : end;
	}
	return 0;
}

bool path_is_beneath(const char *path, const char *root)
{
	size_t len = strlen(root);

	while (len > 0 && root[len - 1] == '/')
		len--;
	return strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

int path_compare(const char *a, const char *b)
{
	unsigned char x, y;

	while (*a && *a == *b) {
		a++;
		b++;
	}
	x = (unsigned char)*a;
	y = (unsigned char)*b;
	if (x == y)
		return 0;
	/* end of path < '/' < everything else */
	if (x == '\0' || y == '\0')
		return x == '\0' ? -1 : 1;
	if (x == '/' || y == '/')
		return x == '/' ? -1 : 1;
	return x < y ? -1 : 1;
}

char *path_join(const char *dir, const char *name)
{
	char *path;

	if (*dir == '\0')
		return strdup(name);
	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return NULL;
	return path;
}
