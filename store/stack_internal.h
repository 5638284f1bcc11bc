/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_STACK_INTERNAL_H
#define VENEER_STORE_STACK_INTERNAL_H

/* What the parts of the stack share: stack.c, stack_compose.c, stack_conflict.c, stack_supersede.c. */

#include "store/difference.h"
#include "store/edits.h"
#include "store/stack.h"

/* A patch of a stack, and what it changes over its parent. */
struct stack_layer {
	const struct patch *patch;
	struct oid parent_tree;
	struct differences differences;
};

/* What a patch supersedes, directly or through others that it does: the nearest so many. */
#define SUPERSEDED_MAX 512u
struct superseded {
	const struct patch *patches[SUPERSEDED_MAX]; /* borrowed from the list */
	size_t count;
};
void superseded_find(const struct patch_list *patches, const struct patch *patch, struct superseded *ret);
bool superseded_has(const struct superseded *superseded, const struct patch *patch);
bool patch_supersedes(const struct patch_list *patches, const struct patch *patch, const struct patch *other);
/* Does PATCH build on OTHER, directly or through others? */
bool patch_builds_on(const struct patch_list *patches, const struct patch *patch, const struct patch *other);

/*
 * Is COMMIT the very commit that composing STACK over BASE gives? Compared with it by composing, unless
 * STORE remembers it; leaves nothing behind, whether or not a batch is open.
 */
int stack_verify(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct commit *base, const struct stack *stack, const struct oid *commit, bool *ret, struct error *err);

/*
 * -EEXIST, with labels and paths: two layers touch one path (its content or its metadata), or one puts a
 * file where another puts things beneath, and neither patch builds on nor supersedes the other. Two
 * that both make a directory and agree on all but its time do not conflict.
 */
int stack_check_conflicts(struct repo *repo, const struct patch_list *patches,
	const struct stack_layer *layers, size_t count, struct error *err);

#endif
