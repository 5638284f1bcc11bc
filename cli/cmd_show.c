/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "cli/patch_state.h"
#include "cli/table.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/tree_difference.h"
#include "fs/mount_query.h"

static const struct column columns[] = {
	{ "label", "label", COLUMN_TEXT },
	{ "state", "state", COLUMN_TEXT },
	{ "reason", "reason", COLUMN_TEXT },
	{ "retired_at", "taken off", COLUMN_TEXT },
	{ "retired_by", "by", COLUMN_TEXT },
	{ "commit", "commit", COLUMN_TEXT },
	{ "parent", "parent", COLUMN_TEXT },
	{ "base_version", "base version", COLUMN_TEXT },
	{ "sequence", "sequence", COLUMN_TEXT },
	{ "author", "author", COLUMN_TEXT },
	{ "time", "time", COLUMN_TEXT },
	{ "fixes", "fixes", COLUMN_TEXT },
	{ "supersedes", "supersedes", COLUMN_TEXT },
	{ "restart", "to be restarted", COLUMN_TEXT },
	{ "reboot", "reboot", COLUMN_FLAG },
};

static struct json_object *patch_row(const struct target *target, const struct patch *patch, const struct patch_state *state)
{
	struct json_object *row = json_object_new_object();

	row_text(row, "name", target->component->name);
	row_text(row, "label", patch->label);
	patch_state_fill(state, row);
	row_oid(row, "commit", &patch->commit);
	row_oid(row, "parent", &patch->parent);
	row_text(row, "base_version", patch->base_version);
	row_number(row, "sequence", (int64_t)patch->sequence);
	row_text(row, "author", patch->author);
	row_time(row, "time", patch->time, -1);
	row_text(row, "subject", patch->subject);
	row_text(row, "body", patch->body);
	row_list(row, "fixes", (const char *const *)patch->fixes);
	row_list(row, "supersedes", (const char *const *)patch->supersedes);
	row_list(row, "restart", (const char *const *)patch->restart);
	row_flag(row, "reboot", patch->reboot);
	return row;
}

static void add_message(const struct patch *patch, struct strbuf *sb)
{
	strbuf_addstr(sb, "\n    ");
	text_add_printable(sb, patch->subject, false);
	strbuf_addch(sb, '\n');
	if (*patch->body) {
		cleanup_strbuf struct strbuf body = STRBUF_INIT;

		text_add_printable(&body, patch->body, true);
		strbuf_addstr(sb, "\n    ");
		for (const char *at = strbuf_text(&body); *at; at++) {
			strbuf_addch(sb, *at);
			if (*at == '\n' && at[1])
				strbuf_addstr(sb, "    ");
		}
		strbuf_addch(sb, '\n');
	}
	strbuf_addch(sb, '\n');
}

static void add_paths(const struct tree_differences *differences, struct strbuf *sb)
{
	for (size_t i = 0; i < differences->count; i++) {
		const struct tree_difference *row = &differences->list[i];

		strbuf_addf(sb, "%c  ", row->status);
		text_add_printable(sb, *row->path ? row->path : ".", false);
		strbuf_addch(sb, '\n');
	}
}

int cmd_show(struct context *ctx, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_tree_differences struct tree_differences differences = TREE_DIFFERENCES_INIT;
	CLEANUP_ROW struct json_object *row = NULL;
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	const char *label = context_argument(ctx, 1);
	struct patch_state *states = NULL;
	cleanup_close int basefd = -EBADF;
	const struct patch *patch;
	struct comparison trees;
	int r = target_open(ctx, context_argument(ctx, 0), TARGET_READ, &target, err);

	if (r < 0)
		return r;
	patch = patch_find(&target.patches, label);
	if (!patch)
		return error_set(err, -ENOENT, "component '%s' has no patch '%.100s': 'veneer status %s' lists them",
			target.component->name, label, target.component->name);
	r = repo_batch_begin(target.store->repo, err);
	if (r == 0)
		r = comparison_prepare(target.store, &patch->parent, &patch->commit, &trees, err);
	if (r == 0)
		r = tree_differences_find(target.store, &trees, &differences, err);
	if (r < 0)
		return r;
	if (mount_open_base(target.store, target.component, &basefd, NULL) < 0)
		basefd = -EBADF;
	r = patch_states_find(&target, basefd, &states, err);
	if (r < 0)
		return r;
	row = patch_row(&target, patch, &states[patch - target.patches.patches]);
	patch_states_free(states, target.patches.count);
	row_object(row, "paths", tree_differences_rows(&differences));
	if (ctx->json)
		return context_report_json(ctx, row, err);
	output_record(&sb, columns, ARRAY_SIZE(columns), row);
	add_message(patch, &sb);
	add_paths(&differences, &sb);
	return context_write(&sb, err);
}
