/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_TARGET_H
#define VENEER_STORE_TARGET_H

/*
 * What most commands work on: a component in an open store, its patches, and the stack that is active.
 */

#include "store/base/cleanup.h"
#include "store/component.h"
#include "store/patch.h"
#include "store/stack.h"
#include "store/store.h"

struct target {
	struct store *store;
	bool store_borrowed; /* target_release() leaves it open */
	int lock_fd; /* -EBADF: not locked, or by somebody else */
	struct component *component;
	struct patch_list patches;
	struct oid active_before; /* component->active, as it was loaded */
	struct stack stack; /* of it; not known where that cannot be read */
	struct error problem; /* why it cannot be read; "": it can */
};
#define TARGET_INIT { .store = NULL, .lock_fd = -EBADF, .component = NULL, .patches = PATCH_LIST_INIT, \
	.problem = ERROR_INIT }
void target_release(struct target *target);
/* A batch that is still open is aborted: what was not committed was not meant to stay. */
#define cleanup_target __attribute__((cleanup(target_release)))

/*
 * Fill in the component called NAME, its patches and its stack from target->store, whose repository is opened
 * where it is not. An active commit that is broken or missing is no failure, so that it can be left:
 * target->problem says what it is. On failure it may be partly filled and is released as always.
 */
int target_load(struct target *target, const char *name, struct error *err);

/* The commit that REV names: "base", "active", a label (each may be followed by git's ~ ^ @), else what git says. */
int target_resolve(const struct target *target, const char *rev, struct oid *ret, struct error *err);

/* -EBUSY where somebody's own commit is active: there is no stack to edit; the message says the next step. */
int target_require_stack(const struct target *target, struct error *err);

/* The labels of STACK with SEPARATOR between them; "" for none. The caller frees it; NULL: out of memory. */
char *target_labels(const struct target *target, const struct stack *stack, const char *separator);

/* The newest patch that is for this base version, or does not say for which, and that no other supersedes; NULL: none. */
const struct patch *target_newest_patch(const struct target *target);

#endif
