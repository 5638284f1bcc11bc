/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A batch as one pack and its index, versions 2 of both: gitformat-pack(5). Without deltas: finding
 * them is what makes git's own packer slow, and `git gc` does it at leisure. The index is written from
 * what is known while packing; libgit2's indexer would inflate and hash everything a second time.
 */

#include <endian.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/parallel.h"
#include "store/git/internal.h"

/* The index has 31 bits for an offset (beyond: another table). A batch ends long before. */
#define PACK_OFFSET_MAX 0x7fffffffu

struct pack_entry {
	struct oid oid;
	uint32_t crc, offset;
};

static void put_be32(struct durable *file, uint32_t value)
{
	uint32_t be = htobe32(value);

	durable_write(file, &be, sizeof be);
}

/* Type and size: four bits of size beside the type, then seven a byte, low ones first. */
static void put_object_header(struct durable *file, unsigned type, uint64_t size)
{
	uint8_t bytes[12];
	size_t used = 0;
	uint8_t byte = (uint8_t)((type & 7u) << 4 | (size & 15));

	for (size >>= 4; size > 0; size >>= 7) {
		bytes[used++] = byte | 0x80;
		byte = size & 0x7f;
	}
	bytes[used++] = byte;
	durable_write(file, bytes, used);
}

/* ---- compressing, a stretch of the batch at a time ---- */

/*
 * Objects that are compressed at once, by several threads, while those of the stretch before are written one after another: so
 * two stretches are in memory.
 */
#define STRETCH_OBJECTS 256u
#define STRETCH_BYTES (8u << 20)

struct stretch {
	const struct batch_object *objects; /* borrowed */
	size_t count;
	struct deflated deflated[STRETCH_OBJECTS];
};

static void stretch_free(struct stretch *stretch)
{
	if (!stretch)
		return;
	for (size_t i = 0; i < stretch->count; i++)
		deflated_release(&stretch->deflated[i]);
	free(stretch);
}
DEFINE_CLEANUP(stretch_free, struct stretch *);

/* Of BATCH from FROM on: at least one object, at most as many as fit; none at the end of the batch. */
static struct stretch *stretch_new(const struct batch *batch, size_t from)
{
	struct stretch *stretch = calloc(1, sizeof *stretch);
	size_t bytes = 0;

	if (!stretch)
		return NULL;
	stretch->objects = &batch->objects[from];
	while (stretch->count < STRETCH_OBJECTS && from + stretch->count < batch->count && bytes < STRETCH_BYTES)
		bytes += stretch->objects[stretch->count++].size;
	return stretch;
}

static int stretch_deflate(struct stretch *stretch, size_t index, struct deflater *deflater, struct error *err)
{
	const struct batch_object *object = &stretch->objects[index];
	int rc = deflater_run(deflater, object->data, object->size, &stretch->deflated[index]);

	return rc < 0 ? error_errno(err, -rc, "compress object '%s'", OID_HEX(&object->oid)) : 0;
}

static int pack_fits(struct durable *file, const struct oid *oid, struct error *err)
{
	if (durable_offset(file) <= PACK_OFFSET_MAX)
		return 0;
	return error_set(err, -EFBIG, "object '%s' lies beyond 2 GiB of its pack", OID_HEX(oid));
}

static int pack_object(struct durable *file, const struct batch_object *object, const struct deflated *deflated,
	struct pack_entry *ret, struct error *err)
{
	uint64_t offset = durable_offset(file);
	int rc = pack_fits(file, &object->oid, err);

	if (rc < 0)
		return rc;
	durable_crc_begin(file);
	put_object_header(file, (unsigned)object->type, object->size);
	durable_write(file, deflated->data, deflated->size);
	*ret = (struct pack_entry){ object->oid, durable_crc(file), (uint32_t)offset };
	return 0;
}

/* One stretch is written by one thread while all others compress the next, and that one helps when it is done. */
struct step {
	struct durable *file;
	struct stretch *compressed; /* to be written; NULL in the first step */
	struct pack_entry *entries; /* of its objects */
	struct stretch *next; /* to be compressed; empty in the last step */
	atomic_size_t taken; /* the first piece of work that no thread has taken yet: 0 is the writing */
};

static int step_write(struct step *step, struct error *err)
{
	const struct stretch *stretch = step->compressed;
	int rc = 0;

	for (size_t i = 0; stretch && rc == 0 && i < stretch->count; i++)
		rc = pack_object(step->file, &stretch->objects[i], &stretch->deflated[i], &step->entries[i], err);
	return rc;
}

