/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_PATCH_STATE_H
#define VENEER_CLI_PATCH_STATE_H

/* Where a patch stands. */

#include "store/target.h"

/* "applied"; "superseded": another patch says so; "available" */
const char *patch_state_name(const struct target *target, const struct patch *patch);

#endif
