/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "fs/mount_query.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/component.h"
#include "store/rebase.h"

/*
 * DIR beneath --root may be written as a path of this system or as the image sees it: /usr/lib of the image at
 * /srv/image is /srv/image/usr/lib either way.
 */
static int locate_directory(const char *directory, const char *root, char **ret, struct error *err)
{
	cleanup_free char *canonical_root = realpath(root, NULL), *canonical = NULL;
	char *inside;

	if (!canonical_root)
		return error_errno(err, errno, "the root '%s'", root);
	canonical = realpath(directory, NULL);
	if (canonical && path_is_beneath(canonical, canonical_root)) {
		*ret = TAKE_PTR(canonical);
		return 0;
	}
	if (asprintf(&inside, "%s/%s", strcmp(canonical_root, "/") == 0 ? "" : canonical_root,
		    directory + (*directory == '/')) < 0)
		return error_errno(err, ENOMEM, "the directory '%s'", directory);
	*ret = inside;
	return 0;
}

static int report(const struct context *ctx, const struct component_spec *spec,
	const struct component *component, struct error *err)
{
	CLEANUP_ROW struct json_object *row = json_object_new_object();
	const char *directory = component ? component->directory : spec->directory;

	row_text(row, "name", spec->name);
	row_text(row, "path", directory);
	row_text(row, "root", component ? component->root : spec->root);
	row_text(row, "base_version", spec->base_version ? spec->base_version : "");
	row_text(row, "snapshot", spec->snapshot == SNAPSHOT_FULL ? "full" : "touched");
	row_oid(row, "base", component ? &component->base : NULL);
	row_flag(row, "dry_run", component == NULL);
	if (ctx->json)
		return context_report_json(ctx, row, err);
	context_say(ctx, "%s%s: %s", component ? "" : "(dry run) ", spec->name, directory);
	return 0;
}

/* Declared before, and its base is another version now: recorded anew. */
static int rebase(const struct context *ctx, struct store *store, struct component_spec *spec, struct progress *progress,
	struct component *component, struct error *err)
{
	cleanup_close int basefd = -EBADF;
	bool changed;
	int r = mount_open_base(store, component, &basefd, err);

	if (r < 0)
		return r;
	spec->snapshot = component->snapshot;
	progress_begin(progress, ctx, "record of the base");
	r = component_rebase(store, component, basefd, spec->base_version, progress_update, progress, &changed, err);
	progress_end(progress);
	if (r == 0 && !changed)
		return error_set(err, -EEXIST, "component '%s' is declared already, and its base is on record as it is", component->name);
	return r;
}

/* Is there a component of this name on this directory? Anything else is for component_add() to say. */
static bool is_declared(struct store *store, const struct component_spec *spec, struct component **ret)
{
	return spec->base_version && component_load(store, spec->name, ret, NULL) == 0 && strcmp((*ret)->directory, spec->directory) == 0;
}

int cmd_add(struct context *ctx, struct error *err)
{
	cleanup_store struct store *store = NULL;
	cleanup_component struct component *component = NULL;
	cleanup_progress struct progress progress = { .active = false };
	cleanup_store_lock int lock = -EBADF;
	cleanup_free char *directory = NULL;
	const char *root = options_get(&ctx->options, "root");
	const char *snapshot = options_get(&ctx->options, "snapshot");
	struct component_spec spec = {
		.name = context_argument(ctx, 0),
		.root = root ? root : "/",
		.base_version = options_get(&ctx->options, "base-version"),
		.snapshot = snapshot && strcmp(snapshot, "full") == 0 ? SNAPSHOT_FULL : SNAPSHOT_TOUCHED,
	};
	int r = context_open_store(ctx, &store, err);

	if (r == 0)
		r = locate_directory(context_argument(ctx, 1), spec.root, &directory, err);
	if (r < 0)
		return r;
	spec.directory = directory;
	if (context_dry_run(ctx)) {
		r = component_add_check(store, &spec, err);
		return r < 0 ? r : report(ctx, &spec, NULL, err);
	}
	lock = store_lock(store, STORE_LOCK_TIMEOUT_MS, err);
	if (lock < 0)
		return lock;
	if (is_declared(store, &spec, &component)) {
		r = rebase(ctx, store, &spec, &progress, component, err);
		return r < 0 ? r : report(ctx, &spec, component, err);
	}
	component_freep(&component);
	component = NULL;
	progress_begin(&progress, ctx, "snapshot of the base");
	r = component_add(store, &spec, progress_update, &progress, err);
	progress_end(&progress);
	if (r == 0)
		r = component_load(store, spec.name, &component, err);
	return r < 0 ? r : report(ctx, &spec, component, err);
}
