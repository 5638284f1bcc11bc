/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_PACK_FILE_H
#define VENEER_GIT_PACK_FILE_H

/*
 * A pack, read by us, entry by entry: gitformat-pack(5), versions 2 of pack and index. Read with pread(2), never mapped: a bad
 * block is an error here and no signal.
 *
 * Error handling: -EBADMSG: damaged, or of a version that is not known; -EIO: so says the disk.
 *
 * Threads: once it is open, any number.
 */

#include <stdbool.h>

#include "store/git/raw_object.h"

#define PACK_STEM_MAX 80u	/* "pack-" and a hash */
#define PACK_DELTA_DEPTH_MAX 5000u /* git's own limit is 4095 */
#define PACK_ENTRIES_MAX (1u << 28)
#define PACK_ENTRY_HEADER_MAX 64u

struct pack_item {
	struct oid oid;
	uint32_t crc; /* of the entry as it lies there */
	uint64_t offset, end; /* of the entry in the pack */
};

struct pack_file {
	char stem[PACK_STEM_MAX]; /* "pack-…" */
	int fd;
	uint64_t size;
	int64_t changed_s; /* mtime */
	uint32_t count;
	struct pack_item *items; /* owned; in the order of ids */
	uint32_t *by_offset; /* owned; numbers of items, in the order of offsets */
};

/* PACK_FD: the directory. */
int pack_file_open(int pack_fd, const char *stem, struct pack_file **ret, struct error *err);
/*
 * Without its index: each entry is inflated to find where the next one begins, so what lies behind a damaged one is lost. Left out are
 * objects whose bytes cannot be made, and deltas that name their base by its id, which git writes only where it is asked to.
 */
int pack_file_scan(int pack_fd, const char *stem, struct pack_file **ret, struct error *err);
void pack_file_free(struct pack_file *pack); /* NULL is fine */
static inline void pack_file_freep(struct pack_file **pack)
{
	pack_file_free(*pack);
}

bool pack_file_find(const struct pack_file *pack, const struct oid *oid, uint32_t *ret);
/* Its bytes in the pack, header included. */
uint64_t pack_file_bytes(const struct pack_file *pack, uint32_t number);

/* An entry as it lies in the pack. */
struct pack_entry_raw {
	uint8_t type; /* enum raw_kind, or a delta's */
	uint64_t size; /* inflated */
	bool is_delta;
	uint32_t base; /* of a delta: the number of its base */
	size_t header; /* bytes before the stream */
	uint8_t *bytes; /* owned: all of it */
	size_t length;
};
void pack_entry_raw_release(struct pack_entry_raw *entry);
#define cleanup_pack_entry_raw __attribute__((cleanup(pack_entry_raw_release)))
/* CHECK: its CRC is compared with the index. */
int pack_file_entry(const struct pack_file *pack, uint32_t number, bool check, struct pack_entry_raw *ret);

/* The object, made of its deltas. Its id is not checked. -E2BIG: larger than LIMIT. */
int pack_file_read(const struct pack_file *pack, uint32_t number, uint64_t limit, struct raw_object *ret);

#endif
