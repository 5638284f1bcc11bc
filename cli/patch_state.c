/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/patch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "cli/text.h"
#include "store/base/cleanup.h"
#include "store/journal.h"
#include "store/stack_fit.h"

#define JOURNAL_LOOK_BACK 1000 /* entries: what lies farther back is not said */

void patch_states_free(struct patch_state *states, size_t count)
{
	for (size_t i = 0; states && i < count; i++) {
		free(states[i].reason);
		free(states[i].command);
	}
	free(states);
}

static bool is_out(const struct patch_state *state)
{
	return strcmp(state->name, "retired") == 0 || strcmp(state->name, "absorbed") == 0;
}

/* ---- the base ---- */

static int look_at_base(const struct target *target, const struct patch *patch, int basefd, struct patch_state *state,
	struct error *err)
{
	cleanup_free char *path = NULL;
	enum view_fit fit;
	int r = patch_fit(target->store, target->component, &target->patches, patch, basefd, &fit, &path, err);

	if (r < 0)
		return r;
	if (fit == VIEW_ABSORBED) {
		state->name = "absorbed";
		state->reason = strdup("the base has all of it");
	} else if (fit == VIEW_CHANGED) {
		state->name = "retired";
		if (asprintf(&state->reason, "the base has something else at '%s'", path) < 0)
			state->reason = NULL;
	}
	return fit == VIEW_FITS || state->reason ? 0 : error_errno(err, ENOMEM, "patch '%s'", patch->label);
}

/* ---- the journal ---- */

struct history {
	const struct target *target;
	struct patch_state *states;
};

/* Does REASON, "a: …; b: …", speak of LABEL? */
static bool names_label(const char *reason, const char *label)
{
	size_t len = strlen(label);

	for (const char *at = reason; at; at = strstr(at, "; ")) {
		at += at == reason ? 0 : 2;
		if (strncmp(at, label, len) == 0 && at[len] == ':')
			return true;
	}
	return false;
}

static int look_at_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	const struct history *history = arg;
	const struct patch_list *patches = &history->target->patches;

	if (strcmp(entry->action, "retired") != 0 && strcmp(entry->action, "absorbed") != 0)
		return 0;
	for (size_t i = 0; i < patches->count; i++) {
		struct patch_state *state = &history->states[i];

		if (!is_out(state) || state->time_us || !names_label(entry->reason, patches->patches[i].label))
			continue;
		state->time_us = entry->time_us;
		state->command = strdup(entry->actor.command ? entry->actor.command : "");
		if (!state->command)
			return error_errno(err, ENOMEM, "read the journal");
	}
	return 0;
}

int patch_states_find(const struct target *target, int basefd, struct patch_state **ret, struct error *err)
{
	const struct patch_list *patches = &target->patches;
	struct patch_state *states = calloc(patches->count + 1, sizeof *states);
	struct history history = { target, states };
	bool any_out = false;
	int r = states ? 0 : error_errno(err, ENOMEM, "component '%s'", target->component->name);

	for (size_t i = 0; r == 0 && i < patches->count; i++) {
		const struct patch *patch = &patches->patches[i];

		states[i].name = "available";
		if (stack_has(&target->stack, &patch->commit))
			states[i].name = "applied";
		else if (patch_is_superseded(patches, patch))
			states[i].name = "superseded";
		else if (basefd >= 0)
			r = look_at_base(target, patch, basefd, &states[i], err);
		any_out |= r == 0 && is_out(&states[i]);
	}
	if (r == 0 && any_out)
		r = journal_each(target->store, target->component->name, JOURNAL_LOOK_BACK, look_at_entry, &history, err);
	if (r < 0)
		patch_states_free(states, patches->count);
	else
		*ret = states;
	return r;
}

/* ---- what is said of it ---- */

void patch_state_fill(const struct patch_state *state, struct json_object *row)
{
	row_text(row, "state", state->name);
	row_text(row, "reason", state->reason);
	if (state->time_us)
		row_time(row, "retired_at", state->time_us / 1000000, (int)(state->time_us % 1000000));
	else
		row_text(row, "retired_at", NULL);
	row_text(row, "retired_by", state->command && *state->command ? state->command : NULL);
}

void patch_state_explain(const struct target *target, const struct patch *patch, const struct patch_state *state, struct strbuf *ret)
{
	const struct component *component = target->component;

	if (!is_out(state))
		return;
	strbuf_addf(ret, "%s is %s: %s", patch->label, state->name, state->reason);
	if (*patch->base_version && strcmp(patch->base_version, component->base_version) != 0)
		strbuf_addf(ret, "; it was made for %s", patch->base_version);
	if (state->time_us) {
		strbuf_addstr(ret, "; taken off ");
		text_add_time(ret, state->time_us / 1000000, -1);
	}
	if (state->command && *state->command) {
		strbuf_addstr(ret, " by: ");
		text_add_printable(ret, state->command, false);
	}
	strbuf_addch(ret, '\n');
	if (strcmp(state->name, "retired") != 0)
		return;
	if (strcmp(patch->base_version, component->base_version) == 0)
		strbuf_addf(ret, "  say which version it is now, with 'veneer add %s %s --base-version V', and make a new patch for it\n",
			component->name, component->directory);
	else
		strbuf_addf(ret, "  make a new patch for %s with 'veneer create %s'\n", component->base_version, component->name);
}
