/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/table.h"
#include "cli/target.h"
#include "fs/bare.h"
#include "fs/mount.h"
#include "fs/mount_query.h"

/* The component, and the absolute path of the store, which is closed again (see cmd_mount.c). */
static int check(const struct context *ctx, struct component **ret, char **ret_store, struct error *err)
{
	cleanup_store struct store *store = NULL;
	enum mount_state state = MOUNT_NONE;
	int r = context_open_store(ctx, &store, err);

	if (r == 0)
		r = component_load(store, context_argument(ctx, 0), ret, err);
	if (r == 0)
		r = mount_query(store, *ret, &state, err);
	if (r < 0)
		return r;
	if (state == MOUNT_DEAD)
		return error_set(err, -ENOTCONN, "component '%s' is mounted, but its daemon does not answer: take the mount off with 'veneer umount %s'",
			(*ret)->name, (*ret)->name);
	*ret_store = strdup(store->path);
	return *ret_store ? 0 : error_errno(err, ENOMEM, "component '%s'", (*ret)->name);
}

int cmd_takeover(struct context *ctx, struct error *err)
{
	static const struct column columns[] = {
		{ "name", "component", COLUMN_TEXT },
		{ "path", "directory", COLUMN_TEXT },
		{ "program_version", "served by veneer", COLUMN_TEXT },
		{ "dry_run", "dry run", COLUMN_FLAG },
	};
	cleanup_component struct component *component = NULL;
	CLEANUP_ROW struct json_object *row = NULL;
	cleanup_free char *store = NULL;
	int r = 0;

	/* Where there is none to be seen its daemon is asked all the same: it may be mounted in another mount namespace. */
	if (geteuid() != 0)
		return error_set(err, -EPERM, "only root may serve a mount: run it with sudo");
	if (!context_dry_run(ctx))
		r = bare_begin(err);
	if (r == 0)
		r = check(ctx, &component, &store, err);
	if (r == 0 && !context_dry_run(ctx))
		r = mount_take_over(store, component->name, err);
	if (r < 0)
		return r;
	row = json_object_new_object();
	row_text(row, "name", component->name);
	row_text(row, "path", component->directory);
	row_text(row, "program_version", VENEER_VERSION);
	row_flag(row, "dry_run", context_dry_run(ctx));
	if (ctx->json)
		return context_report_record(ctx, columns, ARRAY_SIZE(columns), row, err);
	context_say(ctx, "%s%s at %s is served by this program (veneer %s)%s", context_dry_run(ctx) ? "(dry run) " : "", component->name,
		component->directory, VENEER_VERSION, context_dry_run(ctx) ? " if it takes over" : "");
	return 0;
}
