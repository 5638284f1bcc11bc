/* SPDX-License-Identifier: Apache-2.0 */
/* Composition: each patch's difference to its parent, laid over the base in the order of the stack. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/stack_internal.h"

struct compose {
	struct store *store;
	const struct component *component;
	const struct patch_list *patches;
	const struct stack *stack;
	struct pool pool;	     /* paths of the differences */
	struct stack_layer *layers; /* owned; one for each patch of the stack */
};

static void compose_release(struct compose *compose)
{
	for (size_t i = 0; compose->layers && i < compose->stack->count; i++)
		differences_release(&compose->layers[i].differences);
	free(compose->layers);
	pool_release(&compose->pool);
}

/* ---- the layers ---- */

/* The patch that PATCH builds on must stand below it; else it must stand on a base. */
static int check_parent(const struct compose *compose, size_t index, const struct commit *parent,
	struct error *err)
{
	const struct patch *patch = compose->layers[index].patch;
	const struct patch *below = patch_find_commit(compose->patches, &patch->parent);

	if (!below && !commit_is_base(parent))
		return error_set(err, -EINVAL, "patch '%s' stands on a commit that is neither a base nor a patch",
			patch->label);
	if (!below)
		return 0;
	for (size_t i = 0; i < index; i++)
		if (compose->layers[i].patch == below)
			return 0;
	return error_set(err, -EINVAL, "patch '%s' builds on '%s', which is not below it in the stack",
		patch->label, below->label);
}

static int find_patches(struct compose *compose, struct error *err)
{
	compose->layers = calloc(compose->stack->count, sizeof *compose->layers);
	if (!compose->layers)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < compose->stack->count; i++) {
		char hex[OID_HEX_LENGTH + 1];

		compose->layers[i].patch = patch_find_commit(compose->patches, &compose->stack->patches[i]);
		if (compose->layers[i].patch)
			continue;
		oid_to_hex(&compose->stack->patches[i], hex);
		return error_set(err, -ENOENT, "commit '%s' is no patch of '%s'", hex, compose->component->name);
	}
	return 0;
}

/* What a patch found at a path of its base, and what the newest base has there. A directory alone is no content. */
static bool same_preimage(const struct tree_side *old, const struct tree_entry *new)
{
	const uint32_t mode = new->mode == TREE_MODE_DIRECTORY ? 0 : new->mode;

	if (old->mode == 0 || mode == 0)
		return old->mode == mode;
	return (old->mode == TREE_MODE_SYMLINK) == (mode == TREE_MODE_SYMLINK) && oid_equal(&old->oid, &new->oid);
}

/* A base that has grown has what it had. One that was recorded anew may have something else, and then a patch of the old one is none of it. */
static int check_preimages(const struct compose *compose, const struct stack_layer *layer, struct error *err)
{
	const struct component *component = compose->component;
	CLEANUP(tree_cursor_release) struct tree_cursor cursor;

	tree_cursor_init(&cursor, compose->store->repo, &component->base_tree);
	if (oid_equal(&layer->parent_tree, &component->base_tree))
		return 0;
	for (size_t i = 0; i < layer->differences.count; i++) {
		const struct difference *difference = &layer->differences.items[i];
		struct tree_entry now;
		int r;

		if (!difference->content_changed)
			continue;
		r = tree_cursor_find(&cursor, difference->path, &now, err);
		if (r < 0)
			return r;
		if (!same_preimage(&difference->content[0], &now))
			return error_set(err, -ESTALE,
				"patch '%s' was made for another base%s%s: '%s' is something else in %s: make a new patch for it",
				layer->patch->label, *layer->patch->base_version ? ", " : "", layer->patch->base_version,
				difference->path, *component->base_version ? component->base_version : "the base of today");
	}
	return 0;
}

static int read_layer(struct compose *compose, size_t index, struct error *err)
{
	struct stack_layer *layer = &compose->layers[index];
	cleanup_commit struct commit parent = { 0 };
	int r = repo_commit_read(compose->store->repo, &layer->patch->parent, &parent, err);

	if (r == 0)
		r = check_parent(compose, index, &parent, err);
	if (r < 0)
		return r;
	layer->parent_tree = parent.tree;
	r = differences_collect(compose->store->repo, &compose->pool, &parent.tree, &layer->patch->tree,
		&layer->differences, err);
	if (r < 0)
		return error_prefix(err, r, "patch '%s'", layer->patch->label);
	return commit_is_base(&parent) ? check_preimages(compose, layer, err) : 0;
}

