/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/transition.h"

#include <errno.h>
#include <string.h>

#include "store/base/log.h"
#include "store/journal.h"
#include "store/reserve.h"

static const char *const kind_names[] = {
	[TRANSITION_APPLY] = "apply",
	[TRANSITION_REVERT] = "revert",
	[TRANSITION_ROLLBACK] = "rollback",
	[TRANSITION_SWITCH] = "switch",
};

const char *transition_kind_name(enum transition_kind kind)
{
	return (size_t)kind < ARRAY_SIZE(kind_names) ? kind_names[kind] : NULL;
}

int transition_kind_parse(const char *name, enum transition_kind *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
		if (strcmp(name, kind_names[i]) == 0) {
			*ret = (enum transition_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

void transition_release(struct transition *transition)
{
	strbuf_release(&transition->what);
	strbuf_release(&transition->reason);
}

/* ---- apply ---- */

static int add_newest(const struct target *target, struct transition *transition, struct error *err)
{
	const struct patch *newest = target_newest_patch(target);
	bool changed;

	if (!newest)
		return error_set(err, -ENOENT,
			"component '%s' has no patch for its base version '%s': make one with 'veneer create %s'",
			target->component->name, target->component->base_version, target->component->name);
	strbuf_addf(&transition->what, "applied %s", newest->label);
	return stack_add(&target->patches, &transition->stack, newest->label, &changed, err);
}

static int resolve_apply(const struct target *target, const struct transition_request *request,
	struct transition *transition, struct error *err)
{
	const char *separator = "applied ";
	bool changed;
	int r = target_require_stack(target, err);

	transition->action = "applied";
	transition->unchanged = "already applied";
	transition->composed = true;
	transition->stack = target->stack;
	if (r < 0)
		return r;
	for (const char *const *label = request->names; r == 0 && *label; label++) {
		r = stack_add(&target->patches, &transition->stack, *label, &changed, err);
		strbuf_addf(&transition->what, "%s%s", separator, *label);
		separator = ", ";
	}
	if (r == 0 && !*request->names)
		r = add_newest(target, transition, err);
	return r < 0 ? error_prefix(err, r, "apply to '%s'", target->component->name) : 0;
}

/* ---- revert ---- */

static int remove_last(const struct target *target, struct transition *transition, struct error *err)
{
	const char *name = target->component->name;
	struct stack *stack = &transition->stack;
	const struct patch *last;
	bool changed;

	if (stack->count == 0)
		return error_set(err, -ENOENT, "no patch is applied to component '%s'", name);
	last = patch_find_commit(&target->patches, &stack->patches[stack->count - 1]);
	if (!last)
		return error_set(err, -ENOENT,
			"the patch applied last to '%s' is no longer among its patches: take all off with 'veneer revert %s --all'",
			name, name);
	strbuf_addf(&transition->what, "reverted %s", last->label);
	return stack_remove(&target->patches, stack, last->label, &changed, err);
}

static int resolve_revert(const struct target *target, const struct transition_request *request,
	struct transition *transition, struct error *err)
{
	const char *separator = "reverted ";
	bool changed;
	int r;

	transition->action = "reverted";
	transition->unchanged = "not applied: nothing to revert";
	transition->composed = true;
	if (request->all) {
		transition->stack = (struct stack){ .known = true };
		strbuf_addstr(&transition->what, "reverted all");
		return 0;
	}
	transition->stack = target->stack;
	r = target_require_stack(target, err);
	if (r < 0)
		return r;
	for (const char *const *label = request->names; r == 0 && *label; label++) {
		r = stack_remove(&target->patches, &transition->stack, *label, &changed, err);
		strbuf_addf(&transition->what, "%s%s", separator, *label);
		separator = ", ";
	}
	return r < 0 || *request->names ? r : remove_last(target, transition, err);
}

/* ---- rollback ---- */

/* What the journal says of the newest state it knows, and of the newest switch. */
struct search {
	bool any, found;
	struct oid newest; /* what was switched to last, as far as the journal knows */
	struct oid from;   /* before the newest switch */
};

static bool is_switch(const char *action)
{
	static const char *const actions[] = { "applied", "reverted", "rolled-back", "switched" };

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i], action) == 0)
			return true;
	return false;
}

static int look_at_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct search *search = arg;

	/* What switches nothing (restarted, healed) says nothing of how what is active came to be. */
	if (!search->any && strcmp(entry->action, "refused") != 0 && !oid_equal(&entry->from, &entry->to)) {
		search->any = true;
		search->newest = entry->to;
	}
	if (!is_switch(entry->action))
		return 0;
	search->found = true;
	search->from = entry->from;
	return 1;
}

static bool stacks_equal(const struct stack *a, const struct stack *b)
{
	return a->known && b->known && a->count == b->count &&
		memcmp(a->patches, b->patches, a->count * sizeof *a->patches) == 0;
}

