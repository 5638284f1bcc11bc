/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_OBJECT_H
#define VENEER_STORE_OBJECT_H

/*
 * Objects: the plain bytes of served files, one read-only file each, named by XXH3-128:
 * objects/ab/cdef…. A cache: whatever is missing or damaged is made again from its git blob. A file that is
 * damaged is mended where it is, so that whoever has it open or mapped has the right bytes, too; what cannot be mended (no regular
 * file, one with other names, a disk that does not take it) is replaced, and who has it open keeps what he has.
 *
 * Writing: O_TMPFILE → write → durable → linkat(2) to its name → directories durable (object_sync_all(),
 * once for many). Where the name exists: equal bytes are success; a file that does
 * not hash to its name is damaged, and made again; a file that does and yet has other bytes is a collision of the hash, -EEXIST.
 *
 * Calling sequence: object_put() and object_materialise() as often as needed, then object_sync_all().
 * Each object costs an fsync, unless the first call is object_batch_begin(): then the files are made
 * durable together, some 64 at a time, and get their names with that, at the latest in object_sync_all().
 *
 * After a crash: an object is there whole or not at all.
 *
 * Threads: as struct store, one at a time; object_open() and object_verify() any number.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/base/hash.h"
#include "store/object_blocks.h"
#include "store/store.h"

#define OBJECT_BYTES_MAX (4ull << 30)
#define OBJECT_PATH_LENGTH 33 /* "ab/" and 30 digits */

void object_path(const struct hash128 *hash, char path[OBJECT_PATH_LENGTH + 1]);

/* Put DATA; its address in *RET. Durable after object_sync_all(). -E2BIG: larger than OBJECT_BYTES_MAX. */
int object_put(struct store *store, const void *data, size_t size, struct hash128 *ret, struct error *err);

/*
 * See to it that the object of the git blob OID is on disk. The blob is inflated and hashed (its git id
 * checked by libgit2's strict reading), unless store->blobs knows which object it is and that file
 * hashes to its name: found by reading it the first time, by its fingerprint (inode, size, mtime,
 * ctime) from then on, as long as STORE is open and objects_distrust() is not called. A damaged file is made again, and the log says so.
 * Where EXPECTED is not NULL: -EBADMSG when the content hashes to something else. The content's own
 * size in *RET_SIZE; comparing it with what metadata says is the caller's. Durable after
 * object_sync_all().
 */
int object_materialise(struct store *store, const struct oid *oid, const struct hash128 *expected,
	struct hash128 *ret, uint64_t *ret_size, struct error *err);

/* One of many blobs, and what is known of its object. */
struct object_query {
	struct oid blob;      /* asked for */
	bool there;	      /* its object is on disk, whole; then these two are set */
	struct hash128 object;
	uint64_t size;
};
/*
 * Which of COUNT blobs object_materialise() would have nothing to do for, told by several threads at once. A blob that is in the
 * batch only is not there.
 */
int objects_find(struct store *store, struct object_query *queries, size_t count, struct error *err);

/*
 * A disk can lose what it was given without a trace in any fingerprint. So from now on a fingerprint says nothing, and each object is
 * read before it is relied on, but for those that were read within the last so many SECONDS, and those of the COUNT blobs: they are in
 * use as they are, and somebody else looks after them.
 */
void objects_distrust(struct store *store, const struct oid *blobs, size_t count, unsigned seconds);
/*
 * What the blocks of object HASH, that of BLOB, hash to, counted: *RET NULL where it needs none. The file is read where that is not
 * known, and is then whole. As object_verify(), and -ENOMEM.
 */
int object_find_blocks(struct store *store, const struct oid *blob, const struct hash128 *hash, uint64_t size,
	struct object_blocks **ret, struct error *err);
/*
 * The object HASH, of SIZE bytes, is made again from BLOB where it is not whole: on the disk, as far as the filesystem lets it be
 * seen, and in the page cache. What was wrong in DAMAGE, which is untouched where nothing was. Durable; no batch may be open. A
 * negative errno: it is not whole, for git's blob is damaged, too, or the disk does not take it.
 */
int object_heal(struct store *store, const struct oid *blob, const struct hash128 *hash, uint64_t size,
	struct error *damage, struct error *err);
/*
 * How many damaged objects STORE has found and made again on its way to something else since this was last asked, or MISSING: damaged
 * ones and those that had been there and were not any more; what they were, as a sentence for the journal, appended to RET. An object
 * that nothing has served may have been cleared away.
 */
unsigned object_take_healed(struct store *store, bool missing, struct strbuf *ret);

/* From here to object_sync_all() or _abort(), objects need not be there under their names. In a batch already: nothing. */
int object_batch_begin(struct store *store, struct error *err);
/* Forget those of the batch that have no name yet, and end it; no batch: does nothing. */
void object_batch_abort(struct store *store);
/*
 * End the batch: all objects have their names, and those are durable. Without anything put since the
 * last call it costs nothing. On failure the batch is over too.
 */
int object_sync_all(struct store *store, struct error *err);

/* object_open() that also finds what waits in the batch. */
int object_open_pending(struct store *store, const struct hash128 *hash, uint64_t size, struct error *err);

/* ---- reading; OBJECTS_FD is the open directory objects/ ---- */

/* O_RDONLY fd, or -ENOENT, or -EBADMSG where its size is not SIZE (that much is seen for nothing). */
int object_open(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err);
/* Read it all and compare with its name: 0, -ENOENT, -EBADMSG. */
int object_verify(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err);
/* The same; *RET has what its blocks hash to, counted, or NULL where it needs none. */
int object_verify_blocks(int objects_fd, const struct hash128 *hash, uint64_t size, struct object_blocks **ret, struct error *err);
/* The same of FD, an open file of it. */
int object_verify_fd(int fd, const struct hash128 *hash, uint64_t size, struct object_blocks **ret, struct error *err);
/*
 * The same of what the disk has, past the page cache, from which nothing is taken and to which nothing is added, where the filesystem
 * knows how (O_DIRECT). Read in pieces of OBJECT_PIECE_BYTES, with PAUSE called after each (may be NULL; it stops
 * by a negative errno, which is returned).
 */
#define OBJECT_PIECE_BYTES (1u << 20)
int object_verify_disk(int objects_fd, const struct hash128 *hash, uint64_t size, int (*pause)(void *arg, size_t bytes), void *arg,
	struct error *err);
/* An O_DIRECT fd, or a negative errno: -EINVAL where the filesystem does not know that. */
int object_open_direct(int objects_fd, const char *path);

#endif
