/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define READ_BYTES (64u << 10)
#define SMALL_BYTES (16u << 10) /* on the stack */

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
	/* A symlink, a socket. */
	if (fd < 0 && (errno == ELOOP || errno == ENXIO))
		return error_set(err, -EBADMSG, "object '%s': not a regular file", path);
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

/* How an object is read to be hashed. */
struct reading {
	int fd;
	bool direct;
	struct object_blocks *blocks; /* borrowed; NULL: not asked for */
	int (*pause)(void *arg, size_t bytes); /* NULL: none */
	void *pause_arg;
};

/* Of a file of less than SMALL_BYTES, as most are. -EFBIG: it is larger. */
static int hash_small(int fd, struct hash128 *ret, uint64_t *ret_size)
{
	uint8_t buf[SMALL_BYTES];
	ssize_t n = io_pread(fd, buf, sizeof buf, 0);

	if (n < 0 || n == sizeof buf)
		return n < 0 ? (int)n : -EFBIG;
	*ret = hash128_of(buf, (size_t)n);
	*ret_size = (uint64_t)n;
	return 0;
}

/* The hash of all of it; *RET_SIZE bytes. */
static int hash_file(const struct reading *reading, size_t piece, struct hash128 *ret, uint64_t *ret_size)
{
	cleanup_hash128 struct hash128_state *state = hash128_new();
	cleanup_free uint8_t *buf = aligned_alloc(IO_DIRECT_ALIGNMENT, piece);
	uint64_t size = 0;
	ssize_t n;
	int r = 0;

	if (!state || !buf)
		return -ENOMEM;
	do {
		n = reading->direct ? io_pread_direct(reading->fd, buf, piece, size) : io_pread(reading->fd, buf, piece, size);
		if (n < 0)
			return (int)n;
		hash128_update(state, buf, (size_t)n);
		if (reading->blocks)
			object_blocks_set(reading->blocks, size, buf, (size_t)n);
		size += (uint64_t)n;
		if (reading->pause)
			r = reading->pause(reading->pause_arg, (size_t)n);
	} while (r == 0 && n == (ssize_t)piece);
	*ret = hash128_final(state);
	*ret_size = size;
	return r;
}

static int check_hash(const struct reading *reading, size_t piece, const struct hash128 *hash, uint64_t size, struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1];
	struct hash128 found;
	uint64_t found_size = 0;
	int r = size < SMALL_BYTES && !reading->direct ? hash_small(reading->fd, &found, &found_size) : -EFBIG;

	if (r == -EFBIG)
		r = hash_file(reading, piece, &found, &found_size);
	object_path(hash, path);
	if (r < 0)
		return error_errno(err, -r, "read object '%s'", path);
	if (found_size != size || !hash128_equal(&found, hash))
		return error_set(err, -EBADMSG, "object '%s': damaged: its bytes do not hash to its name", path);
	return 0;
}

int object_verify(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err)
{
	cleanup_close int fd = object_open(objects_fd, hash, size, err);
	struct reading reading = { .fd = fd };

	return fd < 0 ? fd : check_hash(&reading, READ_BYTES, hash, size, err);
}

int object_verify_fd(int fd, const struct hash128 *hash, uint64_t size, struct object_blocks **ret, struct error *err)
{
	cleanup_object_blocks struct object_blocks *blocks = NULL;
	struct reading reading = { .fd = fd };
	int r;

	if (object_needs_blocks(size)) {
		reading.blocks = blocks = object_blocks_new(size);
		if (!blocks)
			return error_set(err, -ENOMEM, "out of memory");
	}
	r = check_hash(&reading, READ_BYTES, hash, size, err);
	if (r == 0)
		*ret = TAKE_PTR(blocks);
	return r;
}

int object_verify_blocks(int objects_fd, const struct hash128 *hash, uint64_t size, struct object_blocks **ret, struct error *err)
{
	cleanup_close int fd = object_open(objects_fd, hash, size, err);

	return fd < 0 ? fd : object_verify_fd(fd, hash, size, ret, err);
}

int object_open_direct(int objects_fd, const char *path)
{
	int fd = openat(objects_fd, path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Where the filesystem or the disk's sectors allow no O_DIRECT: what is in memory and not in use is dropped before, and after. */
static int verify_dropped(const struct reading *buffered, const struct hash128 *hash, uint64_t size, struct error *err)
{
	int r;

	posix_fadvise(buffered->fd, 0, 0, POSIX_FADV_DONTNEED);
	r = check_hash(buffered, OBJECT_PIECE_BYTES, hash, size, err);
	posix_fadvise(buffered->fd, 0, 0, POSIX_FADV_DONTNEED);
	return r;
}

int object_verify_disk(int objects_fd, const struct hash128 *hash, uint64_t size, int (*pause)(void *arg, size_t bytes), void *arg,
	struct error *err)
{
	cleanup_close int fd = object_open(objects_fd, hash, size, err);
	const struct reading buffered = { .fd = fd, .pause = pause, .pause_arg = arg };
	struct reading direct = { .direct = true, .pause = pause, .pause_arg = arg };
	char path[OBJECT_PATH_LENGTH + 1];
	cleanup_close int direct_fd = -EBADF;
	struct error problem = ERROR_INIT;
	int r;

	if (fd < 0)
		return fd;
	object_path(hash, path);
	direct.fd = direct_fd = object_open_direct(objects_fd, path);
	if (direct_fd < 0)
		return verify_dropped(&buffered, hash, size, err);
	r = check_hash(&direct, OBJECT_PIECE_BYTES, hash, size, &problem);
	if (r == -EINVAL)
		return verify_dropped(&buffered, hash, size, err);
	return r < 0 ? error_set(err, r, "%s", problem.message) : 0;
}
