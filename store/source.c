/* SPDX-License-Identifier: Apache-2.0 */
#include "store/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"
#include "store/object.h"

#define COMPARE_BYTES 16384

static int changed_while_read(const char *path, struct error *err)
{
	return error_set(err, -EAGAIN,
		"'%s' changes while it is read; stop what writes to it and try again", path);
}

/* ---- names ---- */

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_add(struct source_names *names, size_t *alloc, const char *name)
{
	if (names->count == *alloc) {
		size_t want = *alloc ? *alloc * 2 : 32;
		char **grown = reallocarray(names->names, want, sizeof *grown);

		if (!grown)
			return -ENOMEM;
		names->names = grown;
		*alloc = want;
	}
	names->names[names->count] = strdup(name);
	if (!names->names[names->count])
		return -ENOMEM;
	names->count++;
	return 0;
}

int source_names_read(int dirfd, const char *path, struct source_names *ret, struct error *err)
{
	cleanup_close int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = NULL;
	cleanup_source_names struct source_names names = SOURCE_NAMES_INIT;
	size_t alloc = 0;

	if (fd >= 0)
		dir = fdopendir(fd);
	if (!dir)
		return error_errno(err, errno, "open the directory '%s'", path);
	TAKE_FD(fd);
	for (;;) {
		struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			return error_errno(err, errno, "list the directory '%s'", path);
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (names.count == SOURCE_NAMES_MAX)
			return error_set(err, -E2BIG, "the directory '%s' has more than %u names", path,
				SOURCE_NAMES_MAX);
		if (names_add(&names, &alloc, entry->d_name) < 0)
			return error_errno(err, ENOMEM, "list the directory '%s'", path);
	}
	if (names.count)
		qsort(names.names, names.count, sizeof *names.names, name_compare);
	*ret = names;
	names = (struct source_names)SOURCE_NAMES_INIT;
	return 0;
}

void source_names_release(struct source_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct source_names)SOURCE_NAMES_INIT;
}

bool source_names_contain(const struct source_names *names, const char *name)
{
	return names->count &&
		bsearch(&name, names->names, names->count, sizeof *names->names, name_compare);
}

/* ---- one entry ---- */

