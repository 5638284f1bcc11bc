/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/table.h"
#include "cli/target.h"
#include "cli/transition.h"
#include "store/journal.h"

/* What the journal says of the newest state it knows, and of the newest switch. */
struct search {
	bool any, found;
	struct oid newest; /* what was switched to last, as far as the journal knows */
	struct oid from;   /* before the newest switch */
};

static bool is_switch(const char *action)
{
	static const char *const actions[] = { "applied", "reverted", "rolled-back", "switched" };

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i], action) == 0)
			return true;
	return false;
}

static int look_at_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct search *search = arg;

	if (!search->any && strcmp(entry->action, "refused") != 0) {
		search->any = true;
		search->newest = entry->to;
	}
	if (!is_switch(entry->action))
		return 0;
	search->found = true;
	search->from = entry->from;
	return 1;
}

static bool stacks_equal(const struct stack *a, const struct stack *b)
{
	return a->known && b->known && a->count == b->count &&
		memcmp(a->patches, b->patches, a->count * sizeof *a->patches) == 0;
}

/*
 * The state before the last switch. Where the ref was moved with plain git while nothing was mounted, the journal
 * does not know of it: then that was the last switch, and the newest entry is the state before.
 */
static int find_previous(const struct target *target, struct oid *ret, struct stack *ret_stack,
	struct error *err)
{
	const char *name = target->component->name;
	struct search search = { 0 };
	int r = journal_each(target->store, name, 0, look_at_entry, &search, err);

	if (r < 0)
		return r;
	if (search.any && !oid_equal(&search.newest, &target->component->active)) {
		r = stack_read(target->store, target->component, &target->patches, &search.newest,
			ret_stack, err);
		*ret = search.newest;
		if (r < 0 || !stacks_equal(ret_stack, &target->stack))
			return r;
	}
	if (!search.found)
		return error_set(err, -ENOENT, "component '%s' was never switched: there is nothing to roll back to",
			name);
	*ret = search.from;
	return stack_read(target->store, target->component, &target->patches, ret, ret_stack, err);
}

int cmd_rollback(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	struct transition transition = {
		.action = "rolled-back",
		.what = "rolled back",
		.unchanged = "the state before the last switch is active already",
	};
	struct stack stack;
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);

	if (r == 0)
		r = find_previous(&target, &transition.commit, &stack, err);
	if (r < 0)
		return r;
	/* The base may have grown since: a known stack is composed over what it is now. */
	transition.stack = stack.known ? &stack : NULL;
	return transition_run(ctx, &target, &transition, err);
}
