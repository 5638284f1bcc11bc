/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_RAW_OBJECT_H
#define VENEER_GIT_RAW_OBJECT_H

/*
 * Objects of git as bytes, read from the files that they lie in and not through libgit2: that reads one copy of an object, and
 * does not say which. Whoever looks for damage asks for each copy, with several threads at once.
 *
 * Threads: any.
 */

#include <stddef.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/git/repo.h"

/* git's own numbers, as in packs. */
enum raw_kind { RAW_NONE = 0, RAW_COMMIT = 1, RAW_TREE = 2, RAW_BLOB = 3, RAW_TAG = 4 };
const char *raw_kind_name(enum raw_kind kind);

struct raw_object {
	enum raw_kind kind;
	void *memory; /* owned */
	const uint8_t *data; /* within MEMORY */
	size_t size;
};
#define RAW_OBJECT_INIT { RAW_NONE, NULL, NULL, 0 }
void raw_object_release(struct raw_object *object);
#define cleanup_raw_object __attribute__((cleanup(raw_object_release)))

/* The id of such an object (SHA-1 of header and bytes). */
struct oid raw_sha1(const void *data, size_t size); /* of bytes alone, as files of git end with */
struct oid raw_object_id(enum raw_kind kind, const void *data, size_t size);

/*
 * A zlib stream of LEN bytes or fewer that becomes exactly SIZE bytes at OUT. -EBADMSG: it does not; -ENOMEM. *RET_USED (may be NULL):
 * bytes of the stream.
 */
int raw_inflate(const void *data, size_t len, void *out, size_t size, size_t *ret_used);
/* So much may come of LEN compressed bytes at most: a header that promises more lies, and gets no memory. */
#define RAW_RATIO_MAX 1032u

/* The loose object OID below OBJECTS_FD. -ENOENT; -EBADMSG: damaged; -E2BIG beyond LIMIT. Its id is not checked. */
int raw_read_loose(int objects_fd, const struct oid *oid, uint64_t limit, struct raw_object *ret, struct error *err);
/* "ab/cdef…" */
#define RAW_LOOSE_PATH_LENGTH (OID_HEX_LENGTH + 1)
void raw_loose_path(const struct oid *oid, char path[RAW_LOOSE_PATH_LENGTH + 1]);

#endif