static int read_layers(struct compose *compose, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < compose->stack->count; i++)
		r = read_layer(compose, i, err);
	return r;
}

static int lay_over(struct compose *compose, struct oid *ret_tree, struct error *err)
{
	struct oid tree = compose->component->base_tree;
	struct repo *repo = compose->store->repo;

	for (size_t i = 0; i < compose->stack->count; i++) {
		const struct stack_layer *layer = &compose->layers[i];
		cleanup_edits struct edits edits = EDITS_INIT;
		int r = edits_of_differences(repo, &layer->differences, &layer->patch->tree,
			layer->patch->time, &edits, err);

		if (r == 0)
			r = repo_tree_edit(repo, &tree, edits.changes, edits.count, &tree, err);
		if (r < 0)
			return error_prefix(err, r, "lay patch '%s' over the base", layer->patch->label);
	}
	*ret_tree = tree;
	return 0;
}

/* ---- the commit ---- */

static int compose_message(const struct compose *compose, struct strbuf *message)
{
	const struct component *component = compose->component;
	cleanup_strbuf struct strbuf labels = STRBUF_INIT;
	struct oid none = { { 0 } };
	cleanup_free char *version = stack_version_label(component, compose->patches, compose->stack, &none);

	if (!version)
		return -ENOMEM;
	for (size_t i = 0; i < compose->stack->count; i++)
		strbuf_addf(&labels, "%s%s", i ? " " : "", compose->layers[i].patch->label);
	strbuf_addf(message, "%s %s\n", component->name, version);
	trailer_add(message, "Kind", "composition");
	trailer_add(message, "Component", component->name);
	if (*component->base_version)
		trailer_add(message, "Base-Version", component->base_version);
	trailer_add(message, "Labels", strbuf_text(&labels));
	return strbuf_failed(&labels) || strbuf_failed(message) ? -ENOMEM : 0;
}

static int write_commit(struct compose *compose, const struct oid *tree, struct oid *ret, struct error *err)
{
	cleanup_strbuf struct strbuf message = STRBUF_INIT;
	cleanup_commit struct commit base = { 0 };
	cleanup_free struct oid *parents = calloc(compose->stack->count + 1, sizeof *parents);
	struct commit_spec spec = { .tree = *tree, .parents = parents,
		.parent_count = compose->stack->count + 1 };
	int r;

	if (!parents || compose_message(compose, &message) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = repo_commit_read(compose->store->repo, &compose->component->base, &base, err);
	if (r < 0)
		return r;
	parents[0] = compose->component->base;
	spec.time = base.time;
	for (size_t i = 0; i < compose->stack->count; i++) {
		parents[i + 1] = compose->layers[i].patch->commit;
		if (compose->layers[i].patch->time > spec.time)
			spec.time = compose->layers[i].patch->time;
	}
	spec.message = strbuf_text(&message);
	return repo_commit_write(compose->store->repo, &spec, ret, err);
}

/*
 * Does each patch stand on the one below it, and the first on the newest base? Then the last is the composition: it was made of all
 * below it, and there is nothing that could conflict.
 */
static bool is_chain(const struct compose *compose)
{
	const struct oid *below = &compose->component->base;

	for (size_t i = 0; i < compose->stack->count; i++) {
		if (!oid_equal(&compose->layers[i].patch->parent, below))
			return false;
		below = &compose->layers[i].patch->commit;
	}
	return true;
}

/* ---- what has been composed ---- */

static void add_text(struct strbuf *inputs, const char *text)
{
	strbuf_add(inputs, text, strlen(text) + 1);
}

/* All that a composition is a function of: the other patches say what supersedes what. */
static void add_inputs(const struct compose *compose, struct strbuf *inputs)
{
	const struct component *component = compose->component;

	add_text(inputs, component->name);
	add_text(inputs, component->base_version);
	strbuf_add(inputs, &component->base, sizeof component->base);
	strbuf_add(inputs, &compose->stack->count, sizeof compose->stack->count);
	strbuf_add(inputs, compose->stack->patches, compose->stack->count * sizeof *compose->stack->patches);
	for (size_t i = 0; i < compose->patches->count; i++) {
		const struct patch *patch = &compose->patches->patches[i];

		add_text(inputs, patch->label);
		strbuf_add(inputs, &patch->commit, sizeof patch->commit);
	}
}

static void remember(struct store *store, struct strbuf *inputs, const struct oid *commit)
{
	struct composition *oldest = &store->compositions[store->next_composition++ % ARRAY_SIZE(store->compositions)];

	strbuf_release(&oldest->inputs);
	*oldest = (struct composition){ *inputs, *commit };
	*inputs = (struct strbuf)STRBUF_INIT;
}

/* Composed of INPUTS before, and stored: a trial's is not. */
static bool find_composed(const struct store *store, const struct strbuf *inputs, struct oid *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(store->compositions); i++) {
		const struct composition *known = &store->compositions[i];

		if (known->inputs.len != inputs->len || memcmp(known->inputs.buf, inputs->buf, inputs->len) != 0)
			continue;
		*ret = known->commit;
		return repo_object_stored(store->repo, ret);
	}
	return false;
}

