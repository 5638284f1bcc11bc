/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/table.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/tree_difference.h"

#define CONTEXT_LINES 3

/* Content goes out as it is: a diff is there to be applied as well as to be read. */
static int write_text(void *arg, const char *text, size_t len)
{
	return fwrite(text, 1, len, stdout) == len ? 0 : -EIO;
}

/* Prefixes without a slash at their end. */
struct prefixes {
	char **list;
	size_t count;
};

static void prefixes_release(struct prefixes *prefixes)
{
	for (size_t i = 0; i < prefixes->count; i++)
		free(prefixes->list[i]);
	free(prefixes->list);
}

static int prefixes_fill(struct prefixes *prefixes, const struct options *options, struct error *err)
{
	prefixes->list = calloc(options->rest_count + 1, sizeof *prefixes->list);
	if (!prefixes->list)
		return error_errno(err, ENOMEM, "command line");
	for (size_t i = 0; i < options->rest_count; i++) {
		size_t len = strlen(options->rest[i]);

		while (len > 0 && options->rest[i][len - 1] == '/')
			len--;
		if (len == 0)
			return error_set(err, -EINVAL, "'%s': paths are relative to the component's directory",
				options->rest[i]);
		prefixes->list[i] = strndup(options->rest[i], len);
		if (!prefixes->list[i])
			return error_errno(err, ENOMEM, "command line");
		prefixes->count++;
	}
	return 0;
}

static int prepare_sides(const struct context *ctx, const struct target *target, struct comparison *trees,
	struct error *err)
{
	const char *from = context_argument(ctx, 1), *to = context_argument(ctx, 2);
	struct oid a, b;
	int r = target_resolve(target, from ? from : "base", &a, err);

	if (r == 0)
		r = target_resolve(target, to ? to : "active", &b, err);
	if (r == 0)
		r = repo_batch_begin(target->store->repo, err);
	return r < 0 ? r : comparison_prepare(target->store, &a, &b, trees, err);
}

static int print_content(const struct context *ctx, const struct target *target,
	const struct comparison *trees, const struct prefixes *prefixes, struct error *err)
{
	const struct diff_options options = {
		.format = options_has(&ctx->options, "stat") ? DIFF_STAT : DIFF_PATCH,
		.paths = prefixes->count ? (const char *const *)prefixes->list : NULL,
		.path_count = prefixes->count,
		.color = context_color(ctx),
		.context_lines = CONTEXT_LINES,
	};

	return repo_diff_print(target->store->repo, &trees->a.tree, &trees->b.tree, &options, write_text, NULL,
		err);
}

static void add_name_status(const struct tree_differences *differences, struct strbuf *sb)
{
	for (size_t i = 0; i < differences->count; i++) {
		const struct tree_difference *row = &differences->list[i];

		strbuf_addf(sb, "%c\t", row->status);
		text_add_printable(sb, *row->path ? row->path : ".", false);
		strbuf_addch(sb, '\n');
	}
}

static int print_metadata(const struct context *ctx, const struct tree_differences *differences,
	struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	if (options_has(&ctx->options, "name-status"))
		add_name_status(differences, &sb);
	else
		tree_differences_print_meta(differences, ctx->verbose, &sb);
	return context_write(&sb, err);
}

int cmd_diff(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_tree_differences struct tree_differences differences = TREE_DIFFERENCES_INIT;
	__attribute__((cleanup(prefixes_release))) struct prefixes prefixes = { NULL, 0 };
	const bool names = options_has(&ctx->options, "name-status");
	struct comparison trees;
	int r;

	if (names && options_has(&ctx->options, "stat"))
		return usage_error(ctx, err, "--stat and --name-status exclude each other");
	r = target_open(ctx, context_argument(ctx, 0), TARGET_READ, &target, err);
	if (r == 0)
		r = prefixes_fill(&prefixes, &ctx->options, err);
	if (r == 0)
		r = prepare_sides(ctx, &target, &trees, err);
	if (r == 0)
		r = tree_differences_find(target.store, &trees, &differences, err);
	if (r < 0)
		return r;
	tree_differences_limit(&differences, (const char *const *)prefixes.list, prefixes.count);
	if (ctx->json) {
		CLEANUP_ROW struct json_object *rows = tree_differences_rows(&differences);

		return context_report_json(ctx, rows, err);
	}
	if (!names)
		r = print_content(ctx, &target, &trees, &prefixes, err);
	return r < 0 ? r : print_metadata(ctx, &differences, err);
}
