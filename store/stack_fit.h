/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_STACK_FIT_H
#define VENEER_STORE_STACK_FIT_H

/*
 * Which patches still fit the base as it is on disk (design, section 6: a newer base always wins over an older patch). A patch is
 * looked at whole, as the difference that it makes to the base: what it builds on included, for without that it is nothing. The base is
 * the newest that is on record: a patch that builds on another may touch what the base of the lowest had not on record yet.
 */

#include "store/base/strbuf.h"
#include "store/stack.h"
#include "store/view.h"

/* Does PATCH fit the base beneath BASEFD? *RET_PATH as for view_fit(). -EBADMSG: the patch is broken. */
int patch_fit(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct patch *patch, int basefd, enum view_fit *ret, char **ret_path, struct error *err);

struct stack_fit {
	const struct view *served; /* set by the caller: what is served, where a removal may have ended entries (view_find_removed()); NULL */
	struct stack stack;   /* what remains */
	size_t retired, absorbed; /* patches that do not */
	struct strbuf reason; /* for journal and people: "a: 'lib/x' is something else now; b: the base has it" */
};
#define STACK_FIT_INIT { .reason = STRBUF_INIT }
void stack_fit_release(struct stack_fit *fit);
#define cleanup_stack_fit __attribute__((cleanup(stack_fit_release)))

/*
 * STACK without the patches that have retired, and without those that the base has absorbed (but for those that a remaining one builds on).
 * What builds on a patch that does not fit does not fit itself, but where it changes again what was changed beneath: then it decides.
 */
int stack_fit(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, int basefd, struct stack_fit *ret, struct error *err);

#endif
