/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_ARENA_H
#define VENEER_FS_ARENA_H

/*
 * Small byte strings (names) in one reserved mapping, addressed by 32-bit references, so that a table
 * of nodes needs no pointers and could lie in memory shared with another process.
 *
 * A page holds slots of one size class; a page whose last slot is freed goes back to the kernel.
 * Threads: the owner's lock. References are never 0.
 */

#include <stddef.h>
#include <stdint.h>

#define ARENA_ITEM_MAX 1024u /* bytes */

struct arena;

/* CAPACITY bytes are reserved as address space, not as memory. NULL: out of address space. */
struct arena *arena_new(size_t capacity);
void arena_free_all(struct arena *arena); /* NULL is fine */

/* 0: full, or SIZE beyond ARENA_ITEM_MAX. */
uint32_t arena_alloc(struct arena *arena, size_t size);
void arena_release(struct arena *arena, uint32_t reference);
void *arena_at(struct arena *arena, uint32_t reference);

#endif
