/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "cli/target.h"
#include "fs/mount_query.h"
#include "store/base/path.h"
#include "store/changeset.h"
#include "store/object.h"
#include "store/view.h"

#define LEFT_OUT_SHOWN 10u /* without -v */

static const char *const source_names[] = { "from", "deb", "upper", "commit" };

struct creation {
	struct context *ctx;
	struct target target;
	int basefd;
	struct changeset set;
	struct patch_spec spec;
	struct progress progress;
	struct json_object *left_out; /* paths of packages that do not lie under the component */
};

static void creation_release(struct creation *creation)
{
	progress_end(&creation->progress);
	changeset_release(&creation->set);
	cleanup_closep(&creation->basefd);
	target_release(&creation->target);
	json_object_put(creation->left_out);
	free((void *)creation->spec.fixes);
	free((void *)creation->spec.supersedes);
	free((void *)creation->spec.restart);
}

/* ---- the command line ---- */

static int check_usage(struct context *ctx, struct error *err)
{
	const char *message = options_get(&ctx->options, "message");
	const char **fixes = NULL;
	size_t sources = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(source_names); i++)
		sources += options_has(&ctx->options, source_names[i]);
	if (!message || message[strspn(message, " \t\n")] == '\0')
		return usage_error(ctx, err, "a message is missing: -m 'what the patch is for'");
	if (sources != 1)
		return usage_error(ctx, err, "%s: exactly one of --from, --deb, --upper and --commit says what the patch is made of",
			sources == 0 ? "nothing to make it of" : "too many sources");
	fixes = options_all(&ctx->options, "fixes", NULL);
	if (!fixes)
		return error_errno(err, ENOMEM, "command line");
	for (size_t i = 0; r == 0 && fixes[i]; i++)
		if (fixes[i][0] == '\0' || strpbrk(fixes[i], ", \t\n"))
			r = usage_error(ctx, err, "--fixes: '%.100s' is not one id: give the option once for each",
				fixes[i]);
	free(fixes);
	return r;
}

static int fill_spec(struct creation *creation, struct error *err)
{
	const struct options *options = &creation->ctx->options;
	struct patch_spec *spec = &creation->spec;

	spec->message = options_get(options, "message");
	spec->label = options_get(options, "label");
	spec->fixes = options_all(options, "fixes", NULL);
	spec->supersedes = options_all(options, "supersedes", NULL);
	spec->restart = options_all(options, "restart", NULL);
	spec->reboot = options_has(options, "reboot");
	if (!spec->fixes || !spec->supersedes || !spec->restart)
		return error_errno(err, ENOMEM, "command line");
	for (size_t i = 0; spec->supersedes[i]; i++)
		if (!patch_find(&creation->target.patches, spec->supersedes[i]))
			return error_set(err, -ENOENT, "--supersedes: component '%s' has no patch '%.100s'",
				creation->target.component->name, spec->supersedes[i]);
	return 0;
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

static int read_source(struct creation *creation, struct error *err)
{
	const char *from = options_get(&creation->ctx->options, "from");
	const char *upper = options_get(&creation->ctx->options, "upper");

	if (options_has(&creation->ctx->options, "deb"))
		return read_packages(creation, err);
	progress_begin(&creation->progress, creation->ctx, from ? from : upper);
	return read_directory(creation, from ? from : upper, upper != NULL, err);
}

/* ---- the report ---- */

static void note_left_out(const struct creation *creation)
{
	const struct context *ctx = creation->ctx;
	const size_t count = json_object_array_length(creation->left_out);
	const size_t shown = ctx->verbose || count <= LEFT_OUT_SHOWN ? count : LEFT_OUT_SHOWN;

	if (count == 0 || ctx->json)
		return;
	context_note(ctx, "veneer: left out, as not below '%s':", creation->target.component->directory);
	for (size_t i = 0; i < shown; i++)
		context_note(ctx, "  %s",
			json_object_get_string(json_object_array_get_idx(creation->left_out, i)));
	if (shown < count)
		context_note(ctx, "  and %zu more: -v shows them all", count - shown);
}

static struct json_object *start_row(struct creation *creation, const char *label)
{
	struct json_object *row = json_object_new_object();

	row_text(row, "name", creation->target.component->name);
	row_text(row, "label", label);
	row_object(row, "left_out", json_object_get(creation->left_out));
	return row;
}

static int report(struct creation *creation, const char *label, const struct oid *commit,
	struct error *err)
{
	CLEANUP_ROW struct json_object *row = start_row(creation, label);
	char hex[OID_HEX_LENGTH + 1];

	progress_end(&creation->progress);
	note_left_out(creation);
	row_oid(row, "commit", commit);
	row_text(row, "base_version", creation->target.component->base_version);
	row_list(row, "fixes", creation->spec.fixes);
	if (creation->ctx->json)
		return context_report_json(creation->ctx, row, err);
	oid_to_hex(commit, hex);
	/* this is what was asked for: also with -q */
	printf("%s %s\n", label, hex);
	return 0;
}

/* What the patch would put where, against the base on disk. */
static struct json_object *planned_rows(const struct creation *creation)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < creation->set.count; i++) {
		const struct change *change = &creation->set.changes[i];
		struct json_object *row = json_object_new_object();
		struct stat st;
		bool there = path_stat(creation->basefd, change->path, &st) == 0;

