/* SPDX-License-Identifier: Apache-2.0 */
#include "store/blobmap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/io.h"

#define FACT_BYTES 44u /* of a record, what the checksum covers */
#define SLOTS_MIN 1024u

struct fact {
	struct oid blob;
	struct hash128 hash;
	uint64_t size;
	uint64_t verified; /* fingerprint of the object's file; 0: not read yet */
	uint64_t epoch;	   /* of the map, when it was read */
	uint64_t verified_ns; /* clock_monotonic_ns() then */
	const struct object_blocks *blocks; /* counted; NULL: not known */
};

struct blobmap {
	int cache_fd; /* borrowed */
	int fd;	      /* the file, for appending; -EBADF: not open */
	bool loaded;
	struct fact *facts; /* owned, in the order they came */
	size_t count, alloc;
	uint32_t *slots; /* owned; open addressing: index of a fact + 1, 0: free */
	size_t slot_count; /* a power of two, at least twice COUNT */
	uint64_t epoch;	   /* blobmap_forget_verified() was called so often */
	uint64_t since_ns; /* what was read before in another epoch was not read */
};

struct blobmap *blobmap_new(int cache_fd)
{
	struct blobmap *map = calloc(1, sizeof *map);

	if (!map)
		return NULL;
	map->cache_fd = cache_fd;
	map->fd = -EBADF;
	return map;
}

static void table_clear(struct blobmap *map);

void blobmap_free(struct blobmap *map)
{
	if (!map)
		return;
	table_clear(map);
	if (map->fd >= 0)
		close(map->fd);
	free(map->facts);
	free(map->slots);
	free(map);
}

/* ---- the table ---- */

/* The slot of BLOB, or the free one where it would go. A git id is its own hash. */
static size_t slot_of(const struct blobmap *map, const struct oid *blob)
{
	uint64_t start;
	size_t slot;

	memcpy(&start, blob->id, sizeof start);
	slot = (size_t)start & (map->slot_count - 1);
	while (map->slots[slot] && !oid_equal(&map->facts[map->slots[slot] - 1].blob, blob))
		slot = (slot + 1) & (map->slot_count - 1);
	return slot;
}

static int table_grow(struct blobmap *map)
{
	size_t wanted = map->slot_count ? map->slot_count * 2 : SLOTS_MIN;
	uint32_t *slots;

	if (map->slot_count >= 2 * (map->count + 1))
		return 0;
	slots = calloc(wanted, sizeof *slots);
	if (!slots)
		return -ENOMEM;
	free(map->slots);
	map->slots = slots;
	map->slot_count = wanted;
	for (size_t i = 0; i < map->count; i++)
		map->slots[slot_of(map, &map->facts[i].blob)] = (uint32_t)i + 1;
	return 0;
}

static bool fact_equal(const struct fact *a, const struct fact *b)
{
	return oid_equal(&a->blob, &b->blob) && hash128_equal(&a->hash, &b->hash) && a->size == b->size;
}

/* 1: new; 0: known already; -EEXIST: known as something else; -ENOMEM. */
static int table_add(struct blobmap *map, const struct fact *fact)
{
	size_t slot;

	if (table_grow(map) < 0)
		return -ENOMEM;
	slot = slot_of(map, &fact->blob);
	if (map->slots[slot])
		return fact_equal(&map->facts[map->slots[slot] - 1], fact) ? 0 : -EEXIST;
	if (map->count == map->alloc) {
		size_t alloc = map->alloc ? map->alloc * 2 : SLOTS_MIN / 2;
		struct fact *facts = reallocarray(map->facts, alloc, sizeof *facts);

		if (!facts)
			return -ENOMEM;
		map->facts = facts;
		map->alloc = alloc;
	}
	map->facts[map->count++] = *fact;
	map->slots[slot] = (uint32_t)map->count;
	return 1;
}

static void table_clear(struct blobmap *map)
{
	for (size_t i = 0; i < map->count; i++)
		object_blocks_unref(map->facts[i].blocks);
	map->count = 0;
	if (map->slots)
		memset(map->slots, 0, map->slot_count * sizeof *map->slots);
}

/* ---- the file ---- */

static void put_be64(uint8_t *bytes, uint64_t value)
{
	for (int i = 7; i >= 0; i--, value >>= 8)
		bytes[i] = (uint8_t)value;
}

static uint64_t get_be64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

static void record_encode(const struct fact *fact, uint8_t record[BLOBMAP_RECORD_BYTES])
{
	memcpy(record, fact->blob.id, 20);
	memcpy(record + 20, fact->hash.bytes, 16);
	put_be64(record + 36, fact->size);
	put_be64(record + FACT_BYTES, hash64_of(record, FACT_BYTES));
}

static bool record_decode(const uint8_t record[BLOBMAP_RECORD_BYTES], struct fact *ret)
{
	if (get_be64(record + FACT_BYTES) != hash64_of(record, FACT_BYTES))
		return false;
	*ret = (struct fact){ .verified = 0 };
	memcpy(ret->blob.id, record, 20);
	memcpy(ret->hash.bytes, record + 20, 16);
	ret->size = get_be64(record + 36);
	return true;
}

/* Replace the file by what is in the table. That it fails is no harm: the damage is found again. */
static void file_rewrite(struct blobmap *map)
{
	cleanup_strbuf struct strbuf all = STRBUF_INIT;

	for (size_t i = 0; i < map->count; i++) {
		uint8_t record[BLOBMAP_RECORD_BYTES];

		record_encode(&map->facts[i], record);
		strbuf_add(&all, record, sizeof record);
	}
	unlinkat(map->cache_fd, BLOBMAP_FILE, 0);
	if (!strbuf_failed(&all))
		io_write_file_at(map->cache_fd, BLOBMAP_FILE, strbuf_text(&all), all.len, 0600, NULL);
}

