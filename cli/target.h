/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TARGET_H
#define VENEER_CLI_TARGET_H

/* A command's component, in the store that its options name. */

#include "cli/context.h"
#include "store/target.h"

enum target_access { TARGET_READ, TARGET_WRITE /* the store is locked to the end */ };

/* TARGET fresh (TARGET_INIT); on failure it may be partly filled and is released as always. */
int target_open(const struct context *ctx, const char *name, enum target_access access,
	struct target *target, struct error *err);
/* The first half of it: the store's directories, and the lock. target_load() is the other. */
int target_open_store(const struct context *ctx, const char *name, enum target_access access,
	struct target *target, struct error *err);

#endif
