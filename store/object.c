/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define OBJECT_MODE 0444
#define DIRECTORY_MODE 0700
#define DIRECTORY_COUNT 256u
#define READ_BYTES (64u << 10)
#define TEMPORARY_NAME_MAX 32

void object_path(const struct hash128 *hash, char path[OBJECT_PATH_LENGTH + 1])
{
	char hex[HASH128_HEX_LENGTH + 1];

	hash128_to_hex(hash, hex);
	snprintf(path, OBJECT_PATH_LENGTH + 1, "%.2s/%s", hex, hex + 2);
}

/* ---- reading ---- */

int object_open(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1];
	cleanup_close int fd = -EBADF;
	struct stat st;

	object_path(hash, path);
	/* O_NONBLOCK: a fifo that someone put there may not hold us up. */
	fd = openat(objects_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return error_errno(err, errno, "object '%s'", path);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "object '%s'", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EBADMSG, "object '%s': not a regular file", path);
	if ((uint64_t)st.st_size != size)
		return error_set(err, -EBADMSG, "object '%s': damaged: %llu bytes, not %llu", path,
			(unsigned long long)st.st_size, (unsigned long long)size);
	return TAKE_FD(fd);
}

/* The hash of all of FD; *RET_SIZE bytes. */
static int hash_fd(int fd, struct hash128 *ret, uint64_t *ret_size)
{
	cleanup_hash128 struct hash128_state *state = hash128_new();
	cleanup_free uint8_t *buf = malloc(READ_BYTES);
	uint64_t size = 0;
	ssize_t n;

	if (!state || !buf)
		return -ENOMEM;
	do {
		n = io_pread(fd, buf, READ_BYTES, size);
		if (n < 0)
			return (int)n;
		hash128_update(state, buf, (size_t)n);
		size += (uint64_t)n;
	} while (n == READ_BYTES);
	*ret = hash128_final(state);
	*ret_size = size;
	return 0;
}

int object_verify(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err)
{
	cleanup_close int fd = object_open(objects_fd, hash, size, err);
	char path[OBJECT_PATH_LENGTH + 1];
	struct hash128 found;
	uint64_t found_size;
	int r;

	if (fd < 0)
		return fd;
	object_path(hash, path);
	r = hash_fd(fd, &found, &found_size);
	if (r < 0)
		return error_errno(err, -r, "read object '%s'", path);
	if (found_size != size || !hash128_equal(&found, hash))
		return error_set(err, -EBADMSG, "object '%s': damaged: its bytes do not hash to its name", path);
	return 0;
}

/* ---- writing ---- */

/* A file that is being written, without a name (O_TMPFILE) or, where there is no such thing, with a temporary one. */
struct temporary {
	int directory_fd; /* borrowed */
	int fd;
	char name[TEMPORARY_NAME_MAX]; /* "": none */
};

static void temporary_release(struct temporary *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->name[0])
		unlinkat(file->directory_fd, file->name, 0);
	file->fd = -EBADF;
	file->name[0] = '\0';
}

static int temporary_name(char name[TEMPORARY_NAME_MAX])
{
	uint64_t token;

	if (getrandom(&token, sizeof token, 0) != sizeof token)
		return -errno;
	snprintf(name, TEMPORARY_NAME_MAX, ".tmp-%016llx", (unsigned long long)token);
	return 0;
}

