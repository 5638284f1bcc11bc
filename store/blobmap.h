/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_BLOBMAP_H
#define VENEER_STORE_BLOBMAP_H

/*
 * Which object a blob is: blob id → XXH3-128 and size, as found by inflating and hashing it once, so
 * that activating a commit again inflates nothing. Kept in cache/blobs, fixed records appended:
 *
 *     blob id 20 · XXH3-128 16 · size 8 (big-endian) · XXH3-64 of the 44 bytes before, 8 (big-endian)
 *
 * A record states a fact about content, true whether or not the object is on disk: nothing has to be
 * written in any order, and nothing is fsynced.
 *
 * Calling sequence: blobmap_new(); the file is read at the first find or add. Several processes may
 * append at once.
 *
 * Error handling: it is a cache. Whatever cannot be read is not known, whatever cannot be written is
 * not remembered; only a lack of memory is an error. A damaged record is ignored, and the file is
 * replaced by one of the good records. Past BLOBMAP_RECORDS_MAX it begins anew.
 *
 * After a crash: some records are lost or torn, see above.
 *
 * Threads: one at a time.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/hash.h"
#include "store/git/repo.h"
#include "store/object_blocks.h"

#define BLOBMAP_FILE "blobs"
#define BLOBMAP_RECORD_BYTES 52u
#define BLOBMAP_RECORDS_MAX (1u << 18)

struct blobmap;

/* CACHE_FD, the directory cache/, is borrowed and must outlive the map. NULL: out of memory. */
struct blobmap *blobmap_new(int cache_fd);
void blobmap_free(struct blobmap *map);
/* false: not known */
bool blobmap_find(struct blobmap *map, const struct oid *blob, struct hash128 *ret, uint64_t *ret_size);
/* 0 or -ENOMEM */
int blobmap_add(struct blobmap *map, const struct oid *blob, const struct hash128 *hash, uint64_t size);
/*
 * The fingerprint (not 0) of the file in objects/ that was last read and found to be BLOB's object; 0:
 * none was. Known to this map alone and never written: the next process reads each file again.
 */
uint64_t blobmap_verified(struct blobmap *map, const struct oid *blob);
void blobmap_set_verified(struct blobmap *map, const struct oid *blob, uint64_t fingerprint);
/* From now on no file was read (0), but those of the COUNT blobs that were until now, and what was read since SINCE_NS (clock_monotonic_ns()). */
void blobmap_forget_verified(struct blobmap *map, const struct oid *kept, size_t count, uint64_t since_ns);
/* What the blocks of BLOB's object hash to (borrowed; NULL: not known); known to this map alone, too. */
const struct object_blocks *blobmap_blocks(struct blobmap *map, const struct oid *blob);
/* BLOCKS is counted by the map, where it knows BLOB. */
void blobmap_set_blocks(struct blobmap *map, const struct oid *blob, const struct object_blocks *blocks);
size_t blobmap_count(struct blobmap *map);
/* Is each record of the file good? 0 (also where there is no file), or -EBADMSG. */
int blobmap_check(int cache_fd, struct error *err);

static inline void blobmap_freep(struct blobmap **map)
{
	if (*map)
		blobmap_free(*map);
}
#define cleanup_blobmap __attribute__((cleanup(blobmap_freep)))

#endif