/*
 * The state before the last switch. Where the ref was moved with plain git while nothing was mounted, the journal
 * does not know of it: then that was the last switch, and the newest entry is the state before.
 */
static int find_previous(const struct target *target, struct oid *ret, struct stack *ret_stack,
	struct error *err)
{
	const char *name = target->component->name;
	struct search search = { 0 };
	int r = journal_each(target->store, name, 0, look_at_entry, &search, err);

	if (r < 0)
		return r;
	if (search.any && !oid_equal(&search.newest, &target->component->active)) {
		r = stack_read(target->store, target->component, &target->patches, &search.newest,
			ret_stack, err);
		*ret = search.newest;
		if (r < 0 || !stacks_equal(ret_stack, &target->stack))
			return r;
	}
	if (!search.found)
		return error_set(err, -ENOENT, "component '%s' was never switched: there is nothing to roll back to",
			name);
	*ret = search.from;
	return stack_read(target->store, target->component, &target->patches, ret, ret_stack, err);
}

static int resolve_rollback(const struct target *target, struct transition *transition, struct error *err)
{
	int r = find_previous(target, &transition->commit, &transition->stack, err);

	transition->action = "rolled-back";
	transition->unchanged = "the state before the last switch is active already";
	strbuf_addstr(&transition->what, "rolled back");
	/* The base may have grown since: a known stack is composed over what it is now. */
	transition->composed = r == 0 && transition->stack.known;
	return r;
}

/* ---- switch ---- */

static int resolve_switch(const struct target *target, const struct transition_request *request,
	struct transition *transition, struct error *err)
{
	const char *rev = request->names[0];
	int r = target_resolve(target, rev, &transition->commit, err);

	transition->action = "switched";
	transition->unchanged = "active already";
	strbuf_addf(&transition->what, "switched to %s", rev);
	if (r == 0)
		r = stack_read(target->store, target->component, &target->patches, &transition->commit,
			&transition->stack, err);
	/* What is a stack stays one: over the base as it is now. */
	transition->composed = r == 0 && transition->stack.known;
	return r < 0 ? error_prefix(err, r, "switch to '%s'", rev) : 0;
}

/* ---- all of them ---- */

static int resolve_kind(const struct target *target, const struct transition_request *request,
	struct transition *transition, struct error *err)
{
	switch (request->kind) {
	case TRANSITION_APPLY:
		return resolve_apply(target, request, transition, err);
	case TRANSITION_REVERT:
		return resolve_revert(target, request, transition, err);
	case TRANSITION_ROLLBACK:
		return resolve_rollback(target, transition, err);
	case TRANSITION_SWITCH:
		return resolve_switch(target, request, transition, err);
	}
	return error_set(err, -EINVAL, "no such transition");
}

int transition_resolve(struct target *target, const struct transition_request *request, struct transition *ret,
	struct error *err)
{
	int r = repo_batch_begin(target->store->repo, err);

	if (r == 0)
		r = resolve_kind(target, request, ret, err);
	if (r == 0 && ret->composed)
		r = stack_compose(target->store, target->component, &target->patches, &ret->stack, &ret->commit, err);
	return r;
}

/* ---- the report ---- */

static void add_oid(struct json_object *row, const char *key, const struct oid *oid)
{
	char hex[OID_HEX_LENGTH + 1];

	oid_to_hex(oid, hex);
	json_object_object_add(row, key, oid_is_zero(oid) ? NULL : json_object_new_string(hex));
}

static void add_number(struct json_object *row, const char *key, uint64_t number)
{
	json_object_object_add(row, key, json_object_new_int64((int64_t)number));
}

static void add_flag(struct json_object *row, const char *key, bool flag)
{
	json_object_object_add(row, key, json_object_new_boolean(flag));
}

/* Units and the reboot that the patches ask for in which the two states differ. */
static void add_demands(const struct target *target, struct json_object *row, const struct stack *old,
	const struct stack *new)
{
	struct json_object *units = json_object_new_array();
	bool reboot = false;

	for (size_t i = 0; i < target->patches.count; i++) {
		const struct patch *patch = &target->patches.patches[i];

		if (stack_has(old, &patch->commit) == stack_has(new, &patch->commit))
			continue;
		reboot |= patch->reboot;
		for (char **unit = patch->restart; *unit; unit++)
			json_object_array_add(units, json_object_new_string(*unit));
	}
	json_object_object_add(row, "restart", units);
	add_flag(row, "reboot", reboot);
}

int transition_add_state(const struct target *target, const struct transition *transition,
	struct json_object *row, const struct oid *from, struct error *err)
{
	const struct oid *to = &transition->commit;
	cleanup_free char *version = NULL;
	struct stack old = { .known = false };

