/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void target_release(struct target *target)
{
	if (target->store)
		repo_batch_abort(target->store->repo);
	patch_list_release(&target->patches);
	if (target->component)
		component_free(target->component);
	cleanup_closep(&target->lock_fd);
	if (target->store)
		store_free(target->store);
	target->component = NULL;
	target->store = NULL;
	target->lock_fd = -EBADF;
}

int target_open(const struct context *ctx, const char *name, enum target_access access,
	struct target *target, struct error *err)
{
	int r = component_check_name(name, err);

	if (r < 0)
		return r;
	r = context_open_store(ctx, &target->store, err);
	if (r < 0)
		return r;
	if (access == TARGET_WRITE) {
		target->lock_fd = store_lock(target->store, STORE_LOCK_TIMEOUT_MS, err);
		if (target->lock_fd < 0)
			return target->lock_fd;
	}
	r = component_load(target->store, name, &target->component, err);
	if (r < 0)
		return r;
	r = patch_list_load(target->store, target->component, &target->patches, err);
	if (r < 0)
		return r;
	return stack_read(target->store, target->component, &target->patches, &target->component->active,
		&target->stack, err);
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

bool stack_has(const struct stack *stack, const struct oid *patch)
{
	for (size_t i = 0; i < stack->count; i++)
		if (oid_equal(&stack->patches[i], patch))
			return true;
	return false;
}
