/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "cli/creation.h"
#include "cli/table.h"
#include "fs/mount_query.h"
#include "fs/sandbox.h"
#include "store/source.h"

struct recording {
	struct creation creation;
	struct sandbox sandbox;
	const char *const *command;
};

static void recording_release(struct recording *recording)
{
	/* The store may go on being locked while the keeper cleans up; that is short. */
	sandbox_release(&recording->sandbox);
	creation_release(&recording->creation);
}

static int check_usage(struct context *ctx, struct error *err)
{
	int r = creation_check_usage(ctx, err);

	if (r == 0 && ctx->options.rest_count == 0)
		return usage_error(ctx, err, "no command to run: it stands behind '--'");
	return r;
}

/* ---- the command ---- */

/* Who has patches applied may expect the command to see them. */
static void note_base(const struct recording *recording)
{
	const struct target *target = &recording->creation.target;
	const struct component *component = target->component;
	cleanup_free char *served = NULL;

	if (target->stack.known && target->stack.count == 0)
		return;
	served = stack_version_label(component, &target->patches, &target->stack, &component->active);
	context_note(recording->creation.ctx,
		"veneer: '%s' serves %s; the command sees the base, over which patches are made", component->name,
		served ? served : "a patch");
}

/* The command's failure is ours, and so is its exit status. */
static int command_failed(struct recording *recording, const struct sandbox_result *result, struct error *err)
{
	const char *command = recording->command[0];
	int status = sandbox_exit_status(result);

	recording->creation.ctx->exit_status = status;
	if (result->exec_errno != 0)
		return error_errno(err, result->exec_errno, "cannot run '%s'", command);
	if (WIFSIGNALED(result->wait_status))
		return error_set(err, -ECANCELED, "'%s' was ended by signal %d (%s): no patch is made", command,
			status - 128, strsignal(status - 128));
	return error_set(err, -ECANCELED, "'%s' failed with exit status %d: no patch is made", command, status);
}

static int run_command(struct recording *recording, struct error *err)
{
	struct creation *creation = &recording->creation;
	struct sandbox_result result = { 0 };
	/* Nobody shall have to wait for the store while the command runs. */
	int r = creation_open(creation, TARGET_READ, err);

	if (r == 0)
		r = mount_open_base(creation->target.store, creation->target.component, &creation->basefd, err);
	if (r == 0)
		r = sandbox_prepare(creation->target.store, creation->target.component, creation->basefd,
			&recording->sandbox, err);
	if (r < 0)
		return r;
	note_base(recording);
	fflush(NULL);
	r = sandbox_run(&recording->sandbox, creation->target.component, recording->command, &result, err);
	if (r < 0)
		return r;
	if (result.killed > 0)
		context_note(creation->ctx, "veneer: '%s' left %u process%s running: killed", recording->command[0],
			result.killed, result.killed == 1 ? "" : "es");
	return sandbox_succeeded(&result) ? 0 : command_failed(recording, &result, err);
}

/* ---- its changes ---- */

/* A patch says nothing of the component's directory itself. */
static int note_root(const struct recording *recording, struct error *err)
{
	const struct creation *creation = &recording->creation;
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT, upper = SOURCE_ENTRY_INIT;
	const char *directory = creation->target.component->directory;
	bool same = true;
	int r = source_entry_find(creation->basefd, "", &base, err);

	if (r == 0)
		r = source_entry_find(recording->sandbox.upper_fd, "", &upper, err);
	if (r == 0 && base.fd >= 0 && upper.fd >= 0)
		r = source_metadata_equal(&base, &upper, directory, &same, err);
	if (r == 0 && !same)
		context_note(creation->ctx, "veneer: left out: mode, owner or attributes of '%s' itself were changed",
			directory);
	return r;
}

static int read_changes(struct creation *creation, const void *arg, struct error *err)
{
	const struct recording *recording = arg;
	int r;

	progress_begin(&creation->progress, creation->ctx, "reading the changes");
	r = source_upper(creation->target.store, creation->basefd, recording->sandbox.upper_fd, &creation->set, err);
	progress_end(&creation->progress);
	if (r == 0)
		r = note_root(recording, err);
	if (r == 0 && creation->set.count == 0)
		return error_set(err, -ENODATA, "'%s' changed nothing below '%s': no patch is made",
			recording->command[0], creation->target.component->directory);
	return r;
}

static int make_patch(struct recording *recording, struct error *err)
{
	struct creation *creation = &recording->creation;
	int r = creation_open(creation, TARGET_WRITE, err);

	if (r == 0)
		r = repo_batch_begin(creation->target.store->repo, err);
	return r < 0 ? r : creation_make(creation, read_changes, recording, err);
}

int cmd_record(struct context *ctx, struct error *err)
{
	__attribute__((cleanup(recording_release))) struct recording recording = {
		.creation = CREATION_INIT,
		.sandbox = SANDBOX_INIT,
		.command = ctx->options.rest,
	};
	int r = check_usage(ctx, err);

	if (r == 0)
		r = creation_begin(&recording.creation, ctx, err);
	if (r == 0)
		r = run_command(&recording, err);
	return r < 0 ? r : make_patch(&recording, err);
}
