/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/table.h"
#include "cli/text.h"
#include "store/component.h"
#include "store/journal.h"

struct log {
	const struct context *ctx;
	struct json_object *rows; /* with --json */
};

static const struct column columns[] = {
	{ "time", "Time", COLUMN_TEXT },
	{ "labels", "Labels", COLUMN_TEXT },
	{ "from", "From", COLUMN_ID },
	{ "to", "To", COLUMN_ID },
	{ "by", "By", COLUMN_TEXT },
	{ "command", "Command", COLUMN_TEXT },
	{ "reason", "Reason", COLUMN_TEXT },
};

static struct json_object *actor_row(const struct journal_actor *actor)
{
	struct json_object *row = json_object_new_object();

	row_number(row, "uid", actor->uid);
	if (actor->login_uid == UINT32_MAX)
		row_text(row, "login_uid", NULL);
	else
		row_number(row, "login_uid", actor->login_uid);
	row_number(row, "pid", actor->pid);
	row_text(row, "sudo_user", actor->sudo_user);
	row_text(row, "command", actor->command);
	return row;
}

static struct json_object *entry_row(const struct journal_entry *entry)
{
	struct json_object *row = json_object_new_object();
	int64_t seconds = entry->time_us / 1000000;
	int microseconds = (int)(entry->time_us % 1000000);

	if (microseconds < 0) {
		microseconds += 1000000;
		seconds--;
	}
	row_time(row, "time", seconds, microseconds);
	row_text(row, "action", entry->action);
	row_oid(row, "from", &entry->from);
	row_oid(row, "to", &entry->to);
	row_text(row, "labels", entry->labels);
	row_object(row, "actor", actor_row(&entry->actor));
	row_text(row, "reason", entry->reason);
	row_oid(row, "id", &entry->id);
	return row;
}

/* "uid 0, logged in as 1000, sudo of alice, pid 123" */
static void describe_actor(struct json_object *row, const struct journal_actor *actor)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	strbuf_addf(&sb, "uid %u", (unsigned)actor->uid);
	if (actor->login_uid != UINT32_MAX)
		strbuf_addf(&sb, ", logged in as uid %" PRIu32, actor->login_uid);
	if (actor->sudo_user)
		strbuf_addf(&sb, ", sudo of %s", actor->sudo_user);
	strbuf_addf(&sb, ", pid %d", (int)actor->pid);
	row_text(row, "by", strbuf_text(&sb));
	row_text(row, "command", actor->command);
}

static int print_entry(const struct log *log, const struct journal_entry *entry, struct json_object *row,
	struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	const bool color = context_color(log->ctx);
	char hex[OID_HEX_LENGTH + 1];

	oid_to_hex(&entry->id, hex);
	strbuf_addf(&sb, "%s%s %s%s\n", color ? "\033[33m" : "", entry->action, hex, color ? "\033[m" : "");
	describe_actor(row, &entry->actor);
	output_record(&sb, columns, sizeof columns / sizeof *columns, row);
	strbuf_addch(&sb, '\n');
	return context_write(&sb, err);
}

static int show_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct log *log = arg;
	struct json_object *row = entry_row(entry);
	int r;

	if (log->ctx->json) {
		json_object_array_add(log->rows, row);
		return 0;
	}
	r = print_entry(log, entry, row, err);
	json_object_put(row);
	return r;
}

static int parse_count(struct context *ctx, size_t *ret, struct error *err)
{
	const char *text = options_get(&ctx->options, "count");
	unsigned long long count;
	char *end;

	*ret = 0;
	if (!text)
		return 0;
	errno = 0;
	count = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || count == 0 || count > SIZE_MAX)
		return usage_error(ctx, err, "-n: '%.40s' is no number of entries", text);
	*ret = (size_t)count;
	return 0;
}

int cmd_log(struct context *ctx, struct error *err)
{
	CLEANUP_ROW struct json_object *rows = json_object_new_array();
	cleanup_store struct store *store = NULL;
	cleanup_component struct component *component = NULL;
	struct log log = { ctx, rows };
	size_t limit;
	int r = parse_count(ctx, &limit, err);

	if (r == 0)
		r = context_open_store(ctx, &store, err);
	if (r == 0)
		r = component_load(store, context_argument(ctx, 0), &component, err);
	if (r == 0)
		r = journal_each(store, component->name, limit, show_entry, &log, err);
	if (r < 0)
		return r;
	return ctx->json ? context_report_json(ctx, rows, err) : 0;
}
