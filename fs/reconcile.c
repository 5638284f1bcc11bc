/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/reconcile.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/transition.h"
#include "store/base/cleanup.h"
#include "store/stack_fit.h"

void reconcile_report_release(struct reconcile_report *report)
{
	free(report->path);
	free(report->text);
}

/* What is not taken off for the policy, as status shows it. */
static char *say_held(enum base_change policy, const char *path)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_addf(&sb, "%s: the base has %s%s%s, and the patch is served on", base_change_name(policy),
		path ? "something else at '" : "all of the patch", path ? path : "", path ? "'" : "");
	return strbuf_detach(&sb, NULL);
}

int reconcile_check(struct view *view, struct store *store, int basefd, enum base_change policy, char **ret_held, struct error *err)
{
	cleanup_free char *path = NULL;
	enum view_fit fit;
	int r = view_fit(view, store, basefd, &fit, &path, err);

	if (ret_held)
		*ret_held = NULL;
	if (r < 0 || fit == VIEW_FITS)
		return r;
	if (policy == BASE_CHANGE_HOLD) {
		if (ret_held)
			*ret_held = say_held(policy, path);
		return 0;
	}
	if (fit == VIEW_ABSORBED)
		return error_set(err, -ESTALE, "the base has all of it already: there is nothing left to patch");
	return error_set(err, -ESTALE, "the base has something else at '%s' than it was made for: a newer base wins, and needs a new patch",
		path);
}

/* What remains of the stack; of a commit that is none, nothing. */
static int find_remaining(struct target *target, int basefd, const char *path, const struct view *served, struct transition *transition,
	struct error *err)
{
	cleanup_stack_fit struct stack_fit fit = STACK_FIT_INIT;
	int r;

	if (!target->stack.known) {
		transition->action = path ? "retired" : "absorbed";
		transition->stack = (struct stack){ .known = true };
		if (path)
			strbuf_addf(&transition->reason, "the base has something else at '%s'", path);
		else
			strbuf_addstr(&transition->reason, "the base has all of it");
		return 0;
	}
	fit.served = served;
	r = stack_fit(target->store, target->component, &target->patches, &target->stack, basefd, &fit, err);
	if (r < 0)
		return r;
	transition->action = fit.retired ? "retired" : "absorbed";
	transition->stack = fit.stack;
	strbuf_addstr(&transition->reason, strbuf_text(&fit.reason));
	return 0;
}

static int take_off(struct target *target, int basefd, const char *path, const struct view *served, const char *cause,
	const struct activation_server *server, const struct journal_actor *actor, struct reconcile_report *report, struct error *err)
{
	cleanup_transition struct transition transition = TRANSITION_INIT;
	struct json_object *row = NULL;
	cleanup_free char *text = NULL;
	int r = repo_batch_begin(target->store->repo, err);

	if (r == 0)
		r = find_remaining(target, basefd, path, served, &transition, err);
	if (r == 0)
		r = stack_compose(target->store, target->component, &target->patches, &transition.stack, &transition.commit, err);
	if (r == 0 && cause)
		strbuf_addf(&transition.reason, " (%s)", cause);
	transition.unchanged = "";
	strbuf_addstr(&transition.what, transition.action);
	if (r == 0 && (strbuf_failed(&transition.reason) || strbuf_failed(&transition.what)))
		r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0 && oid_equal(&transition.commit, &target->component->active)) {
		repo_batch_abort(target->store->repo);
		return 0; /* each patch by itself fits */
	}
	if (r == 0)
		r = transition_perform(target, &transition, server, actor, &row, &text, err);
	json_object_put(row);
	repo_batch_abort(target->store->repo);
	if (r < 0)
		return r;
	report->outcome = RECONCILE_SWITCHED;
	report->text = strbuf_detach(&transition.reason, NULL);
	return 0;
}

int reconcile(struct target *target, int basefd, const struct view *served, const char *cause, const struct activation_server *server,
	const struct journal_actor *actor, struct reconcile_report *ret, struct error *err)
{
	cleanup_view struct view *view = NULL;
	struct policy policy;
	enum view_fit fit;
	int r = policy_load(target->store, target->component->name, &policy, err);

	if (r < 0 || view_load_of(target->store, target->component->name, &target->component->active, &view, NULL) < 0)
		return r;
	r = view_fit(view, target->store, basefd, &fit, &ret->path, err);
	if (r == 0 && fit == VIEW_FITS && view_find_removed(view, served, &ret->path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (r < 0 || (fit == VIEW_FITS && !ret->path))
		return r;
	ret->outcome = RECONCILE_HELD;
	if (policy.base_change != BASE_CHANGE_RETIRE) {
		ret->text = say_held(policy.base_change, ret->path);
		return ret->text ? 0 : error_set(err, -ENOMEM, "out of memory");
	}
	ret->outcome = RECONCILE_FITS;
	return take_off(target, basefd, ret->path, served, cause, server, actor, ret, err);
}
