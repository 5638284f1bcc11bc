/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TRANSITION_H
#define VENEER_CLI_TRANSITION_H

/*
 * What apply, revert, rollback and switch have in common: the daemon of a mounted component is asked to do it, where
 * there is none it is done here; with --dry-run, the plan of it; and the report.
 */

#include "cli/context.h"
#include "fs/transition.h"

int transition_run(const struct context *ctx, const struct transition_request *request, struct error *err);

#endif
