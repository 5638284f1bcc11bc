/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/context.h"
#include "cli/table.h"
#include "cli/text.h"

enum exit_status { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int run(struct context *ctx, int argc, char *const *argv, struct error *err)
{
	int r = context_parse(ctx, argc, argv, err);

	if (r < 0)
		return r;
	if (options_has(&ctx->options, "help"))
		return cmd_help(ctx, err);
	if (options_has(&ctx->options, "version"))
		return cmd_version(ctx, err);
	return ctx->command->run(ctx, err);
}

/* What was said may not have reached anybody: a full disk behind stdout is a failure too. */
static int flush_output(struct error *err)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return error_errno(err, errno ? errno : EIO, "standard output");
	return 0;
}

int main(int argc, char **argv)
{
	cleanup_context struct context ctx = CONTEXT_INIT;
	cleanup_strbuf struct strbuf message = STRBUF_INIT;
	struct error err = ERROR_INIT;
	int r = run(&ctx, argc, argv, &err);

	if (r >= 0)
		r = flush_output(&err);
	else
		fflush(stdout);
	if (r >= 0)
		return EXIT_DONE;
	text_add_printable(&message, err.message[0] ? err.message : error_text(-r), false);
	fprintf(stderr, "veneer: %s\n", strbuf_text(&message));
	if (ctx.exit_status != 0)
		return ctx.exit_status;
	return ctx.wrong_usage ? EXIT_USAGE : EXIT_FAILED;
}
