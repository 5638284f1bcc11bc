/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/kernel_abi.h"
#include "store/base/cleanup.h"

#define SAMPLE_NAMES_MAX 1000u
#define SAMPLE_DEPTH_MAX 8u

/* The kernel would let it be mapped, and written in any place, for it does not know of the attribute. */
static bool is_append_only(int fd)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == 0 && st.stx_attributes & STATX_ATTR_APPEND;
}

static int backing_make(struct session *session, uint64_t id, int32_t *ret_backing)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	struct abi_backing_map map = { 0 };
	int r = overlay_open_to_pass(session->overlay, id, &file), backing;

	if (r < 0)
		return r;
	if (is_append_only(file.fd))
		return -EOPNOTSUPP;
	map.fd = file.fd;
	backing = session_backing_open(session, &map);
	if (backing < 0)
		return backing;
	*ret_backing = backing;
	return 0;
}

static bool is_unsupported(int r)
{
	return r == -ELOOP || r == -EOPNOTSUPP || r == -EXDEV;
}

int passthrough_open(struct session *session, uint64_t id, int32_t *ret_backing)
{
	struct node_table *nodes = overlay_nodes(session->overlay);
	int32_t backing = 0, surplus = 0;
	int r = node_backing_use(nodes, id, &backing);

	if (r < 0)
		return r;
	if (!backing) {
		r = io_choice_mode(&session->choice) == IO_PASSTHROUGH ? backing_make(session, id, &backing) : -EOPNOTSUPP;
		if (is_unsupported(r))
			backing = BACKING_PLAIN;
		else if (r < 0) {
			passthrough_release(session, id);
			return r;
		}
		backing = node_backing_offer(nodes, id, backing, &surplus);
		if (surplus > 0)
			session_backing_close(session, surplus);
	}
	*ret_backing = backing > 0 ? backing : 0;
	return 0;
}

void passthrough_release(struct session *session, uint64_t id)
{
	int32_t backing = node_backing_drop(overlay_nodes(session->overlay), id);

	if (backing)
		session_backing_close(session, backing);
}

int passthrough_try(struct session *session, int fd)
{
	struct abi_backing_map map = { .fd = fd };
	int backing = session_backing_open(session, &map);

	if (backing < 0)
		return backing;
	session_backing_close(session, backing);
	return 0;
}

static int sample_in(int directory, unsigned depth, unsigned *names);

/* NAME, where it is a regular file, or one in the directory that it is. */
static int sample_at(int directory, const char *name, unsigned depth, unsigned *names)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -ENOENT;
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		return openat(directory, name, flags);
	if (S_ISDIR(st.st_mode) && depth)
		return sample_in(openat(directory, name, flags | O_DIRECTORY), depth - 1, names);
	return -ENOENT;
}

/* DIRECTORY (handed over) and what is beneath; *NAMES counts down. */
static int sample_in(int directory, unsigned depth, unsigned *names)
{
	cleanup_closedir DIR *dir = directory < 0 ? NULL : fdopendir(directory);
	struct dirent *entry;
	int fd = -ENOENT;

	if (!dir && directory >= 0)
		close(directory);
	while (dir && fd < 0 && *names && (entry = readdir(dir))) {
		--*names;
		fd = sample_at(dirfd(dir), entry->d_name, depth, names);
	}
	return fd;
}

int passthrough_sample(int base_fd)
{
	unsigned names = SAMPLE_NAMES_MAX;

	return sample_in(openat(base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), SAMPLE_DEPTH_MAX, &names);
}