int source_entry_open(int rootfd, const char *path, struct source_entry *ret)
{
	cleanup_close int fd = path_open(rootfd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	ret->fd = TAKE_FD(fd);
	ret->st = st;
	return 0;
}

int source_entry_find(int rootfd, const char *path, struct source_entry *ret, struct error *err)
{
	int r = source_entry_open(rootfd, path, ret);

	/* A file or a symlink where an ancestor should be: then nothing is at PATH itself. */
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return 0;
	return r < 0 ? error_errno(err, -r, "open '%s'", path) : 0;
}

void source_entry_release(struct source_entry *entry)
{
	if (entry->fd >= 0)
		close(entry->fd);
	entry->fd = -EBADF;
}

int source_entry_meta(const struct source_entry *entry, const char *path, struct meta *meta,
	struct error *err)
{
	int r;

	meta_from_stat(meta, &entry->st);
	r = meta_read_xattrs(meta, entry->fd, err);
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

int source_entry_read(const struct source_entry *entry, const char *path, struct error *err)
{
	char link[64];
	int fd;

	snprintf(link, sizeof link, "/proc/self/fd/%d", entry->fd);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? error_errno(err, errno, "open '%s'", path) : fd;
}

static int read_target(const struct source_entry *entry, const char *path, char target[PATH_MAX + 1],
	size_t *ret_size, struct error *err)
{
	ssize_t n = readlinkat(entry->fd, "", target, PATH_MAX + 1);

	if (n < 0)
		return error_errno(err, errno, "read the symlink '%s'", path);
	if (n == 0 || n >= PATH_MAX)
		return error_set(err, -EINVAL, "the symlink '%s' has a target of %zd bytes", path, n);
	target[n] = '\0';
	*ret_size = (size_t)n;
	return 0;
}

static bool same_state(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
		a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
		a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* SIZE bytes from the beginning of FD. */
static int draft_file(int fd, uint64_t size, const char *path, struct blob_draft *ret, struct error *err)
{
	int r;

	if (size > OBJECT_BYTES_MAX)
		return error_set(err, -EFBIG, "'%s' is larger than %llu bytes", path, OBJECT_BYTES_MAX);
	if (lseek(fd, 0, SEEK_SET) < 0)
		return error_errno(err, errno, "read '%s'", path);
	r = blob_draft_read(fd, size, ret, err);
	if (r == -EAGAIN)
		return changed_while_read(path, err);
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

static int draft_target(const struct source_entry *entry, const char *path, struct blob_draft *ret,
	struct error *err)
{
	char target[PATH_MAX + 1];
	size_t size = 0;
	int r = read_target(entry, path, target, &size, err);

	if (r < 0)
		return r;
	r = blob_draft_copy(target, size, ret, err);
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

int source_entry_draft(const struct source_entry *entry, const char *path, struct blob_draft *ret,
	struct error *err)
{
	cleanup_close int fd = -EBADF;
	struct stat after;
	int r;

	if (S_ISLNK(entry->st.st_mode))
		return draft_target(entry, path, ret, err);
	fd = source_entry_read(entry, path, err);
	if (fd < 0)
		return fd;
	r = draft_file(fd, (uint64_t)entry->st.st_size, path, ret, err);
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		return error_errno(err, errno, "stat '%s'", path);
	return same_state(&entry->st, &after) ? 0 : changed_while_read(path, err);
}

int source_draft_put(struct store *store, struct blob_draft *draft, const char *path, struct error *err)
{
	int r = repo_blob_put(store->repo, draft, err);

	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

/* ---- comparisons ---- */

static bool same_inode(const struct source_entry *a, const struct source_entry *b)
{
	return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino;
}

int source_metadata_equal(const struct source_entry *a, const struct source_entry *b, const char *path,
	bool *ret, struct error *err)
{
	mode_t mask = S_ISLNK(a->st.st_mode) ? S_IFMT : S_IFMT | 07777;
	cleanup_meta struct meta meta_a = META_INIT, meta_b = META_INIT;
	int r;

	if (same_inode(a, b)) {
		*ret = true;
		return 0;
	}
	if ((a->st.st_mode & mask) != (b->st.st_mode & mask) || a->st.st_uid != b->st.st_uid ||
		a->st.st_gid != b->st.st_gid) {
		*ret = false;
		return 0;
	}
	r = source_entry_meta(a, path, &meta_a, err);
	if (r == 0)
		r = source_entry_meta(b, path, &meta_b, err);
	if (r < 0)
		return r;
	*ret = meta_xattrs_equal(&meta_a, &meta_b);
	return 0;
}

int source_bytes_equal(int fd_a, int fd_b, uint64_t size, const char *path, bool *ret, struct error *err)
{
	char a[COMPARE_BYTES], b[COMPARE_BYTES];

	for (uint64_t offset = 0; offset < size; offset += COMPARE_BYTES) {
		size_t want = size - offset < COMPARE_BYTES ? (size_t)(size - offset) : COMPARE_BYTES;
		ssize_t n = io_pread(fd_a, a, want, offset);
		ssize_t m = n < 0 ? n : io_pread(fd_b, b, want, offset);

		if (m < 0)
			return error_errno(err, (int)-m, "read '%s'", path);
		if ((size_t)n != want || (size_t)m != want)
			return changed_while_read(path, err);
		if (memcmp(a, b, want) != 0) {
			*ret = false;
			return 0;
		}
	}
	*ret = true;
	return 0;
}

static int targets_equal(const struct source_entry *a, const struct source_entry *b, const char *path,
	bool *ret, struct error *err)
{
	char target_a[PATH_MAX + 1], target_b[PATH_MAX + 1];
	size_t size_a = 0, size_b = 0;
	int r = read_target(a, path, target_a, &size_a, err);

	if (r == 0)
		r = read_target(b, path, target_b, &size_b, err);
	if (r == 0)
		*ret = strcmp(target_a, target_b) == 0;
	return r;
}

int source_content_equal(const struct source_entry *a, const struct source_entry *b, const char *path,
	bool *ret, struct error *err)
{
	mode_t type = a->st.st_mode & S_IFMT;
	cleanup_close int fd_a = -EBADF, fd_b = -EBADF;

	if (same_inode(a, b)) {
		*ret = true;
		return 0;
	}
	if (S_ISLNK(type))
		return targets_equal(a, b, path, ret, err);
	if (S_ISCHR(type) || S_ISBLK(type)) {
		*ret = a->st.st_rdev == b->st.st_rdev;
		return 0;
	}
	if (!S_ISREG(type) || a->st.st_size != b->st.st_size) {
		*ret = !S_ISREG(type);
		return 0;
	}
	fd_a = source_entry_read(a, path, err);
	if (fd_a < 0)
		return fd_a;
	fd_b = source_entry_read(b, path, err);
	if (fd_b < 0)
		return fd_b;
	return source_bytes_equal(fd_a, fd_b, (uint64_t)a->st.st_size, path, ret, err);
}

/* ---- into a changeset ---- */

int source_put_file(struct store *store, int fd, uint64_t size, struct change *change, struct error *err)
{
	cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;
	struct hash128 object;
	uint64_t object_size;
	int r = draft_file(fd, size, change->path, &draft, err);

	if (r == 0)
		r = source_draft_put(store, &draft, change->path, err);
	if (r < 0)
		return r;
	/* From the blob, not from the file again: blob and object are the same bytes for certain. */
	r = object_materialise(store, &draft.oid, NULL, &object, &object_size, err);
	if (r < 0)
		return error_prefix(err, r, "'%s'", change->path);
	change->blob = draft.oid;
	change->size = object_size;
	change->meta.present |= META_OBJECT;
	change->meta.object = object;
	change->meta.object_size = object_size;
	return 0;
}

static int put_entry_file(struct store *store, const struct source_entry *entry, struct change *change,
	struct error *err)
{
	cleanup_close int fd = source_entry_read(entry, change->path, err);
	struct stat after;
	int r;

	if (fd < 0)
		return fd;
	r = source_put_file(store, fd, (uint64_t)entry->st.st_size, change, err);
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		return error_errno(err, errno, "stat '%s'", change->path);
	return same_state(&entry->st, &after) ? 0 : changed_while_read(change->path, err);
}

static int put_entry_symlink(struct store *store, const struct source_entry *entry, struct change *change,
	struct error *err)
{
	cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;
	int r = source_entry_draft(entry, change->path, &draft, err);

	if (r == 0)
		r = source_draft_put(store, &draft, change->path, err);
	if (r < 0)
		return r;
	change->blob = draft.oid;
	change->size = (uint64_t)entry->st.st_size;
	return 0;
}

static enum change_kind kind_of(mode_t mode)
{
	if (S_ISREG(mode))
		return CHANGE_FILE;
	if (S_ISLNK(mode))
		return CHANGE_SYMLINK;
	return S_ISDIR(mode) ? CHANGE_DIRECTORY : CHANGE_SPECIAL;
}

int source_add_entry(struct changeset *set, struct store *store, const struct source_entry *entry,
	const char *path, struct change **ret, struct error *err)
{
	struct change *change;
	int r = changeset_add(set, path, kind_of(entry->st.st_mode), &change, err);

	if (r < 0)
		return r;
	r = source_entry_meta(entry, path, &change->meta, err);
	if (r == 0 && change->kind == CHANGE_FILE)
		r = put_entry_file(store, entry, change, err);
	if (r == 0 && change->kind == CHANGE_SYMLINK)
		r = put_entry_symlink(store, entry, change, err);
	if (r < 0)
		return r;
	if (ret)
		*ret = change;
	return 0;
}
