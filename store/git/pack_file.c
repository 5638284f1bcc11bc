/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/pack_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define PACK_HEADER_BYTES 12u
#define HASH_BYTES 20u
#define TYPE_OFFSET_DELTA 6u
#define TYPE_REFERENCE_DELTA 7u
#define INDEX_HEADER_BYTES (8u + 256u * 4u)

static uint32_t be32_at(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof value);
	return be32toh(value);
}

void pack_file_free(struct pack_file *pack)
{
	if (!pack)
		return;
	if (pack->fd >= 0)
		close(pack->fd);
	free(pack->items);
	free(pack->by_offset);
	free(pack);
}

void pack_entry_raw_release(struct pack_entry_raw *entry)
{
	free(entry->bytes);
	*entry = (struct pack_entry_raw){ .bytes = NULL };
}

/* ---- the order of offsets ---- */

static int compare_offsets(const void *a, const void *b, void *arg)
{
	const struct pack_item *items = arg;
	uint64_t first = items[*(const uint32_t *)a].offset, second = items[*(const uint32_t *)b].offset;

	return first < second ? -1 : first > second;
}

static int order_offsets(struct pack_file *pack)
{
	uint32_t *order = calloc((size_t)pack->count + 1, sizeof *order);

	if (!order)
		return -ENOMEM;
	for (uint32_t i = 0; i < pack->count; i++)
		order[i] = i;
	qsort_r(order, pack->count, sizeof *order, compare_offsets, pack->items);
	free(pack->by_offset);
	pack->by_offset = order;
	return 0;
}

/* Each entry ends where the next one begins. */
static void set_ends(struct pack_file *pack)
{
	for (uint32_t i = 0; i < pack->count; i++)
		pack->items[pack->by_offset[i]].end =
			i + 1 < pack->count ? pack->items[pack->by_offset[i + 1]].offset : pack->size - HASH_BYTES;
}

