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
	uint64_t found_size = 0;
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
