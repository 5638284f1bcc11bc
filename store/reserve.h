/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_RESERVE_H
#define VENEER_STORE_RESERVE_H

/*
 * Room on the disk that is kept for taking patches off: a full disk must not keep a patch on that does harm. What that needs to write is
 * small (a journal entry, two refs, at worst a composition), but it needs it, in blocks and in inodes. So the store holds a few files that nobody
 * reads, and gives them up for a revert; whoever writes to the store later makes them again.
 */

#include <stdbool.h>

#include "store/store.h"

#define RESERVE_FILES 16u
#define RESERVE_FILE_BYTES (16u << 10)

/* Make it where it is missing. That it fails (the disk is full) is no failure of anything. Store locked. */
void reserve_make(struct store *store);
/* Give it up. false: there is none, so that nothing is won. Store locked. */
bool reserve_spend(struct store *store);

#endif
