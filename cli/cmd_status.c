/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/patch_state.h"
#include "cli/processes.h"
#include "cli/table.h"
#include "cli/target.h"
#include "cli/text.h"
#include "fs/control.h"
#include "fs/mount_query.h"

static const struct column overview[] = {
	{ "name", "NAME", COLUMN_TEXT },
	{ "version_label", "VERSION", COLUMN_TEXT },
	{ "mounted", "MOUNTED", COLUMN_FLAG },
	{ "io", "IO", COLUMN_TEXT },
	{ "health", "HEALTH", COLUMN_TEXT },
	{ "stale_count", "STALE", COLUMN_COUNT },
	{ "path", "PATH", COLUMN_TEXT },
};

static const struct column details[] = {
	{ "name", "name", COLUMN_TEXT },
	{ "version_label", "version", COLUMN_TEXT },
	{ "path", "path", COLUMN_TEXT },
	{ "mounted", "mounted", COLUMN_FLAG },
	{ "io", "io", COLUMN_TEXT },
	{ "write", "write", COLUMN_TEXT },
	{ "watch", "watch", COLUMN_FLAG },
	{ "scrub", "scrub", COLUMN_TEXT },
	{ "scrubbed_at", "scrubbed at", COLUMN_TEXT },
	{ "healed", "healed", COLUMN_TEXT },
	{ "healed_at", "healed at", COLUMN_TEXT },
	{ "health", "health", COLUMN_TEXT },
	{ "watch_problem", "watch problem", COLUMN_TEXT },
	{ "active", "active", COLUMN_ID },
	{ "closed", "closes", COLUMN_TEXT },
	{ "nodes", "nodes", COLUMN_COUNT },
	{ "requests", "requests", COLUMN_TEXT },
};

static const struct column patch_columns[] = {
	{ "label", "PATCH", COLUMN_TEXT },
	{ "state", "STATE", COLUMN_TEXT },
	{ "base_version", "BASE", COLUMN_TEXT },
	{ "commit", "COMMIT", COLUMN_ID },
	{ "fixes", "FIXES", COLUMN_TEXT },
	{ "subject", "SUBJECT", COLUMN_TEXT },
};

static const struct column stale_columns[] = {
	{ "pid", "STALE PID", COLUMN_TEXT },
	{ "command", "COMMAND", COLUMN_TEXT },
	{ "paths", "REPLACED FILES", COLUMN_TEXT },
};

/* The keys of the daemon's answer that are not ours go into ROW as they are. */
static void copy_reply(struct json_object *row, struct json_object *reply, bool all)
{
	static const char *const always[] = { "io", "health", "watch_problem", "healed", "healed_at" };

	json_object_object_foreach(reply, key, value)
	{
		bool wanted = false;

		for (size_t i = 0; i < ARRAY_SIZE(always); i++)
			wanted |= strcmp(key, always[i]) == 0;
		if (strcmp(key, "ok") == 0 || (!wanted && (!all || json_object_object_get_ex(row, key, NULL))))
			continue;
		json_object_object_add(row, key, json_object_get(value));
	}
}

static int ask_daemon(const struct context *ctx, struct store *store, const struct component *component,
	struct json_object *row, struct error *err)
{
	cleanup_control struct control *control = NULL;
	CLEANUP_ROW struct json_object *reply = NULL;
	int r = control_open(store, component->name, &control, err);

	if (r == 0)
		r = control_simple(control, "status", &reply, err);
	if (r == 0)
		copy_reply(row, reply, ctx->verbose);
	return r;
}

/* mounted, io, health; *RET_STATE says whether the mountpoint may be looked into. */
static int add_mount(const struct context *ctx, const struct target *target, struct json_object *row,
	enum mount_state *ret_state, struct error *err)
{
	struct error problem = ERROR_INIT;
	int r = mount_query(target->store, target->component, ret_state, err);

