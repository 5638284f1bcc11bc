/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/repack.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/parallel.h"
#include "store/base/tree_remove.h"
#include "store/git/internal.h"
#include "store/git/repack_internal.h"

/* What is worth a new pack: so many loose objects, more packs than so many. Each look-up goes through all packs. */
#define LOOSE_WORTH 100u
#define PACKS_WORTH 10u
/* A new pack is planned to end there: deltas whose base is in another one are written whole, and that is not known before. */
#define PACK_PLANNED_BYTES (1ull << 30)
#define PROGRESS_EVERY 256u

void repack_release(struct repack *repack)
{
	free(repack->packs);
	free(repack->loose);
	oid_set_release(&repack->dropped);
	free(repack->written);
	*repack = (struct repack){ .dropped = OID_SET_INIT };
}

/* ---- the plan ---- */

/* What a pack has that can be reached, and what not. */
struct pack_facts {
	size_t index;
	uint64_t size;
	uint32_t unreachable, young; /* of those that cannot be reached: named by what is young */
	bool old, usable;
};

static bool is_old(const struct repack *repack, int64_t changed_s)
{
	return changed_s < repack->options.older_than_s;
}

static bool young_has(const struct repack *repack, const struct oid *oid)
{
	return repack->options.young && reach_has(repack->options.young, oid);
}

static void look_at_pack(const struct repack *repack, size_t index, struct pack_facts *ret)
{
	const struct inventory_pack *pack = &repack->inventory->packs[index];

	*ret = (struct pack_facts){ .index = index, .size = pack->size, .old = is_old(repack, pack->changed_s) };
	for (uint32_t i = 0; i < pack->file->count; i++) {
		const struct oid *oid = &pack->file->items[i].oid;

		if (reach_has(repack->reach, oid))
			continue;
		ret->unreachable++;
		ret->young += young_has(repack, oid);
	}
	/* A young one may hold what somebody is about to name: it is touched only where all of it is kept. */
	ret->usable = !pack->kept && (ret->unreachable == 0 || (ret->old && ret->young == 0 && !repack->options.keep_unreachable));
}

static int compare_sizes(const void *a, const void *b)
{
	const struct pack_facts *first = a, *second = b;

	return first->size > second->size ? -1 : first->size < second->size;
}

static void choose_pack(struct repack *repack, const struct pack_facts *facts)
{
	repack->pack_count += !repack->packs[facts->index];
	repack->packs[facts->index] = true;
}

/*
 * Too many packs: all that are not larger than everything smaller together. So each object is copied a few times in the life of a store,
 * however often this runs (the idea is that of `git repack --geometric`).
 */
static void choose_many(struct repack *repack, struct pack_facts *facts, size_t count, uint64_t loose_bytes)
{
	uint64_t smaller = loose_bytes;
	size_t first = 0;

	qsort(facts, count, sizeof *facts, compare_sizes);
	for (size_t i = 0; i < count; i++)
		smaller += facts[i].usable ? facts[i].size : 0;
	for (; first < count; first++) {
		if (!facts[first].usable)
			continue;
		smaller -= facts[first].size;
		if (facts[first].size <= smaller)
			break;
	}
	for (size_t i = first; i < count; i++)
		if (facts[i].usable)
			choose_pack(repack, &facts[i]);
}

static size_t plan_loose(struct repack *repack, uint64_t *ret_bytes)
{
	const struct inventory *inventory = repack->inventory;
	size_t packable = 0;

	*ret_bytes = 0;
	for (size_t i = 0; i < inventory->loose.count; i++) {
		if (reach_has(repack->reach, &inventory->loose.ids[i])) {
			packable++;
			*ret_bytes += inventory->loose_facts[i].size;
		} else if (is_old(repack, inventory->loose_facts[i].changed_s) && !repack->options.keep_unreachable &&
			!young_has(repack, &inventory->loose.ids[i])) {
			repack->loose[i] = REPACK_DROPPED;
			repack->loose_dropped++;
		}
	}
	return packable;
}

