/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/object_internal.h"

#define DIRECTORY_COUNT 256u
#define COMPARE_BYTES (64u << 10)
#define PENDING_MAX 64u /* files open at once */
/* So many files are fsynced one by one; for more, one syncfs(2) is cheaper (docs/decisions/object-durability.md). */
#define FSYNC_MAX 8u

struct pending {
	struct hash128 hash;
	uint64_t size;
	struct object_temporary file;
};

/* Objects that wait to be made durable together. */
struct object_batch {
	size_t count;
	struct pending pending[PENDING_MAX];
};

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
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		*ret = EXISTING_NONE;
		return 0;
	}
	/* A symlink, a socket, … : nothing that we have made. */
	if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == EIO || errno == EUCLEAN)) {
		*ret = EXISTING_DAMAGED;
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) {
		*ret = EXISTING_DAMAGED;
		return 0;
	}
	if ((uint64_t)st.st_size == size)
		r = bytes_equal(fd, data, size, &equal);
	if (r == 0 && !equal)
		r = object_verify(objects_fd, hash, (uint64_t)st.st_size, NULL);
	/* A sector that cannot be read is damage like any other. */
	if (r < 0 && !object_is_damage(r))
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
	r = object_temporary_replace(&pending->file, path);
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
	r = object_temporary_link(&pending->file, path);
	if (r == -ENOTDIR && unlinkat(store->objects_fd, directory, 0) == 0)
		r = -ENOENT;
	if (r == -ENOENT) {
		if (mkdirat(store->objects_fd, directory, OBJECT_DIRECTORY_MODE) < 0 && errno != EEXIST)
			return error_errno(err, errno, "make 'objects/%s'", directory);
		r = object_temporary_link(&pending->file, path);
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
		object_temporary_release(&pending[i].file);
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
		object_temporary_release(&batch->pending[i].file);
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
	int r = object_temporary_write(&pending.file, store->objects_fd, data, size);

	object_path(hash, path);
	if (r < 0)
		return error_errno(err, -r, "write object '%s'", path);
	if (!batch)
		return publish(store, &pending, 1, err);
	batch->pending[batch->count++] = pending;
	return batch->count == PENDING_MAX ? batch_publish(store, err) : 0;
}

/* Mended where it is; else replaced, when it is published. */
static int put_over_damaged(struct store *store, const void *data, size_t size, const struct hash128 *hash, struct error *err)
{
	struct error damage = ERROR_INIT;
	char path[OBJECT_PATH_LENGTH + 1];
	int r;

	object_path(hash, path);
	if (object_verify(store->objects_fd, hash, size, &damage) == 0)
		return 0; /* by somebody else, just now */
	r = object_mend(store->objects_fd, path, data, size) < 0 ? put_new(store, data, size, hash, err) : 0;
	if (r == 0)
		object_note_healed(store, damage.message);
	return r;
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
	return existing == EXISTING_DAMAGED ? put_over_damaged(store, data, size, hash, err) : put_new(store, data, size, hash, err);
}

int object_put_hashed(struct store *store, const void *data, size_t size, const struct hash128 *hash,
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
	r = object_put_hashed(store, data, size, &hash, err);
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

bool object_is_pending(struct store *store, const struct hash128 *hash)
{
	return pending_find(store->object_batch, hash) != NULL;
}
