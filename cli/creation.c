/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/creation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/base/path.h"
#include "store/object.h"

#define LEFT_OUT_SHOWN 10u /* without -v */

void creation_release(struct creation *creation)
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

int creation_check_usage(struct context *ctx, struct error *err)
{
	const char *message = options_get(&ctx->options, "message");
	const char **fixes = NULL;
	int r = 0;

	if (!message || message[strspn(message, " \t\n")] == '\0')
		return usage_error(ctx, err, "a message is missing: -m 'what the patch is for'");
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
	return spec->fixes && spec->supersedes && spec->restart ? 0 : error_errno(err, ENOMEM, "command line");
}

static int check_spec(const struct creation *creation, struct error *err)
{
	const struct patch_spec *spec = &creation->spec;

	for (size_t i = 0; spec->supersedes[i]; i++)
		if (!patch_find(&creation->target.patches, spec->supersedes[i]))
			return error_set(err, -ENOENT, "--supersedes: component '%s' has no patch '%.100s'",
				creation->target.component->name, spec->supersedes[i]);
	return patch_check_spec(creation->target.store, creation->target.component, spec, err);
}

int creation_begin(struct creation *creation, struct context *ctx, struct error *err)
{
	creation->ctx = ctx;
	creation->left_out = json_object_new_array();
	return fill_spec(creation, err);
}

int creation_open(struct creation *creation, enum target_access access, struct error *err)
{
	int r;

	target_release(&creation->target);
	creation->target = (struct target)TARGET_INIT;
	r = target_open(creation->ctx, context_argument(creation->ctx, 0), access, &creation->target, err);
	return r < 0 ? r : check_spec(creation, err);
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

int creation_report(struct creation *creation, const char *label, const struct oid *commit, struct error *err)
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

int creation_report_plan(struct creation *creation, struct error *err)
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

int creation_make(struct creation *creation, creation_read_fn read_source, const void *arg, struct error *err)
{
	struct target *target = &creation->target;
	cleanup_free char *label = NULL;
	struct oid commit;
	/* Objects of a batch are made durable together. */
	int r = object_batch_begin(target->store, err);

	if (r == 0)
		r = read_source(creation, arg, err);
	if (r == 0)
		r = object_sync_all(target->store, err);
	if (r < 0)
		return r;
	if (context_dry_run(creation->ctx))
		return creation_report_plan(creation, err);
	progress_begin(&creation->progress, creation->ctx, "writing the patch");
	r = patch_create(target->store, target->component, creation->basefd, &creation->set,
		&creation->spec, &label, &commit, err);
	return r < 0 ? r : creation_report(creation, label, &commit, err);
}