static void take_loose(struct repack *repack)
{
	for (size_t i = 0; i < repack->inventory->loose.count; i++) {
		if (!reach_has(repack->reach, &repack->inventory->loose.ids[i]))
			continue;
		repack->loose[i] = REPACK_PACKED;
		repack->loose_packed++;
	}
}

static void plan_packs(struct repack *repack, struct pack_facts *facts, size_t packable, uint64_t loose_bytes)
{
	size_t count = repack->inventory->pack_count, usable = 0;

	for (size_t i = 0; i < count; i++) {
		look_at_pack(repack, i, &facts[i]);
		usable += facts[i].usable;
		if (facts[i].usable && facts[i].unreachable > 0)
			choose_pack(repack, &facts[i]);
	}
	if (usable > PACKS_WORTH)
		choose_many(repack, facts, count, loose_bytes);
	if (repack->pack_count > 0 || packable >= LOOSE_WORTH)
		take_loose(repack);
}

/* What will be nowhere any more. */
static int note_dropped(struct repack *repack)
{
	const struct inventory *inventory = repack->inventory;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < inventory->loose.count; i++)
		if (repack->loose[i] == REPACK_DROPPED)
			r = oid_set_add(&repack->dropped, &inventory->loose.ids[i], NULL);
	for (size_t i = 0; i < inventory->pack_count; i++) {
		const struct pack_file *file = inventory->packs[i].file;

		for (uint32_t n = 0; r >= 0 && repack->packs[i] && n < file->count; n++)
			if (!reach_has(repack->reach, &file->items[n].oid))
				r = oid_set_add(&repack->dropped, &file->items[n].oid, NULL);
	}
	return r < 0 ? r : 0;
}

static void count_bytes(struct repack *repack)
{
	const struct inventory *inventory = repack->inventory;

	for (size_t i = 0; i < inventory->pack_count; i++)
		repack->bytes_before += repack->packs[i] ? inventory->packs[i].size : 0;
	for (size_t i = 0; i < inventory->loose.count; i++)
		repack->bytes_before += repack->loose[i] != REPACK_STAYS ? inventory->loose_facts[i].size : 0;
}

int repack_plan(const struct inventory *inventory, const struct reach *reach, const struct repack_options *options,
	struct repack *ret, struct error *err)
{
	cleanup_repack struct repack repack = { .inventory = inventory, .reach = reach, .options = *options, .dropped = OID_SET_INIT };
	cleanup_free struct pack_facts *facts = calloc(inventory->pack_count + 1, sizeof *facts);
	uint64_t loose_bytes;
	size_t packable;

	for (size_t i = 0; i < inventory->pack_count; i++)
		if (inventory->packs[i].problem)
			return error_set(err, -EBADMSG, "%s: run 'veneer fsck --repair' first", inventory->packs[i].problem);
	repack.packs = calloc(inventory->pack_count + 1, sizeof *repack.packs);
	repack.loose = calloc(inventory->loose.count + 1, sizeof *repack.loose);
	if (!facts || !repack.packs || !repack.loose)
		return error_errno(err, ENOMEM, "plan what is packed");
	packable = plan_loose(&repack, &loose_bytes);
	plan_packs(&repack, facts, packable, loose_bytes);
	if (note_dropped(&repack) < 0)
		return error_errno(err, ENOMEM, "plan what is packed");
	count_bytes(&repack);
	*ret = repack;
	repack = (struct repack){ .dropped = OID_SET_INIT };
	return 0;
}

bool repack_is_nothing(const struct repack *repack)
{
	return repack->pack_count == 0 && repack->loose_packed == 0 && repack->loose_dropped == 0;
}

/* ---- what is written ---- */

/* An object that goes into a new pack, and the copy that it is taken from. */
struct source {
	size_t copy;
	uint64_t offset; /* in its new pack; 0: not written yet */
	unsigned output; /* which of the new packs */
};

