/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/transition.h"

#include <errno.h>
#include <string.h>

#include "cli/processes.h"
#include "cli/text.h"
#include "cli/view_changes.h"
#include "fs/activate.h"
#include "fs/control.h"
#include "fs/mount.h"
#include "store/view.h"

#define PLAN_FILES_SHOWN 20u /* without -v */

/* ---- the report ---- */

/* What the state at COMMIT is called. */
static int add_state(const struct target *target, struct json_object *row, const struct oid *commit,
	struct error *err)
{
	struct stack stack;
	cleanup_free char *version = NULL;
	int r = stack_read(target->store, target->component, &target->patches, commit, &stack, err);

	if (r < 0)
		return r;
	version = stack_version_label(target->component, &target->patches, &stack, commit);
	if (!version)
		return error_errno(err, ENOMEM, "component '%s'", target->component->name);
	row_text(row, "version_label", version);
	return 0;
}

/* Units and the reboot that the patches ask for in which the two states differ. */
static int add_demands(const struct target *target, struct json_object *row, const struct oid *from,
	const struct oid *to, struct error *err)
{
	struct json_object *units = json_object_new_array();
	struct stack old, new;
	bool reboot = false;
	int r;

	row_object(row, "restart", units);
	r = stack_read(target->store, target->component, &target->patches, from, &old, err);
	if (r == 0)
		r = stack_read(target->store, target->component, &target->patches, to, &new, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < target->patches.count; i++) {
		const struct patch *patch = &target->patches.patches[i];

		if (stack_has(&old, &patch->commit) == stack_has(&new, &patch->commit))
			continue;
		reboot |= patch->reboot;
		for (char **unit = patch->restart; *unit; unit++)
			array_text(units, *unit);
	}
	row_flag(row, "reboot", reboot);
	return 0;
}

static const char *row_string(struct json_object *row, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(row, key, &value) && value ? json_object_get_string(value) : "";
}

static void say_demands(const struct context *ctx, struct json_object *row)
{
	static const struct column columns[] = { { "restart", "to be restarted", COLUMN_TEXT } };
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	struct json_object *reboot = NULL;

	output_record(&sb, columns, 1, row);
	if (sb.len > 0)
		context_say(ctx, "%.*s", (int)sb.len - 1, sb.buf);
	if (json_object_object_get_ex(row, "reboot", &reboot) && json_object_get_boolean(reboot))
		context_say(ctx, "in full effect only after a reboot");
}

static struct json_object *start_row(const struct target *target, const struct oid *from,
	const struct oid *to)
{
	struct json_object *row = json_object_new_object();

	row_text(row, "name", target->component->name);
	row_text(row, "version_label", NULL);
	row_oid(row, "from", from);
	row_oid(row, "to", to);
	return row;
}

