/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/oid_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 1024u

void oid_set_release(struct oid_set *set)
{
	free(set->ids);
	free(set->slots);
	*set = (struct oid_set)OID_SET_INIT;
}

/* The slot of OID, or the free one where it would go. An id is its own hash. */
static size_t slot_of(const struct oid_set *set, const struct oid *oid)
{
	uint64_t start;
	size_t slot;

	memcpy(&start, oid->id, sizeof start);
	slot = (size_t)start & (set->slot_count - 1);
	while (set->slots[slot] && !oid_equal(&set->ids[set->slots[slot] - 1], oid))
		slot = (slot + 1) & (set->slot_count - 1);
	return slot;
}

static int grow(struct oid_set *set)
{
	size_t wanted = set->slot_count ? set->slot_count * 2 : SLOTS_MIN;
	struct oid *ids;
	uint32_t *slots;

	if (set->count < set->alloc)
		return 0;
	if (set->count >= OID_SET_MAX)
		return -E2BIG;
	ids = reallocarray(set->ids, wanted / 2, sizeof *ids);
	if (!ids)
		return -ENOMEM;
	set->ids = ids;
	slots = calloc(wanted, sizeof *slots);
	if (!slots)
		return -ENOMEM;
	free(set->slots);
	set->slots = slots;
	set->slot_count = wanted;
	set->alloc = wanted / 2;
	for (size_t i = 0; i < set->count; i++)
		set->slots[slot_of(set, &set->ids[i])] = (uint32_t)i + 1;
	return 0;
}

int oid_set_add(struct oid_set *set, const struct oid *oid, size_t *ret)
{
	size_t slot;
	int r = grow(set);

	if (r < 0)
		return r;
	slot = slot_of(set, oid);
	if (!set->slots[slot]) {
		set->ids[set->count++] = *oid;
		set->slots[slot] = (uint32_t)set->count;
		r = 1;
	}
	if (ret)
		*ret = set->slots[slot] - 1;
	return r;
}

bool oid_set_find(const struct oid_set *set, const struct oid *oid, size_t *ret)
{
	size_t slot;

	if (set->count == 0)
		return false;
	slot = slot_of(set, oid);
	if (!set->slots[slot])
		return false;
	if (ret)
		*ret = set->slots[slot] - 1;
	return true;
}
