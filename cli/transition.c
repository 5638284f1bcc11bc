/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/transition.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/processes.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/view_changes.h"
#include "fs/control.h"
#include "fs/mount_query.h"
#include "fs/reconcile.h"
#include "store/reserve.h"
#include "store/view.h"

#define DAEMON_POLL_MS 5
#define DAEMON_WAIT_MS 10000
#define PLAN_FILES_SHOWN 20u /* without -v */

/* ---- the report ---- */

static struct json_object *row_get(struct json_object *row, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(row, key, &value);
	return value;
}

static const char *row_string(struct json_object *row, const char *key)
{
	struct json_object *value = row_get(row, key);

	return value ? json_object_get_string(value) : "";
}

static void say_demands(const struct context *ctx, struct json_object *row)
{
	static const struct column columns[] = { { "restart", "to be restarted", COLUMN_TEXT } };
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	output_record(&sb, columns, 1, row);
	if (sb.len > 0)
		context_say(ctx, "%.*s", (int)sb.len - 1, sb.buf);
	if (json_object_get_boolean(row_get(row, "reboot")))
		context_say(ctx, "in full effect only after a reboot");
}

static int report(const struct context *ctx, struct json_object *row, const char *text, struct error *err)
{
	cleanup_strbuf struct strbuf time = STRBUF_INIT;
	int64_t paths = json_object_get_int64(row_get(row, "paths"));

	if (ctx->json)
		return context_report_json(ctx, row, err);
	if (!json_object_get_boolean(row_get(row, "changed"))) {
		context_say(ctx, "%s  %s", row_string(row, "version_label"), text);
		return 0;
	}
	text_add_duration(&time, (uint64_t)json_object_get_int64(row_get(row, "total_nanoseconds")));
	context_say(ctx, "%s  %s: %lld path%s in %s%s", row_string(row, "version_label"), text, (long long)paths,
		paths == 1 ? "" : "s", strbuf_text(&time),
		json_object_get_boolean(row_get(row, "live")) ? "" : " (not mounted)");
	say_demands(ctx, row);
	return 0;
}

/* ---- the plan ---- */

static bool match_changes(void *arg, const char *path, uint64_t inode)
{
	return view_changes_cover(arg, path);
}

static void say_plan(const struct context *ctx, const char *what,
	const struct view_changes *changes, const struct processes *processes, struct json_object *row)
{
	const size_t shown = ctx->verbose || changes->count <= PLAN_FILES_SHOWN ? changes->count :
										  PLAN_FILES_SHOWN;

	context_say(ctx, "%s  (dry run) %s: %zu path%s", row_string(row, "version_label"), what,
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
		r = view_load_of(target->store, target->component->name, to, &new, err);
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
	if (control_simple(control, "status", &reply, NULL) < 0 ||
		!json_object_object_get_ex(reply, "pid", &pid))
		return 0;
	return (pid_t)json_object_get_int(pid);
}

/* Nothing is written: the composition, if new, lives in the open batch alone. */
static int show_plan(const struct context *ctx, const struct target *target,
	const struct transition *transition, struct error *err)
{
	const struct oid *from = &target->component->active, *to = &transition->commit;
	CLEANUP_ROW struct json_object *row = json_object_new_object();
	cleanup_view_changes struct view_changes changes = VIEW_CHANGES_INIT;
	cleanup_processes struct processes processes = PROCESSES_INIT;
	const bool changed = !oid_equal(from, to);
	int r = transition_add_state(target, transition, row, from, err);

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
	if (r < 0)
		return r;
	if (ctx->json)
		return context_report_json(ctx, row, err);
	if (changed)
		say_plan(ctx, strbuf_text(&transition->what), &changes, &processes, row);
	else
		context_say(ctx, "%s  %s", row_string(row, "version_label"), transition->unchanged);
	return 0;
}

static int plan(const struct context *ctx, const struct transition_request *request, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_transition struct transition transition = TRANSITION_INIT;
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);

	if (r == 0)
		r = transition_resolve(&target, request, &transition, err);
	return r < 0 ? r : show_plan(ctx, &target, &transition, err);
}

/* ---- the switch ---- */

static struct json_object *request_json(const struct transition_request *request)
{
	struct json_object *object = json_object_new_object(), *names = json_object_new_array();
	int64_t id = 0;

	/* Not one that another request has had; without one it is not asked for again as the same. */
	if (getrandom(&id, sizeof id, 0) != sizeof id)
		id = 0;
	row_text(object, "operation", "transition");
	row_text(object, "kind", transition_kind_name(request->kind));
	row_flag(object, "all", request->all);
	json_object_object_add(object, "id", json_object_new_int64(id & INT64_MAX));
	for (const char *const *name = request->names; *name; name++)
		array_text(names, *name);
	row_object(object, "names", names);
	return object;
}