	/* What was served is most often what was active. One that cannot be read is left: it asks for nothing. */
	if (oid_equal(from, &target->active_before))
		old = target->stack;
	else if (stack_read(target->store, target->component, &target->patches, from, &old, NULL) < 0)
		old = (struct stack){ .known = false };
	version = stack_version_label(target->component, &target->patches, &transition->stack, to);
	if (!version)
		return error_errno(err, ENOMEM, "component '%s'", target->component->name);
	json_object_object_add(row, "name", json_object_new_string(target->component->name));
	json_object_object_add(row, "version_label", json_object_new_string(version));
	add_oid(row, "from", from);
	add_oid(row, "to", to);
	add_demands(target, row, &old, &transition->stack);
	return 0;
}

static struct json_object *report(const struct target *target, const struct transition *transition,
	const struct activation_result *result, struct error *err)
{
	struct json_object *row = json_object_new_object();

	if (!row) {
		error_errno(err, ENOMEM, "component '%s'", target->component->name);
		return NULL;
	}
	if (transition_add_state(target, transition, row, &result->from, err) < 0) {
		json_object_put(row);
		return NULL;
	}
	add_flag(row, "changed", result->changed);
	add_number(row, "paths", result->paths);
	add_flag(row, "live", result->live);
	add_number(row, "total_nanoseconds", result->total_ns);
	add_number(row, "daemon_nanoseconds", result->daemon_ns);
	return row;
}

static bool is_full(int code)
{
	return code == -ENOSPC || code == -EDQUOT;
}

/* A way back to what was before, or to less. */
static bool goes_back(const char *action)
{
	static const char *const actions[] = { "reverted", "rolled-back", "retired", "absorbed" };

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i], action) == 0)
			return true;
	return false;
}

static int write_and_activate_once(struct target *target, const struct transition *transition, const struct activation *activation,
	const struct activation_server *server, bool *written, struct activation_result *ret, struct error *err)
{
	int r = *written ? 0 : repo_batch_commit(target->store->repo, err);

	*written = r == 0;
	return r < 0 ? r : activate_commit(target->store, target->component, &transition->commit, activation, server, ret, err);
}

/* A full disk keeps no patch on: for that there is a reserve, and where that is not enough it is done without the journal, and said. */
static int write_and_activate(struct target *target, const struct transition *transition, struct activation *activation,
	const struct activation_server *server, struct activation_result *ret, struct error *err)
{
	struct error problem = ERROR_INIT;
	bool written = false;
	int r = write_and_activate_once(target, transition, activation, server, &written, ret, &problem);

	if (is_full(r) && goes_back(activation->action)) {
		reserve_spend(target->store);
		r = write_and_activate_once(target, transition, activation, server, &written, ret, &problem);
		activation->without_journal = is_full(r);
		if (activation->without_journal)
			r = write_and_activate_once(target, transition, activation, server, &written, ret, &problem);
	}
	if (r < 0)
		return error_set(err, r, "%s", problem.message);
	if (activation->without_journal) {
		store_doubt(target->store);
		if (server)
			server->leave_journal(server->arg);
		log_message(LOG_ALERT, "component '%s': %s, but there was no room on the disk to write that to the journal",
			target->component->name, activation->action);
	}
	return 0;
}

int transition_perform(struct target *target, const struct transition *transition,
	const struct activation_server *server, const struct journal_actor *actor, struct json_object **ret_row,
	char **ret_text, struct error *err)
{
	struct activation activation = { .action = transition->action, .reason = strbuf_text(&transition->reason), .actor = actor };
	struct activation_result result = { 0 };
	cleanup_free char *labels = NULL;
	int r;

	labels = target_labels(target, &transition->stack, " ");
	if (!labels)
		return error_errno(err, ENOMEM, "component '%s'", target->component->name);
	activation.labels = labels;
	r = write_and_activate(target, transition, &activation, server, &result, err);
	if (r < 0)
		return r;
	*ret_text = strdup(result.changed ? strbuf_text(&transition->what) : transition->unchanged);
	*ret_row = *ret_text ? report(target, transition, &result, err) : NULL;
	if (*ret_row)
		return 0;
	if (!*ret_text)
		return error_errno(err, ENOMEM, "component '%s'", target->component->name);
	/* The caller releases what he gets. */
	free(*ret_text);
	*ret_text = NULL;
	return -ENOMEM;
}

int transition_report_done(const struct target *target, const char *what, const struct oid *from, uint64_t paths,
	struct json_object **ret_row, char **ret_text, struct error *err)
{
	const struct transition transition = { .commit = target->component->active, .stack = target->stack };
	const struct activation_result result = { .changed = true, .live = true, .from = *from, .to = target->component->active, .paths = paths };

	*ret_text = strdup(what);
	if (!*ret_text)
		return error_errno(err, ENOMEM, "component '%s'", target->component->name);
	*ret_row = report(target, &transition, &result, err);
	if (*ret_row)
		return 0;
	free(*ret_text);
	*ret_text = NULL;
	return -ENOMEM;
}