static bool remembers(const struct store *store, const struct oid *commit)
{
	for (size_t i = 0; i < ARRAY_SIZE(store->compositions); i++)
		if (oid_equal(&store->compositions[i].commit, commit))
			return true;
	return false;
}

int stack_compose(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, struct oid *ret, struct error *err)
{
	CLEANUP(compose_release) struct compose compose = { .store = store, .component = component,
		.patches = patches, .stack = stack, .pool = POOL_INIT };
	cleanup_strbuf struct strbuf inputs = STRBUF_INIT;
	struct oid tree;
	int r;

	if (stack->count == 0) {
		*ret = component->base;
		return 0;
	}
	r = find_patches(&compose, err);
	if (r < 0)
		return r;
	if (is_chain(&compose)) {
		*ret = compose.layers[stack->count - 1].patch->commit;
		return 0;
	}
	add_inputs(&compose, &inputs);
	if (strbuf_failed(&inputs))
		return error_set(err, -ENOMEM, "out of memory");
	if (find_composed(store, &inputs, ret))
		return 0;
	r = read_layers(&compose, err);
	if (r == 0)
		r = stack_check_conflicts(store->repo, patches, compose.layers, stack->count, err);
	if (r == 0)
		r = lay_over(&compose, &tree, err);
	if (r == 0)
		r = write_commit(&compose, &tree, ret, err);
	if (r == 0)
		remember(store, &inputs, ret);
	return r;
}

/* What COMPONENT composes to STACK, and nothing of it kept. */
static int compose_trial(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct stack *stack, struct oid *ret, struct error *err)
{
	struct repo_trial trial;
	int r = repo_trial_begin(store->repo, &trial, err);

	if (r < 0)
		return r;
	r = stack_compose(store, component, patches, stack, ret, err);
	repo_trial_end(store->repo, &trial);
	return r;
}

int stack_verify(struct store *store, const struct component *component, const struct patch_list *patches,
	const struct commit *base, const struct stack *stack, const struct oid *commit, bool *ret, struct error *err)
{
	cleanup_free char *version = trailer_get(base->message, "Base-Version", 0);
	struct component over = *component; /* borrowed, not released */
	struct error problem = ERROR_INIT;
	struct oid composed;
	int r;

	if (remembers(store, commit)) {
		*ret = true;
		return 0;
	}
	over.base = base->id;
	over.base_tree = base->tree;
	over.base_version = version ? version : (char *)"";
	r = compose_trial(store, &over, patches, stack, &composed, &problem);
	/* What cannot be composed was not composed. */
	if (r < 0 && r != -EEXIST && r != -EINVAL && r != -ENOENT && r != -ESTALE)
		return error_set(err, r, "%s", problem.message);
	*ret = r == 0 && oid_equal(&composed, commit);
	return 0;
}