	if (r < 0)
		return r;
	row_flag(row, "mounted", *ret_state != MOUNT_NONE);
	row_text(row, "io", NULL);
	row_text(row, "health", *ret_state == MOUNT_NONE ? "not mounted" : "ok");
	if (*ret_state == MOUNT_SERVING &&
		ask_daemon(ctx, target->store, target->component, row, &problem) < 0)
		*ret_state = MOUNT_DEAD;
	if (*ret_state == MOUNT_DEAD) {
		cleanup_strbuf struct strbuf health = STRBUF_INIT;

		strbuf_addf(&health, "dead: %s: 'veneer umount %s' gives the bare directory back",
			problem.message[0] ? problem.message : "the daemon does not answer",
			target->component->name);
		row_text(row, "health", strbuf_text(&health));
	}
	return 0;
}

/* NOTES, for people alone: why patches are not what they were. */
static int add_patches(const struct target *target, struct json_object *row, struct json_object *notes, struct error *err)
{
	struct json_object *patches = json_object_new_array(), *closed = json_object_new_array();
	cleanup_strbuf struct strbuf note = STRBUF_INIT;
	struct patch_state *states = NULL;
	cleanup_close int basefd = -EBADF;
	int r;

	/* Without its directory the rest is still worth saying. */
	if (mount_open_base(target->store, target->component, &basefd, NULL) < 0)
		basefd = -EBADF;
	r = patch_states_find(target, basefd, &states, err);
	row_object(row, "patches", patches);
	row_object(row, "closed", closed);
	if (r < 0)
		return r;

	for (size_t i = 0; i < target->patches.count; i++) {
		const struct patch *patch = &target->patches.patches[i];
		struct json_object *one = json_object_new_object();

		row_text(one, "label", patch->label);
		row_oid(one, "commit", &patch->commit);
		row_list(one, "fixes", (const char *const *)patch->fixes);
		patch_state_fill(&states[i], one);
		row_text(one, "base_version", patch->base_version);
		row_text(one, "subject", patch->subject);
		patch_state_explain(target, patch, &states[i], &note);
		json_object_array_add(patches, one);
		for (char **id = patch->fixes; stack_has(&target->stack, &patch->commit) && *id; id++)
			array_text(closed, *id);
	}
	array_text(notes, strbuf_text(&note));
	patch_states_free(states, target->patches.count);
	return 0;
}

/* What is wrong with the store's side of a component, where its mount has no complaint of its own. */
static void add_problems(const struct target *target, struct json_object *row)
{
	cleanup_strbuf struct strbuf health = STRBUF_INIT;
	struct json_object *now = NULL;
	const char *text = json_object_object_get_ex(row, "health", &now) ? json_object_get_string(now) : "";

	if (strcmp(text, "ok") != 0 && strcmp(text, "not mounted") != 0 && strncmp(text, "healed:", 7) != 0)
		return;
	if (*target->problem.message)
		strbuf_addf(&health, "the active commit cannot be read: %s", target->problem.message);
	else if (target->patches.broken)
		strbuf_addf(&health, "%s%s", target->patches.problem,
			target->patches.broken > 1 ? ", and others: they are left out" : ": it is left out");
	if (health.len)
		row_text(row, "health", strbuf_text(&health));
}

/* A dead mountpoint is not looked into: it might hang. */
static int add_stale(const struct target *target, enum mount_state state, struct json_object *row,
	struct error *err)
{
	cleanup_processes struct processes stale = PROCESSES_INIT;
	struct error problem = ERROR_INIT;
	int r = 0;

	if (state != MOUNT_DEAD)
		r = processes_find_stale(target->component->directory, &stale, &problem);
	/* The directory itself may be gone: that is worth saying, and no reason to say nothing else. */
	if (r == -ENOENT)
		row_text(row, "health", "the directory is missing");
	else if (r < 0)
		return error_set(err, r, "%s", problem.message);
	row_object(row, "stale", processes_rows(&stale));
	return 0;
}

