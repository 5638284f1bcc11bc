/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"
#include "store/git/repack.h"
#include "store/git/repack_internal.h"

#define DAMAGED_DIRECTORY "damaged"

/* Of what a pack may consist; the index goes first: without it the pack is none. */
static const char *const pack_suffixes[] = { ".idx", ".rev", ".bitmap", ".keep", ".promisor", ".mtimes", ".pack" };

int repack_remove_loose(const struct inventory *inventory, const struct oid *oid, struct error *err)
{
	char path[RAW_LOOSE_PATH_LENGTH + 1];

	raw_loose_path(oid, path);
	if (unlinkat(inventory->objects_fd, path, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove object '%s'", path);
	return 0;
}

int repack_put_blob(const struct inventory *inventory, const struct oid *oid, const void *data, size_t size, struct error *err)
{
	struct batch_object object = { *oid, GIT_OBJECT_BLOB, size, (void *)data };
	const struct batch one = { .objects = &object, .count = 1 };
	struct oid is = raw_object_id(RAW_BLOB, data, size);
	int rc;

	if (!oid_equal(&is, oid))
		return error_set(err, -EBADMSG, "these are not the bytes of blob '%s'", OID_HEX(oid));
	/* A name that is taken is not replaced when it is written. */
	rc = repack_remove_loose(inventory, oid, err);
	return rc < 0 ? rc : loose_write(inventory->objects_fd, &one, err);
}

/* ---- a pack ---- */

int pack_unlink(int pack_fd, const char *stem, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(pack_suffixes); i++) {
		char name[PACK_STEM_MAX + 16];
		int rc;

		snprintf(name, sizeof name, "%s%s", stem, pack_suffixes[i]);
		if (unlinkat(pack_fd, name, 0) < 0 && errno != ENOENT)
			return error_errno(err, errno, "remove 'pack/%s'", name);
		rc = i == 0 ? io_sync_dir(pack_fd) : 0;
		if (rc < 0)
			return error_errno(err, -rc, "sync 'pack'");
	}
	return 0;
}

static int put_aside(const struct inventory *inventory, const char *stem, struct error *err)
{
	cleanup_close int git_fd = open(inventory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), aside_fd = -EBADF;

	if (git_fd < 0)
		return error_errno(err, errno, "open '%s'", inventory->path);
	if (mkdirat(git_fd, DAMAGED_DIRECTORY, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make '%s/%s'", inventory->path, DAMAGED_DIRECTORY);
	aside_fd = openat(git_fd, DAMAGED_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (aside_fd < 0)
		return error_errno(err, errno, "open '%s/%s'", inventory->path, DAMAGED_DIRECTORY);
	for (size_t i = 0; i < ARRAY_SIZE(pack_suffixes); i++) {
		char name[PACK_STEM_MAX + 16];

		snprintf(name, sizeof name, "%s%s", stem, pack_suffixes[i]);
		if (renameat(inventory->pack_fd, name, aside_fd, name) < 0 && errno != ENOENT)
			return error_errno(err, errno, "move 'pack/%s' to '%s/%s'", name, inventory->path, DAMAGED_DIRECTORY);
	}
	return fsync(aside_fd) < 0 || fsync(git_fd) < 0 || fsync(inventory->pack_fd) < 0 ?
		error_errno(err, errno, "sync '%s'", inventory->path) : 0;
}

/* An index of many packs names those that go; git makes it again. */
static int forget_multi_index(int pack_fd, struct error *err)
{
	if (unlinkat(pack_fd, "multi-pack-index", 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove 'pack/multi-pack-index'");
	return 0;
}

int packs_forget(const struct inventory *inventory, struct error *err)
{
	return inventory->pack_fd < 0 ? 0 : forget_multi_index(inventory->pack_fd, err);
}

static int copy_object(const struct inventory *inventory, size_t copy, struct pack_writer *writer, struct deflater *deflater,
	struct error *err)
{
	struct inventory_copy at = inventory_copy_at(inventory, copy);
	CLEANUP(deflated_release) struct deflated deflated = { NULL, 0 };
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	int rc = inventory_read_copy(inventory, copy, SIZE_MAX / 2, &object);

	if (rc == 0)
		rc = deflater_run(deflater, object.data, object.size, &deflated);
	if (rc < 0)
		return error_errno(err, -rc, "copy object '%s'", OID_HEX(&at.oid));
	return pack_writer_put(writer, &at.oid, object.kind, object.size, deflated.data, deflated.size, err);
}

/* BACKWARDS: in the other order, which gives another name: one that is taken would not be replaced. */
static int write_whole(const struct inventory *inventory, const struct inventory_pack *pack, const uint8_t *bad, size_t count,
	bool backwards, char stem[PACK_STEM_MAX], struct error *err)
{
	CLEANUP(pack_writer_freep) struct pack_writer *writer = NULL;
	CLEANUP(deflater_freep) struct deflater *deflater = deflater_new();
	struct oid hash;
	int rc = deflater ? pack_writer_begin(inventory->objects_fd, count, &writer, err) :
			    error_errno(err, ENOMEM, "write '%s' anew", pack->stem);

	for (uint32_t i = 0; rc == 0 && i < pack->file->count; i++) {
		size_t copy = pack->first + (backwards ? pack->file->count - 1 - i : i);

		if (!bad[copy])
			rc = copy_object(inventory, copy, writer, deflater, err);
	}
	if (rc == 0)
		rc = pack_writer_commit(writer, &hash, err);
	snprintf(stem, PACK_STEM_MAX, "pack-%s", rc == 0 ? OID_HEX(&hash) : "");
	return rc;
}

/* The only one is better off alone. */
static int write_loose(const struct inventory *inventory, const struct inventory_pack *pack, const uint8_t *bad, struct error *err)
{
	for (uint32_t i = 0; i < pack->file->count; i++) {
		cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
		struct batch_object one;
		int rc;

		if (bad[pack->first + i])
			continue;
		rc = inventory_read_copy(inventory, pack->first + i, SIZE_MAX / 2, &object);
		if (rc < 0)
			return error_errno(err, -rc, "copy object '%s'", OID_HEX(&pack->file->items[i].oid));
		one = (struct batch_object){ pack->file->items[i].oid, (git_object_t)object.kind, object.size, (void *)object.data };
		return loose_write(inventory->objects_fd, &(struct batch){ .objects = &one, .count = 1 }, err);
	}
	return 0;
}

static int write_again(const struct inventory *inventory, const struct inventory_pack *pack, const uint8_t *bad, struct error *err)
{
	char stem[PACK_STEM_MAX];
	size_t count = 0;
	int rc;

	for (uint32_t i = 0; pack->file && i < pack->file->count; i++)
		count += !bad[pack->first + i];
	if (count < 2)
		return count ? write_loose(inventory, pack, bad, err) : 0;
	rc = write_whole(inventory, pack, bad, count, true, stem, err);
	if (rc == 0 && strcmp(stem, pack->stem) == 0)
		rc = write_whole(inventory, pack, bad, count, false, stem, err);
	return rc;
}

int repack_without_damage(const struct inventory *inventory, size_t number, const uint8_t *bad, bool aside, struct error *err)
{
	const struct inventory_pack *pack = &inventory->packs[number];
	int rc = write_again(inventory, pack, bad, err);

	if (rc == 0)
		rc = packs_forget(inventory, err);
	if (rc == 0)
		rc = aside ? put_aside(inventory, pack->stem, err) : pack_unlink(inventory->pack_fd, pack->stem, err);
	return rc < 0 ? error_prefix(err, rc, "write '%s' anew", pack->stem) : 0;
}
