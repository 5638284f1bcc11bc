/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_REACH_H
#define VENEER_GIT_REACH_H

/*
 * What can be reached: from some ids, over commits, tags and trees, down to blobs. Each object is visited once, in the order in which
 * it is first named, which also says by whom: so that a missing one can be told with a path and a commit. Nothing is recursive, and
 * nothing that a repository says makes it longer than the repository is.
 *
 * Commits, tags and trees are read whole, their ids checked; of blobs it is looked only whether they are there.
 *
 * Calling sequence: REACH_INIT; reach_add() for each id to begin with; reach_walk(). Then more may be added, and the walk goes on.
 *
 * Threads: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/git/inventory.h"

#define REACH_NAMES_BYTES_MAX (2ull << 30) /* of names on the way */
#define REACH_OBJECT_BYTES_MAX (256u << 20) /* of one commit, tag or tree */
#define REACH_NONE UINT32_MAX

enum reach_state {
	REACH_WHOLE,
	REACH_MISSING, /* there is no copy */
	REACH_DAMAGED, /* no copy has the bytes that its id says, or they say nothing */
	REACH_OTHER_KIND, /* another kind of object than the one that names it says */
	REACH_TOO_LARGE,
};

struct reach_item {
	uint32_t from; /* number of the object that named it first; REACH_NONE: it was added */
	uint32_t name; /* offset of its name there in reach->names; of one that was added, what reach_add() was told */
	uint32_t mode; /* in the tree that names it; else 0 */
	uint8_t kind; /* enum raw_kind as named, then as found */
	uint8_t state; /* enum reach_state */
	bool optional; /* who named it does not mind that it is missing */
	bool copy_damaged; /* set by others: one of its copies is damaged, whatever the others are */
};

struct reach {
	struct oid_set ids;
	struct reach_item *items; /* owned; for each of IDS */
	size_t item_alloc;
	struct strbuf names; /* with a NUL behind each */
	size_t walked; /* so many have been visited */
	const struct reach *known; /* borrowed; what it has is not come to again; NULL: nothing */
};
#define REACH_INIT { .ids = OID_SET_INIT, .names = STRBUF_INIT }
void reach_release(struct reach *reach);
#define cleanup_reach __attribute__((cleanup(reach_release)))

/* Begin there too. NAME: of the ref, for people. KIND RAW_NONE: whatever it is. 0, -ENOMEM, -E2BIG. */
int reach_add(struct reach *reach, const struct oid *oid, enum raw_kind kind, const char *name, bool optional);

/* Calls back now and then; see store/component.h. */
typedef void (*reach_progress_fn)(void *arg, uint64_t objects, uint64_t bytes);
int reach_walk(struct reach *reach, const struct inventory *inventory, reach_progress_fn progress, void *arg, struct error *err);

bool reach_has(const struct reach *reach, const struct oid *oid);
/*
 * How it was come to: the path in the tree of a commit ("" for the tree itself or what is in no tree), that commit (zero: none),
 * and the name that the walk began with.
 */
struct reach_way {
	char *path; /* owned */
	struct oid commit;
	const char *name; /* borrowed */
};
int reach_way(const struct reach *reach, size_t number, struct reach_way *ret);

#endif
