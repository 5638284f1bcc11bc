/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and the git blobs that they are made from. */
#include "store/object_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"
#include "store/base/parallel.h"

/* ---- what is there ---- */

/* Whoever writes to a file or puts another in its place changes one of these; never 0. */
static uint64_t file_fingerprint(const struct stat *st)
{
	const uint64_t facts[] = {
		(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec,
	};
	uint64_t fingerprint = hash64_of(facts, sizeof facts);

	return fingerprint ? fingerprint : 1;
}

/*
 * Is the file of object HASH whole, whose fingerprint was VERIFIED when it was read (0: it was not)? Read once; while it stays
 * untouched a stat(2) tells. 0, its fingerprint, and where it was read what its blocks hash to (counted, may be NULL); or as
 * object_verify().
 */
static int object_look(int objects_fd, const struct hash128 *hash, uint64_t size, uint64_t verified, uint64_t *ret,
	struct object_blocks **ret_blocks, struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1];
	struct stat st;

	object_path(hash, path);
	if (fstatat(objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "object '%s'", path);
	*ret = file_fingerprint(&st);
	return verified == *ret ? 0 : object_verify_blocks(objects_fd, hash, size, ret_blocks, err);
}

/* Is the file whole that BLOB is said to be in? */
static bool object_is_there(struct store *store, const struct oid *blob, const struct hash128 *hash, uint64_t size)
{
	cleanup_object_blocks struct object_blocks *blocks = NULL;
	uint64_t fingerprint = 0;
	int r;

	if (object_is_pending(store, hash))
		return true;
	r = object_look(store->objects_fd, hash, size, blobmap_verified(store->blobs, blob), &fingerprint, &blocks, NULL);
	if (r == 0) {
		blobmap_set_verified(store->blobs, blob, fingerprint);
		blobmap_set_blocks(store->blobs, blob, blocks);
	}
	return r == 0;
}

/* ---- many at once ---- */

/* So many are worth a thread. */
#define PIECE_OBJECTS 64u

struct look {
	struct object_query *query; /* borrowed */
	uint64_t fingerprint;	    /* verified before; then as it is now */
	struct object_blocks *blocks; /* counted; of what was read */
};

struct looks {
	int objects_fd;
	struct look *looks; /* owned; of the blobs whose object is known */
	size_t count;
};

static void looks_release(struct looks *looks)
{
	for (size_t i = 0; looks->looks && i < looks->count; i++)
		object_blocks_unref(looks->looks[i].blocks);
	free(looks->looks);
}

static int look_at_range(void *arg, size_t from, size_t to, struct error *err)
{
	const struct looks *looks = arg;

	for (size_t i = from; i < to; i++) {
		struct look *look = &looks->looks[i];
		struct object_query *query = look->query;

		query->there = object_look(looks->objects_fd, &query->object, query->size, look->fingerprint,
				       &look->fingerprint, &look->blocks, NULL) == 0;
	}
	return 0;
}

int objects_find(struct store *store, struct object_query *queries, size_t count, struct error *err)
{
	CLEANUP(looks_release) struct looks looks = { store->objects_fd, calloc(count ? count : 1, sizeof *looks.looks), 0 };
	int r;

	if (!looks.looks)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		struct object_query *query = &queries[i];

		query->there = false;
		if (blobmap_find(store->blobs, &query->blob, &query->object, &query->size))
			looks.looks[looks.count++] = (struct look){ query, blobmap_verified(store->blobs, &query->blob), NULL };
	}
	r = parallel_run(looks.count, PIECE_OBJECTS, look_at_range, &looks, err);
	for (size_t i = 0; r == 0 && i < looks.count; i++) {
		const struct look *look = &looks.looks[i];

		if (!look->query->there)
			continue;
		blobmap_set_verified(store->blobs, &look->query->blob, look->fingerprint);
		blobmap_set_blocks(store->blobs, &look->query->blob, look->blocks);
	}
	return r;
}

/* ---- one by one ---- */

static int check_expected(const struct oid *oid, const struct hash128 *hash, const struct hash128 *expected,
	struct error *err)
{
	char blob[OID_HEX_LENGTH + 1], is[HASH128_HEX_LENGTH + 1], wanted[HASH128_HEX_LENGTH + 1];

	if (!expected || hash128_equal(hash, expected))
		return 0;
	oid_to_hex(oid, blob);
	hash128_to_hex(hash, is);
	hash128_to_hex(expected, wanted);
	return error_set(err, -EBADMSG, "blob '%s': its content is xxh3-128:%s, not xxh3-128:%s", blob, is,
		wanted);
}

static bool object_has_name(struct store *store, const struct hash128 *hash)
{
	char path[OBJECT_PATH_LENGTH + 1];
	struct stat st;

	object_path(hash, path);
	return fstatat(store->objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Make the object of the blob OID from git. */
static int materialise_blob(struct store *store, const struct oid *oid, const struct hash128 *expected,
	struct hash128 *ret, uint64_t *ret_size, struct error *err)
{
	cleanup_blob struct blob *blob = NULL;
	int r = repo_blob_open(store->repo, oid, OBJECT_BYTES_MAX, &blob, err);

	if (r < 0)
		return r;
	*ret = hash128_of(blob_data(blob), blob_size(blob));
	*ret_size = blob_size(blob);
	r = check_expected(oid, ret, expected, err);
	if (r == 0)
		r = object_put_hashed(store, blob_data(blob), blob_size(blob), ret, err);
	/* Not to remember it costs time, nothing else. */
	if (r == 0)
		(void)blobmap_add(store->blobs, oid, ret, *ret_size);
	if (r == 0 && object_needs_blocks(*ret_size) && !blobmap_blocks(store->blobs, oid)) {
		cleanup_object_blocks struct object_blocks *blocks = object_blocks_of(blob_data(blob), blob_size(blob));

		blobmap_set_blocks(store->blobs, oid, blocks);
	}
	return r;
}

int object_materialise(struct store *store, const struct oid *oid, const struct hash128 *expected,
	struct hash128 *ret, uint64_t *ret_size, struct error *err)
{
	struct hash128 hash;
	uint64_t size;
	int r;
	bool known = blobmap_find(store->blobs, oid, &hash, &size), there = known && object_is_there(store, oid, &hash, size);
	bool missing = known && !there && !object_has_name(store, &hash);

	if (there)
		r = check_expected(oid, &hash, expected, err);
	else
		r = materialise_blob(store, oid, expected, &hash, &size, err);
	if (r == 0 && missing)
		object_note_missing(store, &hash);
	if (r < 0)
		return r;
	*ret = hash;
	*ret_size = size;
	return 0;
}

void objects_distrust(struct store *store, const struct oid *blobs, size_t count, unsigned seconds)
{
	const uint64_t now = clock_monotonic_ns(), window = seconds * 1000000000ull;

	blobmap_forget_verified(store->blobs, blobs, count, window ? (now > window ? now - window : 0) : UINT64_MAX);
}

int object_find_blocks(struct store *store, const struct oid *blob, const struct hash128 *hash, uint64_t size,
	struct object_blocks **ret, struct error *err)
{
	const struct object_blocks *known = object_needs_blocks(size) ? blobmap_blocks(store->blobs, blob) : NULL;
	struct object_blocks *blocks = NULL;
	int r = 0;

	if (known)
		blocks = object_blocks_ref(known);
	else if (object_needs_blocks(size))
		r = object_verify_blocks(store->objects_fd, hash, size, &blocks, err);
	if (r < 0)
		return r;
	blobmap_set_blocks(store->blobs, blob, blocks);
	*ret = blocks;
	return 0;
}