/* The item that begins at OFFSET. */
static bool find_offset(const struct pack_file *pack, uint64_t offset, uint32_t *ret)
{
	uint32_t low = 0, high = pack->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint64_t at = pack->items[pack->by_offset[middle]].offset;

		if (at == offset) {
			*ret = pack->by_offset[middle];
			return true;
		}
		if (at < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool pack_file_find(const struct pack_file *pack, const struct oid *oid, uint32_t *ret)
{
	uint32_t low = 0, high = pack->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = memcmp(pack->items[middle].oid.id, oid->id, sizeof oid->id);

		if (order == 0) {
			*ret = middle;
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

uint64_t pack_file_bytes(const struct pack_file *pack, uint32_t number)
{
	return pack->items[number].end - pack->items[number].offset;
}

/* ---- opening ---- */

static int open_pack(int pack_fd, const char *stem, struct pack_file **ret, struct error *err)
{
	CLEANUP(pack_file_freep) struct pack_file *pack = calloc(1, sizeof *pack);
	char name[PACK_STEM_MAX + sizeof ".pack"];
	uint8_t header[PACK_HEADER_BYTES];
	struct stat st;
	ssize_t got;

	if (!pack)
		return error_errno(err, ENOMEM, "pack '%s'", stem);
	snprintf(pack->stem, sizeof pack->stem, "%s", stem);
	snprintf(name, sizeof name, "%s.pack", stem);
	pack->fd = openat(pack_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (pack->fd < 0 || fstat(pack->fd, &st) < 0)
		return error_errno(err, errno, "open '%s'", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EBADMSG, "'%s' is no regular file", name);
	pack->size = (uint64_t)st.st_size;
	pack->changed_s = st.st_mtime;
	got = io_pread(pack->fd, header, sizeof header, 0);
	if (got < 0)
		return error_errno(err, (int)-got, "read '%s'", name);
	if (pack->size < PACK_HEADER_BYTES + HASH_BYTES || memcmp(header, "PACK", 4) != 0 || be32_at(header + 4) != 2)
		return error_set(err, -EBADMSG, "'%s' does not begin as a pack of version 2", name);
	pack->count = be32_at(header + 8);
	if (pack->count > PACK_ENTRIES_MAX)
		return error_set(err, -EBADMSG, "'%s' says that it has %u objects, more than the %u allowed", name, pack->count,
			PACK_ENTRIES_MAX);
	*ret = TAKE_PTR(pack);
	return 0;
}

/* Is INDEX, LEN bytes, one of version 2 for COUNT objects, whole? Offsets beyond 2 GiB have a table of their own at its end. */
static int check_index(const struct pack_file *pack, const uint8_t *index, size_t len, size_t *ret_large)
{
	const size_t each = HASH_BYTES + 4 + 4, fixed = INDEX_HEADER_BYTES + 2 * HASH_BYTES;
	struct oid hash;

	if (len < fixed || memcmp(index, "\377tOc\0\0\0\2", 8) != 0 || be32_at(index + 8 + 255 * 4) != pack->count)
		return -EBADMSG;
	if ((len - fixed) / each < pack->count || (len - fixed - pack->count * each) % 8 != 0)
		return -EBADMSG;
	*ret_large = (len - fixed - pack->count * each) / 8;
	hash = raw_sha1(index, len - HASH_BYTES);
	return memcmp(hash.id, index + len - HASH_BYTES, HASH_BYTES) == 0 ? 0 : -EBADMSG;
}

static int read_items(struct pack_file *pack, const uint8_t *index, size_t large)
{
	const uint8_t *ids = index + INDEX_HEADER_BYTES, *crcs = ids + (size_t)pack->count * HASH_BYTES;
	const uint8_t *offsets = crcs + (size_t)pack->count * 4, *wide = offsets + (size_t)pack->count * 4;

	pack->items = calloc((size_t)pack->count + 1, sizeof *pack->items);
	if (!pack->items)
		return -ENOMEM;
	for (uint32_t i = 0; i < pack->count; i++) {
		struct pack_item *item = &pack->items[i];
		uint32_t offset = be32_at(offsets + (size_t)i * 4);

		memcpy(item->oid.id, ids + (size_t)i * HASH_BYTES, HASH_BYTES);
		item->crc = be32_at(crcs + (size_t)i * 4);
		item->offset = offset;
		if (offset & 0x80000000u) {
			const uint8_t *at = wide + (size_t)(offset & 0x7fffffffu) * 8;

			if ((offset & 0x7fffffffu) >= large)
				return -EBADMSG;
			item->offset = (uint64_t)be32_at(at) << 32 | be32_at(at + 4);
		}
		if (item->offset < PACK_HEADER_BYTES || item->offset >= pack->size - HASH_BYTES)
			return -EBADMSG;
		if (i > 0 && memcmp(item[-1].oid.id, item->oid.id, HASH_BYTES) >= 0)
			return -EBADMSG;
	}
	if (order_offsets(pack) < 0)
		return -ENOMEM;
	set_ends(pack);
	return 0;
}

int pack_file_open(int pack_fd, const char *stem, struct pack_file **ret, struct error *err)
{
	CLEANUP(pack_file_freep) struct pack_file *pack = NULL;
	cleanup_strbuf struct strbuf index = STRBUF_INIT;
	char name[PACK_STEM_MAX + sizeof ".pack"];
	uint8_t trailer[HASH_BYTES];
	size_t large = 0;
	int r = open_pack(pack_fd, stem, &pack, err);

	if (r < 0)
		return r;
	snprintf(name, sizeof name, "%s.idx", stem);
	r = io_read_file_at(pack_fd, name, (size_t)PACK_ENTRIES_MAX * 36 + 4096, &index, err);
	if (r < 0)
		return r;
	r = check_index(pack, (const uint8_t *)index.buf, index.len, &large);
	if (r == 0)
		r = read_items(pack, (const uint8_t *)index.buf, large);
	if (r < 0)
		return error_set(err, r, "'%s' is damaged, or no index of version 2 of its pack", name);
	if (io_pread(pack->fd, trailer, HASH_BYTES, pack->size - HASH_BYTES) != HASH_BYTES ||
		memcmp(trailer, index.buf + index.len - 2 * HASH_BYTES, HASH_BYTES) != 0)
		return error_set(err, -EBADMSG, "'%s.pack' does not end with the hash that its index has: it was cut short or altered", stem);
	*ret = TAKE_PTR(pack);
	return 0;
}

/* ---- entries ---- */

/* Type, and size: four bits beside the type, then seven a byte. Bytes used; 0: malformed. */
static size_t parse_size(const uint8_t *bytes, size_t len, uint8_t *ret_type, uint64_t *ret_size)
{
	size_t used = 1;
	unsigned shift = 4;

	*ret_type = bytes[0] >> 4 & 7;
	*ret_size = bytes[0] & 15;
	while (bytes[used - 1] & 0x80) {
		if (used == len || shift > 57)
			return 0;
		*ret_size |= (uint64_t)(bytes[used++] & 0x7f) << shift;
		shift += 7;
	}
	return used;
}

/* How far back a delta's base is: seven bits a byte, each but the last one counted from one. */
static size_t parse_back(const uint8_t *bytes, size_t len, uint64_t *ret)
{
	size_t used = 0;
	uint64_t value;

	if (len == 0)
		return 0;
	value = bytes[used] & 0x7f;
	while (bytes[used++] & 0x80) {
		if (used == len || value > UINT64_MAX >> 8)
			return 0;
		value = ((value + 1) << 7) | (bytes[used] & 0x7f);
	}
	*ret = value;
	return used;
}

static int parse_base(const struct pack_file *pack, uint64_t offset, struct pack_entry_raw *entry)
{
	const uint8_t *at = entry->bytes + entry->header;
	size_t left = entry->length - entry->header, used;
	uint64_t back;
	struct oid base;

	if (entry->type == TYPE_REFERENCE_DELTA) {
		if (left < HASH_BYTES)
			return -EBADMSG;
		memcpy(base.id, at, HASH_BYTES);
		entry->header += HASH_BYTES;
		return pack_file_find(pack, &base, &entry->base) ? 0 : -EBADMSG;
	}
	used = parse_back(at, left, &back);
	entry->header += used;
	return used > 0 && back > 0 && back < offset && find_offset(pack, offset - back, &entry->base) ? 0 : -EBADMSG;
}

static int parse_entry(const struct pack_file *pack, uint64_t offset, struct pack_entry_raw *entry)
{
	entry->header = parse_size(entry->bytes, entry->length, &entry->type, &entry->size);
	if (entry->header == 0 || entry->type == 0 || entry->type == 5)
		return -EBADMSG;
	entry->is_delta = entry->type == TYPE_OFFSET_DELTA || entry->type == TYPE_REFERENCE_DELTA;
	return entry->is_delta ? parse_base(pack, offset, entry) : 0;
}

int pack_file_entry(const struct pack_file *pack, uint32_t number, bool check, struct pack_entry_raw *ret)
{
	cleanup_pack_entry_raw struct pack_entry_raw entry = { .length = (size_t)pack_file_bytes(pack, number) };
	uint64_t offset = pack->items[number].offset;
	ssize_t got;
	int r;

	entry.bytes = malloc(entry.length ? entry.length : 1);
	if (!entry.bytes)
		return -ENOMEM;
	got = io_pread(pack->fd, entry.bytes, entry.length, offset);
	if (got < 0)
		return (int)got;
	if ((size_t)got < entry.length || entry.length == 0)
		return -EBADMSG;
	if (check && libdeflate_crc32(libdeflate_crc32(0, NULL, 0), entry.bytes, entry.length) != pack->items[number].crc)
		return -EBADMSG;
	r = parse_entry(pack, offset, &entry);
	if (r < 0)
		return r;
	*ret = entry;
	entry.bytes = NULL;
	return 0;
}

/* ---- objects ---- */

static int entry_inflate(const struct pack_entry_raw *entry, uint64_t limit, uint8_t **ret)
{
	size_t len = entry->length - entry->header;
	cleanup_free uint8_t *out = NULL;
	int r;

	if (entry->size / RAW_RATIO_MAX > len)
		return -EBADMSG;
	if (entry->size > limit)
		return -E2BIG;
	out = malloc(entry->size ? entry->size : 1);
	if (!out)
		return -ENOMEM;
	r = raw_inflate(entry->bytes + entry->header, len, out, entry->size, NULL);
	if (r == 0)
		*ret = TAKE_PTR(out);
	return r;
}

static bool delta_number(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
	unsigned shift = 0;
	uint8_t byte;

	*ret = 0;
	do {
		if (*at == end || shift > 56)
			return false;
		byte = *(*at)++;
		*ret |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return true;
}

/* One "copy from the base": which of the seven bytes follow is told by the bits of OPCODE. */
static bool delta_copy(uint8_t opcode, const uint8_t **at, const uint8_t *end, uint64_t *ret_offset, uint64_t *ret_size)
{
	uint32_t fields[7] = { 0 };

	for (unsigned i = 0; i < 7; i++) {
		if (!(opcode >> i & 1))
			continue;
		if (*at == end)
			return false;
		fields[i] = *(*at)++;
	}
	*ret_offset = fields[0] | fields[1] << 8 | fields[2] << 16 | fields[3] << 24;
	*ret_size = fields[4] | fields[5] << 8 | fields[6] << 16;
	if (*ret_size == 0)
		*ret_size = 0x10000;
	return true;
}

/* OBJECT becomes what DELTA makes of it. */
static int delta_apply(struct raw_object *object, const uint8_t *delta, size_t delta_size, uint64_t limit)
{
	const uint8_t *at = delta, *end = delta + delta_size;
	uint64_t base_size, size, done = 0;
	cleanup_free uint8_t *out = NULL;

	if (!delta_number(&at, end, &base_size) || !delta_number(&at, end, &size) || base_size != object->size)
		return -EBADMSG;
	if (size > limit)
		return -E2BIG;
	out = malloc(size ? size : 1);
	if (!out)
		return -ENOMEM;
	while (at < end) {
		uint8_t opcode = *at++;
		const uint8_t *from = at;
		uint64_t offset = 0, part = opcode;

		if (opcode & 0x80) {
			if (!delta_copy(opcode, &at, end, &offset, &part) || offset > object->size || part > object->size - offset)
				return -EBADMSG;
			from = object->data + offset;
		} else if (opcode == 0 || part > (size_t)(end - at)) {
			return -EBADMSG;
		} else {
			at += part;
		}
		if (part > size - done)
			return -EBADMSG;
		memcpy(out + done, from, part);
		done += part;
	}
	if (done != size)
		return -EBADMSG;
	free(object->memory);
	object->memory = TAKE_PTR(out);
	object->data = object->memory;
	object->size = size;
	return 0;
}

struct chain {
	uint32_t *numbers; /* owned: from the object wanted down to what is no delta */
	size_t count, alloc;
};

static void chain_release(struct chain *chain)
{
	free(chain->numbers);
}

static int chain_add(struct chain *chain, uint32_t number)
{
	if (chain->count == PACK_DELTA_DEPTH_MAX)
		return -EBADMSG; /* or they go in a circle */
	if (chain->count == chain->alloc) {
		size_t alloc = chain->alloc ? chain->alloc * 2 : 16;
		uint32_t *numbers = reallocarray(chain->numbers, alloc, sizeof *numbers);

		if (!numbers)
			return -ENOMEM;
		chain->numbers = numbers;
		chain->alloc = alloc;
	}
	chain->numbers[chain->count++] = number;
	return 0;
}

/* The whole object at the bottom of the chain of deltas from NUMBER, which are noted. */
static int read_bottom(const struct pack_file *pack, uint32_t number, uint64_t limit, struct chain *chain,
	struct raw_object *object)
{
	for (;;) {
		cleanup_pack_entry_raw struct pack_entry_raw entry = { .bytes = NULL };
		uint8_t *data = NULL;
		int r = pack_file_entry(pack, number, false, &entry);

		if (r == 0 && entry.is_delta)
			r = chain_add(chain, number);
		if (r < 0)
			return r;
		if (entry.is_delta) {
			number = entry.base;
			continue;
		}
		r = entry_inflate(&entry, limit, &data);
		if (r == 0)
			*object = (struct raw_object){ (enum raw_kind)entry.type, data, data, entry.size };
		return r;
	}
}

int pack_file_read(const struct pack_file *pack, uint32_t number, uint64_t limit, struct raw_object *ret)
{
	CLEANUP(chain_release) struct chain chain = { NULL, 0, 0 };
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	int r = read_bottom(pack, number, limit, &chain, &object);

	while (r == 0 && chain.count > 0) {
		cleanup_pack_entry_raw struct pack_entry_raw entry = { .bytes = NULL };
		cleanup_free uint8_t *delta = NULL;

		r = pack_file_entry(pack, chain.numbers[--chain.count], false, &entry);
		if (r == 0)
			r = entry_inflate(&entry, limit, &delta);
		if (r == 0)
			r = delta_apply(&object, delta, entry.size, limit);
	}
	if (r < 0)
		return r;
	*ret = object;
	object = (struct raw_object)RAW_OBJECT_INIT;
	return 0;
}

/* ---- without an index ---- */

/* Bytes of the entry at OFFSET, found by inflating it; -EBADMSG. */
static int measure_entry(const struct pack_file *pack, uint64_t offset, uint64_t *ret)
{
	cleanup_free uint8_t *bytes = NULL, *out = NULL;
	struct pack_entry_raw entry = { .length = 0 };
	uint64_t back, left = pack->size - HASH_BYTES - offset;
	size_t length = 0, used;
	uint8_t head[PACK_ENTRY_HEADER_MAX];
	ssize_t got = io_pread(pack->fd, head, left < sizeof head ? left : sizeof head, offset);
	int r;

	if (got <= 0)
		return got < 0 ? (int)got : -EBADMSG;
	entry.header = parse_size(head, (size_t)got, &entry.type, &entry.size);
	if (entry.header == 0 || entry.type == 0 || entry.type == 5)
		return -EBADMSG;
	if (entry.type == TYPE_REFERENCE_DELTA)
		entry.header += HASH_BYTES;
	if (entry.type == TYPE_OFFSET_DELTA) {
		used = parse_back(head + entry.header, (size_t)got - entry.header, &back);
		if (used == 0)
			return -EBADMSG;
		entry.header += used;
	}
	/* What is stored and not compressed has five bytes more for each 65,535. */
	length = entry.size / 8 + entry.size + 4096;
	if (entry.header >= left || entry.size / RAW_RATIO_MAX > left)
		return -EBADMSG;
	if (length > left - entry.header)
		length = (size_t)(left - entry.header);
	bytes = malloc(length);
	out = malloc(entry.size ? entry.size : 1);
	if (!bytes || !out)
		return -ENOMEM;
	got = io_pread(pack->fd, bytes, length, offset + entry.header);
	r = got < 0 ? (int)got : raw_inflate(bytes, (size_t)got, out, entry.size, &used);
	if (r == 0)
		*ret = entry.header + used;
	return r;
}

/* Where each entry lies, up to the first that cannot be inflated. */
static int scan_offsets(struct pack_file *pack)
{
	uint64_t offset = PACK_HEADER_BYTES, length;
	uint32_t found = 0, alloc = 0;

	for (; found < pack->count && offset < pack->size - HASH_BYTES; found++) {
		int r = measure_entry(pack, offset, &length);

		if (r == -ENOMEM)
			return r;
		if (r < 0)
			break;
		if (found == alloc) {
			struct pack_item *items = reallocarray(pack->items, alloc ? alloc * 2 : 256, sizeof *items);

			if (!items)
				return -ENOMEM;
			pack->items = items;
			alloc = alloc ? alloc * 2 : 256;
		}
		pack->items[found] = (struct pack_item){ .offset = offset, .end = offset + length };
		offset += length;
	}
	pack->count = found;
	return order_offsets(pack);
}

static int compare_items(const void *a, const void *b)
{
	const struct pack_item *first = a, *second = b;
	int order = memcmp(first->oid.id, second->oid.id, sizeof first->oid.id);

	return order ? order : (first->offset > second->offset) - (first->offset < second->offset);
}

static bool scan_name(const struct pack_file *pack, struct pack_item *item, uint32_t number)
{
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;

	if (pack_file_read(pack, number, SIZE_MAX / 2, &object) < 0)
		return false;
	item->oid = raw_object_id(object.kind, object.data, object.size);
	return true;
}

static int scan_names(struct pack_file *pack)
{
	struct pack_item *named = calloc((size_t)pack->count + 1, sizeof *named);
	uint32_t count = 0;

	if (!named)
		return -ENOMEM;
	for (uint32_t i = 0; i < pack->count; i++) {
		named[count] = pack->items[i];
		count += scan_name(pack, &named[count], i);
	}
	free(pack->items);
	pack->items = named;
	pack->count = count;
	qsort(named, count, sizeof *named, compare_items);
	return order_offsets(pack);
}

int pack_file_scan(int pack_fd, const char *stem, struct pack_file **ret, struct error *err)
{
	CLEANUP(pack_file_freep) struct pack_file *pack = NULL;
	int r = open_pack(pack_fd, stem, &pack, err);

	if (r < 0)
		return r;
	r = scan_offsets(pack);
	if (r == 0)
		r = scan_names(pack);
	if (r < 0)
		return error_errno(err, -r, "read '%s.pack' without its index", stem);
	*ret = TAKE_PTR(pack);
	return 0;
}
