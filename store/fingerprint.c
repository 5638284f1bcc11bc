/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fingerprint.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"
#include "store/base/strbuf.h"

#define SLOTS_MIN 256u
#define FIELDS 7 /* device, inode, size, mtime and ctime in seconds and nanoseconds */

/* As it stands in the file, big-endian. */
struct record {
	uint64_t fields[FIELDS];
	uint8_t blob[20];
	uint8_t spare[8];
} __attribute__((packed));

_Static_assert(sizeof(struct record) == FINGERPRINT_RECORD_BYTES, "the record's size is part of the format");

struct fingerprints {
	int cache_fd;
	bool looked, changed; /* for the file; since it was written */
	struct stat file; /* as it was when it was read last; st_ino 0: it was not */
	struct record *slots; /* owned; open addressing by device and inode; a record of zeros is a free slot */
	size_t slot_count, count;
};

struct fingerprints *fingerprints_new(int cache_fd)
{
	struct fingerprints *fingerprints = calloc(1, sizeof *fingerprints);

	if (fingerprints)
		fingerprints->cache_fd = cache_fd;
	return fingerprints;
}

void fingerprints_free(struct fingerprints *fingerprints)
{
	if (!fingerprints)
		return;
	free(fingerprints->slots);
	free(fingerprints);
}

static struct record record_of(const struct stat *st)
{
	return (struct record){ .fields = {
		htobe64(st->st_dev), htobe64(st->st_ino), htobe64((uint64_t)st->st_size),
		htobe64((uint64_t)st->st_mtim.tv_sec), htobe64((uint64_t)st->st_mtim.tv_nsec),
		htobe64((uint64_t)st->st_ctim.tv_sec), htobe64((uint64_t)st->st_ctim.tv_nsec),
	} };
}

static bool is_free(const struct record *record)
{
	return record->fields[0] == 0 && record->fields[1] == 0;
}

/* The slot of the inode that RECORD is about, or a free one. There is one. */
static struct record *slot_of(const struct fingerprints *fingerprints, const struct record *record)
{
	size_t mask = fingerprints->slot_count - 1;
	size_t at = hash64_of(record->fields, 2 * sizeof *record->fields) & mask;

	while (!is_free(&fingerprints->slots[at]) &&
		memcmp(fingerprints->slots[at].fields, record->fields, 2 * sizeof *record->fields) != 0)
		at = (at + 1) & mask;
	return &fingerprints->slots[at];
}

/* Room for one more; false: out of memory. */
static bool make_room(struct fingerprints *fingerprints)
{
	struct fingerprints grown = *fingerprints;

	if (fingerprints->count * 2 < fingerprints->slot_count)
		return true;
	grown.slot_count = fingerprints->slot_count ? fingerprints->slot_count * 2 : SLOTS_MIN;
	grown.slots = calloc(grown.slot_count, sizeof *grown.slots);
	if (!grown.slots)
		return false;
	for (size_t i = 0; i < fingerprints->slot_count; i++)
		if (!is_free(&fingerprints->slots[i]))
			*slot_of(&grown, &fingerprints->slots[i]) = fingerprints->slots[i];
	free(fingerprints->slots);
	*fingerprints = grown;
	return true;
}

