/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stack_fit.h"

#include <errno.h>
#include <stdlib.h>

#include "store/base/cleanup.h"
#include "store/stack_internal.h"

void stack_fit_release(struct stack_fit *fit)
{
	strbuf_release(&fit->reason);
}

static int fit_without(struct store *store, const struct component *component, const struct patch *patch, int basefd,
	const struct view *served, enum view_fit *ret, char **ret_path, bool *ret_removed, struct error *err)
{
	cleanup_free char *removed = NULL;
	cleanup_view struct view *view = NULL;
	int r = view_load_of(store, component->name, &patch->commit, &view, err);

	if (r == 0)
		r = view_fit(view, store, basefd, ret, ret_path, err);
	if (r < 0)
		return error_prefix(err, r, "patch '%s'", patch->label);
	*ret_removed = false;
	if (*ret == VIEW_CHANGED)
		return 0;
	if (view_find_removed(view, served, &removed) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (removed) {
		*ret = VIEW_CHANGED;
		*ret_path = TAKE_PTR(removed);
		*ret_removed = true;
	}
	return 0;
}

int patch_fit(struct store *store, const struct component *component, const struct patch *patch, int basefd,
	enum view_fit *ret, char **ret_path, struct error *err)
{
	bool removed;

	return fit_without(store, component, patch, basefd, NULL, ret, ret_path, &removed, err);
}

/* How each patch of a stack fares. */
struct fate {
	const struct patch *patch;
	enum view_fit fit;
	bool gone;
};

static void say(struct stack_fit *fit, const struct patch *patch, const char *format, const char *what)
{
	strbuf_addf(&fit->reason, "%s%s: ", fit->reason.len ? "; " : "", patch->label);
	strbuf_addf(&fit->reason, format, what);
}

static int find_fates(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, int basefd, struct fate *fates, struct stack_fit *fit, struct error *err)
{
	for (size_t i = 0; i < stack->count; i++) {
		cleanup_free char *path = NULL;
		bool removed;
		int r;

		fates[i].patch = patch_find_commit(patches, &stack->patches[i]);
		if (!fates[i].patch)
			return error_set(err, -ENOENT, "a patch that is applied to '%s' is no longer among its patches",
				component->name);
		r = fit_without(store, component, fates[i].patch, basefd, fit->served, &fates[i].fit, &path, &removed, err);
		if (r < 0)
			return r;
		if (fates[i].fit != VIEW_CHANGED)
			continue;
		fates[i].gone = true;
		fit->retired++;
		say(fit, fates[i].patch, removed ? "'%s' was removed" : "the base has something else at '%s'", path);
	}
	return 0;
}

/* What builds on a patch that has gone goes too. Those come after it in the stack. */
static void retire_builders(const struct patch_list *patches, const struct stack *stack, struct fate *fates, struct stack_fit *fit)
{
	for (size_t i = 0; i < stack->count; i++) {
		for (size_t j = 0; j < i && !fates[i].gone; j++) {
			if (!fates[j].gone || !patch_builds_on(patches, fates[i].patch, fates[j].patch))
				continue;
			fates[i].gone = true;
			fit->retired++;
			say(fit, fates[i].patch, "it builds on %s", fates[j].patch->label);
		}
	}
}

/* From the top down: one that a remaining patch builds on stays. */
static void drop_absorbed(const struct patch_list *patches, const struct stack *stack, struct fate *fates, struct stack_fit *fit)
{
	for (size_t i = stack->count; i-- > 0;) {
		bool needed = false;

		for (size_t j = i + 1; j < stack->count; j++)
			needed |= !fates[j].gone && patch_builds_on(patches, fates[j].patch, fates[i].patch);
		if (fates[i].gone || fates[i].fit != VIEW_ABSORBED || needed)
			continue;
		fates[i].gone = true;
		fit->absorbed++;
		say(fit, fates[i].patch, "%s", "the base has all of it");
	}
}

int stack_fit(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, int basefd, struct stack_fit *ret, struct error *err)
{
	cleanup_free struct fate *fates = calloc(stack->count + 1, sizeof *fates);
	int r;

	if (!fates)
		return error_set(err, -ENOMEM, "out of memory");
	r = find_fates(store, component, patches, stack, basefd, fates, ret, err);
	if (r < 0)
		return r;
	retire_builders(patches, stack, fates, ret);
	drop_absorbed(patches, stack, fates, ret);
	ret->stack = (struct stack){ .known = true };
	for (size_t i = 0; i < stack->count; i++)
		if (!fates[i].gone)
			ret->stack.patches[ret->stack.count++] = stack->patches[i];
	return strbuf_failed(&ret->reason) ? error_set(err, -ENOMEM, "out of memory") : 0;
}
