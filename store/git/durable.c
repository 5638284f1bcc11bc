/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <libdeflate.h>
#include <nettle/sha1.h>
#include <nettle/version.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"

/* So much is on its way to the disk at a time, while more is made: then fsync() has little left to wait for. */
#define WRITEBACK_BYTES (4u << 20)

struct durable {
	int dirfd, fd;
	int failed; /* 0 or the first negative errno */
	uint64_t offset;
	uint64_t written, started; /* bytes in the file, and those of them that are on their way to the disk */
	uint32_t crc;
	struct sha1_ctx sha;
	size_t used;
	uint8_t buffer[64 << 10];
};

int durable_begin(int dirfd, struct durable **ret)
{
	CLEANUP(durable_freep) struct durable *file = calloc(1, sizeof *file);

	if (!file)
		return -ENOMEM;
	file->dirfd = dirfd;
	file->fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0444);
	if (file->fd < 0)
		return -errno;
	sha1_init(&file->sha);
	*ret = TAKE_PTR(file);
	return 0;
}

void durable_free(struct durable *file)
{
	if (!file)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

static void durable_flush(struct durable *file)
{
	if (file->failed == 0 && file->used > 0) {
		file->failed = io_write(file->fd, file->buffer, file->used);
		file->written += file->used;
	}
	file->used = 0;
	if (file->failed == 0 && file->written - file->started >= WRITEBACK_BYTES) {
		/* A mere hint: an error of the disk is fsync()'s to tell. */
		sync_file_range(file->fd, (off_t)file->started, (off_t)(file->written - file->started), SYNC_FILE_RANGE_WRITE);
		file->started = file->written;
	}
}

static void durable_append(struct durable *file, const uint8_t *data, size_t len)
{
	file->offset += len;
	while (len > 0 && file->failed == 0) {
		size_t part = sizeof file->buffer - file->used;

		if (part > len)
			part = len;
		memcpy(file->buffer + file->used, data, part);
		file->used += part;
		data += part;
		len -= part;
		if (file->used == sizeof file->buffer)
			durable_flush(file);
	}
}

void durable_write(struct durable *file, const void *data, size_t len)
{
	if (len == 0)
		return;
	sha1_update(&file->sha, len, data);
	file->crc = libdeflate_crc32(file->crc, data, len);
	durable_append(file, data, len);
}

uint64_t durable_offset(const struct durable *file)
{
	return file->offset;
}

void durable_crc_begin(struct durable *file)
{
	file->crc = libdeflate_crc32(0, NULL, 0);
}

uint32_t durable_crc(const struct durable *file)
{
	return file->crc;
}

void durable_trailer(struct durable *file, struct oid *ret)
{
	struct sha1_ctx sha = file->sha;

#if NETTLE_VERSION_MAJOR >= 4
	sha1_digest(&sha, ret->id);
#else
	sha1_digest(&sha, sizeof ret->id, ret->id);
#endif
	durable_write(file, ret->id, sizeof ret->id);
}

/* By descriptor where we may (needs CAP_DAC_READ_SEARCH), else by its name in /proc. */
static int durable_link(int fd, int dirfd, const char *name)
{
	char proc[32];

	if (linkat(fd, "", dirfd, name, AT_EMPTY_PATH) == 0 || errno == EEXIST)
		return 0;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, proc, dirfd, name, AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST)
		return 0;
	return -errno;
}

int durable_publish(struct durable *file, const char *name)
{
	durable_flush(file);
	if (file->failed < 0)
		return file->failed;
	/* The umask is not git's business here: packs and objects are 0444. */
	if (fchmod(file->fd, 0444) < 0 || fsync(file->fd) < 0)
		return -errno;
	return durable_link(file->fd, file->dirfd, name);
}
