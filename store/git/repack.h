/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_REPACK_H
#define VENEER_GIT_REPACK_H

/*
 * Putting in order what a repository has on disk: packs written anew without what is damaged (fsck) or needed by nothing (gc), loose
 * objects put into packs. What is written is durable before anything is removed, so that at each moment every object that is needed
 * is there.
 *
 * After a crash: objects may be there twice.
 */

#include "store/git/inventory.h"
#include "store/git/reach.h"

/* ---- mending ---- */

/* Write a blob anew as a loose object, in place of a damaged one. *RET_OID must be its id: -EBADMSG. Durable. */
int repack_put_blob(const struct inventory *inventory, const struct oid *oid, const void *data, size_t size, struct error *err);
/*
 * Write a pack anew: each object of which one copy in it is not BAD (for each copy of the inventory). ASIDE: the old one is moved to
 * git/damaged/, else removed. Durable.
 */
int repack_without_damage(const struct inventory *inventory, size_t pack, const uint8_t *bad, bool aside, struct error *err);
/* Remove a loose object. 0 also where it is gone. */
int repack_remove_loose(const struct inventory *inventory, const struct oid *oid, struct error *err);

/* ---- collecting ---- */

struct repack_options {
	int64_t older_than_s; /* seconds since the epoch: what is younger is left, whoever needs it */
	bool keep_unreachable; /* nothing is dropped: something that is not seen may need it */
	const struct reach *young; /* borrowed; what is left for what names it is young: neither dropped nor copied; NULL: nothing */
};

enum repack_fate { REPACK_STAYS, REPACK_DROPPED, REPACK_PACKED };

struct repack {
	const struct inventory *inventory; /* borrowed */
	const struct reach *reach; /* borrowed */
	struct repack_options options;
	bool *packs; /* owned; which are written anew */
	uint8_t *loose; /* owned; enum repack_fate of each */
	size_t pack_count, loose_packed, loose_dropped; /* how many of them */
	size_t objects_kept; /* in the new packs */
	struct oid_set dropped; /* what will be gone */
	uint64_t bytes_before; /* of all that goes away */
	uint64_t bytes_after; /* of the new packs, when they are written */
	struct oid *written; /* owned; names of the new packs */
	size_t written_count;
};
void repack_release(struct repack *repack);
#define cleanup_repack __attribute__((cleanup(repack_release)))

/* What would be done; nothing where neither packs nor loose objects are worth it. */
int repack_plan(const struct inventory *inventory, const struct reach *reach, const struct repack_options *options,
	struct repack *ret, struct error *err);
bool repack_is_nothing(const struct repack *repack);
/*
 * The new packs: written, durable, read back and compared with their ids. Nothing is removed. -EBADMSG: an object is damaged
 * (`veneer fsck --repair`), and no new pack is left.
 */
int repack_write(struct repack *repack, reach_progress_fn progress, void *arg, struct error *err);
/* Remove what the new packs take the place of, and what is dropped; a pack or an object that was renewed meanwhile stays. */
int repack_remove(struct repack *repack, struct error *err);

#endif
