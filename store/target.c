/* SPDX-License-Identifier: Apache-2.0 */
#include "store/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void target_release(struct target *target)
{
	if (target->store && target->store->repo)
		repo_batch_abort(target->store->repo);
	patch_list_release(&target->patches);
	if (target->component)
		component_free(target->component);
	store_unlock(target->lock_fd);
	if (target->store && !target->store_borrowed)
		store_free(target->store);
	target->component = NULL;
	target->store = NULL;
	target->lock_fd = -EBADF;
}

int target_load(struct target *target, const char *name, struct error *err)
{
	int r = store_open_repository(target->store, err);

	if (r == 0)
		r = component_load(target->store, name, &target->component, err);
	if (r == 0)
		r = patch_list_load(target->store, target->component, &target->patches, err);
	if (r < 0)
		return r;
	target->active_before = target->component->active;
	r = stack_read(target->store, target->component, &target->patches, &target->active_before, &target->stack,
		&target->problem);
	if (r == -ENOMEM)
		return error_errno(err, ENOMEM, "component '%s'", name);
	if (r < 0)
		target->stack = (struct stack){ .known = false };
	return 0;
}

int target_resolve(const struct target *target, const char *rev, struct oid *ret, struct error *err)
{
	const char *name = target->component->name;
	size_t len = strcspn(rev, "~^@");
	char word[PATCH_LABEL_MAX + 1] = "";
	cleanup_free char *full = NULL;
	int printed;

	if (len < sizeof word)
		memcpy(word, rev, len);
	if (strcmp(word, "base") == 0 || strcmp(word, "active") == 0)
		printed = asprintf(&full, "refs/veneer/%s/%s", name, rev);
	else if (*word && patch_find(&target->patches, word))
		printed = asprintf(&full, "refs/veneer/%s/patches/%s", name, rev);
	else
		printed = asprintf(&full, "%s", rev);
	if (printed < 0) {
		full = NULL;
		return error_errno(err, ENOMEM, "'%s'", rev);
	}
	return repo_resolve(target->store->repo, full, ret, err);
}

int target_require_stack(const struct target *target, struct error *err)
{
	const char *name = target->component->name;
	char hex[OID_HEX_LENGTH + 1];

	if (target->stack.known)
		return 0;
	oid_to_hex(&target->component->active, hex);
	if (*target->problem.message)
		return error_set(err, -EBUSY,
			"component '%s': its active commit '%.12s' cannot be read (%s): go back to the base first, with 'veneer revert %s --all'",
			name, hex, target->problem.message, name);
	return error_set(err, -EBUSY,
		"component '%s' serves commit '%.12s', which is no stack of its patches: go back to the base first, with 'veneer revert %s --all'",
		name, hex, name);
}

char *target_labels(const struct target *target, const struct stack *stack, const char *separator)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	for (size_t i = 0; i < stack->count; i++) {
		const struct patch *patch = patch_find_commit(&target->patches, &stack->patches[i]);

		if (i > 0)
			strbuf_addstr(&sb, separator);
		strbuf_addstr(&sb, patch ? patch->label : "?");
	}
	strbuf_addstr(&sb, "");
	return strbuf_detach(&sb, NULL);
}

const struct patch *target_newest_patch(const struct target *target)
{
	const char *version = target->component->base_version;

	for (size_t i = target->patches.count; i-- > 0;) {
		const struct patch *patch = &target->patches.patches[i];

		if ((*patch->base_version == '\0' || strcmp(patch->base_version, version) == 0) &&
			!patch_is_superseded(&target->patches, patch))
			return patch;
	}
	return NULL;
}
