/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"
#include "cli/transition.h"

int cmd_revert(struct context *ctx, struct error *err)
{
	const struct transition_request request = { TRANSITION_REVERT, ctx->options.arguments + 1,
		options_has(&ctx->options, "all"), 0 };

	if (request.all && *request.names)
		return usage_error(ctx, err, "--all and a label exclude each other");
	return transition_run(ctx, &request, err);
}
