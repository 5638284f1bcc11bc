/* SPDX-License-Identifier: Apache-2.0 */
/* The base ref moves: with a patch that makes the record grow, or because the base is another one. */
#include "store/rebase.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/baseline.h"
#include "store/journal.h"
#include "store/patch_internal.h"
#include "store/stack.h"

/* What active becomes over the base: the same stack, composed anew; a commit that is no stack stays. */
static int recompose(struct store *store, const struct component *grown, const struct patch_list *list,
	struct oid *ret_active, char **ret_labels, struct error *err)
{
	cleanup_free struct stack *stack = calloc(1, sizeof *stack);
	cleanup_strbuf struct strbuf labels = STRBUF_INIT;
	int r;

	if (!stack)
		return error_set(err, -ENOMEM, "out of memory");
	r = stack_read(store, grown, list, &grown->active, stack, err);
	if (r == 0 && stack->known)
		r = stack_compose(store, grown, list, stack, ret_active, err);
	if (r < 0)
		return error_prefix(err, r, "compose what is active over the base");
	strbuf_addstr(&labels, "");
	for (size_t i = 0; i < stack->count; i++)
		strbuf_addf(&labels, "%s%s", i ? " " : "", patch_find_commit(list, &stack->patches[i])->label);
	*ret_labels = strbuf_detach(&labels, NULL);
	return *ret_labels ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* In this order each prefix is a good state: a patch nobody applied, a base nobody stands on yet, all; last, the journal (may be NULL). */
static int move_refs(struct store *store, const struct component *old, const struct component *new,
	const struct base_publication *publication, const struct journal_draft *journal, struct error *err)
{
	char patch[REF_NAME_MAX], base[REF_NAME_MAX], active[REF_NAME_MAX], leaf[PATCH_LABEL_MAX + 16];
	struct ref_update updates[4] = {
		{ .name = base, .new_oid = new->base, .check = true, .old_oid = old->base },
		{ .name = active, .new_oid = new->active, .check = true, .old_oid = old->active },
	};
	size_t count = 2;

	component_ref(old->name, "base", base);
	component_ref(old->name, "active", active);
	if (publication->label) {
		memmove(&updates[1], &updates[0], count++ * sizeof *updates);
		updates[0] = (struct ref_update){ .name = patch, .new_oid = *publication->patch, .check = true };
		snprintf(leaf, sizeof leaf, "patches/%s", publication->label);
		component_ref(old->name, leaf, patch);
	}
	if (journal)
		updates[count++] = journal->update;
	return repo_refs_update(store->repo, updates, count, err);
}

int base_publish(struct store *store, struct component *component, const struct patch_list *list,
	const struct base_publication *publication, struct error *err)
{
	struct component grown = *component; /* borrowed, not released */
	cleanup_free char *labels = NULL;
	struct journal_entry entry = { .from = component->active, .action = (char *)publication->action };
	struct journal_draft journal;
	bool moves;
	int r = 0;

	grown.base = *publication->base;
	grown.base_tree = *publication->base_tree;
	if (publication->base_version)
		grown.base_version = (char *)publication->base_version;
	if (!oid_equal(&grown.base, &component->base))
		r = recompose(store, &grown, list, &grown.active, &labels, err);
	if (r == 0)
		r = repo_batch_commit(store->repo, err);
	entry.to = grown.active;
	entry.labels = labels;
	moves = !oid_equal(&entry.from, &entry.to);
	if (r == 0 && moves)
		r = journal_prepare(store, component->name, &entry, &journal, err);
	if (r == 0)
		r = move_refs(store, component, &grown, publication, moves ? &journal : NULL, err);
	if (r < 0)
		return r;
	component->base = grown.base;
	component->base_tree = grown.base_tree;
	component->active = grown.active;
	return 0;
}

int component_rebase(struct store *store, struct component *component, int basefd, const char *version, progress_fn progress,
	void *arg, bool *ret_changed, struct error *err)
{
	cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;
	struct component next = *component; /* borrowed, not released */
	struct base_publication publication = { .base_version = version, .action = "rebased" };
	cleanup_free char *base_version = strdup(version);
	bool changed = false;
	struct oid base, tree;
	int r = base_version ? patch_list_load(store, component, &list, err) : error_errno(err, ENOMEM, "component '%s'", component->name);

	if (r == 0)
		r = repo_batch_begin(store->repo, err);
	if (r < 0)
		return r;
	next.base_version = (char *)version;
	r = baseline_again(store, basefd, &component->base_tree, component->snapshot == SNAPSHOT_FULL, progress, arg, &tree, err);
	changed = r == 0 && (!oid_equal(&tree, &component->base_tree) || strcmp(version, component->base_version) != 0);
	if (changed)
		r = component_write_base(store, &next, &tree, &component->base, time(NULL), &base, err);
	publication.base = &base;
	publication.base_tree = &tree;
	if (r == 0 && changed)
		r = base_publish(store, component, &list, &publication, err);
	repo_batch_abort(store->repo);
	if (r == 0 && changed) {
		free(component->base_version);
		component->base_version = TAKE_PTR(base_version);
	}
	if (r == 0)
		*ret_changed = changed;
	return r;
}
