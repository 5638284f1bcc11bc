/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_STACK_H
#define VENEER_STORE_STACK_H

/*
 * The stack, and composition as a function: the active commit is determined by the base and the
 * ordered stack alone. An empty stack is the base commit. A single patch that stands on the newest base is
 * that patch itself, and so is the last of a chain of patches of which each builds on the one before. Else
 * it is a commit with fixed author, the newest of its parents' dates, and as parents the base and the
 * patches in their order, by which the stack is read back. A base that has grown since does not hinder
 * a patch: what is laid over it is the patch's difference to its own parent.
 */

#include "store/base/error.h"
#include "store/component.h"
#include "store/patch.h"

#define STACK_MAX 512u

struct stack {
	struct oid patches[STACK_MAX]; /* commit ids, in order of application */
	size_t count;
	bool known; /* false: the commit is no composition (someone's own commit is served); count is 0 */
};

/*
 * The stack that COMMIT (a base, a patch, a composition, or anything) stands for. No message is trusted:
 * a base is one of the component's own, a composition is the very commit that composing its parents gives.
 */
int stack_read(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct oid *commit, struct stack *ret, struct error *err);

/*
 * Compose. -EEXIST: two patches touch a path, and neither builds on nor supersedes the other: the
 * message lists the labels and the paths (the first ten). -ESTALE: a patch was made for a base that had something else at a path
 * that it changes. In a batch.
 */
int stack_compose(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, struct oid *ret, struct error *err);

/*
 * Edits: those that a label brings with it (patches it builds on) are added before it; those that it
 * supersedes, directly or through others, are taken off. *RET_CHANGED false: nothing to do. -ENOENT: no
 * such label; -EBUSY (remove): another applied patch builds on it; (add): an applied patch supersedes
 * it, or builds on what it supersedes; -EINVAL: the stack is not known. On failure STACK is as it was.
 */
int stack_add(const struct patch_list *patches, struct stack *stack, const char *label, bool *ret_changed,
	struct error *err);
int stack_remove(const struct patch_list *patches, struct stack *stack, const char *label, bool *ret_changed,
	struct error *err);

bool stack_has(const struct stack *stack, const struct oid *patch);

/* "3.0.20 (a, c)", "3.0.20" for an empty stack, "3.0.20 (commit 1a2b3c4)" for an unknown one. Caller frees. */
char *stack_version_label(const struct component *component, const struct patch_list *patches,
	const struct stack *stack, const struct oid *active);

#endif
