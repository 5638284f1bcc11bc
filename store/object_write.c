/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/log.h"
#include "store/base/parallel.h"

#define OBJECT_MODE 0444
#define DIRECTORY_MODE 0700
#define DIRECTORY_COUNT 256u
#define COMPARE_BYTES (64u << 10)
#define TEMPORARY_NAME_MAX 32
#define PENDING_MAX 64u /* files open at once */
/* So many files are fsynced one by one; for more, one syncfs(2) is cheaper (docs/decisions/object-durability.md). */
#define FSYNC_MAX 8u

/* A file that is written and has no name yet (O_TMPFILE) or, where there is no such thing, a temporary one. */
struct temporary {
	int directory_fd; /* borrowed: objects/ */
	int fd;
	char name[TEMPORARY_NAME_MAX]; /* "": none */
};

struct pending {
	struct hash128 hash;
	uint64_t size;
	struct temporary file;
};

/* Objects that wait to be made durable together. */
struct object_batch {
	size_t count;
	struct pending pending[PENDING_MAX];
};

/* ---- temporary files ---- */

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
	file->fd = openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, OBJECT_MODE);
	if (file->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	r = temporary_name(file->name);
	if (r < 0)
		return r;
	file->fd = openat(directory_fd, file->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, OBJECT_MODE);
	if (file->fd < 0) {
		r = -errno;
		file->name[0] = '\0';
	}
	return r;
}

static int temporary_write(struct temporary *file, int directory_fd, const void *data, size_t size)
{
	int r = temporary_open(file, directory_fd);

	if (r == 0)
		r = io_write(file->fd, data, size);
	/* The umask may not decide; and a store's file is read-only for everyone. */
	if (r == 0 && fchmod(file->fd, OBJECT_MODE) < 0)
		r = -errno;
	if (r < 0)
		temporary_release(file);
	return r;
}

