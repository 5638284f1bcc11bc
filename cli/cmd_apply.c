/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/patch_state.h"
#include "cli/table.h"
#include "cli/target.h"
#include "cli/transition.h"

/* The newest patch that is for this base version, or does not say for which, and that no other supersedes. */
static const struct patch *newest_patch(const struct target *target)
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

/* The labels on the command line, or that of the newest patch. */
static int add_wanted(const struct context *ctx, const struct target *target, struct stack *stack,
	struct strbuf *what, struct error *err)
{
	const char *const *labels = ctx->options.arguments + 1;
	const struct patch *newest;
	bool changed;
	int r = 0;

	for (; r == 0 && *labels; labels++) {
		r = stack_add(&target->patches, stack, *labels, &changed, err);
		strbuf_addf(what, "%s%s", what->len > 0 ? ", " : "applied ", *labels);
	}
	if (r < 0 || what->len > 0)
		return r;
	newest = newest_patch(target);
	if (!newest)
		return error_set(err, -ENOENT,
			"component '%s' has no patch for its base version '%s': make one with 'veneer create %s'",
			target->component->name, target->component->base_version, target->component->name);
	strbuf_addf(what, "applied %s", newest->label);
	return stack_add(&target->patches, stack, newest->label, &changed, err);
}

int cmd_apply(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_strbuf struct strbuf what = STRBUF_INIT;
	struct transition transition = { .action = "applied", .unchanged = "already applied" };
	struct stack stack;
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);

	if (r < 0)
		return r;
	r = target_require_stack(&target, err);
	if (r < 0)
		return r;
	stack = target.stack;
	r = add_wanted(ctx, &target, &stack, &what, err);
	if (r < 0)
		return error_prefix(err, r, "apply to '%s'", target.component->name);
	transition.stack = &stack;
	transition.what = strbuf_text(&what);
	return transition_run(ctx, &target, &transition, err);
}
