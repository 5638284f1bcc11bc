/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object_blocks.h"

#include <stdlib.h>

struct object_blocks *object_blocks_new(uint64_t size)
{
	size_t count = object_block_count(size);
	struct object_blocks *blocks = calloc(1, sizeof *blocks + count * sizeof *blocks->sums);

	if (!blocks)
		return NULL;
	atomic_init(&blocks->users, 1);
	blocks->count = count;
	return blocks;
}

static size_t block_length(size_t length, size_t at)
{
	return length - at < OBJECT_BLOCK_BYTES ? length - at : OBJECT_BLOCK_BYTES;
}

void object_blocks_set(struct object_blocks *blocks, uint64_t offset, const void *data, size_t length)
{
	size_t block = (size_t)(offset / OBJECT_BLOCK_BYTES);

	for (size_t at = 0; at < length && block < blocks->count; at += OBJECT_BLOCK_BYTES, block++)
		blocks->sums[block] = hash64_of((const char *)data + at, block_length(length, at));
}

struct object_blocks *object_blocks_of(const void *data, size_t size)
{
	struct object_blocks *blocks = object_blocks_new(size);

	if (blocks)
		object_blocks_set(blocks, 0, data, size);
	return blocks;
}

struct object_blocks *object_blocks_ref(const struct object_blocks *blocks)
{
	struct object_blocks *counted = (struct object_blocks *)blocks;

	if (counted)
		atomic_fetch_add_explicit(&counted->users, 1, memory_order_relaxed);
	return counted;
}

void object_blocks_unref(const struct object_blocks *blocks)
{
	struct object_blocks *counted = (struct object_blocks *)blocks;

	if (counted && atomic_fetch_sub_explicit(&counted->users, 1, memory_order_acq_rel) == 1)
		free(counted);
}

bool object_blocks_match(const struct object_blocks *blocks, const struct hash128 *object, uint64_t offset, const void *data,
	size_t length)
{
	size_t block = (size_t)(offset / OBJECT_BLOCK_BYTES);

	if (!blocks) {
		struct hash128 hash = hash128_of(data, length);

		return hash128_equal(&hash, object);
	}
	for (size_t at = 0; at < length; at += OBJECT_BLOCK_BYTES, block++)
		if (block >= blocks->count || hash64_of((const char *)data + at, block_length(length, at)) != blocks->sums[block])
			return false;
	return true;
}