static int component_row(const struct context *ctx, const char *name, struct json_object **ret,
	struct json_object *notes, struct error *err)
{
	CLEANUP_ROW struct json_object *row = json_object_new_object();
	cleanup_target struct target target = TARGET_INIT;
	cleanup_free char *version = NULL;
	enum mount_state state = MOUNT_NONE;
	int r = target_open(ctx, name, TARGET_READ, &target, err);

	if (r < 0)
		return r;
	version = stack_version_label(target.component, &target.patches, &target.stack,
		&target.component->active);
	row_text(row, "name", target.component->name);
	row_text(row, "path", target.component->directory);
	r = add_mount(ctx, &target, row, &state, err);
	if (r < 0)
		return r;
	row_text(row, "base_version", target.component->base_version);
	row_text(row, "version_label", version);
	row_oid(row, "active", &target.component->active);
	r = add_patches(&target, row, notes, err);
	if (r < 0)
		return r;
	add_problems(&target, row);
	r = add_stale(&target, state, row, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(row);
	return 0;
}

/* One of NOTES for each of ROWS. */
static int collect(const struct context *ctx, struct json_object *rows, struct json_object *notes, struct error *err)
{
	CLEANUP(string_list_freep) char **names = NULL;
	const char *only = context_argument(ctx, 0);
	cleanup_store struct store *store = NULL;
	struct json_object *row;
	size_t count = 0;
	int r = 0;

	if (only) {
		r = component_row(ctx, only, &row, notes, err);
		return r < 0 ? r : json_object_array_add(rows, row);
	}
	r = context_open_store(ctx, &store, err);
	if (r == 0)
		r = component_list(store, &names, &count, err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = component_row(ctx, names[i], &row, notes, err);
		if (r == 0)
			json_object_array_add(rows, row);
	}
	return r;
}

static struct json_object *row_get(struct json_object *row, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(row, key, &value);
	return value;
}

static int print_details(const struct context *ctx, struct json_object *row, const char *note, struct error *err)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	struct json_object *patches = row_get(row, "patches"), *stale = row_get(row, "stale");

	output_record(&sb, details, ARRAY_SIZE(details), row);
	if (json_object_array_length(patches) > 0)
		strbuf_addch(&sb, '\n');
	output_table(&sb, patch_columns, ARRAY_SIZE(patch_columns), patches);
	if (*note)
		strbuf_addf(&sb, "\n%s", note);
	if (json_object_array_length(stale) > 0)
		strbuf_addch(&sb, '\n');
	output_table(&sb, stale_columns, ARRAY_SIZE(stale_columns), stale);
	return context_write(&sb, err);
}

static int print_all(const struct context *ctx, struct json_object *rows, struct json_object *notes, struct error *err)
{
	const size_t count = json_object_array_length(rows);
	int r = 0;

	if (count == 0 && !ctx->quiet)
		context_note(ctx, "no component is declared: 'veneer add NAME DIR' declares one");
	for (size_t i = 0; i < count && (ctx->verbose || context_argument(ctx, 0)); i++) {
		if (i > 0)
			context_say(ctx, "%s", "");
		r = print_details(ctx, json_object_array_get_idx(rows, i), json_object_get_string(json_object_array_get_idx(notes, i)), err);
		if (r < 0)
			return r;
	}
	if (ctx->verbose || context_argument(ctx, 0))
		return 0;
	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		row_number(row, "stale_count", (int64_t)json_object_array_length(row_get(row, "stale")));
	}
	return context_report_table(ctx, overview, ARRAY_SIZE(overview), rows, err);
}

int cmd_status(struct context *ctx, struct error *err)
{
	CLEANUP_ROW struct json_object *rows = json_object_new_array();
	CLEANUP_ROW struct json_object *notes = json_object_new_array();
	int r = collect(ctx, rows, notes, err);

	if (r < 0)
		return r;
	return ctx->json ? context_report_json(ctx, rows, err) : print_all(ctx, rows, notes, err);
}
