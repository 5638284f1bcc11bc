/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_ARENA_H
#define VENEER_FS_ARENA_H

/*
 * Small byte strings (names) in a shared region (fs/shared.h), addressed by 32-bit references: no pointers.
 *
 * A page holds slots of one size class; a page whose last slot is freed goes back to the kernel.
 * Which slots are free is known to this process alone, or is made anew from the references that somebody has: after arena_new() over a
 * region that was in use, arena_mark() each, then arena_recover().
 * Threads: the owner's lock. References are never 0.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/shared.h"

#define ARENA_ITEM_MAX 1024u /* bytes */

struct arena;

/* In REGION of SHARED (borrowed), of which CAPACITY bytes are used at most. NULL: out of memory. */
struct arena *arena_new(struct shared *shared, enum shared_region region, size_t capacity);
void arena_free_all(struct arena *arena); /* NULL is fine; what is in the region stays */

/* 0: full, or SIZE beyond ARENA_ITEM_MAX. */
uint32_t arena_alloc(struct arena *arena, size_t size);
void arena_release(struct arena *arena, uint32_t reference);
void *arena_at(struct arena *arena, uint32_t reference);

/* REFERENCE is in use. false: it cannot be one, or is marked already. */
bool arena_mark(struct arena *arena, uint32_t reference);
/* It was marked, and is not in use after all. */
void arena_unmark(struct arena *arena, uint32_t reference);
/* All that is in use has been marked: the rest is free. 0 or -ENOMEM. */
int arena_recover(struct arena *arena);

#endif