static int report(const struct context *ctx, const struct target *target,
	const struct transition *transition, const struct activation_result *result, struct error *err)
{
	CLEANUP_ROW struct json_object *row = start_row(target, &result->from, &result->to);
	cleanup_strbuf struct strbuf time = STRBUF_INIT;
	int r = add_state(target, row, &result->to, err);

	row_flag(row, "changed", result->changed);
	row_number(row, "paths", (int64_t)result->paths);
	row_flag(row, "live", result->live);
	row_number(row, "total_nanoseconds", (int64_t)result->total_ns);
	row_number(row, "daemon_nanoseconds", (int64_t)result->daemon_ns);
	if (r == 0)
		r = add_demands(target, row, &result->from, &result->to, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return context_report_json(ctx, row, err);
	text_add_duration(&time, result->total_ns);
	if (!result->changed) {
		context_say(ctx, "%s  %s", row_string(row, "version_label"), transition->unchanged);
		return 0;
	}
	context_say(ctx, "%s  %s: %llu path%s in %s%s", row_string(row, "version_label"), transition->what,
		(unsigned long long)result->paths, result->paths == 1 ? "" : "s", strbuf_text(&time),
		result->live ? "" : " (not mounted)");
	say_demands(ctx, row);
	return 0;
}

/* ---- the plan ---- */

static bool match_changes(void *arg, const char *path, uint64_t inode)
{
	return view_changes_cover(arg, path);
}

static void say_plan(const struct context *ctx, const struct transition *transition,
	const struct view_changes *changes, const struct processes *processes, struct json_object *row)
{
	const size_t shown = ctx->verbose || changes->count <= PLAN_FILES_SHOWN ? changes->count :
										  PLAN_FILES_SHOWN;

	context_say(ctx, "%s  (dry run) %s: %zu path%s", row_string(row, "version_label"), transition->what,
		changes->count, changes->count == 1 ? "" : "s");
	for (size_t i = 0; i < shown; i++)
		context_say(ctx, "  %c  %s", changes->changes[i].status, changes->changes[i].path);
	if (shown < changes->count)
		context_say(ctx, "  and %zu more: -v shows them all", changes->count - shown);
	for (size_t i = 0; i < processes->count; i++)
		context_say(ctx, "  process %d uses %s%s: %s", (int)processes->list[i].pid,
			processes->list[i].paths[0], processes->list[i].path_count > 1 ? " and others" : "",
			processes->list[i].command);
	say_demands(ctx, row);
}

static int find_changes(const struct target *target, const struct oid *to, struct view_changes *ret,
	struct error *err)
{
	cleanup_view struct view *old = NULL, *new = NULL;
	cleanup_close int basefd = -EBADF;
	int r = mount_open_base(target->store, target->component, &basefd, err);

	if (r == 0)
		r = view_load(target->store, to, &new, err);
	if (r < 0)
		return r;
	/* What is active now may be broken, and this the way out of it: then compare with the base. */
	if (view_load(target->store, &target->component->active, &old, NULL) < 0)
		old = NULL;
	return view_changes_find(target->store, basefd, old, new, ret, err);
}

/* 0: not mounted */
static pid_t daemon_pid(const struct target *target)
{
	cleanup_control struct control *control = NULL;
	CLEANUP_ROW struct json_object *reply = NULL;
	struct json_object *pid = NULL;

	if (control_open(target->store, target->component->name, &control, NULL) < 0)
		return 0;
	if (control_simple(control, "status", NULL, &reply, NULL) < 0 ||
		!json_object_object_get_ex(reply, "pid", &pid))
		return 0;
	return (pid_t)json_object_get_int(pid);
}

/* Nothing is written: the composition, if new, lives in the open batch alone. */
static int show_plan(const struct context *ctx, const struct target *target,
	const struct transition *transition, const struct oid *to, struct error *err)
{
	const struct oid *from = &target->component->active;
	CLEANUP_ROW struct json_object *row = start_row(target, from, to);
	cleanup_view_changes struct view_changes changes = VIEW_CHANGES_INIT;
	cleanup_processes struct processes processes = PROCESSES_INIT;
	const bool changed = !oid_equal(from, to);
	int r = add_state(target, row, to, err);

	if (r == 0 && changed)
		r = find_changes(target, to, &changes, err);
	if (r == 0 && changes.count > 0)
		r = processes_find(target->component->directory, PROCESS_MAPPED_OR_OPEN, daemon_pid(target),
			match_changes, &changes, &processes, err);
	row_flag(row, "changed", changed);
	row_flag(row, "dry_run", true);
	row_number(row, "paths", (int64_t)changes.count);
	row_object(row, "files", view_changes_rows(&changes));
	row_object(row, "processes", processes_rows(&processes));
	if (r == 0)
		r = add_demands(target, row, from, to, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return context_report_json(ctx, row, err);
	if (changed)
		say_plan(ctx, transition, &changes, &processes, row);
	else
		context_say(ctx, "%s  %s", row_string(row, "version_label"), transition->unchanged);
	return 0;
}

/* ---- the switch ---- */

static int perform(const struct context *ctx, struct target *target,
	const struct transition *transition, const struct oid *to, struct error *err)
{
	struct activation activation = { .action = transition->action, .reason = "" };
	struct activation_result result = { 0 };
	cleanup_free char *labels = NULL;
	struct stack stack;
	int r = stack_read(target->store, target->component, &target->patches, to, &stack, err);

	if (r < 0)
		return r;
	labels = target_labels(target, &stack, " ");
	if (!labels)
		return error_errno(err, ENOMEM, "component '%s'", target->component->name);
	activation.labels = labels;
	r = activate_commit(target->store, target->component, to, &activation, &result, err);
	if (r < 0)
		return r;
	return report(ctx, target, transition, &result, err);
}

int transition_run(const struct context *ctx, struct target *target,
	const struct transition *transition, struct error *err)
{
	struct oid to = transition->commit;
	int r = repo_batch_begin(target->store->repo, err);

	if (r < 0)
		return r;
	if (transition->stack)
		r = stack_compose(target->store, target->component, &target->patches, transition->stack, &to,
			err);
	if (r < 0)
		return r;
	if (context_dry_run(ctx))
		return show_plan(ctx, target, transition, &to, err);
	r = repo_batch_commit(target->store->repo, err);
	if (r < 0)
		return r;
	return perform(ctx, target, transition, &to, err);
}
