/* SPDX-License-Identifier: Apache-2.0 */
/* What takes the place of what: each patch names the labels that it knew, and those had named others. */
#include <string.h>

#include "store/stack_internal.h"

#define LOOKUPS_MAX 4096u /* labels looked up for one patch */

bool superseded_has(const struct superseded *superseded, const struct patch *patch)
{
	for (size_t i = 0; i < superseded->count; i++)
		if (oid_equal(&superseded->patches[i]->commit, &patch->commit))
			return true;
	return false;
}

/* Breadth-first, so that what is left out at the limits is what is farthest away. */
void superseded_find(const struct patch_list *patches, const struct patch *patch, struct superseded *ret)
{
	const struct patch *at = patch;
	size_t next = 0, lookups = 0;

	for (ret->count = 0; at; at = next < ret->count ? ret->patches[next++] : NULL) {
		for (size_t i = 0; at->supersedes[i] && lookups++ < LOOKUPS_MAX; i++) {
			const struct patch *other = patch_find(patches, at->supersedes[i]);

			if (other && other != patch && ret->count < SUPERSEDED_MAX && !superseded_has(ret, other))
				ret->patches[ret->count++] = other;
		}
	}
}

bool patch_supersedes(const struct patch_list *patches, const struct patch *patch, const struct patch *other)
{
	struct superseded superseded;

	superseded_find(patches, patch, &superseded);
	return superseded_has(&superseded, other);
}
