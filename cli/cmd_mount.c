/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/table.h"
#include "cli/target.h"
#include "fs/mount.h"
#include "fs/mount_query.h"
#include "fs/scrub.h"
#include "fs/service.h"

#define END_WAIT_MS (2 * SERVICE_GRACE_MS)
#define END_POLL_MS 20

static struct mount_options options_from(const struct context *ctx)
{
	const char *io = options_get(&ctx->options, "io"), *write = options_get(&ctx->options, "write");
	const char *on_failure = options_get(&ctx->options, "on-failure");
	struct mount_options options = {
		.io = IO_AUTO,
		.write = write && strcmp(write, "deny") == 0 ? WRITE_DENY : WRITE_THROUGH,
		.on_failure = on_failure && strcmp(on_failure, "closed") == 0 ? FAILURE_CLOSED : FAILURE_BASE,
		.watch = options_has(&ctx->options, "watch"),
		.foreground = options_has(&ctx->options, "foreground"),
		.verbose = ctx->verbose,
	};

	if (io && strcmp(io, "cached") == 0)
		options.io = IO_CACHED;
	else if (io && strcmp(io, "passthrough") == 0)
		options.io = IO_PASSTHROUGH;
	return options;
}

/* A number of bytes a second, with K, M or G for powers of 1024; "off" is 0. */
static int parse_scrub(struct context *ctx, uint64_t *ret, struct error *err)
{
	static const char units[] = "KMG";
	const char *text = options_get(&ctx->options, "scrub"), *unit;
	unsigned long long rate;
	char *end;
	int shift = 0;

	*ret = text ? 0 : SCRUB_BYTES_PER_SECOND;
	if (!text || strcmp(text, "off") == 0)
		return 0;
	errno = 0;
	rate = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit)
		shift = 10 * (int)(unit - units + 1);
	if (*text < '0' || *text > '9' || errno || (*end && !unit) || (unit && end[1]) || rate == 0 || rate > SCRUB_RATE_MAX >> shift)
		return usage_error(ctx, err, "--scrub: '%.40s' is neither 'off' nor a number of bytes a second such as 8M", text);
	*ret = (uint64_t)rate << shift;
	return 0;
}

static int require_root(const char *action, struct error *err)
{
	if (geteuid() == 0)
		return 0;
	return error_set(err, -EPERM, "only root may %s: run it with sudo", action);
}

static int report(const struct context *ctx, const struct component *component, bool mounted,
	const char *text, struct error *err)
{
	CLEANUP_ROW struct json_object *row = json_object_new_object();

	row_text(row, "name", component->name);
	row_text(row, "path", component->directory);
	row_flag(row, "mounted", mounted);
	row_flag(row, "dry_run", context_dry_run(ctx));
	if (ctx->json)
		return context_report_json(ctx, row, err);
	context_say(ctx, text, component->name, component->directory);
	return 0;
}

/* RET_STATE NULL: nobody is asked who may have to be answered by this process. */
static int load_component(const struct context *ctx, struct target *target, enum mount_state *ret_state,
	struct error *err)
{
	int r = context_open_store(ctx, &target->store, err);

	if (r == 0)
		r = component_load(target->store, context_argument(ctx, 0), &target->component, err);
	if (r == 0 && ret_state)
		r = mount_query(target->store, target->component, ret_state, err);
	return r;
}

/* A service manager starts this one as soon as the last one was killed; that one's mount is about to be taken off. */
static int await_end(const struct target *target, enum mount_state *state, struct error *err)
{
	int r = 0;

	for (int waited_ms = 0; r == 0 && *state == MOUNT_DEAD && getenv("NOTIFY_SOCKET") && waited_ms < END_WAIT_MS; waited_ms += END_POLL_MS) {
		nanosleep(&(struct timespec){ .tv_nsec = END_POLL_MS * 1000000L }, NULL);
		r = mount_query(target->store, target->component, state, err);
	}
	return r;
}

/*
 * The daemon is a fork of this process, with none of its descriptors. libgit2 keeps the packs that are open for the whole process:
 * with the store closed it has none, and the daemon opens its own.
 */
static int start(struct target *target, const struct mount_options *options, struct error *err)
{
	cleanup_free char *path = strdup(target->store->path);

	if (!path)
		return error_errno(err, ENOMEM, "mount '%s'", target->component->name);
	store_free(TAKE_PTR(target->store));
	return mount_start(path, target->component->name, options, err);
}

int cmd_mount(struct context *ctx, struct error *err)
{
	struct mount_options options = options_from(ctx);
	cleanup_target struct target target = TARGET_INIT;
	enum mount_state state = MOUNT_NONE;
	int r = parse_scrub(ctx, &options.scrub, err);

	if (r == 0)
		r = require_root("mount", err);
	if (r == 0)
		r = load_component(ctx, &target, options.foreground && mount_resumes() ? NULL : &state, err);
	if (r == 0 && options.foreground)
		r = await_end(&target, &state, err);
	if (r < 0)
		return r;
	if (state != MOUNT_NONE)
		return error_set(err, -EEXIST, "component '%s' is mounted at '%s' already%s",
			target.component->name, target.component->directory,
			state == MOUNT_DEAD ? ", but its daemon does not answer: take the mount off with 'veneer umount'" :
					      "");
	if (context_dry_run(ctx))
		return report(ctx, target.component, false, "(dry run) %s would be mounted at %s", err);
	r = start(&target, &options, err);
	if (r < 0)
		return r;
	if (options.foreground)
		return report(ctx, target.component, false, "%s was mounted at %s", err);
	return report(ctx, target.component, true, "%s is mounted at %s", err);
}

int cmd_umount(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	CLEANUP_ROW struct json_object *row = NULL;
	enum mount_state state = MOUNT_NONE;
	bool lazy = false;
	int r = require_root("unmount", err);

	if (r == 0)
		r = load_component(ctx, &target, &state, err);
	if (r < 0)
		return r;
	if (state == MOUNT_NONE)
		return error_set(err, -ENOENT, "component '%s' is not mounted", target.component->name);
	if (context_dry_run(ctx))
		return report(ctx, target.component, true, "(dry run) %s would be taken off %s", err);
	r = mount_stop(target.store, target.component, &lazy, err);
	if (r < 0)
		return r;
	row = json_object_new_object();
	row_text(row, "name", target.component->name);
	row_text(row, "path", target.component->directory);
	row_flag(row, "mounted", false);
	row_flag(row, "lazy", lazy);
	if (ctx->json)
		return context_report_json(ctx, row, err);
	context_say(ctx, "%s is taken off %s%s", target.component->name, target.component->directory,
		lazy ? ": files are still open in it and can be used until they are closed (lazy unmount)" : "");
	return 0;
}
