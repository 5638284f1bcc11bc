/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/table.h"
#include "cli/target.h"
#include "fs/control.h"
#include "store/policy.h"

static const struct column columns[] = {
	{ "name", "name", COLUMN_TEXT },
	{ "base_change", "base-change", COLUMN_TEXT },
};

static const char *meaning(enum base_change change)
{
	switch (change) {
	case BASE_CHANGE_RETIRE:
		return "where the base is changed beneath a patch, the newer base wins: the whole patch is taken off";
	case BASE_CHANGE_HOLD:
		return "where the base is changed beneath a patch, the patch goes on hiding it";
	case BASE_CHANGE_FAIL:
		return "what is patched cannot be replaced or removed; a patch that does not fit the base is neither applied nor mounted";
	}
	return "";
}

static int report(const struct context *ctx, const struct component *component, const struct policy *policy, struct error *err)
{
	CLEANUP_ROW struct json_object *row = json_object_new_object();
	int r;

	row_text(row, "name", component->name);
	row_text(row, "base_change", base_change_name(policy->base_change));
	row_text(row, "meaning", meaning(policy->base_change));
	r = context_report_record(ctx, columns, ARRAY_SIZE(columns), row, err);
	if (r == 0 && !ctx->json)
		context_say(ctx, "%s", meaning(policy->base_change));
	return r;
}

/* A daemon that does not listen reads it at the next switch. */
static void tell_daemon(const struct context *ctx, const struct target *target)
{
	cleanup_control struct control *control = NULL;
	struct error err = ERROR_INIT;
	int r = control_open(target->store, target->component->name, &control, &err);

	if (r == 0)
		r = control_simple(control, "policy", NULL, &err);
	if (r < 0 && r != -ENOENT)
		context_note(ctx, "the daemon was not told, and follows from the next switch on: %s", err.message);
}

static int set(struct context *ctx, const struct target *target, struct policy *policy, struct error *err)
{
	const char *key = context_argument(ctx, 2), *value = context_argument(ctx, 3);
	int r;

	if (!key || !value)
		return usage_error(ctx, err, "policy set: a key and its value are expected: 'base-change retire'");
	if (strcmp(key, "base-change") != 0)
		return usage_error(ctx, err, "policy set: there is no key '%.80s': there is 'base-change'", key);
	if (base_change_parse(value, &policy->base_change) < 0)
		return usage_error(ctx, err, "policy set: base-change is 'retire', 'hold' or 'fail', not '%.80s'", value);
	r = policy_save(target->store, target->component->name, policy, err);
	if (r == 0)
		tell_daemon(ctx, target);
	return r;
}

int cmd_policy(struct context *ctx, struct error *err)
{
	const char *what = context_argument(ctx, 0);
	const bool setting = strcmp(what, "set") == 0;
	cleanup_target struct target target = TARGET_INIT;
	struct policy policy;
	int r;

	if (!setting && strcmp(what, "show") != 0)
		return usage_error(ctx, err, "policy: 'show' or 'set' is expected, not '%.80s'", what);
	if (!setting && context_argument(ctx, 2))
		return usage_error(ctx, err, "policy show: one component is expected");
	r = target_open(ctx, context_argument(ctx, 1), setting ? TARGET_WRITE : TARGET_READ, &target, err);
	if (r == 0)
		r = policy_load(target.store, target.component->name, &policy, err);
	if (r == 0 && setting)
		r = set(ctx, &target, &policy, err);
	return r < 0 ? r : report(ctx, target.component, &policy, err);
}