/* Each thread takes one after another, however long each takes: the range that it is given only says that it is one of them. */
static int step_work(void *arg, size_t from, size_t to, struct error *err)
{
	CLEANUP(deflater_freep) struct deflater *deflater = deflater_new();
	struct step *step = arg;
	int rc = 0;
	size_t i;

	if (!deflater)
		return error_errno(err, ENOMEM, "compress");
	while (rc == 0 && (i = atomic_fetch_add(&step->taken, 1)) <= step->next->count)
		rc = i == 0 ? step_write(step, err) : stretch_deflate(step->next, i - 1, deflater, err);
	return rc;
}

static int pack_objects(struct durable *file, const struct batch *batch, struct pack_entry *entries,
	struct error *err)
{
	CLEANUP(stretch_freep) struct stretch *compressed = NULL;
	size_t at = 0;

	durable_write(file, "PACK", 4);
	put_be32(file, 2);
	put_be32(file, (uint32_t)batch->count);
	do {
		CLEANUP(stretch_freep) struct stretch *next = stretch_new(batch, at);
		size_t before = compressed ? compressed->count : 0;
		struct step step = { file, compressed, &entries[at - before], next, 0 };
		int rc;

		if (!next)
			return error_errno(err, ENOMEM, "pack");
		rc = parallel_run(next->count + 1, 1, step_work, &step, err);
		if (rc < 0)
			return rc;
		at += next->count;
		stretch_free(compressed);
		compressed = TAKE_PTR(next);
	} while (compressed->count > 0);
	return 0;
}

/* ---- the index, and both files ---- */

static int entry_compare(const void *a, const void *b)
{
	const struct pack_entry *first = a, *second = b;

	return memcmp(first->oid.id, second->oid.id, sizeof first->oid.id);
}

static void index_write(struct durable *file, struct pack_entry *entries, size_t count,
	const struct oid *pack_hash)
{
	struct oid hash;
	size_t seen = 0;

	qsort(entries, count, sizeof *entries, entry_compare);
	durable_write(file, "\377tOc", 4);
	put_be32(file, 2);
	for (unsigned first = 0; first < 256; first++) {
		while (seen < count && entries[seen].oid.id[0] <= first)
			seen++;
		put_be32(file, (uint32_t)seen);
	}
	for (size_t i = 0; i < count; i++)
		durable_write(file, entries[i].oid.id, sizeof entries[i].oid.id);
	for (size_t i = 0; i < count; i++)
		put_be32(file, entries[i].crc);
	for (size_t i = 0; i < count; i++)
		put_be32(file, entries[i].offset);
	durable_write(file, pack_hash->id, sizeof pack_hash->id);
	durable_trailer(file, &hash);
}

/* The index comes last: a pack is one to git as soon as its index has a name. */
static int pack_publish(int pack_fd, struct durable *pack, struct durable *index, const struct oid *hash,
	struct error *err)
{
	char name[sizeof "pack-.pack" + OID_HEX_LENGTH];
	int rc;

	snprintf(name, sizeof name, "pack-%s.pack", OID_HEX(hash));
	rc = durable_publish(pack, name);
	if (rc == 0)
		rc = io_sync_dir(pack_fd);
	if (rc < 0)
		return error_errno(err, -rc, "write 'pack/%s'", name);
	snprintf(name, sizeof name, "pack-%s.idx", OID_HEX(hash));
	rc = durable_publish(index, name);
	if (rc == 0)
		rc = io_sync_dir(pack_fd);
	if (rc < 0)
		return error_errno(err, -rc, "write 'pack/%s'", name);
	return 0;
}

