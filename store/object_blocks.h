/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_OBJECT_BLOCKS_H
#define VENEER_STORE_OBJECT_BLOCKS_H

/*
 * What each block of an object hashes to, so that a part of it that is read can be known to be right without the rest: XXH3-64 of
 * blocks of OBJECT_BLOCK_BYTES (the last may be shorter). Found while the whole is hashed, and as true as its name. An object of one
 * block needs none, for there the name says it. Immutable once it is complete, counted.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/hash.h"

#define OBJECT_BLOCK_BYTES (16u << 10)

struct object_blocks {
	atomic_uint users;
	size_t count;
	uint64_t sums[];
};

static inline bool object_needs_blocks(uint64_t size)
{
	return size > OBJECT_BLOCK_BYTES;
}

static inline size_t object_block_count(uint64_t size)
{
	return (size_t)((size + OBJECT_BLOCK_BYTES - 1) / OBJECT_BLOCK_BYTES);
}

/* Of an object of SIZE bytes, one user, no sum known yet. NULL: out of memory. */
struct object_blocks *object_blocks_new(uint64_t size);
/* Those of these bytes; NULL: out of memory. */
struct object_blocks *object_blocks_of(const void *data, size_t size);
/* The sums of the LENGTH bytes from OFFSET on: whole blocks, but at the object's end. */
void object_blocks_set(struct object_blocks *blocks, uint64_t offset, const void *data, size_t length);
struct object_blocks *object_blocks_ref(const struct object_blocks *blocks); /* NULL is fine */
void object_blocks_unref(const struct object_blocks *blocks);		     /* NULL is fine */
static inline void object_blocks_unrefp(struct object_blocks **blocks)
{
	object_blocks_unref(*blocks);
}
#define cleanup_object_blocks __attribute__((cleanup(object_blocks_unrefp)))

/* Are the LENGTH bytes from OFFSET on what OBJECT has there: whole blocks, but at its end? BLOCKS NULL: one block is all it has. */
bool object_blocks_match(const struct object_blocks *blocks, const struct hash128 *object, uint64_t offset, const void *data,
	size_t length);

#endif
