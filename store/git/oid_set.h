/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_OID_SET_H
#define VENEER_GIT_OID_SET_H

/*
 * Many ids, each once, numbered in the order in which they came.
 *
 * Threads: any number may search while nobody adds.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/git/repo.h"

#define OID_SET_MAX (1u << 28)

struct oid_set {
	struct oid *ids; /* owned */
	size_t count, alloc;
	uint32_t *slots; /* owned; open addressing: number + 1, 0: free */
	size_t slot_count; /* a power of two, at least twice COUNT */
};
#define OID_SET_INIT { NULL, 0, 0, NULL, 0 }
void oid_set_release(struct oid_set *set);
#define cleanup_oid_set __attribute__((cleanup(oid_set_release)))

/* 1: new; 0: it was there; -ENOMEM; -E2BIG beyond OID_SET_MAX. Its number in *RET, which may be NULL. */
int oid_set_add(struct oid_set *set, const struct oid *oid, size_t *ret);
/* Its number in *RET, which may be NULL. */
bool oid_set_find(const struct oid_set *set, const struct oid *oid, size_t *ret);

#endif
