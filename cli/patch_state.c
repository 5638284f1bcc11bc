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

#define JOURNAL_LOOK_BACK 200 /* entries: what lies farther back is not said */

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
	bool *settled; /* of each patch: what is older says nothing more of it */
};

/* What REASON, "a: …; b: …", says of LABEL; NULL: nothing. */
static const char *said_of(const char *reason, const char *label)
{
	size_t len = strlen(label);

	for (const char *at = reason; at; at = strstr(at, "; ")) {
		at += at == reason ? 0 : 2;
		if (strncmp(at, label, len) == 0 && strncmp(at + len, ": ", 2) == 0)
			return at + len + 2;
	}
	return NULL;
}

/* Is LABEL one of LABELS, "a c"? */
static bool has_label(const char *labels, const char *label)
{
	size_t len = strlen(label);

	for (const char *at = strstr(labels, label); at; at = strstr(at + 1, label))
		if ((at == labels || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	return false;
}

/* A patch that was taken off, and whose removal the base does not show: what it added was removed. */
static int take_from_journal(struct patch_state *state, const struct journal_entry *entry, const char *said)
{
	const bool by_base = is_out(state);

	if (!by_base) {
		state->name = strcmp(entry->action, "absorbed") == 0 ? "absorbed" : "retired";
		state->reason = strndup(said, strcspn(said, ";("));
		if (!state->reason)
			return -ENOMEM;
		for (size_t len = strlen(state->reason); len > 0 && state->reason[len - 1] == ' ';)
			state->reason[--len] = '\0';
	}
	state->time_us = entry->time_us;
	state->command = strdup(entry->actor.command ? entry->actor.command : "");
	return state->command ? 0 : -ENOMEM;
}

/* The newest entry that speaks of a patch decides. */
static int look_at_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	const struct history *history = arg;
	const struct patch_list *patches = &history->target->patches;
	const bool taken_off = strcmp(entry->action, "retired") == 0 || strcmp(entry->action, "absorbed") == 0;

	for (size_t i = 0; i < patches->count; i++) {
		const char *label = patches->patches[i].label, *said = taken_off ? said_of(entry->reason, label) : NULL;
		struct patch_state *state = &history->states[i];

		if (history->settled[i])
			continue;
		/* It was applied later than it was taken off; what the base says of it today goes on to count. */
		if (!said && !is_out(state) && has_label(entry->labels, label))
			history->settled[i] = true;
		if (!said)
			continue;
		history->settled[i] = true;
		if (take_from_journal(state, entry, said) < 0)
			return error_errno(err, ENOMEM, "read the journal");
	}
	return 0;
}

int patch_states_find(const struct target *target, int basefd, struct patch_state **ret, struct error *err)
{
	const struct patch_list *patches = &target->patches;
	struct patch_state *states = calloc(patches->count + 1, sizeof *states);
	cleanup_free bool *settled = calloc(patches->count + 1, sizeof *settled);
	struct history history = { target, states, settled };
	bool any_off = false;
	int r = states && settled ? 0 : error_errno(err, ENOMEM, "component '%s'", target->component->name);

	for (size_t i = 0; r == 0 && i < patches->count; i++) {
		const struct patch *patch = &patches->patches[i];

		states[i].name = "available";
		if (stack_has(&target->stack, &patch->commit))
			states[i].name = "applied";
		else if (patch_is_superseded(patches, patch))
			states[i].name = "superseded";
		else if (basefd >= 0)
			r = look_at_base(target, patch, basefd, &states[i], err);
		settled[i] = strcmp(states[i].name, "applied") == 0 || strcmp(states[i].name, "superseded") == 0;
		any_off |= !settled[i];
	}
	if (r == 0 && any_off)
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