static void insert(struct fingerprints *fingerprints, const struct record *record)
{
	struct record *slot;

	if (is_free(record) || !make_room(fingerprints))
		return;
	slot = slot_of(fingerprints, record);
	if (is_free(slot))
		fingerprints->count++;
	*slot = *record;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
		a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Than what is known of the inode: by its ctime, whose fields in this order compare as numbers. */
static bool is_newer(const struct fingerprints *fingerprints, const struct record *record)
{
	const struct record *known;

	if (!fingerprints->slot_count)
		return true;
	known = slot_of(fingerprints, record);
	return is_free(known) || memcmp(&known->fields[5], &record->fields[5], 2 * sizeof *record->fields) < 0;
}

/* The file into TEXT; *RET_BYTES of it are records. -ENOENT, -EBADMSG, … */
static int read_records(int cache_fd, struct strbuf *text, size_t *ret_bytes)
{
	const size_t limit = (size_t)FINGERPRINT_RECORDS_MAX * sizeof(struct record) + sizeof(struct hash128);
	struct hash128 hash;
	int r = io_read_file_at(cache_fd, FINGERPRINT_FILE, limit, text, NULL);

	if (r < 0)
		return r;
	if (text->len < sizeof hash)
		return -EBADMSG;
	*ret_bytes = text->len - sizeof hash;
	hash = hash128_of(text->buf, *ret_bytes);
	return *ret_bytes % sizeof(struct record) || memcmp(&hash, text->buf + *ret_bytes, sizeof hash) != 0 ? -EBADMSG : 0;
}

/* What others have found out is added to what is known; of a file of which both know, they may know more. */
static void read_file(struct fingerprints *fingerprints)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	struct stat now;
	size_t bytes;

	fingerprints->looked = true;
	if (fstatat(fingerprints->cache_fd, FINGERPRINT_FILE, &now, AT_SYMLINK_NOFOLLOW) < 0 || same_file(&now, &fingerprints->file))
		return;
	fingerprints->file = now;
	if (read_records(fingerprints->cache_fd, &text, &bytes) < 0)
		return;
	for (size_t at = 0; at < bytes; at += sizeof(struct record)) {
		struct record record;

		memcpy(&record, text.buf + at, sizeof record);
		if (is_newer(fingerprints, &record))
			insert(fingerprints, &record);
	}
}

int fingerprints_check(int cache_fd, struct error *err)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	size_t bytes;
	int r = read_records(cache_fd, &text, &bytes);

	if (r == 0 || r == -ENOENT)
		return 0;
	return error_set(err, r == -ENOMEM ? r : -EBADMSG, "its records do not have the hash that stands at its end");
}

void fingerprints_read(struct fingerprints *fingerprints)
{
	read_file(fingerprints);
}

bool fingerprints_find(struct fingerprints *fingerprints, const struct stat *st, struct oid *ret)
{
	const struct record wanted = record_of(st);
	const struct record *slot;

	if (!fingerprints->looked)
		read_file(fingerprints);
	if (!S_ISREG(st->st_mode) || !fingerprints->slot_count)
		return false;
	slot = slot_of(fingerprints, &wanted);
	if (memcmp(slot->fields, wanted.fields, sizeof wanted.fields) != 0)
		return false;
	memcpy(ret->id, slot->blob, sizeof slot->blob);
	return true;
}

void fingerprints_put(struct fingerprints *fingerprints, const struct stat *st, const struct oid *blob)
{
	struct record record = record_of(st);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!S_ISREG(st->st_mode) || st->st_ctim.tv_sec > now.tv_sec - FINGERPRINT_SETTLE_SECONDS)
		return;
	if (!fingerprints->looked)
		read_file(fingerprints);
	/* Most of so many are of files that are gone: those that are not are read once more. */
	if (fingerprints->count == FINGERPRINT_RECORDS_MAX && is_free(slot_of(fingerprints, &record))) {
		memset(fingerprints->slots, 0, fingerprints->slot_count * sizeof *fingerprints->slots);
		fingerprints->count = 0;
	}
	memcpy(record.blob, blob->id, sizeof record.blob);
	insert(fingerprints, &record);
	fingerprints->changed = true;
}

void fingerprints_save(struct fingerprints *fingerprints)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	struct hash128 hash;

	if (!fingerprints->changed)
		return;
	read_file(fingerprints);
	for (size_t i = 0; i < fingerprints->slot_count; i++)
		if (!is_free(&fingerprints->slots[i]))
			strbuf_add(&text, &fingerprints->slots[i], sizeof *fingerprints->slots);
	if (strbuf_failed(&text))
		return;
	hash = hash128_of(strbuf_text(&text), text.len);
	strbuf_add(&text, &hash, sizeof hash);
	if (!strbuf_failed(&text) &&
		io_write_cache_file_at(fingerprints->cache_fd, FINGERPRINT_FILE, text.buf, text.len, 0600, NULL) == 0)
		fingerprints->changed = false;
}
