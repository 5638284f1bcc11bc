/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "cli/table.h"
#include "cli/target.h"
#include "cli/transition.h"

static int remove_named(const struct context *ctx, const struct target *target, struct stack *stack,
	struct strbuf *what, struct error *err)
{
	bool changed;
	int r = 0;

	for (const char *const *label = ctx->options.arguments + 1; r == 0 && *label; label++) {
		r = stack_remove(&target->patches, stack, *label, &changed, err);
		strbuf_addf(what, "%s%s", what->len > 0 ? ", " : "reverted ", *label);
	}
	return r;
}

static int remove_last(const struct target *target, struct stack *stack, struct strbuf *what,
	struct error *err)
{
	const struct patch *last;
	bool changed;

	if (stack->count == 0)
		return error_set(err, -ENOENT, "no patch is applied to component '%s'",
			target->component->name);
	last = patch_find_commit(&target->patches, &stack->patches[stack->count - 1]);
	if (!last)
		return error_set(err, -ENOENT,
			"the patch applied last to '%s' is no longer among its patches: take all off with 'veneer revert %s --all'",
			target->component->name, target->component->name);
	strbuf_addf(what, "reverted %s", last->label);
	return stack_remove(&target->patches, stack, last->label, &changed, err);
}

static int choose_stack(const struct context *ctx, const struct target *target, struct stack *stack,
	struct strbuf *what, struct error *err)
{
	int r;

	*stack = (struct stack){ .known = true };
	if (options_has(&ctx->options, "all")) {
		strbuf_addstr(what, "reverted all");
		return 0;
	}
	r = target_require_stack(target, err);
	if (r < 0)
		return r;
	*stack = target->stack;
	return ctx->options.argument_count > 1 ? remove_named(ctx, target, stack, what, err) :
						 remove_last(target, stack, what, err);
}

int cmd_revert(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_strbuf struct strbuf what = STRBUF_INIT;
	struct transition transition = { .action = "reverted", .unchanged = "not applied: nothing to revert" };
	struct stack stack;
	int r;

	if (options_has(&ctx->options, "all") && ctx->options.argument_count > 1)
		return usage_error(ctx, err, "--all and a label exclude each other");
	r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);
	if (r == 0)
		r = choose_stack(ctx, &target, &stack, &what, err);
	if (r < 0)
		return r;
	transition.stack = &stack;
	transition.what = strbuf_text(&what);
	return transition_run(ctx, &target, &transition, err);
}
