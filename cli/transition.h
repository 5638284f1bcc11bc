/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TRANSITION_H
#define VENEER_CLI_TRANSITION_H

/*
 * What apply, revert, rollback and switch have in common: from a wanted state to a commit, then the switch or,
 * with --dry-run, the plan of it; and the report.
 */

#include "cli/context.h"
#include "cli/target.h"

struct transition {
	const char *action; /* for the journal: "applied", "reverted", "rolled-back", "switched" */
	const char *what;   /* for people: "applied a" */
	const char *unchanged; /* for people, where nothing had to be done: "already applied" */
	const struct stack *stack; /* the wanted stack, composed over the newest base; NULL: COMMIT as it is */
	struct oid commit;
};

int transition_run(const struct context *ctx, struct target *target,
	const struct transition *transition, struct error *err);

#endif