		row_text(row, "status", change->kind == CHANGE_DELETE ? "D" : there ? "M" : "A");
		row_text(row, "path", change->path);
		json_object_array_add(rows, row);
	}
	return rows;
}

static int report_plan(struct creation *creation, struct error *err)
{
	char next[PATCH_LABEL_MAX + 1];
	CLEANUP_ROW struct json_object *row = NULL;
	struct json_object *files = planned_rows(creation);
	const char *label = creation->spec.label;

	progress_end(&creation->progress);
	note_left_out(creation);
	patch_next_label(&creation->target.patches, next);
	row = start_row(creation, label ? label : next);
	row_flag(row, "dry_run", true);
	row_object(row, "files", files);
	if (creation->ctx->json)
		return context_report_json(creation->ctx, row, err);
	context_say(creation->ctx, "(dry run) patch %s of '%s'", label ? label : next,
		creation->target.component->name);
	for (size_t i = 0; i < json_object_array_length(files); i++) {
		struct json_object *file = json_object_array_get_idx(files, i);

		context_say(creation->ctx, "  %s  %s",
			json_object_get_string(json_object_object_get(file, "status")),
			json_object_get_string(json_object_object_get(file, "path")));
	}
	return 0;
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
		return r < 0 ? r : report_plan(creation, err);
	}
	r = patch_create_from_commit(target->store, target->component, creation->basefd, &found,
		&creation->spec, &label, &commit, err);
	return r < 0 ? r : report(creation, label, &commit, err);
}

static int create_from_source(struct creation *creation, struct error *err)
{
	struct target *target = &creation->target;
	cleanup_free char *label = NULL;
	struct oid commit;
	/* Objects of a batch are made durable together. */
	int r = object_batch_begin(target->store, err);

	if (r == 0)
		r = read_source(creation, err);
	if (r == 0)
		r = object_sync_all(target->store, err);
	if (r < 0)
		return r;
	if (context_dry_run(creation->ctx))
		return report_plan(creation, err);
	progress_begin(&creation->progress, creation->ctx, "writing the patch");
	r = patch_create(target->store, target->component, creation->basefd, &creation->set,
		&creation->spec, &label, &commit, err);
	return r < 0 ? r : report(creation, label, &commit, err);
}

int cmd_create(struct context *ctx, struct error *err)
{
	__attribute__((cleanup(creation_release))) struct creation creation = {
		.ctx = ctx,
		.target = TARGET_INIT,
		.basefd = -EBADF,
		.set = CHANGESET_INIT,
		.left_out = json_object_new_array(),
	};
	struct target *target = &creation.target;
	int r = check_usage(ctx, err);

	if (r == 0)
		r = target_open(ctx, context_argument(ctx, 0), TARGET_WRITE, target, err);
	if (r == 0)
		r = fill_spec(&creation, err);
	if (r == 0)
		r = mount_open_base(target->store, target->component, &creation.basefd, err);
	if (r == 0)
		r = repo_batch_begin(target->store->repo, err);
	if (r < 0)
		return r;
	return options_has(&ctx->options, "commit") ? create_from_commit(&creation, err) :
						      create_from_source(&creation, err);
}