struct writing {
	struct repack *repack;
	struct oid_set ids;
	struct source *sources; /* owned; of each of IDS */
	size_t alloc;
	uint64_t planned; /* bytes of the output at hand */
	unsigned outputs;
	struct deflater *deflater; /* owned */
};

static void writing_release(struct writing *writing)
{
	oid_set_release(&writing->ids);
	free(writing->sources);
	deflater_freep(&writing->deflater);
}

static int schedule(struct writing *writing, size_t copy, uint64_t bytes)
{
	struct oid oid = inventory_copy_at(writing->repack->inventory, copy).oid;
	int r = oid_set_add(&writing->ids, &oid, NULL);

	if (r <= 0)
		return r;
	if (writing->ids.count > writing->alloc) {
		struct source *sources = reallocarray(writing->sources, writing->ids.alloc, sizeof *sources);

		if (!sources)
			return -ENOMEM;
		writing->sources = sources;
		writing->alloc = writing->ids.alloc;
	}
	if (writing->outputs == 0 || writing->planned + bytes > PACK_PLANNED_BYTES) {
		writing->outputs++;
		writing->planned = 0;
	}
	writing->planned += bytes;
	writing->sources[writing->ids.count - 1] = (struct source){ .copy = copy, .output = writing->outputs - 1 };
	return 0;
}

/* In the order of offsets: so the base of a delta is written before it. */
static int schedule_all(struct writing *writing)
{
	const struct repack *repack = writing->repack;
	const struct inventory *inventory = repack->inventory;
	size_t loose = inventory->copies - inventory->loose.count;
	int r = 0;

	for (size_t i = 0; i < inventory->pack_count; i++) {
		const struct pack_file *file = inventory->packs[i].file;

		for (uint32_t n = 0; r == 0 && repack->packs[i] && n < file->count; n++) {
			uint32_t number = file->by_offset[n];

			if (reach_has(repack->reach, &file->items[number].oid))
				r = schedule(writing, inventory->packs[i].first + number, pack_file_bytes(file, number));
		}
	}
	for (size_t i = 0; r == 0 && i < inventory->loose.count; i++)
		if (repack->loose[i] == REPACK_PACKED)
			r = schedule(writing, loose + i, inventory->loose_facts[i].size);
	return r;
}

static int damaged(const struct oid *oid, int rc, struct error *err)
{
	if (rc == -EBADMSG || rc == -EIO)
		return error_set(err, -EBADMSG, "object '%s' is damaged: run 'veneer fsck --repair' first; nothing was removed", OID_HEX(oid));
	return error_errno(err, -rc, "copy object '%s'", OID_HEX(oid));
}

/* Read, and compressed once more. */
static int put_whole(struct writing *writing, struct pack_writer *writer, size_t number, struct error *err)
{
	CLEANUP(deflated_release) struct deflated deflated = { NULL, 0 };
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	const struct oid *oid = &writing->ids.ids[number];
	int rc = inventory_read_copy(writing->repack->inventory, writing->sources[number].copy, SIZE_MAX / 2, &object);

	if (rc == 0)
		rc = deflater_run(writing->deflater, object.data, object.size, &deflated);
	return rc < 0 ? damaged(oid, rc, err) :
			pack_writer_put(writer, oid, object.kind, object.size, deflated.data, deflated.size, err);
}

/* The offset in the new pack at hand of what a delta is over; 0: it is not there. */
static uint64_t base_offset(const struct writing *writing, const struct inventory_pack *pack, const struct pack_entry_raw *entry,
	unsigned output)
{
	size_t number;

	if (!oid_set_find(&writing->ids, &pack->file->items[entry->base].oid, &number) || writing->sources[number].output != output)
		return 0;
	return writing->sources[number].offset;
}

/* As it lies there: neither inflated nor compressed. */
static int put_packed(struct writing *writing, struct pack_writer *writer, size_t number, const struct inventory_copy *at,
	struct error *err)
{
	cleanup_pack_entry_raw struct pack_entry_raw entry = { .bytes = NULL };
	const struct source *source = &writing->sources[number];
	uint64_t base = 0;
	int rc = pack_file_entry(at->pack->file, at->number, true, &entry);

