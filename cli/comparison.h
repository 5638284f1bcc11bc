/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_COMPARISON_H
#define VENEER_CLI_COMPARISON_H

/*
 * Two commits of a component made comparable. A `touched` base grows with each patch: a path that only the
 * later base records was there before as well, it was served from the directory itself. So where the two stand
 * on different bases, each side's trees are completed by what only the other's base knows, but not beneath what
 * the side has put in the place of a directory or taken away with it.
 */

#include "store/base/error.h"
#include "store/store.h"

struct comparison_side {
	struct oid tree;      /* of the commit, completed */
	struct oid base_tree; /* of the base that it stands on, completed; zero: it stands on none */
};

struct comparison {
	struct comparison_side a, b;
};

/* The completed trees live in the open batch, which the caller aborts when done with them: nothing is written. */
int comparison_prepare(struct store *store, const struct oid *a, const struct oid *b,
	struct comparison *ret, struct error *err);

#endif
