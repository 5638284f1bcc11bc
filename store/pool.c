/* SPDX-License-Identifier: Apache-2.0 */
#include "store/pool.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 65536u

struct pool_chunk {
	struct pool_chunk *next;
	size_t used, size;
	_Alignas(max_align_t) char data[];
};

void *pool_alloc(struct pool *pool, size_t size)
{
	struct pool_chunk *chunk = pool->chunks;
	void *result;

	size = (size + 7) & ~(size_t)7;
	if (size > POOL_BYTES_MAX || pool->bytes > POOL_BYTES_MAX - size) {
		pool->bytes = (size_t)POOL_BYTES_MAX + 1;
		return NULL;
	}
	if (!chunk || chunk->size - chunk->used < size) {
		size_t capacity = size > CHUNK_BYTES ? size : CHUNK_BYTES;

		chunk = malloc(sizeof *chunk + capacity);
		if (!chunk)
			return NULL;
		chunk->used = 0;
		chunk->size = capacity;
		chunk->next = pool->chunks;
		pool->chunks = chunk;
		pool->allocated += sizeof *chunk + capacity;
	}
	result = chunk->data + chunk->used;
	chunk->used += size;
	pool->bytes += size;
	return result;
}

char *pool_strndup(struct pool *pool, const char *string, size_t len)
{
	char *copy = pool_alloc(pool, len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, string, len);
	copy[len] = '\0';
	return copy;
}

int pool_error(const struct pool *pool, struct error *err)
{
	if (pool->bytes > POOL_BYTES_MAX)
		return error_set(err, -EBADMSG, "its names and metadata take more than %u MiB",
			POOL_BYTES_MAX >> 20);
	return error_set(err, -ENOMEM, "out of memory");
}

void pool_release(struct pool *pool)
{
	while (pool->chunks) {
		struct pool_chunk *chunk = pool->chunks;

		pool->chunks = chunk->next;
		free(chunk);
	}
	*pool = (struct pool)POOL_INIT;
}
