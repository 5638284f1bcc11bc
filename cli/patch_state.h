/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_PATCH_STATE_H
#define VENEER_CLI_PATCH_STATE_H

/* Where a patch stands. */

#include "cli/target.h"

/* "applied"; "superseded": another patch says so; "available" */
const char *patch_state_name(const struct target *target, const struct patch *patch);
/* Does another patch of the list supersede it? */
bool patch_is_superseded(const struct patch_list *patches, const struct patch *patch);

#endif
