/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"
#include "cli/target.h"
#include "cli/transition.h"

int cmd_switch(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_strbuf struct strbuf what = STRBUF_INIT;
	struct transition transition = { .action = "switched", .unchanged = "active already" };
	const char *rev = context_argument(ctx, 1);
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);

	if (r == 0)
		r = target_resolve(&target, rev, &transition.commit, err);
	if (r < 0)
		return r;
	strbuf_addf(&what, "switched to %s", rev);
	transition.what = strbuf_text(&what);
	r = transition_run(ctx, &target, &transition, err);
	return r < 0 ? error_prefix(err, r, "switch to '%s'", rev) : 0;
}
