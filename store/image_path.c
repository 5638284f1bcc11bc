/* SPDX-License-Identifier: Apache-2.0 */
#include "store/image_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"

const char *image_path_in_component(const struct image *image, const char *path)
{
	size_t len = strlen(image->directory);

	if (len == 0)
		return path;
	if (strncmp(path, image->directory, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path[len] == '/' ? path + len + 1 : path + len;
}

int image_path_open(const struct image *image, const char *path, int flags)
{
	const char *inside = image_path_in_component(image, path);

	return inside ? path_open(image->basefd, inside, flags, 0) : path_open(image->rootfd, path, flags, 0);
}

/*
 * Is a symlink at the canonical PATH? Then its target is in TARGET and *RET is true. As a package
 * manager sees it: a directory stays a directory, whatever a package brings; else what it brings wins.
 */
static int find_link(const struct image *image, const char *path, char target[PATH_MAX], bool *ret)
{
	cleanup_close int fd = image_path_open(image, path, O_PATH);
	const char *coming = image->link ? image->link(image->link_arg, path) : NULL;
	struct stat st = { 0 };
	ssize_t n;

	if (fd < 0 && fd != -ENOENT && fd != -ENOTDIR && fd != -ELOOP)
		return fd;
	if (fd >= 0 && fstat(fd, &st) < 0)
		return -errno;
	*ret = false;
	if (fd >= 0 && S_ISDIR(st.st_mode))
		return 0;
	if (coming) {
		if (strlen(coming) >= PATH_MAX)
			return -ENAMETOOLONG;
		memcpy(target, coming, strlen(coming) + 1);
		*ret = true;
		return 0;
	}
	if (fd < 0 || !S_ISLNK(st.st_mode))
		return 0;
	n = readlinkat(fd, "", target, PATH_MAX);
	if (n < 0 || n == PATH_MAX)
		return n < 0 ? -errno : -ENAMETOOLONG;
	target[n] = '\0';
	*ret = true;
	return 0;
}

/* The way on: TARGET, then what was left of the way. */
static int prepend(struct strbuf *rest, const char *target)
{
	struct strbuf joined = STRBUF_INIT;

	strbuf_addf(&joined, "%s/%s", target, strbuf_text(rest));
	strbuf_release(rest);
	*rest = joined;
	if (strbuf_failed(rest))
		return -ENOMEM;
	return rest->len > 2 * PATH_MAX ? -ENAMETOOLONG : 0;
}

static void drop_last_name(struct strbuf *done)
{
	const char *text = strbuf_text(done), *slash = strrchr(text, '/');

	strbuf_truncate(done, slash ? (size_t)(slash - text) : 0);
}

/* Take one NAME more: DONE grows by it, or the way goes on at the target of the symlink there. */
static int step(const struct image *image, struct strbuf *done, struct strbuf *rest, const char *name,
	unsigned *links)
{
	size_t before = done->len;
	char target[PATH_MAX];
	bool is_link = false;
	int r;

	strbuf_addf(done, "%s%s", before ? "/" : "", name);
	if (strbuf_failed(done))
		return -ENOMEM;
	if (done->len > PATH_LENGTH_MAX || strlen(name) > PATH_NAME_MAX)
		return -ENAMETOOLONG;
	r = find_link(image, strbuf_text(done), target, &is_link);
	if (r < 0 || !is_link)
		return r;
	if (++*links > IMAGE_LINKS_MAX)
		return -ELOOP;
	strbuf_truncate(done, target[0] == '/' ? 0 : before);
	return prepend(rest, target);
}

static int resolve(const struct image *image, const char *path, struct strbuf *done)
{
	cleanup_strbuf struct strbuf rest = STRBUF_INIT;
	unsigned links = 0;
	int r = 0;

	strbuf_addstr(&rest, path);
	strbuf_addstr(done, "");
	while (r == 0) {
		cleanup_free char *name = NULL, *tail = NULL;
		const char *at = strbuf_text(&rest) + strspn(strbuf_text(&rest), "/");
		size_t len = strcspn(at, "/");

		if (len == 0)
			break;
		name = strndup(at, len);
		tail = strdup(at + len);
		if (!name || !tail)
			return -ENOMEM;
		strbuf_reset(&rest);
		strbuf_addstr(&rest, tail);
		if (strcmp(name, "..") == 0)
			drop_last_name(done);
		else if (strcmp(name, ".") != 0)
			r = step(image, done, &rest, name, &links);
		if (r == 0 && (strbuf_failed(&rest) || strbuf_failed(done)))
			return -ENOMEM;
	}
	return r;
}

int image_path_resolve(const struct image *image, const char *path, char **ret, struct error *err)
{
	cleanup_strbuf struct strbuf done = STRBUF_INIT;
	int r = resolve(image, path, &done);
	char *text;

	if (r < 0)
		return error_errno(err, -r, "resolve '/%s' in the system image", path);
	text = strbuf_detach(&done, NULL);
	if (!text)
		return error_errno(err, ENOMEM, "resolve '/%s'", path);
	*ret = text;
	return 0;
}

int image_path_resolve_parent(const struct image *image, const char *path, char **ret, struct error *err)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
	cleanup_free char *resolved = NULL;
	char *joined;
	int r;

	if (!parent)
		return error_errno(err, ENOMEM, "resolve '/%s'", path);
	r = image_path_resolve(image, parent, &resolved, err);
	if (r < 0)
		return r;
	joined = path_join(resolved, slash ? slash + 1 : path);
	if (!joined)
		return error_errno(err, ENOMEM, "resolve '/%s'", path);
	*ret = joined;
	return 0;
}

int image_read_file(const struct image *image, const char *path, size_t limit, struct strbuf *sb, struct error *err)
{
	cleanup_free char *canonical = NULL;
	cleanup_close int fd = -EBADF;
	struct stat st;
	int r = image_path_resolve(image, path, &canonical, err);

	if (r < 0)
		return r;
	/* O_NONBLOCK: whatever stands there, it is not waited for. */
	fd = image_path_open(image, canonical, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return error_errno(err, -fd, "open '/%s' of the system image", path);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "stat '/%s' of the system image", path);
	if (!S_ISREG(st.st_mode))
		return 0;
	r = io_read_all(fd, limit, sb);
	return r < 0 ? error_errno(err, -r, "read '/%s' of the system image", path) : 0;
}
