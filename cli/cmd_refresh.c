/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/table.h"
#include "cli/target.h"
#include "cli/text.h"
#include "fs/control.h"
#include "fs/mount_query.h"

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int check_mounted(const struct target *target, struct error *err)
{
	const char *name = target->component->name;
	enum mount_state state;
	int r = mount_query(target->store, target->component, &state, err);

	if (r < 0)
		return r;
	if (state == MOUNT_NONE)
		return error_set(err, -ENOENT,
			"component '%s' is not mounted: there is nothing to refresh, programs see '%s' as it is", name,
			target->component->directory);
	if (state == MOUNT_DEAD)
		return error_set(err, -ENOTCONN,
			"component '%s' is mounted, but its daemon does not answer: take the mount off with 'veneer umount %s'",
			name, name);
	return 0;
}

static int64_t add_count(struct json_object *row, struct json_object *reply, const char *key)
{
	struct json_object *value = NULL;
	int64_t count = json_object_object_get_ex(reply, key, &value) ? json_object_get_int64(value) : 0;

	row_number(row, key, count);
	return count;
}

static int report(const struct context *ctx, const struct component *component, struct json_object *reply, int64_t took_ns,
	struct error *err)
{
	CLEANUP_ROW struct json_object *row = json_object_new_object();
	cleanup_strbuf struct strbuf time = STRBUF_INIT;
	int64_t directories, names, files;

	row_text(row, "name", component->name);
	row_text(row, "path", component->directory);
	directories = add_count(row, reply, "directories");
	names = add_count(row, reply, "names");
	files = add_count(row, reply, "files");
	row_number(row, "total_nanoseconds", took_ns);
	if (ctx->json)
		return context_report_json(ctx, row, err);
	text_add_duration(&time, (uint64_t)took_ns);
	context_say(ctx, "%s  refreshed: %lld %s, %lld %s, %lld %s in %s", component->name, (long long)directories,
		directories == 1 ? "directory" : "directories", (long long)names, names == 1 ? "name" : "names",
		(long long)files, files == 1 ? "file" : "files", strbuf_text(&time));
	return 0;
}

int cmd_refresh(struct context *ctx, struct error *err)
{
	cleanup_control struct control *control = NULL;
	cleanup_target struct target target = TARGET_INIT;
	CLEANUP_ROW struct json_object *request = json_object_new_object();
	CLEANUP_ROW struct json_object *reply = NULL;
	int64_t start = now_ns();
	/* Patches that do not fit any more are taken off: hence the lock. */
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, &target, err);

	row_text(request, "operation", "refresh");
	if (r == 0)
		r = check_mounted(&target, err);
	if (r == 0)
		r = control_open(target.store, target.component->name, &control, err);
	if (r == 0)
		r = ask_until_answered(&target, &control, request, &reply, err);
	return r < 0 ? r : report(ctx, target.component, reply, now_ns() - start, err);
}