static int temporary_open(struct temporary *file, int directory_fd)
{
	int r;

	*file = (struct temporary){ .directory_fd = directory_fd, .fd = -EBADF };
	file->fd = openat(directory_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, OBJECT_MODE);
	if (file->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	r = temporary_name(file->name);
	if (r < 0)
		return r;
	file->fd = openat(directory_fd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		OBJECT_MODE);
	if (file->fd < 0) {
		r = -errno;
		file->name[0] = '\0';
	}
	return r;
}

/* Give it the name NAME too; -EEXIST. */
static int temporary_link(const struct temporary *file, const char *name)
{
	char path[32];

	if (file->name[0])
		return linkat(file->directory_fd, file->name, file->directory_fd, name, 0) < 0 ? -errno : 0;
	if (linkat(file->fd, "", file->directory_fd, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno == EEXIST)
		return -EEXIST;
	/* Without CAP_DAC_READ_SEARCH that is refused; through /proc it is not. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, path, file->directory_fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Put it at NAME in place of what is there: link(2) does not replace, rename(2) does. */
static int temporary_replace(const struct temporary *file, const char *name)
{
	char between[TEMPORARY_NAME_MAX];
	int r = temporary_name(between);

	if (r == 0)
		r = temporary_link(file, between);
	if (r < 0)
		return r;
	if (renameat(file->directory_fd, between, file->directory_fd, name) < 0) {
		r = -errno;
		unlinkat(file->directory_fd, between, 0);
	}
	return r;
}

enum existing { EXISTING_NONE, EXISTING_EQUAL, EXISTING_DAMAGED, EXISTING_OTHER };

/* What stands at PATH, compared with these bytes, whose hash it is called by. */
static int existing_compare(int objects_fd, const char *path, const void *data, size_t size,
	const struct hash128 *hash, enum existing *ret)
{
	cleanup_close int fd = openat(objects_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	cleanup_free uint8_t *buf = NULL;
	struct hash128 found;
	uint64_t found_size, at = 0;
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT) {
		*ret = EXISTING_NONE;
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	buf = malloc(READ_BYTES);
	if (!buf)
		return -ENOMEM;
	while ((uint64_t)st.st_size == size && at < size) {
		ssize_t n = io_pread(fd, buf, READ_BYTES, at);

		if (n == -EIO) {
			*ret = EXISTING_DAMAGED;
			return 0;
		}
		if (n < 0)
			return (int)n;
		if (n == 0 || (uint64_t)n > size - at || memcmp(buf, (const uint8_t *)data + at, (size_t)n) != 0)
			break;
		at += (uint64_t)n;
	}
	if ((uint64_t)st.st_size == size && at == size) {
		*ret = EXISTING_EQUAL;
		return 0;
	}
	r = hash_fd(fd, &found, &found_size);
	if (r < 0 && r != -EIO)
		return r;
	*ret = r == 0 && hash128_equal(&found, hash) ? EXISTING_OTHER : EXISTING_DAMAGED;
	return 0;
}

static void mark_unsynced(struct store *store, const struct hash128 *hash)
{
	store->objects_unsynced[hash->bytes[0] / 64] |= 1ull << hash->bytes[0] % 64;
}

/* The directory of an object, made when missing. */
static int open_directory(int objects_fd, const char name[3])
{
	int fd;

	for (int attempt = 0; attempt < 2; attempt++) {
		fd = openat(objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 || errno != ENOENT)
			return fd < 0 ? -errno : fd;
		if (mkdirat(objects_fd, name, DIRECTORY_MODE) < 0 && errno != EEXIST)
			return -errno;
	}
	return -ENOENT;
}

static int write_object(int directory_fd, const char *name, const void *data, size_t size, bool replace)
{
	CLEANUP(temporary_release) struct temporary file;
	int r = temporary_open(&file, directory_fd);

	if (r == 0)
		r = io_write(file.fd, data, size);
	/* The umask may not decide; and a store's file is read-only for everyone. */
	if (r == 0 && fchmod(file.fd, OBJECT_MODE) < 0)
		r = -errno;
	if (r == 0 && fsync(file.fd) < 0)
		r = -errno;
	if (r < 0)
		return r;
	return replace ? temporary_replace(&file, name) : temporary_link(&file, name);
}

static int put_hashed(struct store *store, const void *data, size_t size, const struct hash128 *hash,
	struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1], directory[3];
	cleanup_close int directory_fd = -EBADF;
	int r = -EEXIST;

	object_path(hash, path);
	snprintf(directory, sizeof directory, "%.2s", path);
	directory_fd = open_directory(store->objects_fd, directory);
	if (directory_fd < 0)
		return error_errno(err, -directory_fd, "open the directory of object '%s'", path);
	/* Twice: between look and link another process may have put it. */
	for (int attempt = 0; attempt < 2 && r == -EEXIST; attempt++) {
		enum existing existing;

		r = existing_compare(store->objects_fd, path, data, size, hash, &existing);
		if (r < 0)
			return error_errno(err, -r, "object '%s' is there and cannot be read", path);
		/* Who put it may have died before the directory was synced. */
		mark_unsynced(store, hash);
		if (existing == EXISTING_EQUAL)
			return 0;
		if (existing == EXISTING_OTHER)
			return error_set(err, -EEXIST,
				"object '%s' is there with other bytes of the same hash: a collision", path);
		r = write_object(directory_fd, path + 3, data, size, existing == EXISTING_DAMAGED);
	}
	return r < 0 ? error_errno(err, -r, "write object '%s'", path) : 0;
}

int object_put(struct store *store, const void *data, size_t size, struct hash128 *ret, struct error *err)
{
	struct hash128 hash;
	int r;

	if (size > OBJECT_BYTES_MAX)
		return error_set(err, -E2BIG, "an object of %zu bytes: more than %llu", size, OBJECT_BYTES_MAX);
	hash = hash128_of(data, size);
	r = put_hashed(store, data, size, &hash, err);
	if (r < 0)
		return r;
	*ret = hash;
	return 0;
}

/* ---- from git ---- */

static bool object_is_there(int objects_fd, const struct hash128 *hash, uint64_t size)
{
	char path[OBJECT_PATH_LENGTH + 1];
	struct stat st;

	object_path(hash, path);
	return fstatat(objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		(uint64_t)st.st_size == size;
}

static int check_expected(const struct oid *oid, const struct hash128 *hash, const struct hash128 *expected,
	struct error *err)
{
	char blob[OID_HEX_LENGTH + 1], is[HASH128_HEX_LENGTH + 1], wanted[HASH128_HEX_LENGTH + 1];

	if (!expected || hash128_equal(hash, expected))
		return 0;
	oid_to_hex(oid, blob);
	hash128_to_hex(hash, is);
	hash128_to_hex(expected, wanted);
	return error_set(err, -EBADMSG, "blob '%s': its content is xxh3-128:%s, not xxh3-128:%s", blob, is,
		wanted);
}

int object_materialise(struct store *store, const struct oid *oid, const struct hash128 *expected,
	struct hash128 *ret, uint64_t *ret_size, struct error *err)
{
	cleanup_strbuf struct strbuf content = STRBUF_INIT;
	bool known;
	struct hash128 hash;
	uint64_t size;
	int r;

	known = blobmap_find(store->blobs, oid, &hash, &size);
	if (!known || !object_is_there(store->objects_fd, &hash, size)) {
		r = repo_blob_read(store->repo, oid, OBJECT_BYTES_MAX, &content, err);
		if (r < 0)
			return r;
		size = content.len;
		hash = hash128_of(strbuf_text(&content), content.len);
		r = check_expected(oid, &hash, expected, err);
		if (r < 0)
			return r;
		r = put_hashed(store, strbuf_text(&content), content.len, &hash, err);
		if (r < 0)
			return r;
		/* Not to remember it costs time, nothing else. */
		(void)blobmap_add(store->blobs, oid, &hash, size);
	}
	r = check_expected(oid, &hash, expected, err);
	if (r < 0)
		return r;
	*ret = hash;
	*ret_size = size;
	return 0;
}

int object_sync_all(struct store *store, struct error *err)
{
	bool any = false;

	for (unsigned i = 0; i < DIRECTORY_COUNT; i++) {
		char name[3];
		cleanup_close int fd = -EBADF;

		if (!(store->objects_unsynced[i / 64] & 1ull << i % 64))
			continue;
		snprintf(name, sizeof name, "%02x", i);
		fd = openat(store->objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || fsync(fd) < 0)
			return error_errno(err, errno, "sync 'objects/%s'", name);
		any = true;
	}
	if (any && fsync(store->objects_fd) < 0)
		return error_errno(err, errno, "sync 'objects'");
	memset(store->objects_unsynced, 0, sizeof store->objects_unsynced);
	return 0;
}