/* Give it the name PATH too; -EEXIST. */
static int temporary_link(const struct temporary *file, const char *path)
{
	char self[32];

	if (file->name[0])
		return linkat(file->directory_fd, file->name, file->directory_fd, path, 0) < 0 ? -errno : 0;
	if (linkat(file->fd, "", file->directory_fd, path, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno == EEXIST)
		return -EEXIST;
	/* Without CAP_DAC_READ_SEARCH that may be refused; through /proc it is not. */
	snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, self, file->directory_fd, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Put it at PATH in place of what is there: link(2) does not replace, rename(2) does. */
static int temporary_replace(const struct temporary *file, const char *path)
{
	char between[TEMPORARY_NAME_MAX];
	int r = temporary_name(between);

	if (r == 0)
		r = temporary_link(file, between);
	if (r < 0)
		return r;
	if (renameat(file->directory_fd, between, file->directory_fd, path) < 0) {
		r = -errno;
		unlinkat(file->directory_fd, between, 0);
	}
	return r;
}

/* ---- what stands under an object's name already ---- */

enum existing { EXISTING_NONE, EXISTING_EQUAL, EXISTING_DAMAGED, EXISTING_OTHER };

static int bytes_equal(int fd, const uint8_t *data, size_t size, bool *ret)
{
	cleanup_free uint8_t *buf = malloc(COMPARE_BYTES);
	size_t at = 0;

	if (!buf)
		return -ENOMEM;
	while (at < size) {
		ssize_t n = io_pread(fd, buf, size - at < COMPARE_BYTES ? size - at : COMPARE_BYTES, at);

		if (n < 0)
			return (int)n;
		if (n == 0 || memcmp(buf, data + at, (size_t)n) != 0)
			break;
		at += (size_t)n;
	}
	*ret = at == size;
	return 0;
}

/* What stands there, compared with these bytes, which hash to that name. */
static int existing_compare(int objects_fd, const struct hash128 *hash, const void *data, size_t size,
	enum existing *ret)
{
	char path[OBJECT_PATH_LENGTH + 1];
	cleanup_close int fd = -EBADF;
	bool equal = false;
	struct stat st;
	int r = 0;

	object_path(hash, path);
	fd = openat(objects_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		*ret = EXISTING_NONE;
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size == size)
		r = bytes_equal(fd, data, size, &equal);
	if (r == 0 && !equal)
		r = object_verify(objects_fd, hash, (uint64_t)st.st_size, NULL);
	/* A sector that cannot be read is damage like any other. */
	if (r < 0 && r != -EBADMSG && r != -EIO)
		return r;
	*ret = r < 0 ? EXISTING_DAMAGED : equal ? EXISTING_EQUAL : EXISTING_OTHER;
	return 0;
}

static int collision(const char *path, struct error *err)
{
	return error_set(err, -EEXIST, "object '%s' is there with other bytes of the same hash: a collision", path);
}

/* ---- publish: durable first, then named ---- */

static int make_durable(int objects_fd, struct pending *pending, size_t count)
{
	/* syncfs(2) also reports what went wrong with other people's files: fsync(2) then tells about ours. */
	if (count > FSYNC_MAX && syncfs(objects_fd) == 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (fsync(pending[i].file.fd) < 0)
			return -errno;
	return 0;
}

/* Another process was faster, or the file there is damaged. */
static int publish_over(struct store *store, struct pending *pending, const char *path, struct error *err)
{
	void *data = pending->size ? mmap(NULL, pending->size, PROT_READ, MAP_PRIVATE, pending->file.fd, 0) : NULL;
	enum existing existing = EXISTING_NONE;
	int r;

	if (data == MAP_FAILED)
		return error_errno(err, errno, "map object '%s'", path);
	r = existing_compare(store->objects_fd, &pending->hash, data, pending->size, &existing);
	if (data)
		munmap(data, pending->size);
	if (r < 0)
		return error_errno(err, -r, "object '%s' is there and cannot be read", path);
	if (existing == EXISTING_EQUAL)
		return 0;
	if (existing == EXISTING_OTHER)
		return collision(path, err);
	r = temporary_replace(&pending->file, path);
	return r < 0 ? error_errno(err, -r, "replace object '%s'", path) : 0;
}

static int publish_one(struct store *store, struct pending *pending, struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1], directory[3];
	unsigned first = pending->hash.bytes[0];
	int r;

	object_path(&pending->hash, path);
	snprintf(directory, sizeof directory, "%.2s", path);
	store->objects_unsynced[first / 64] |= 1ull << first % 64;
	r = temporary_link(&pending->file, path);
	if (r == -ENOENT) {
		if (mkdirat(store->objects_fd, directory, DIRECTORY_MODE) < 0 && errno != EEXIST)
			return error_errno(err, errno, "make 'objects/%s'", directory);
		r = temporary_link(&pending->file, path);
	}
	if (r == -EEXIST)
		return publish_over(store, pending, path, err);
	return r < 0 ? error_errno(err, -r, "write object '%s'", path) : 0;
}

/* Consumes all COUNT of them, whatever happens. */
static int publish(struct store *store, struct pending *pending, size_t count, struct error *err)
{
	int r = make_durable(store->objects_fd, pending, count);

	if (r < 0)
		error_errno(err, -r, "sync objects");
	for (size_t i = 0; i < count; i++) {
		if (r == 0)
			r = publish_one(store, &pending[i], err);
		temporary_release(&pending[i].file);
	}
	return r;
}

/* ---- batches ---- */

static struct pending *pending_find(struct object_batch *batch, const struct hash128 *hash)
{
	for (size_t i = 0; batch && i < batch->count; i++)
		if (hash128_equal(&batch->pending[i].hash, hash))
			return &batch->pending[i];
	return NULL;
}

static int batch_publish(struct store *store, struct error *err)
{
	struct object_batch *batch = store->object_batch;
	size_t count = batch ? batch->count : 0;

	if (count == 0)
		return 0;
	batch->count = 0;
	return publish(store, batch->pending, count, err);
}

int object_batch_begin(struct store *store, struct error *err)
{
	if (!store->object_batch)
		store->object_batch = calloc(1, sizeof *store->object_batch);
	return store->object_batch ? 0 : error_errno(err, ENOMEM, "write objects");
}

void object_batch_abort(struct store *store)
{
	struct object_batch *batch = store->object_batch;

	for (size_t i = 0; batch && i < batch->count; i++)
		temporary_release(&batch->pending[i].file);
	free(batch);
	store->object_batch = NULL;
}

static int sync_directories(struct store *store, struct error *err)
{
	unsigned count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(store->objects_unsynced); i++)
		count += (unsigned)__builtin_popcountll(store->objects_unsynced[i]);
	if (count > FSYNC_MAX && syncfs(store->objects_fd) == 0)
		count = 0;
	for (unsigned i = 0; count > 0 && i < DIRECTORY_COUNT; i++) {
		char name[3];
		cleanup_close int fd = -EBADF;

		if (!(store->objects_unsynced[i / 64] & 1ull << i % 64))
			continue;
		snprintf(name, sizeof name, "%02x", i);
		fd = openat(store->objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || fsync(fd) < 0)
			return error_errno(err, errno, "sync 'objects/%s'", name);
	}
	if (count > 0 && fsync(store->objects_fd) < 0)
		return error_errno(err, errno, "sync 'objects'");
	memset(store->objects_unsynced, 0, sizeof store->objects_unsynced);
	return 0;
}

int object_sync_all(struct store *store, struct error *err)
{
	int r = batch_publish(store, err);

	object_batch_abort(store);
	return r < 0 ? r : sync_directories(store, err);
}

/* ---- put ---- */

/* Written now; published now or with its batch. */
static int put_new(struct store *store, const void *data, size_t size, const struct hash128 *hash, struct error *err)
{
	struct object_batch *batch = store->object_batch;
	struct pending pending = { .hash = *hash, .size = size };
	char path[OBJECT_PATH_LENGTH + 1];
	int r = temporary_write(&pending.file, store->objects_fd, data, size);

	object_path(hash, path);
	if (r < 0)
		return error_errno(err, -r, "write object '%s'", path);
	if (!batch)
		return publish(store, &pending, 1, err);
	batch->pending[batch->count++] = pending;
	return batch->count == PENDING_MAX ? batch_publish(store, err) : 0;
}

static int put_once(struct store *store, const void *data, size_t size, const struct hash128 *hash,
	struct error *err)
{
	struct pending *same = pending_find(store->object_batch, hash);
	char path[OBJECT_PATH_LENGTH + 1];
	enum existing existing;
	bool equal = false;
	int r;

	object_path(hash, path);
	if (same) {
		r = same->size == size ? bytes_equal(same->file.fd, data, size, &equal) : 0;
		if (r < 0)
			return error_errno(err, -r, "read object '%s'", path);
		return equal ? 0 : collision(path, err);
	}
	r = existing_compare(store->objects_fd, hash, data, size, &existing);
	if (r < 0)
		return error_errno(err, -r, "object '%s' is there and cannot be read", path);
	if (existing == EXISTING_EQUAL)
		return 0;
	if (existing == EXISTING_OTHER)
		return collision(path, err);
	return put_new(store, data, size, hash, err);
}

static int put_hashed(struct store *store, const void *data, size_t size, const struct hash128 *hash,
	struct error *err)
{
	struct error first = ERROR_INIT;
	int r = put_once(store, data, size, hash, &first);

	/* What waits holds descriptors that may be missing now. */
	if (r == -EMFILE && store->object_batch && store->object_batch->count > 0) {
		r = batch_publish(store, err);
		return r < 0 ? r : put_once(store, data, size, hash, err);
	}
	return r < 0 ? error_set(err, r, "%s", first.message) : 0;
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

int object_open_pending(struct store *store, const struct hash128 *hash, uint64_t size, struct error *err)
{
	const struct pending *pending = pending_find(store->object_batch, hash);
	char self[32];
	int fd;

	if (!pending || pending->size != size)
		return object_open(store->objects_fd, hash, size, err);
	/* An open file description of its own, so that offsets are. */
	snprintf(self, sizeof self, "/proc/self/fd/%d", pending->file.fd);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open '%s'", self) : fd;
}

/* ---- from git ---- */

/* Whoever writes to a file or puts another in its place changes one of these; never 0. */
static uint64_t file_fingerprint(const struct stat *st)
{
	const uint64_t facts[] = {
		(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec,
	};
	uint64_t fingerprint = hash64_of(facts, sizeof facts);

	return fingerprint ? fingerprint : 1;
}

/*
 * Is the file of object HASH whole, whose fingerprint was VERIFIED when it was read (0: it was not)? Read once; while it stays
 * untouched a stat(2) tells. 0 and its fingerprint, or as object_verify().
 */
static int object_look(int objects_fd, const struct hash128 *hash, uint64_t size, uint64_t verified, uint64_t *ret,
	struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1];
	struct stat st;

	object_path(hash, path);
	if (fstatat(objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "object '%s'", path);
	*ret = file_fingerprint(&st);
	return verified == *ret ? 0 : object_verify(objects_fd, hash, size, err);
}

/* Is the file whole that BLOB is said to be in? */
static bool object_is_there(struct store *store, const struct oid *blob, const struct hash128 *hash, uint64_t size)
{
	struct error problem = ERROR_INIT;
	uint64_t fingerprint = 0;
	int r;

	if (pending_find(store->object_batch, hash))
		return true;
	r = object_look(store->objects_fd, hash, size, blobmap_verified(store->blobs, blob), &fingerprint, &problem);
	if (r == 0)
		blobmap_set_verified(store->blobs, blob, fingerprint);
	else if (r == -EBADMSG || r == -EIO)
		log_message(LOG_WARNING, "%s; it is made again from git", problem.message);
	return r == 0;
}

/* ---- many at once ---- */

/* So many are worth a thread. */
#define PIECE_OBJECTS 64u

struct look {
	struct object_query *query; /* borrowed */
	uint64_t fingerprint;	    /* verified before; then as it is now */
};

struct looks {
	int objects_fd;
	struct look *looks; /* owned; of the blobs whose object is known */
	size_t count;
};

static void looks_release(struct looks *looks)
{
	free(looks->looks);
}

static int look_at_range(void *arg, size_t from, size_t to, struct error *err)
{
	const struct looks *looks = arg;

	for (size_t i = from; i < to; i++) {
		struct look *look = &looks->looks[i];
		struct object_query *query = look->query;

		query->there = object_look(looks->objects_fd, &query->object, query->size, look->fingerprint,
				       &look->fingerprint, NULL) == 0;
	}
	return 0;
}

int objects_find(struct store *store, struct object_query *queries, size_t count, struct error *err)
{
	CLEANUP(looks_release) struct looks looks = { store->objects_fd, calloc(count ? count : 1, sizeof *looks.looks), 0 };
	int r;

	if (!looks.looks)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		struct object_query *query = &queries[i];

		query->there = false;
		if (blobmap_find(store->blobs, &query->blob, &query->object, &query->size))
			looks.looks[looks.count++] = (struct look){ query, blobmap_verified(store->blobs, &query->blob) };
	}
	r = parallel_run(looks.count, PIECE_OBJECTS, look_at_range, &looks, err);
	for (size_t i = 0; r == 0 && i < looks.count; i++)
		if (looks.looks[i].query->there)
			blobmap_set_verified(store->blobs, &looks.looks[i].query->blob, looks.looks[i].fingerprint);
	return r;
}

/* ---- one by one ---- */

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

/* Make the object of the blob OID from git. */
static int materialise_blob(struct store *store, const struct oid *oid, const struct hash128 *expected,
	struct hash128 *ret, uint64_t *ret_size, struct error *err)
{
	cleanup_blob struct blob *blob = NULL;
	int r = repo_blob_open(store->repo, oid, OBJECT_BYTES_MAX, &blob, err);

	if (r < 0)
		return r;
	*ret = hash128_of(blob_data(blob), blob_size(blob));
	*ret_size = blob_size(blob);
	r = check_expected(oid, ret, expected, err);
	if (r == 0)
		r = put_hashed(store, blob_data(blob), blob_size(blob), ret, err);
	/* Not to remember it costs time, nothing else. */
	if (r == 0)
		(void)blobmap_add(store->blobs, oid, ret, *ret_size);
	return r;
}

int object_materialise(struct store *store, const struct oid *oid, const struct hash128 *expected,
	struct hash128 *ret, uint64_t *ret_size, struct error *err)
{
	struct hash128 hash;
	uint64_t size;
	int r;

	if (blobmap_find(store->blobs, oid, &hash, &size) && object_is_there(store, oid, &hash, size))
		r = check_expected(oid, &hash, expected, err);
	else
		r = materialise_blob(store, oid, expected, &hash, &size, err);
	if (r < 0)
		return r;
	*ret = hash;
	*ret_size = size;
	return 0;
}