	if (rc < 0)
		return damaged(&at->oid, rc, err);
	if (!entry.is_delta)
		return pack_writer_put(writer, &at->oid, entry.type, entry.size, entry.bytes + entry.header, entry.length - entry.header, err);
	base = base_offset(writing, at->pack, &entry, source->output);
	if (base == 0)
		return put_whole(writing, writer, number, err);
	return pack_writer_put_delta(writer, &at->oid, base, entry.size, entry.bytes + entry.header, entry.length - entry.header, err);
}

static int put_object(struct writing *writing, struct pack_writer *writer, size_t number, struct error *err)
{
	struct inventory_copy at = inventory_copy_at(writing->repack->inventory, writing->sources[number].copy);
	uint64_t offset = pack_writer_offset(writer);
	int rc = at.pack ? put_packed(writing, writer, number, &at, err) : put_whole(writing, writer, number, err);

	writing->sources[number].offset = offset;
	return rc;
}

/* ---- read back ---- */

struct check {
	const struct pack_file *file;
};

static int check_item(void *arg, size_t index, struct error *err)
{
	const struct check *check = arg;
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	const struct oid *oid = &check->file->items[index].oid;
	struct oid is;
	int rc = pack_file_read(check->file, (uint32_t)index, SIZE_MAX / 2, &object);

	if (rc < 0)
		return damaged(oid, rc, err);
	is = raw_object_id(object.kind, object.data, object.size);
	return oid_equal(&is, oid) ? 0 : damaged(oid, -EBADMSG, err);
}

