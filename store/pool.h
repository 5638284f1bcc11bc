/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_POOL_H
#define VENEER_STORE_POOL_H

/*
 * Memory that is handed out in pieces and freed at once: names, targets and attributes of a view, paths
 * of a comparison. What is in it comes from commits, so the whole has a limit, POOL_BYTES_MAX.
 *
 * Threads: one.
 */

#include <stddef.h>

#include "store/base/error.h"

#define POOL_BYTES_MAX (512u << 20)

struct pool_chunk;

struct pool {
	struct pool_chunk *chunks; /* newest first */
	size_t bytes;		   /* handed out; beyond the limit once something was refused for it */
	size_t allocated;	   /* taken from the system */
};

#define POOL_INIT { NULL, 0, 0 }

/* Aligned to 8. NULL: out of memory or beyond the limit; pool_error() says which. */
void *pool_alloc(struct pool *pool, size_t size);
char *pool_strndup(struct pool *pool, const char *string, size_t len);
/* -ENOMEM or -EBADMSG, with the message, after a NULL. */
int pool_error(const struct pool *pool, struct error *err);
void pool_release(struct pool *pool);
#define cleanup_pool __attribute__((cleanup(pool_release)))

#endif