/* Every good record of the file into the table; *RET_DAMAGED: there were others. */
static int file_load(struct blobmap *map, bool *ret_damaged)
{
	cleanup_strbuf struct strbuf all = STRBUF_INIT;
	int r = io_read_file_at(map->cache_fd, BLOBMAP_FILE,
		(size_t)BLOBMAP_RECORDS_MAX * BLOBMAP_RECORD_BYTES, &all, NULL);

	*ret_damaged = false;
	if (r == -ENOENT)
		return 0;
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		*ret_damaged = true;
		return 0;
	}
	for (size_t at = 0; at < all.len; at += BLOBMAP_RECORD_BYTES) {
		struct fact fact;

		if (all.len - at < BLOBMAP_RECORD_BYTES ||
			!record_decode((const uint8_t *)all.buf + at, &fact)) {
			*ret_damaged = true;
			continue;
		}
		r = table_add(map, &fact);
		if (r == -ENOMEM)
			return r;
		if (r == -EEXIST)
			*ret_damaged = true;
	}
	return 0;
}

static int ensure_loaded(struct blobmap *map)
{
	bool damaged;
	int r;

	if (map->loaded)
		return 0;
	r = file_load(map, &damaged);
	if (r < 0) {
		table_clear(map);
		return r;
	}
	if (damaged)
		file_rewrite(map);
	map->loaded = true;
	return 0;
}

static void file_append(struct blobmap *map, const struct fact *fact)
{
	uint8_t record[BLOBMAP_RECORD_BYTES];

	if (map->fd < 0)
		map->fd = openat(map->cache_fd, BLOBMAP_FILE,
			O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (map->fd < 0)
		return;
	record_encode(fact, record);
	/* One write(2): with O_APPEND another process's record comes before or behind it. */
	io_write(map->fd, record, sizeof record);
}

/* ---- the interface ---- */

static struct fact *fact_find(struct blobmap *map, const struct oid *blob)
{
	size_t slot;

	if (ensure_loaded(map) < 0 || map->count == 0)
		return NULL;
	slot = slot_of(map, blob);
	return map->slots[slot] ? &map->facts[map->slots[slot] - 1] : NULL;
}

bool blobmap_find(struct blobmap *map, const struct oid *blob, struct hash128 *ret, uint64_t *ret_size)
{
	const struct fact *fact = fact_find(map, blob);

	if (!fact)
		return false;
	*ret = fact->hash;
	*ret_size = fact->size;
	return true;
}

int blobmap_add(struct blobmap *map, const struct oid *blob, const struct hash128 *hash, uint64_t size)
{
	struct fact fact = { .blob = *blob, .hash = *hash, .size = size };
	int r = ensure_loaded(map);

	if (r < 0)
		return r;
	if (map->count >= BLOBMAP_RECORDS_MAX) {
		table_clear(map);
		if (map->fd >= 0)
			close(TAKE_FD(map->fd));
		unlinkat(map->cache_fd, BLOBMAP_FILE, 0);
	}
	r = table_add(map, &fact);
	if (r == -EEXIST) {
		/* Ours was just found by hashing; what was known came from a file. */
		object_blocks_unref(map->facts[map->slots[slot_of(map, blob)] - 1].blocks);
		map->facts[map->slots[slot_of(map, blob)] - 1] = fact;
		if (map->fd >= 0)
			close(TAKE_FD(map->fd));
		file_rewrite(map);
		return 0;
	}
	if (r > 0)
		file_append(map, &fact);
	return r < 0 ? r : 0;
}

uint64_t blobmap_verified(struct blobmap *map, const struct oid *blob)
{
	const struct fact *fact = fact_find(map, blob);

	return fact && (fact->epoch == map->epoch || fact->verified_ns >= map->since_ns) ? fact->verified : 0;
}

void blobmap_set_verified(struct blobmap *map, const struct oid *blob, uint64_t fingerprint)
{
	struct fact *fact = fact_find(map, blob);

	if (!fact)
		return;
	/* What was relied on by its fingerprint was not read. */
	if (blobmap_verified(map, blob) != fingerprint)
		fact->verified_ns = clock_monotonic_ns();
	fact->verified = fingerprint;
	fact->epoch = map->epoch;
}

void blobmap_forget_verified(struct blobmap *map, const struct oid *kept, size_t count, uint64_t since_ns)
{
	map->epoch++;
	map->since_ns = since_ns;
	for (size_t i = 0; i < count; i++) {
		struct fact *fact = fact_find(map, &kept[i]);

		if (fact && fact->epoch == map->epoch - 1)
			fact->epoch = map->epoch;
	}
}

const struct object_blocks *blobmap_blocks(struct blobmap *map, const struct oid *blob)
{
	const struct fact *fact = fact_find(map, blob);

	return fact ? fact->blocks : NULL;
}

void blobmap_set_blocks(struct blobmap *map, const struct oid *blob, const struct object_blocks *blocks)
{
	struct fact *fact = fact_find(map, blob);

	if (!fact || !blocks || fact->blocks)
		return;
	fact->blocks = object_blocks_ref(blocks);
}

size_t blobmap_count(struct blobmap *map)
{
	return ensure_loaded(map) < 0 ? 0 : map->count;
}

int blobmap_check(int cache_fd, struct error *err)
{
	cleanup_blobmap struct blobmap *map = blobmap_new(cache_fd);
	bool damaged = false;
	int r = map ? file_load(map, &damaged) : -ENOMEM;

	if (r < 0)
		return error_errno(err, -r, "read '%s'", BLOBMAP_FILE);
	return damaged ? error_set(err, -EBADMSG, "it has records that are torn, damaged, or contradict others") : 0;
}
