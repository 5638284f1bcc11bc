/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"
#include "cli/transition.h"

int cmd_apply(struct context *ctx, struct error *err)
{
	const struct transition_request request = { TRANSITION_APPLY, ctx->options.arguments + 1, false, 0 };

	return transition_run(ctx, &request, err);
}