/* The directory for packs, and the two files that become one. */
static int pack_begin(int objects_fd, int *ret_fd, struct durable **ret_pack, struct durable **ret_index, struct error *err)
{
	int rc = mkdirat(objects_fd, "pack", 0777) < 0 ? -errno : io_sync_dir(objects_fd);

	if (rc < 0 && rc != -EEXIST)
		return error_errno(err, -rc, "make 'pack'");
	*ret_fd = openat(objects_fd, "pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_fd < 0)
		return error_errno(err, errno, "open 'pack'");
	rc = durable_begin(*ret_fd, ret_pack);
	if (rc == 0)
		rc = durable_begin(*ret_fd, ret_index);
	return rc < 0 ? error_errno(err, -rc, "make a file in 'pack'") : 0;
}

int pack_write(int objects_fd, const struct batch *batch, struct error *err)
{
	cleanup_free struct pack_entry *entries = calloc(batch->count, sizeof *entries);
	CLEANUP(durable_freep) struct durable *pack = NULL;
	CLEANUP(durable_freep) struct durable *index = NULL;
	cleanup_close int fd = -EBADF;
	struct oid hash;
	int rc;

	if (!entries)
		return error_errno(err, ENOMEM, "pack");
	rc = pack_begin(objects_fd, &fd, &pack, &index, err);
	if (rc == 0)
		rc = pack_objects(pack, batch, entries, err);
	if (rc < 0)
		return rc;
	durable_trailer(pack, &hash);
	index_write(index, entries, batch->count, &hash);
	return pack_publish(fd, pack, index, &hash, err);
}

/* ---- one object after another ---- */

struct pack_writer {
	int fd; /* the directory */
	struct durable *pack, *index; /* owned */
	struct pack_entry *entries; /* owned */
	size_t count, expected;
};

void pack_writer_free(struct pack_writer *writer)
{
	if (!writer)
		return;
	durable_free(writer->pack);
	durable_free(writer->index);
	if (writer->fd >= 0)
		close(writer->fd);
	free(writer->entries);
	free(writer);
}

int pack_writer_begin(int objects_fd, size_t count, struct pack_writer **ret, struct error *err)
{
	CLEANUP(pack_writer_freep) struct pack_writer *writer = calloc(1, sizeof *writer);
	int rc;

	if (!writer)
		return error_errno(err, ENOMEM, "pack");
	writer->fd = -EBADF;
	writer->expected = count;
	writer->entries = calloc(count + 1, sizeof *writer->entries);
	if (!writer->entries)
		return error_errno(err, ENOMEM, "pack");
	rc = pack_begin(objects_fd, &writer->fd, &writer->pack, &writer->index, err);
	if (rc < 0)
		return rc;
	durable_write(writer->pack, "PACK", 4);
	put_be32(writer->pack, 2);
	put_be32(writer->pack, (uint32_t)count);
	*ret = TAKE_PTR(writer);
	return 0;
}

static int writer_add(struct pack_writer *writer, const struct oid *oid, struct error *err)
{
	int rc = pack_fits(writer->pack, oid, err);

	if (rc < 0)
		return rc;
	if (writer->count == writer->expected)
		return error_set(err, -EINVAL, "more than %zu objects in a pack that was to have no more", writer->expected);
	writer->entries[writer->count++] = (struct pack_entry){ .oid = *oid, .offset = (uint32_t)durable_offset(writer->pack) };
	durable_crc_begin(writer->pack);
	return 0;
}

int pack_writer_put(struct pack_writer *writer, const struct oid *oid, unsigned type, uint64_t size, const void *deflated,
	size_t deflated_size, struct error *err)
{
	int rc = writer_add(writer, oid, err);

	if (rc < 0)
		return rc;
	put_object_header(writer->pack, type, size);
	durable_write(writer->pack, deflated, deflated_size);
	writer->entries[writer->count - 1].crc = durable_crc(writer->pack);
	return 0;
}

/* Seven bits a byte, the first one the highest, each but the last one less by one than it counts. */
static void put_distance(struct durable *file, uint64_t distance)
{
	uint8_t bytes[10];
	size_t at = sizeof bytes;

	bytes[--at] = distance & 0x7f;
	while (distance >>= 7)
		bytes[--at] = 0x80 | (--distance & 0x7f);
	durable_write(file, bytes + at, sizeof bytes - at);
}

int pack_writer_put_delta(struct pack_writer *writer, const struct oid *oid, uint64_t base_offset, uint64_t size,
	const void *deflated, size_t deflated_size, struct error *err)
{
	uint64_t offset = durable_offset(writer->pack);
	int rc = writer_add(writer, oid, err);

	if (rc < 0)
		return rc;
	put_object_header(writer->pack, PACK_OFFSET_DELTA, size);
	put_distance(writer->pack, offset - base_offset);
	durable_write(writer->pack, deflated, deflated_size);
	writer->entries[writer->count - 1].crc = durable_crc(writer->pack);
	return 0;
}

uint64_t pack_writer_offset(const struct pack_writer *writer)
{
	return durable_offset(writer->pack);
}

int pack_writer_commit(struct pack_writer *writer, struct oid *ret, struct error *err)
{
	if (writer->count != writer->expected)
		return error_set(err, -EINVAL, "%zu objects in a pack that was to have %zu", writer->count, writer->expected);
	durable_trailer(writer->pack, ret);
	index_write(writer->index, writer->entries, writer->count, ret);
	return pack_publish(writer->fd, writer->pack, writer->index, ret, err);
}
