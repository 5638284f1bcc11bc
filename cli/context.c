/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/table.h"
#include "cli/text.h"
#include "store/base/cleanup.h"

void context_release(struct context *ctx)
{
	options_release(&ctx->options);
}

int usage_error(struct context *ctx, struct error *err, const char *format, ...)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	va_list args;

	va_start(args, format);
	strbuf_vaddf(&sb, format, args);
	va_end(args);
	ctx->wrong_usage = true;
	if (ctx->command)
		return error_set(err, -EINVAL, "%s: %s: see 'veneer help %s'", ctx->command->name,
			strbuf_text(&sb), ctx->command->name);
	return error_set(err, -EINVAL, "%s: see 'veneer help'", strbuf_text(&sb));
}

static int parse_options(struct context *ctx, enum options_mode mode, int argc, char *const *argv,
	int *ret_used, struct error *err)
{
	const struct option_spec *tables[] = { global_options, NULL, NULL };
	struct error problem = ERROR_INIT;
	int r;

	if (ctx->command)
		tables[1] = ctx->command->options;
	r = options_parse(&ctx->options, tables, mode, argc, argv, ret_used, &problem);
	if (r == -EINVAL)
		return usage_error(ctx, err, "%s", problem.message);
	if (r < 0)
		return error_set(err, r, "%s", problem.message);
	return 0;
}

static int check_arguments(struct context *ctx, struct error *err)
{
	const struct command *command = ctx->command;
	size_t count = ctx->options.argument_count;

	if (count < command->least)
		return usage_error(ctx, err, "%s is missing: usage: veneer %s %s",
			count == 0 ? "the first argument" : "an argument", command->name, command->usage);
	if (count > command->most)
		return usage_error(ctx, err, "one argument too many: '%.200s'",
			ctx->options.arguments[command->most]);
	return 0;
}

static void take_globals(struct context *ctx)
{
	const char *option = options_get(&ctx->options, "store"), *environment = getenv("VENEER_STORE");

	/* An option that is empty is a script's unset variable, not a wish for the system's store: refused when it is opened. */
	ctx->store_path = option ? option : environment && *environment ? environment : STORE_DEFAULT_PATH;
	ctx->json = options_has(&ctx->options, "json");
	ctx->quiet = options_has(&ctx->options, "quiet");
	ctx->verbose = options_has(&ctx->options, "verbose");
}

int context_parse(struct context *ctx, int argc, char *const *argv, struct error *err)
{
	int used = 0, r;

	r = parse_options(ctx, OPTIONS_UNTIL_WORD, argc - 1, argv + 1, &used, err);
	if (r < 0)
		return r;
	take_globals(ctx);
	if (options_has(&ctx->options, "version") || options_has(&ctx->options, "help"))
		return 0;
	if (used + 1 >= argc)
		return usage_error(ctx, err, "no command is named");
	ctx->command = command_find(argv[used + 1]);
	if (!ctx->command)
		return usage_error(ctx, err, "'%.100s' is no command", argv[used + 1]);
	r = parse_options(ctx, ctx->command->separator ? OPTIONS_KEEP_REST : OPTIONS_WHOLE,
		argc - used - 2, argv + used + 2, NULL, err);
	if (r < 0)
		return r;
	take_globals(ctx);
	if (options_has(&ctx->options, "help") || options_has(&ctx->options, "version"))
		return 0;
	return check_arguments(ctx, err);
}

const char *context_argument(const struct context *ctx, size_t n)
{
	return n < ctx->options.argument_count ? ctx->options.arguments[n] : NULL;
}

int context_open_store(const struct context *ctx, struct store **ret, struct error *err)
{
	return store_open(ctx->store_path, ret, err);
}

bool context_dry_run(const struct context *ctx)
{
	return options_has(&ctx->options, "dry-run");
}

bool context_color(const struct context *ctx)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");

	return !ctx->json && isatty(STDOUT_FILENO) && !(none && *none) && term &&
		strcmp(term, "dumb") != 0;
}

static void speak(FILE *stream, const char *format, va_list args)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT, shown = STRBUF_INIT;

	strbuf_vaddf(&text, format, args);
	/* One line, whatever is in a path or a message. */
	text_add_printable(&shown, strbuf_text(&text), false);
	fprintf(stream, "%s\n", strbuf_text(&shown));
}

void context_say(const struct context *ctx, const char *format, ...)
{
	va_list args;

	if (ctx->json || ctx->quiet)
		return;
	va_start(args, format);
	speak(stdout, format, args);
	va_end(args);
}

void context_note(const struct context *ctx, const char *format, ...)
{
	va_list args;

	if (ctx->quiet)
		return;
	va_start(args, format);
	speak(stderr, format, args);
	va_end(args);
}

int context_write(const struct strbuf *sb, struct error *err)
{
	if (strbuf_failed(sb))
		return error_errno(err, ENOMEM, "output");
	if (sb->len > 0 && fwrite(sb->buf, 1, sb->len, stdout) != sb->len)
		return error_errno(err, errno, "standard output");
	return 0;
}

int context_report_json(const struct context *ctx, struct json_object *value, struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	output_json(&sb, value);
	return context_write(&sb, err);
}

int context_report_table(const struct context *ctx, const struct column *columns, size_t count,
	struct json_object *rows, struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	if (ctx->json)
		output_json(&sb, rows);
	else
		output_table(&sb, columns, count, rows);
	return context_write(&sb, err);
}

int context_report_record(const struct context *ctx, const struct column *columns, size_t count,
	struct json_object *row, struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	if (ctx->json)
		output_json(&sb, row);
	else
		output_record(&sb, columns, count, row);
	return context_write(&sb, err);
}
