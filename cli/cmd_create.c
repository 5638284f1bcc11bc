/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "cli/creation.h"
#include "cli/table.h"
#include "fs/mount_query.h"
#include "store/view.h"

static const char *const source_names[] = { "from", "deb", "upper", "commit" };

static int check_usage(struct context *ctx, struct error *err)
{
	size_t sources = 0;
	int r = creation_check_usage(ctx, err);

	for (size_t i = 0; i < ARRAY_SIZE(source_names); i++)
		sources += options_has(&ctx->options, source_names[i]);
	if (r == 0 && sources != 1)
		return usage_error(ctx, err, "%s: exactly one of --from, --deb, --upper and --commit says what the patch is made of",
			sources == 0 ? "nothing to make it of" : "too many sources");
	return r;
}

/* ---- sources ---- */

static void add_left_out(void *arg, const char *path)
{
	array_text(arg, path);
}

static int open_source(const char *path, struct error *err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? error_errno(err, errno, "directory '%s'", path) : fd;
}

static int read_directory(struct creation *creation, const char *path, bool upper, struct error *err)
{
	cleanup_close int fd = open_source(path, err);

	if (fd < 0)
		return fd;
	return upper ? source_upper(creation->target.store, creation->basefd, fd, &creation->set, err) :
		       source_directory(creation->target.store, creation->basefd, fd, &creation->set, err);
}

static int read_packages(struct creation *creation, struct error *err)
{
	const struct component *component = creation->target.component;
	const char **files = options_all(&creation->ctx->options, "deb", NULL);
	int r = 0;

	if (!files)
		return error_errno(err, ENOMEM, "command line");
	for (size_t i = 0; r == 0 && files[i]; i++) {
		progress_begin(&creation->progress, creation->ctx, files[i]);
		r = source_deb(creation->target.store, component->root, component->directory,
			creation->basefd, files[i], &creation->set, add_left_out, creation->left_out, err);
		progress_end(&creation->progress);
	}
	free(files);
	return r;
}

static int read_source(struct creation *creation, const void *arg, struct error *err)
{
	const char *from = options_get(&creation->ctx->options, "from");
	const char *upper = options_get(&creation->ctx->options, "upper");

	if (options_has(&creation->ctx->options, "deb"))
		return read_packages(creation, err);
	progress_begin(&creation->progress, creation->ctx, from ? from : upper);
	return read_directory(creation, from ? from : upper, upper != NULL, err);
}

/* ---- making it ---- */

static int create_from_commit(struct creation *creation, struct error *err)
{
	const struct context *ctx = creation->ctx;
	struct target *target = &creation->target;
	cleanup_free char *label = NULL;
	struct oid found, commit;
	int r = target_resolve(target, options_get(&ctx->options, "commit"), &found, err);

	if (r < 0)
		return r;
	if (context_dry_run(ctx)) {
		cleanup_commit struct commit read = { .parents = NULL };

		r = repo_commit_read(target->store->repo, &found, &read, err);
		if (r == 0)
			r = view_check(target->store, &target->component->base_tree, &read.tree, err);
		return r < 0 ? r : creation_report_plan(creation, err);
	}
	r = patch_create_from_commit(target->store, target->component, creation->basefd, &found,
		&creation->spec, &label, &commit, err);
	return r < 0 ? r : creation_report(creation, label, &commit, err);
}

int cmd_create(struct context *ctx, struct error *err)
{
	cleanup_creation struct creation creation = CREATION_INIT;
	struct target *target = &creation.target;
	int r = check_usage(ctx, err);

	if (r == 0)
		r = creation_begin(&creation, ctx, err);
	if (r == 0)
		r = creation_open(&creation, TARGET_WRITE, err);
	if (r == 0)
		r = mount_open_base(target->store, target->component, &creation.basefd, err);
	if (r == 0)
		r = repo_batch_begin(target->store->repo, err);
	if (r < 0)
		return r;
	return options_has(&ctx->options, "commit") ? create_from_commit(&creation, err) :
						      creation_make(&creation, read_source, NULL, err);
}
