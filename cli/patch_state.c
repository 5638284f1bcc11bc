/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/patch_state.h"

const char *patch_state_name(const struct target *target, const struct patch *patch)
{
	if (stack_has(&target->stack, &patch->commit))
		return "applied";
	return patch_is_superseded(&target->patches, patch) ? "superseded" : "available";
}
