/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/table.h"
#include "cli/target.h"
#include "cli/transition.h"
#include "store/journal.h"

/* What the journal says of the newest switch. */
struct search {
	bool found;
	struct oid from;
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

	if (!is_switch(entry->action))
		return 0;
	search->found = true;
	search->from = entry->from;
	return 1;
}

int cmd_rollback(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	struct transition transition = {
		.action = "rolled-back",
		.what = "rolled back",
		.unchanged = "the state before the last switch is active already",
	};
	struct search search = { 0 };
	struct stack stack;
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);

	if (r < 0)
		return r;
	r = journal_each(target.store, target.component->name, 0, look_at_entry, &search, err);
	if (r < 0)
		return r;
	if (!search.found)
		return error_set(err, -ENOENT, "component '%s' was never switched: there is nothing to roll back to",
			target.component->name);
	r = stack_read(target.store, target.component, &target.patches, &search.from, &stack, err);
	if (r < 0)
		return r;
	/* The base may have grown since: a known stack is composed over what it is now. */
	transition.commit = search.from;
	transition.stack = stack.known ? &stack : NULL;
	return transition_run(ctx, &target, &transition, err);
}
