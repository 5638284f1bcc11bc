/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_BLOCK_RECORDER_LOG_H
#define VENEER_TESTS_BLOCK_RECORDER_LOG_H

/*
 * What a disk was told, in order: a header, then records. A write's bytes follow its record, a mark's text likewise; a record of
 * zeroes (discarded, or written as such) and a flush have none. The machine's own byte order: a log is read where it was made.
 *
 * Calling sequence: log_writer_open(), log_append() as often as needed. Or: log_open(), then log_next() until it returns false.
 *
 * Error handling: 0 or -errno. A log that ends within a record has been cut off: what is whole is read, and log_next() ends there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_kind { RECORD_WRITE = 1, RECORD_ZERO, RECORD_FLUSH, RECORD_MARK };

struct record {
	uint32_t kind;	 /* enum record_kind */
	uint32_t size;	 /* bytes that follow */
	uint64_t offset; /* on the disk */
	uint64_t length; /* of what is written or zeroed there */
};

int log_writer_open(const char *path, uint64_t disk_size, int *ret_fd);
int log_append(int fd, enum record_kind kind, uint64_t offset, uint64_t length, const void *data, size_t size);

struct log {
	const uint8_t *data; /* mapped */
	size_t size;
	uint64_t disk_size;
};

/* Where a reader stands. INDEX: how many records lie before RECORD. */
struct log_cursor {
	size_t at, index;
	const struct record *record; /* borrowed from the log, as is DATA */
	const uint8_t *data;
};

int log_open(const char *path, struct log *ret);
void log_close(struct log *log);
/* The next record; the first one for a cursor of zeroes. */
bool log_next(const struct log *log, struct log_cursor *cursor);

#endif
