/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/stack_internal.h"

/* ---- reading a stack back ---- */

/* PATCH and what it builds on, in order of application; not known where that stands on no base, or is too many. */
static int read_chain(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct patch *patch, struct stack *ret, struct error *err)
{
	const struct patch *bottom = patch;
	size_t count = 1;
	int r;

	for (const struct patch *below = patch_find_commit(patches, &bottom->parent); below;
		below = patch_find_commit(patches, &bottom->parent)) {
		if (count++ == STACK_MAX)
			return 0;
		bottom = below;
	}
	r = component_owns_base(store, component, &bottom->parent, &ret->known, err);
	if (r < 0)
		return error_prefix(err, r, "patch '%s'", bottom->label);
	ret->count = ret->known ? count : 0;
	for (const struct patch *at = patch; ret->known && count > 0; at = patch_find_commit(patches, &at->parent))
		ret->patches[--count] = at->commit;
	return 0;
}

/* A composition has as parents the base, and the patches in their order; and composing them gives it again. */
static int read_composition(struct store *store, const struct component *component,
	const struct patch_list *patches, const struct commit *commit, struct stack *ret, struct error *err)
{
	cleanup_commit struct commit base = { 0 };
	bool owned;
	int r;

	if (commit->parent_count < 2 || commit->parent_count - 1 > STACK_MAX)
		return 0;
	for (size_t i = 1; i < commit->parent_count; i++)
		if (!patch_find_commit(patches, &commit->parents[i]))
			return 0;
	r = component_owns_base(store, component, &commit->parents[0], &owned, err);
	if (r < 0 || !owned)
		return r;
	r = repo_commit_read(store->repo, &commit->parents[0], &base, err);
	if (r < 0)
		return r;
	ret->count = commit->parent_count - 1;
	memcpy(ret->patches, commit->parents + 1, ret->count * sizeof *ret->patches);
	ret->known = true;
	r = stack_verify(store, component, patches, &base, ret, &commit->id, &ret->known, err);
	if (r < 0)
		ret->known = false;
	if (!ret->known)
		ret->count = 0;
	return r;
}

int stack_read(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct oid *commit, struct stack *ret, struct error *err)
{
	const struct patch *patch = patch_find_commit(patches, commit);
	cleanup_commit struct commit facts = { 0 };
	cleanup_free char *kind = NULL;
	int r;

	ret->count = 0;
	ret->known = false;
	if (patch)
		return read_chain(store, component, patches, patch, ret, err);
	r = repo_commit_read(store->repo, commit, &facts, err);
	if (r < 0)
		return r;
	kind = trailer_get(facts.message, "Kind", 0);
	if (kind && strcmp(kind, "base") == 0)
		return component_owns_base(store, component, commit, &ret->known, err);
	if (kind && strcmp(kind, "composition") == 0)
		return read_composition(store, component, patches, &facts, ret, err);
	return 0;
}

/* ---- edits ---- */

static size_t stack_index(const struct stack *stack, const struct oid *commit)
{
	size_t i = 0;

	while (i < stack->count && !oid_equal(&stack->patches[i], commit))
		i++;
	return i;
}

bool stack_has(const struct stack *stack, const struct oid *patch)
{
	return stack_index(stack, patch) < stack->count;
}

static void stack_drop(struct stack *stack, size_t index)
{
	memmove(&stack->patches[index], &stack->patches[index + 1],
		(stack->count - index - 1) * sizeof *stack->patches);
	stack->count--;
}

bool patch_builds_on(const struct patch_list *patches, const struct patch *patch, const struct patch *other)
{
	size_t steps = 0;

	while (patch && steps++ < STACK_MAX) {
		if (oid_equal(&patch->parent, &other->commit))
			return true;
		patch = patch_find_commit(patches, &patch->parent);
	}
	return false;
}

/* The patch of STACK that builds on OTHER, or NULL. */
static const struct patch *find_builder(const struct patch_list *patches, const struct stack *stack,
	const struct patch *other)
{
	for (size_t i = 0; i < stack->count; i++) {
		const struct patch *patch = patch_find_commit(patches, &stack->patches[i]);

		if (patch && patch_builds_on(patches, patch, other))
			return patch;
	}
	return NULL;
}

static int check_known(const struct stack *stack, struct error *err)
{
	if (stack->known)
		return 0;
	return error_set(err, -EINVAL,
		"what is active is no stack of patches: return to the base with 'revert --all', or 'switch' to a patch");
}

static int find_label(const struct patch_list *patches, const char *label, const struct patch **ret,
	struct error *err)
{
	cleanup_strbuf struct strbuf all = STRBUF_INIT;

