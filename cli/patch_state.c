/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/patch_state.h"

#include <string.h>

bool patch_is_superseded(const struct patch_list *patches, const struct patch *patch)
{
	for (size_t i = 0; i < patches->count; i++)
		for (char **label = patches->patches[i].supersedes; *label; label++)
			if (strcmp(*label, patch->label) == 0 && &patches->patches[i] != patch)
				return true;
	return false;
}

const char *patch_state_name(const struct target *target, const struct patch *patch)
{
	if (stack_has(&target->stack, &patch->commit))
		return "applied";
	return patch_is_superseded(&target->patches, patch) ? "superseded" : "available";
}
