/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_REFRESH_INTERNAL_H
#define VENEER_FS_REFRESH_INTERNAL_H

/* Between refresh*.c: what is told, and counted. */

#include "fs/overlay_internal.h"
#include "fs/refresh.h"

struct teller {
	struct overlay *overlay;
	const struct notices *notices;
	struct refresh_counts counts;
	int failed; /* the first error; 0 */
};

void teller_note(struct teller *teller, int r);
/* Pages or listing, and attributes. TYPE: of the node. */
void teller_inode(struct teller *teller, uint64_t id, mode_t type);
void teller_attributes(struct teller *teller, uint64_t id, mode_t type);
/* It leads elsewhere. */
void teller_wrong_name(struct teller *teller, uint64_t parent, const char *name);
/*
 * It may lead elsewhere, or be new: the kernel shall look it up and keep what is right, mounts included. Where it cannot do that
 * (before Linux 6.2), the name is forgotten unless KEY (NULL: there is no such file) is the node that bears it.
 */
void teller_doubtful_name(struct teller *teller, uint64_t parent, const char *name, const struct node_key *key);

/*
 * NAME in PARENT no longer leads to its node ID. false: it was not the name that the node was known by, or it has gone through
 * the mount meanwhile. What descriptor there is of a file is put aside.
 */
bool refresh_lose(struct teller *teller, uint64_t id, mode_t type, uint64_t parent, const char *name);
/* KEY's node is NAME in PARENT from now on, and not OLD_NAME in OLD_PARENT. */
int refresh_move(struct overlay *overlay, uint64_t id, const struct node_key *key, uint64_t old_parent, const char *old_name,
	uint64_t parent, const char *name);

static inline bool refresh_is(const struct node_named *named, const struct node_key *key, mode_t type)
{
	return named->key.high == key->high && named->key.low == key->low && named->type == (type & S_IFMT);
}

#endif