static int ask_daemon(const struct context *ctx, const struct target *target, struct control **control,
	const struct transition_request *request, struct error *err)
{
	CLEANUP_ROW struct json_object *question = request_json(request);
	CLEANUP_ROW struct json_object *reply = NULL;
	int r = ask_until_answered(target, control, question, &reply, err);

	return r < 0 ? r : report(ctx, row_get(reply, "row"), row_string(reply, "text"), err);
}

static int refuse_dead_mount(const struct target *target, struct error *err)
{
	const char *name = target->component->name;
	enum mount_state state;
	int r = mount_query(target->store, target->component, &state, err);

	if (r < 0 || state == MOUNT_NONE)
		return r;
	return error_set(err, -ENOTCONN,
		"component '%s' is mounted, but its daemon does not answer: take the mount off with 'veneer umount %s'",
		name, name);
}

/* In a target of its own, for afterwards it is stale. */
static int perform_once(const struct context *ctx, struct store *store, const struct transition_request *request,
	struct json_object **ret_row, char **ret_text, struct error *err)
{
	cleanup_transition struct transition transition = TRANSITION_INIT;
	cleanup_target struct target target = TARGET_INIT;
	int r;

	target.store = store;
	target.store_borrowed = true;
	r = target_load(&target, context_argument(ctx, 0), err);
	if (r == 0)
		r = refuse_dead_mount(&target, err);
	if (r == 0)
		r = transition_resolve(&target, request, &transition, err);
	return r < 0 ? r : transition_perform(&target, &transition, NULL, NULL, ret_row, ret_text, err);
}

/* Patches that are applied and do not fit the base any more go first: were any taken off? */
static bool settle_base(const struct context *ctx, struct store *store)
{
	cleanup_reconcile_report struct reconcile_report report = RECONCILE_REPORT_INIT;
	cleanup_target struct target target = TARGET_INIT;
	cleanup_close int basefd = -EBADF;

	target.store = store;
	target.store_borrowed = true;
	if (target_load(&target, context_argument(ctx, 0), NULL) < 0 || mount_open_base(store, target.component, &basefd, NULL) < 0 ||
		reconcile(&target, basefd, NULL, "found by a switch", NULL, NULL, &report, NULL) < 0 || report.outcome != RECONCILE_SWITCHED)
		return false;
	context_note(ctx, "taken off: %s", report.text);
	return true;
}

static int do_it_here(const struct context *ctx, struct target *target,
	const struct transition_request *request, struct error *err)
{
	CLEANUP_ROW struct json_object *row = NULL;
	cleanup_free char *text = NULL;
	int r = perform_once(ctx, target->store, request, &row, &text, err);

	if (r == -ESTALE && settle_base(ctx, target->store))
		r = perform_once(ctx, target->store, request, &row, &text, err);
	return r < 0 ? r : report(ctx, row, text, err);
}

/* A daemon that is about to start, or to end, has the component's lock and no socket. */
static int find_daemon(const struct target *target, const char *name, struct control **ret, int *ret_lock,
	struct error *err)
{
	int r = -ETIMEDOUT;

	for (int tries = 0; r == -ETIMEDOUT && tries < DAEMON_WAIT_MS / DAEMON_POLL_MS; tries++) {
		if (tries > 0)
			nanosleep(&(struct timespec){ .tv_nsec = DAEMON_POLL_MS * 1000000L }, NULL);
		r = control_open(target->store, name, ret, err);
		if (r != -ENOENT)
			return r;
		r = control_lock(target->store->run_fd, name, 0, err);
	}
	if (r < 0)
		return error_prefix(err, r, "component '%s'", name);
	*ret_lock = r;
	return 0;
}

static bool goes_back(const struct transition_request *request)
{
	return request->kind == TRANSITION_REVERT || request->kind == TRANSITION_ROLLBACK;
}

int transition_run(const struct context *ctx, const struct transition_request *request, struct error *err)
{
	const char *name = context_argument(ctx, 0);
	cleanup_target struct target target = TARGET_INIT;
	cleanup_control struct control *control = NULL;
	struct error problem = ERROR_INIT;
	int lock = -EBADF, r;

	if (context_dry_run(ctx))
		return plan(ctx, request, err);
	r = target_open_store(ctx, name, TARGET_WRITE, &target, err);
	if (r == 0)
		r = find_daemon(&target, name, &control, &lock, &problem);
	/* The first file that a way back has to make may be the one that the disk has no room for. */
	if ((r == -ENOSPC || r == -EDQUOT) && goes_back(request) && reserve_spend(target.store))
		r = find_daemon(&target, name, &control, &lock, &problem);
	if (*problem.message && r < 0)
		return error_set(err, r, "%s", problem.message);
	if (r < 0)
		return r;
	r = control ? ask_daemon(ctx, &target, &control, request, err) : do_it_here(ctx, &target, request, err);
	control_unlock(target.store->run_fd, name, lock);
	return r;
}
