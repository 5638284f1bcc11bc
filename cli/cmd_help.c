/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"
#include "cli/table.h"

/* Which command is asked about: `veneer help CMD`, `veneer CMD --help`; NULL: all of them. */
static int find_subject(struct context *ctx, const struct command **ret, struct error *err)
{
	const char *name = context_argument(ctx, 0);

	*ret = NULL;
	if (options_has(&ctx->options, "help")) {
		*ret = ctx->command;
		return 0;
	}
	if (!name)
		return 0;
	*ret = command_find(name);
	if (!*ret)
		return usage_error(ctx, err, "'%.100s' is no command", name);
	return 0;
}

int cmd_help(struct context *ctx, struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	const struct command *subject;
	int r = find_subject(ctx, &subject, err);

	if (r < 0)
		return r;
	if (ctx->json) {
		CLEANUP_ROW struct json_object *rows = help_rows();

		return context_report_json(ctx, rows, err);
	}
	if (options_has(&ctx->options, "completion"))
		help_completion(&sb);
	else if (subject)
		help_command(&sb, subject);
	else
		help_overview(&sb);
	return context_write(&sb, err);
}
