/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stack_fit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/stack_internal.h"

void stack_fit_release(struct stack_fit *fit)
{
	strbuf_release(&fit->reason);
}

/* PATCH and all that it builds on, the lowest first. */
static int stack_below(const struct patch_list *patches, const struct patch *patch, struct stack *ret, struct error *err)
{
	*ret = (struct stack){ .known = true };
	for (const struct patch *at = patch; at; at = patch_find_commit(patches, &at->parent)) {
		if (ret->count == ARRAY_SIZE(ret->patches))
			return error_set(err, -E2BIG, "it builds on more than %zu others", ARRAY_SIZE(ret->patches) - 1);
		memmove(&ret->patches[1], &ret->patches[0], ret->count++ * sizeof *ret->patches);
		ret->patches[0] = at->commit;
	}
	return 0;
}

/* The patch over the base as it is on record today. Where that is another one than it was made for, or it cannot be composed: over its own. */
static int load_over_base(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct patch *patch, struct view **ret, struct error *err)
{
	cleanup_free struct stack *stack = calloc(1, sizeof *stack);
	struct oid commit;
	int r;

	if (!stack)
		return error_set(err, -ENOMEM, "out of memory");
	r = stack_below(patches, patch, stack, err);
	if (r < 0)
		return r;
	r = stack_compose(store, component, patches, stack, &commit, NULL);
	if (r == -ENOMEM)
		return error_set(err, r, "out of memory");
	if (r < 0)
		commit = patch->commit;
	return view_load_of(store, component->name, &commit, ret, err);
}

static int fit_without(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct patch *patch, int basefd,
	const struct view *served, enum view_fit *ret, char **ret_path, bool *ret_removed, struct error *err)
{
	cleanup_free char *removed = NULL;
	cleanup_view struct view *view = NULL;
	struct repo_trial trial;
	int r = repo_trial_begin(store->repo, &trial, err);

	if (r == 0) {
		r = load_over_base(store, component, patches, patch, &view, err);
		repo_trial_end(store->repo, &trial);
	}
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

int patch_fit(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct patch *patch, int basefd, enum view_fit *ret, char **ret_path, struct error *err)
{
	bool removed;

	return fit_without(store, component, patches, patch, basefd, NULL, ret, ret_path, &removed, err);
}

/* How each patch of a stack fares. */
struct fate {
	const struct patch *patch;
	enum view_fit fit;
	char *path; /* owned; VIEW_CHANGED: where */
	bool removed; /* there it was not changed, but removed through the mount */
	bool gone;
};

static void fates_free(struct fate **fates)
{
	for (struct fate *fate = *fates; fate && fate->patch; fate++)
		free(fate->path);
	free(*fates);
}

static void say(struct stack_fit *fit, const struct patch *patch, const char *format, const char *what)
{
	strbuf_addf(&fit->reason, "%s%s: ", fit->reason.len ? "; " : "", patch->label);
	strbuf_addf(&fit->reason, format, what);
}

static int find_fates(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, int basefd, const struct view *served, struct fate *fates, struct error *err)
{
	for (size_t i = 0; i < stack->count; i++) {
		int r;

		fates[i].patch = patch_find_commit(patches, &stack->patches[i]);
		if (!fates[i].patch)
			return error_set(err, -ENOENT, "a patch that is applied to '%s' is no longer among its patches",
				component->name);
		r = fit_without(store, component, patches, fates[i].patch, basefd, served, &fates[i].fit, &fates[i].path,
			&fates[i].removed, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What one builds on that fits is part of it, and serves for it alone: there it may be changed again. */
static void excuse_lower(const struct patch_list *patches, const struct stack *stack, struct fate *fates)
{
	for (size_t i = stack->count; i-- > 0;) {
		for (size_t j = 0; j < i && fates[i].fit != VIEW_CHANGED; j++)
			if (fates[j].fit == VIEW_CHANGED && patch_builds_on(patches, fates[i].patch, fates[j].patch))
				fates[j].fit = fates[i].fit;
	}
}

static void retire_changed(const struct stack *stack, struct fate *fates, struct stack_fit *fit)
{
	for (size_t i = 0; i < stack->count; i++) {
		if (fates[i].fit != VIEW_CHANGED)
			continue;
		fates[i].gone = true;
		fit->retired++;
		say(fit, fates[i].patch, fates[i].removed ? "'%s' was removed" : "the base has something else at '%s'", fates[i].path);
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
	CLEANUP(fates_free) struct fate *fates = calloc(stack->count + 1, sizeof *fates); /* ends with one of no patch */
	int r;

	if (!fates)
		return error_set(err, -ENOMEM, "out of memory");
	r = find_fates(store, component, patches, stack, basefd, ret->served, fates, err);
	if (r < 0)
		return r;
	excuse_lower(patches, stack, fates);
	retire_changed(stack, fates, ret);
	drop_absorbed(patches, stack, fates, ret);
	ret->stack = (struct stack){ .known = true };
	for (size_t i = 0; i < stack->count; i++)
		if (!fates[i].gone)
			ret->stack.patches[ret->stack.count++] = stack->patches[i];
	return strbuf_failed(&ret->reason) ? error_set(err, -ENOMEM, "out of memory") : 0;
}