static int check_pack(const struct writing *writing, unsigned output, const char *stem, struct error *err)
{
	const struct inventory *inventory = writing->repack->inventory;
	CLEANUP(pack_file_freep) struct pack_file *file = NULL;
	cleanup_close int pack_fd = openat(inventory->objects_fd, "pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct parallel parallel;
	struct check check;
	uint32_t number;
	int rc = pack_fd < 0 ? error_errno(err, errno, "open 'pack'") : pack_file_open(pack_fd, stem, &file, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < writing->ids.count; i++)
		if (writing->sources[i].output == output && !pack_file_find(file, &writing->ids.ids[i], &number))
			return damaged(&writing->ids.ids[i], -EBADMSG, err);
	check.file = file;
	parallel_begin(&parallel, file->count, check_item, &check);
	rc = parallel_end(&parallel, err);
	writing->repack->bytes_after += file->size;
	return rc;
}

/* Where it is one of the packs that were there, nothing is taken away of it. */
static bool was_there(const struct inventory *inventory, const char *stem)
{
	for (size_t i = 0; i < inventory->pack_count; i++)
		if (strcmp(inventory->packs[i].stem, stem) == 0)
			return true;
	return false;
}

static int write_output(struct writing *writing, unsigned output, size_t *done, reach_progress_fn progress, void *arg,
	struct error *err)
{
	CLEANUP(pack_writer_freep) struct pack_writer *writer = NULL;
	struct repack *repack = writing->repack;
	char stem[PACK_STEM_MAX];
	size_t count = 0;
	struct oid hash;
	int rc;

	for (size_t i = 0; i < writing->ids.count; i++)
		count += writing->sources[i].output == output;
	rc = pack_writer_begin(repack->inventory->objects_fd, count, &writer, err);
	for (size_t i = 0; rc == 0 && i < writing->ids.count; i++) {
		if (writing->sources[i].output != output)
			continue;
		rc = put_object(writing, writer, i, err);
		if (progress && ++*done % PROGRESS_EVERY == 0)
			progress(arg, *done, pack_writer_offset(writer));
	}
	if (rc == 0)
		rc = pack_writer_commit(writer, &hash, err);
	if (rc < 0)
		return rc;
	snprintf(stem, sizeof stem, "pack-%s", OID_HEX(&hash));
	rc = check_pack(writing, output, stem, err);
	if (rc == 0)
		repack->written[repack->written_count++] = hash;
	else if (!was_there(repack->inventory, stem) && repack->inventory->pack_fd >= 0)
		pack_unlink(repack->inventory->pack_fd, stem, NULL);
	return rc;
}

int repack_write(struct repack *repack, reach_progress_fn progress, void *arg, struct error *err)
{
	CLEANUP(writing_release) struct writing writing = { .repack = repack, .ids = OID_SET_INIT, .deflater = deflater_new() };
	size_t done = 0;
	int rc = writing.deflater ? schedule_all(&writing) : -ENOMEM;

	if (rc == 0)
		repack->written = calloc(writing.outputs + 1, sizeof *repack->written);
	if (rc < 0 || !repack->written)
		return error_errno(err, rc < 0 ? -rc : ENOMEM, "write a new pack");
	repack->objects_kept = writing.ids.count;
	for (unsigned i = 0; rc == 0 && i < writing.outputs; i++)
		rc = write_output(&writing, i, &done, progress, arg, err);
	return rc < 0 ? error_prefix(err, rc, "write a new pack") : 0;
}

/* ---- what goes ---- */

static bool is_written(const struct repack *repack, const char *stem)
{
	for (size_t i = 0; i < repack->written_count; i++)
		if (strncmp(stem, "pack-", 5) == 0 && strcmp(stem + 5, OID_HEX(&repack->written[i])) == 0)
			return true;
	return false;
}

/* git renews the time of a pack or an object that it was about to write and has found: then it may be about to name it. */
static bool was_renewed(int dirfd, const char *path, int64_t changed_s)
{
	struct stat st;

	return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mtime != changed_s;
}

static int remove_packs(struct repack *repack, struct error *err)
{
	const struct inventory *inventory = repack->inventory;
	int rc = repack->pack_count ? packs_forget(inventory, err) : 0;

	for (size_t i = 0; rc == 0 && i < inventory->pack_count; i++) {
		const struct inventory_pack *pack = &inventory->packs[i];
		char name[PACK_STEM_MAX + sizeof ".pack"];

		snprintf(name, sizeof name, "%s.pack", pack->stem);
		if (!repack->packs[i] || is_written(repack, pack->stem) || was_renewed(inventory->pack_fd, name, pack->changed_s))
			continue;
		rc = pack_unlink(inventory->pack_fd, pack->stem, err);
	}
	return rc;
}

static int remove_loose(struct repack *repack, struct error *err)
{
	const struct inventory *inventory = repack->inventory;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < inventory->loose.count; i++) {
		char path[RAW_LOOSE_PATH_LENGTH + 1];

		raw_loose_path(&inventory->loose.ids[i], path);
		if (repack->loose[i] == REPACK_STAYS || was_renewed(inventory->objects_fd, path, inventory->loose_facts[i].changed_s))
			continue;
		rc = repack_remove_loose(inventory, &inventory->loose.ids[i], err);
	}
	return rc;
}

/* git's own notes about commits that are about to go; it makes them again. Durable: git takes it for damage where they name what is not there. */
static int forget_commit_graph(const struct inventory *inventory, struct error *err)
{
	cleanup_close int info = openat(inventory->objects_fd, "info", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int rc = 0;

	if (info < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "open 'objects/info'");
	if (unlinkat(info, "commit-graph", 0) < 0 && errno != ENOENT)
		rc = -errno;
	if (rc == 0)
		rc = tree_remove(info, "commit-graphs");
	if (rc == 0 && unlinkat(info, "packs", 0) < 0 && errno != ENOENT)
		rc = -errno;
	if (rc == 0)
		rc = io_sync_dir(info);
	return rc < 0 ? error_errno(err, -rc, "remove 'objects/info/commit-graph'") : 0;
}

int repack_remove(struct repack *repack, struct error *err)
{
	int rc = repack->dropped.count > 0 ? forget_commit_graph(repack->inventory, err) : 0;

	if (rc == 0)
		rc = remove_packs(repack, err);
	if (rc == 0)
		rc = remove_loose(repack, err);
	return rc;
}
