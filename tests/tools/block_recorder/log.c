/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/block_recorder/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define MAGIC "block-1"
#define ALIGNMENT 8u /* so that a mapped record can be read where it lies */

struct header {
	char magic[8];
	uint64_t disk_size;
};

static size_t padded(size_t size)
{
	return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int log_writer_open(const char *path, uint64_t disk_size, int *ret_fd)
{
	const struct header header = { MAGIC, disk_size };
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = io_write(fd, &header, sizeof header);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int log_append(int fd, enum record_kind kind, uint64_t offset, uint64_t length, const void *data, size_t size)
{
	static const uint8_t padding[ALIGNMENT];
	const struct record record = { kind, (uint32_t)size, offset, length };
	int r = io_write(fd, &record, sizeof record);

	if (r == 0 && size > 0)
		r = io_write(fd, data, size);
	return r < 0 ? r : io_write(fd, padding, padded(size) - size);
}

int log_open(const char *path, struct log *ret)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	const struct header *header;
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((size_t)st.st_size < sizeof *header)
		return -EBADMSG;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	header = data;
	if (memcmp(header->magic, MAGIC, sizeof header->magic) != 0) {
		munmap(data, (size_t)st.st_size);
		return -EBADMSG;
	}
	*ret = (struct log){ data, (size_t)st.st_size, header->disk_size };
	return 0;
}

void log_close(struct log *log)
{
	if (log->data)
		munmap((void *)log->data, log->size);
	log->data = NULL;
}

bool log_next(const struct log *log, struct log_cursor *cursor)
{
	const struct record *record;
	size_t at = sizeof(struct header), index = 0;

	if (cursor->record) {
		at = cursor->at + sizeof *record + padded(cursor->record->size);
		index = cursor->index + 1;
	}
	if (at > log->size || log->size - at < sizeof *record)
		return false;
	record = (const struct record *)(log->data + at);
	if (log->size - at - sizeof *record < padded(record->size))
		return false;
	if (record->kind == RECORD_WRITE && record->length != record->size)
		return false;
	if (record->offset > log->disk_size || record->length > log->disk_size - record->offset)
		return false;
	*cursor = (struct log_cursor){ at, index, record, (const uint8_t *)(record + 1) };
	return true;
}