	*ret = patch_find(patches, label);
	if (*ret)
		return 0;
	for (size_t i = 0; i < patches->count && all.len < 500; i++)
		strbuf_addf(&all, "%s%s", i ? ", " : "", patches->patches[i].label);
	if (patches->count == 0)
		return error_set(err, -ENOENT, "there is no patch '%.80s', nor any other", label);
	return error_set(err, -ENOENT, "there is no patch '%.80s'; there are: %s", label, strbuf_text(&all));
}

/* Take off what PATCH supersedes, and put it on top. */
static int push(const struct patch_list *patches, struct stack *stack, const struct patch *patch, struct error *err)
{
	struct superseded superseded;

	superseded_find(patches, patch, &superseded);
	for (size_t i = 0; i < stack->count;) {
		const struct patch *other = patch_find_commit(patches, &stack->patches[i]);
		const struct patch *builder;

		if (other && patch_supersedes(patches, other, patch))
			return error_set(err, -EBUSY, "'%s' supersedes '%s' and is applied: revert '%s' first",
				other->label, patch->label, other->label);
		if (!other || !superseded_has(&superseded, other) || patch_builds_on(patches, patch, other)) {
			i++;
			continue;
		}
		builder = find_builder(patches, stack, other);
		if (builder && !superseded_has(&superseded, builder))
			return error_set(err, -EBUSY, "'%s' supersedes '%s', but '%s' builds on that: revert '%s' first",
				patch->label, other->label, builder->label, builder->label);
		stack_drop(stack, i);
	}
	if (stack->count == STACK_MAX)
		return error_set(err, -E2BIG, "more than %u patches in one stack", STACK_MAX);
	stack->patches[stack->count++] = patch->commit;
	return 0;
}

/* PATCH, and before it what it builds on: from the lowest that is not applied up. */
static int push_chain(const struct patch_list *patches, struct stack *stack, const struct patch *patch,
	struct error *err)
{
	while (!stack_has(stack, &patch->commit)) {
		const struct patch *lowest = patch;
		size_t steps = 0;
		int r;

		for (;;) {
			const struct patch *below = patch_find_commit(patches, &lowest->parent);

			if (!below || stack_has(stack, &below->commit))
				break;
			if (steps++ == STACK_MAX)
				return error_set(err, -E2BIG, "'%s' builds on more than %u patches", patch->label,
					STACK_MAX);
			lowest = below;
		}
		r = push(patches, stack, lowest, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int stack_add(const struct patch_list *patches, struct stack *stack, const char *label, bool *ret_changed,
	struct error *err)
{
	const struct patch *patch;
	struct stack edited = *stack;
	int r = find_label(patches, label, &patch, err);

	if (r == 0)
		r = check_known(stack, err);
	if (r == 0)
		r = push_chain(patches, &edited, patch, err);
	if (r < 0)
		return r;
	*ret_changed = !stack_has(stack, &patch->commit);
	*stack = edited;
	return 0;
}

int stack_remove(const struct patch_list *patches, struct stack *stack, const char *label, bool *ret_changed,
	struct error *err)
{
	const struct patch *patch, *builder;
	int r = find_label(patches, label, &patch, err);

	if (r == 0)
		r = check_known(stack, err);
	if (r < 0)
		return r;
	builder = stack_has(stack, &patch->commit) ? find_builder(patches, stack, patch) : NULL;
	if (builder)
		return error_set(err, -EBUSY, "'%s' builds on '%s': revert '%s' first", builder->label, label,
			builder->label);
	*ret_changed = stack_has(stack, &patch->commit);
	if (*ret_changed)
		stack_drop(stack, stack_index(stack, &patch->commit));
	return 0;
}

/* ---- for people ---- */

char *stack_version_label(const struct component *component, const struct patch_list *patches,
	const struct stack *stack, const struct oid *active)
{
	struct strbuf sb = STRBUF_INIT;
	char hex[OID_HEX_LENGTH + 1];

	strbuf_addstr(&sb, *component->base_version ? component->base_version : "base");
	if (!stack->known) {
		oid_to_hex(active, hex);
		strbuf_addf(&sb, " (commit %.7s)", hex);
	}
	for (size_t i = 0; stack->known && i < stack->count; i++) {
		const struct patch *patch = patch_find_commit(patches, &stack->patches[i]);

		oid_to_hex(&stack->patches[i], hex);
		hex[7] = '\0';
		strbuf_addf(&sb, "%s%s", i ? ", " : " (", patch ? patch->label : hex);
	}
	if (stack->known && stack->count > 0)
		strbuf_addch(&sb, ')');
	return strbuf_detach(&sb, NULL);
}
