/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "cli/text.h"
#include "fs/control.h"
#include "fs/mount_query.h"
#include "store/base/cleanup.h"
#include "store/fsck.h"

static struct json_object *finding_row(const struct fsck_finding *finding)
{
	struct json_object *row = json_object_new_object();

	row_text(row, "kind", finding->kind);
	row_text(row, "component", finding->component);
	row_text(row, "subject", finding->subject);
	row_text(row, "problem", finding->problem);
	row_text(row, "severity", finding->severity == FSCK_ERROR ? "error" : "warning");
	row_flag(row, "repaired", finding->repaired);
	row_text(row, "remedy", finding->remedy);
	return row;
}

static const char *row_get(struct json_object *row, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(row, key, &value) && value ? json_object_get_string(value) : "";
}

/* "error: git-object 1a2b…: its copy … is damaged: … [repaired: made again]" */
static void add_line(const struct context *ctx, struct json_object *row, bool repaired, struct strbuf *sb)
{
	const bool color = context_color(ctx), error = strcmp(row_get(row, "severity"), "error") == 0;
	const char *remedy = row_get(row, "remedy");

	strbuf_addf(sb, "%s%s%s: %s '", color ? (repaired ? "\033[32m" : error ? "\033[31m" : "\033[33m") : "",
		repaired ? "repaired" : row_get(row, "severity"), color ? "\033[m" : "", row_get(row, "kind"));
	text_add_printable(sb, row_get(row, "subject"), false);
	strbuf_addstr(sb, "': ");
	text_add_printable(sb, row_get(row, "problem"), false);
	if (*remedy) {
		strbuf_addstr(sb, "\n    ");
		text_add_printable(sb, remedy, false);
	}
	strbuf_addch(sb, '\n');
}

static void add_count(struct strbuf *sb, uint64_t count, const char *one, const char *many)
{
	text_add_count(sb, count);
	strbuf_addf(sb, " %s", count == 1 ? one : many);
}

static void add_summary(const struct fsck_report *report, struct strbuf *sb)
{
	add_count(sb, report->errors, "error", "errors");
	strbuf_addstr(sb, ", ");
	add_count(sb, report->warnings, "warning", "warnings");
	strbuf_addstr(sb, ", ");
	text_add_count(sb, report->repaired);
	strbuf_addstr(sb, " repaired; looked at ");
	add_count(sb, report->refs, "ref", "refs");
	strbuf_addstr(sb, ", ");
	add_count(sb, report->git_objects, "object", "objects");
	strbuf_addstr(sb, " of git, ");
	add_count(sb, report->entries, "journal entry", "journal entries");
	strbuf_addstr(sb, ", ");
	add_count(sb, report->objects, "served object", "served objects");
	strbuf_addch(sb, '\n');
}

static int show(const struct context *ctx, const struct fsck_report *report, struct error *err)
{
	CLEANUP_ROW struct json_object *rows = json_object_new_array();
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	for (size_t i = 0; i < report->count; i++) {
		struct json_object *row = finding_row(&report->findings[i]);

		json_object_array_add(rows, row);
		if (!ctx->json)
			add_line(ctx, row, report->findings[i].repaired, &sb);
	}
	if (ctx->json)
		return context_report_json(ctx, rows, err);
	if (!ctx->quiet)
		add_summary(report, &sb);
	return context_write(&sb, err);
}

/* ---- who serves what was made again ---- */

#define TOLD_AT_ONCE 1000u /* objects in a packet, see CONTROL_PACKET_MAX */

/* COUNT of HEALED, all of one component. What the kernel and the daemon hold of them may still be the damage. */
static int tell_daemon(struct store *store, const struct fsck_healed *healed, size_t count, struct error *err)
{
	CLEANUP_ROW struct json_object *request = json_object_new_object();
	struct json_object *objects = json_object_new_array();
	cleanup_control struct control *control = NULL;
	int r = control_open(store, healed->component, &control, err);

	json_object_object_add(request, "operation", json_object_new_string("heal"));
	json_object_object_add(request, "objects", objects);
	for (size_t i = 0; i < count; i++) {
		char hex[HASH128_HEX_LENGTH + 1];

		hash128_to_hex(&healed[i].object, hex);
		json_object_array_add(objects, json_object_new_string(hex));
	}
	if (r == -ENOENT)
		return 0; /* nobody serves it */
	if (r == 0)
		r = control_call(control, request, -EBADF, NULL, err);
	return r < 0 ? error_prefix(err, r, "objects of component '%s' are made again, but its daemon could not be told", healed->component) : 0;
}

static int tell_daemons(const struct context *ctx, const struct fsck_report *report, struct error *err)
{
	cleanup_store struct store *store = NULL;
	size_t count;
	int r = report->healed_count ? store_open_directories(ctx->store_path, &store, err) : 0;

	for (size_t i = 0; r == 0 && i < report->healed_count; i += count) {
		for (count = 1; i + count < report->healed_count && count < TOLD_AT_ONCE; count++)
			if (strcmp(report->healed[i].component, report->healed[i + count].component) != 0)
				break;
		r = tell_daemon(store, &report->healed[i], count, err);
	}
	return r;
}

int cmd_fsck(struct context *ctx, struct error *err)
{
	cleanup_fsck_report struct fsck_report report = FSCK_REPORT_INIT;
	cleanup_progress struct progress progress = { .active = false };
	struct fsck_options options = {
		.names = context_argument(ctx, 0) ? ctx->options.arguments : NULL,
		.repair = options_has(&ctx->options, "repair"),
		.open_base = mount_open_base,
		.progress = progress_show,
		.progress_arg = &progress,
	};
	int r;

	progress_begin(&progress, ctx, "check of the store");
	r = fsck_run(ctx->store_path, &options, &report, err);
	progress_end(&progress);
	if (r == 0)
		r = tell_daemons(ctx, &report, err);
	if (r == 0)
		r = show(ctx, &report, err);
	if (r < 0 || report.errors == 0)
		return r;
	return error_set(err, -EBADMSG, "the store '%s' has %zu %s that %s not repaired%s", ctx->store_path, report.errors,
		report.errors == 1 ? "error" : "errors", report.errors == 1 ? "is" : "are",
		options.repair ? "" : ": run 'veneer fsck --repair'");
}
