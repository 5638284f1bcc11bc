/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_OBJECT_H
#define VENEER_STORE_OBJECT_H

/*
 * Objects: the plain bytes of served files, one read-only file each, named by XXH3-128:
 * objects/ab/cdef…. A cache: whatever is missing or damaged is made again from its git blob.
 *
 * Writing: O_TMPFILE → write while hashing → fsync → linkat(2) to its name → fsync of the directory
 * (object_sync_all() once for many). EEXIST with equal bytes is success; with other bytes an error
 * (-EEXIST), for then either file is not what its name says.
 *
 * After a crash: an object is there whole or not at all.
 */

#include <stdint.h>

#include "store/base/error.h"
#include "store/base/hash.h"
#include "store/git/repo.h"

#define OBJECT_BYTES_MAX (4ull << 30)
#define OBJECT_PATH_LENGTH 33 /* "ab/" and 30 digits */

void object_path(const struct hash128 *hash, char path[OBJECT_PATH_LENGTH + 1]);

/* OBJECTS_FD is the open directory objects/. Put DATA; its address in *RET. Durable after object_sync_all(). */
int object_put(int objects_fd, const void *data, size_t size, struct hash128 *ret, struct error *err);

/*
 * Make the object of the git blob OID, and check it: the blob's git id by libgit2's strict reading,
 * and, where EXPECTED is not NULL, that hash and size are as expected (-EBADMSG: not so).
 */
int object_materialise(int objects_fd, struct repo *repo, const struct oid *oid,
	const struct hash128 *expected, struct hash128 *ret, uint64_t *ret_size, struct error *err);

/* O_RDONLY fd, or -ENOENT, or -EBADMSG where its size is not SIZE (that much is seen for nothing). */
int object_open(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err);
/* Read it all and compare with its name: 0, -ENOENT, -EBADMSG. */
int object_verify(int objects_fd, const struct hash128 *hash, uint64_t size, struct error *err);
/* fsync objects/ and the directories in it that objects were linked into (syncfs of their filesystem). */
int object_sync_all(int objects_fd, struct error *err);

#endif
