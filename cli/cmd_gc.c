/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "cli/text.h"
#include "fs/served_objects.h"
#include "store/base/cleanup.h"
#include "store/gc.h"

static const struct column columns[] = {
	{ "kind", "Kind", COLUMN_TEXT },
	{ "name", "Name", COLUMN_TEXT },
	{ "bytes", "Size", COLUMN_BYTES },
	{ "reason", "Reason", COLUMN_TEXT },
};

static int parse_grace(struct context *ctx, uint64_t *ret, struct error *err)
{
	const char *text = options_get(&ctx->options, "grace");
	unsigned long long hours = GC_GRACE_HOURS;
	char *end = NULL;

	if (text) {
		errno = 0;
		hours = strtoull(text, &end, 10);
		if (*text < '0' || *text > '9' || *end || errno || hours > GC_GRACE_HOURS_MAX)
			return usage_error(ctx, err, "--grace: '%.40s' is no number of hours up to %u", text, GC_GRACE_HOURS_MAX);
	}
	*ret = hours * 3600;
	return 0;
}

static struct json_object *rows_of(const struct gc_report *report)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < report->count; i++) {
		struct json_object *row = json_object_new_object();

		row_text(row, "kind", report->rows[i].kind);
		row_text(row, "name", report->rows[i].name);
		row_number(row, "bytes", (int64_t)report->rows[i].bytes);
		row_text(row, "reason", report->rows[i].reason);
		json_object_array_add(rows, row);
	}
	return rows;
}

static int show_json(const struct context *ctx, const struct gc_report *report, struct error *err)
{
	CLEANUP_ROW struct json_object *whole = json_object_new_object();

	row_object(whole, "removed", rows_of(report));
	row_number(whole, "bytes_freed", (int64_t)report->freed);
	row_number(whole, "objects", (int64_t)report->objects);
	row_number(whole, "git_objects", (int64_t)report->git_objects);
	row_number(whole, "packs", (int64_t)report->packs);
	row_number(whole, "loose_objects", (int64_t)report->loose);
	row_number(whole, "leftovers", (int64_t)report->leftovers);
	row_number(whole, "new_packs", (int64_t)report->new_packs);
	row_flag(whole, "dry_run", context_dry_run(ctx));
	return context_report_json(ctx, whole, err);
}

static int show(const struct context *ctx, const struct gc_report *report, struct error *err)
{
	cleanup_strbuf struct strbuf line = STRBUF_INIT;
	int r = 0;

	if (ctx->json)
		return show_json(ctx, report, err);
	if (report->count == 0) {
		context_say(ctx, "nothing to do");
		return 0;
	}
	if (ctx->verbose || context_dry_run(ctx)) {
		CLEANUP_ROW struct json_object *rows = rows_of(report);

		r = context_report_table(ctx, columns, ARRAY_SIZE(columns), rows, err);
	}
	strbuf_addstr(&line, context_dry_run(ctx) ? "would free " : "freed ");
	text_add_bytes(&line, report->freed);
	strbuf_addf(&line, ": %zu served %s, %zu %s of git, %zu %s; %zu %s and %zu loose %s %s packed anew", report->objects,
		report->objects == 1 ? "object" : "objects", report->git_objects, report->git_objects == 1 ? "object" : "objects",
		report->leftovers, report->leftovers == 1 ? "leftover" : "leftovers", report->packs, report->packs == 1 ? "pack" : "packs",
		report->loose, report->loose == 1 ? "object" : "objects", context_dry_run(ctx) ? "to be" : "were");
	context_say(ctx, "%s", strbuf_text(&line));
	return r;
}

int cmd_gc(struct context *ctx, struct error *err)
{
	cleanup_store struct store *store = NULL;
	cleanup_gc_report struct gc_report report = GC_REPORT_INIT;
	cleanup_progress struct progress progress = { .active = false };
	cleanup_store_lock int lock = -EBADF;
	struct gc_options options = { .dry_run = context_dry_run(ctx), .in_use = served_objects_ask, .progress = progress_show,
		.progress_arg = &progress };
	int r = parse_grace(ctx, &options.grace_seconds, err);

	if (r == 0)
		r = context_open_store(ctx, &store, err);
	if (r < 0)
		return r;
	lock = store_lock(store, STORE_LOCK_TIMEOUT_MS, err);
	if (lock < 0)
		return lock;
	progress_begin(&progress, ctx, "look for what is not needed");
	r = gc_run(store, &options, &report, err);
	progress_end(&progress);
	return r < 0 ? r : show(ctx, &report, err);
}
