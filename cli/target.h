/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TARGET_H
#define VENEER_CLI_TARGET_H

/*
 * What most commands work on: a component in an open store, its patches, and the stack that is active.
 */

#include "cli/context.h"
#include "store/base/cleanup.h"
#include "store/component.h"
#include "store/patch.h"
#include "store/stack.h"
#include "store/store.h"

struct target {
	struct store *store;
	int lock_fd; /* -EBADF: not locked */
	struct component *component;
	struct patch_list patches;
	struct stack stack; /* of component->active */
};
#define TARGET_INIT { .store = NULL, .lock_fd = -EBADF, .component = NULL, .patches = PATCH_LIST_INIT }
void target_release(struct target *target);
/* A batch that is still open is aborted: what was not committed was not meant to stay. */
#define cleanup_target __attribute__((cleanup(target_release)))

enum target_access { TARGET_READ, TARGET_WRITE /* the store is locked to the end */ };

/* TARGET fresh (TARGET_INIT); on failure it may be partly filled and is released as always. */
int target_open(const struct context *ctx, const char *name, enum target_access access,
	struct target *target, struct error *err);

/* The commit that REV names: "base", "active", a label (each may be followed by git's ~ ^ @), else what git says. */
int target_resolve(const struct target *target, const char *rev, struct oid *ret, struct error *err);

/* -EBUSY where somebody's own commit is active: there is no stack to edit; the message says the next step. */
int target_require_stack(const struct target *target, struct error *err);

/* The labels of STACK with SEPARATOR between them; "" for none. The caller frees it; NULL: out of memory. */
char *target_labels(const struct target *target, const struct stack *stack, const char *separator);
bool stack_has(const struct stack *stack, const struct oid *patch);

#endif
