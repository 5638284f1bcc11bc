/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/switch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base_watch.h"
#include "fs/healer.h"
#include "fs/invalidate.h"
#include "fs/reconcile.h"
#include "fs/worker_state.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"
#include "store/object.h"
#include "store/recover.h"

#define DRAIN_TIMEOUT_MS 10000
#define HEALTH_BYTES 512
#define JOURNAL_LOOK_BACK 64
/* Who switches to and fro need not read each time: 1,000 files take some milliseconds (docs/decisions/self-healing.md). */
#define OBJECT_TRUSTED_SECONDS 30
/* Of the views that were served last: so many are kept, and none that is larger. */
#define LOADED_MAX 4
#define LOADED_BYTES_MAX (2u << 20)

struct switcher {
	struct store *store;
	char *name;
	char ref[REF_NAME_MAX];
	int base_fd;
	struct session *session;

	pthread_mutex_t lock; /* guards the store and all below; held through a whole switch */
	struct oid served;
	int64_t served_since_us;
	struct view *prepared; /* NULL: none; within one switch only, for what it inherits from the base may change */
	struct view_found *served_found; /* owned; what the base had then at the directories of the view that is served; NULL: not known */
	unsigned looked_at;    /* overlay_changes() before the base was looked at for both */
	struct view *loaded[LOADED_MAX]; /* not completed, counted; the last ones, the newest first: to switch back reads nothing from git */
	struct oid refused;    /* zero: none */
	char health[HEALTH_BYTES];
	char served_health[HEALTH_BYTES]; /* of what is served, whatever else the ref names */
	struct policy policy;
	char *prepared_held; /* owned; what does not fit the base of the view that is prepared, and is served by policy; NULL: nothing */
	const unsigned *settled; /* of the view that is served: what has ended and need not go on to be so; NULL: nothing */
	bool unsettled;	     /* the ref names what does not fit the base, and could not be moved yet */
	bool journal_behind; /* the last switch is not in it, for want of room on the disk */
};

static int64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int load_policy(struct switcher *switcher, struct error *err)
{
	int r = policy_load(switcher->store, switcher->name, &switcher->policy, err);

	if (r == 0)
		overlay_set_base_change(switcher->session->overlay, switcher->policy.base_change);
	return r;
}

int switcher_new(struct store *store, const struct component *component, int base_fd, struct session *session,
	struct view *first, struct switcher **ret, struct error *err)
{
	struct switcher *switcher = calloc(1, sizeof *switcher);
	int r;

	if (!switcher)
		return error_errno(err, ENOMEM, "component '%s'", component->name);
	pthread_mutex_init(&switcher->lock, NULL);
	switcher->store = store;
	switcher->name = strdup(component->name);
	switcher->base_fd = base_fd;
	switcher->session = session;
	switcher->served = *view_commit(first);
	/* By a worker that was killed, it may be for long. */
	if (!oid_equal(&session->state->served, &switcher->served) || !session->state->served_since_us)
		session->state->served_since_us = clock_us();
	switcher->served_since_us = session->state->served_since_us;
	snprintf(switcher->health, sizeof switcher->health, "ok");
	snprintf(switcher->served_health, sizeof switcher->served_health, "ok");
	component_ref(component->name, "active", switcher->ref);
	if (!switcher->name) {
		switcher_free(switcher);
		return error_errno(err, ENOMEM, "component '%s'", component->name);
	}
	r = load_policy(switcher, err);
	if (r < 0) {
		switcher_free(switcher);
		return r;
	}
	*ret = switcher;
	return 0;
}

void switcher_free(struct switcher *switcher)
{
	if (!switcher)
		return;
	view_unref(switcher->prepared);
	free(switcher->prepared_held);
	free(switcher->served_found);
	for (size_t i = 0; i < LOADED_MAX; i++)
		view_unref(switcher->loaded[i]);
	pthread_mutex_destroy(&switcher->lock);
	free(switcher->name);
	free(switcher);
}

const char *switcher_name(const struct switcher *switcher)
{
	return switcher->name;
}

struct store *switcher_store(const struct switcher *switcher)
{
	return switcher->store;
}

/* ---- the switch; the lock is held ---- */

static void drop_prepared(struct switcher *switcher)
{
	view_unref(switcher->prepared);
	switcher->prepared = NULL;
	free(switcher->prepared_held);
	switcher->prepared_held = NULL;
	free(switcher->served_found);
	switcher->served_found = NULL;
}

/* Among the ones that are kept, the INDEX-th becomes the first. */
static void move_to_front(struct switcher *switcher, size_t index)
{
	struct view *view = switcher->loaded[index];

	memmove(&switcher->loaded[1], &switcher->loaded[0], index * sizeof *switcher->loaded);
	switcher->loaded[0] = view;
}

static void keep_loaded(struct switcher *switcher, struct view *view)
{
	view_unref(switcher->loaded[LOADED_MAX - 1]);
	switcher->loaded[LOADED_MAX - 1] = view_ref(view);
	move_to_front(switcher, LOADED_MAX - 1);
}

/* What a commit says never changes: one that was loaded once is loaded. */
static int load(struct switcher *switcher, const struct oid *commit, struct view **ret, struct error *err)
{
	cleanup_view struct view *view = NULL;
	int r;

	for (size_t i = 0; i < LOADED_MAX && switcher->loaded[i]; i++) {
		if (oid_equal(view_commit(switcher->loaded[i]), commit)) {
			move_to_front(switcher, i);
			return view_copy(switcher->loaded[0], ret) < 0 ? error_errno(err, ENOMEM, "load") : 0;
		}
	}
	r = view_load_of(switcher->store, switcher->name, commit, &view, err);
	if (r < 0)
		return r;
	if (view_bytes(view) > LOADED_BYTES_MAX) {
		*ret = TAKE_PTR(view);
		return 0;
	}
	keep_loaded(switcher, view);
	return view_copy(view, ret) < 0 ? error_errno(err, ENOMEM, "load") : 0;
}

/* Where that fails the base is asked path by path, when the kernel is told. */
static void look_at_served(struct switcher *switcher)
{
	cleanup_view struct view *served = overlay_view(switcher->session->overlay);

	free(switcher->served_found);
	switcher->served_found = NULL;
	if (served && view_look_at_directories(served, switcher->base_fd, &switcher->served_found, NULL) < 0)
		switcher->served_found = NULL;
}

/*
 * What is about to be served is read before it is, whatever its files look like, but for what was read a moment ago, and for what is
 * served already, after which the scrub looks.
 */
static void distrust_objects(struct switcher *switcher)
{
	cleanup_view struct view *served = overlay_view(switcher->session->overlay);
	size_t count = served ? view_count(served) : 0, kept = 0;
	cleanup_free struct oid *blobs = calloc(count + 1, sizeof *blobs);

	for (uint32_t i = 0; blobs && i < count; i++)
		if (view_at(served, i)->kind == VIEW_FILE)
			blobs[kept++] = view_at(served, i)->blob;
	objects_distrust(switcher->store, blobs, kept, OBJECT_TRUSTED_SECONDS);
}

/* What was damaged of it, for the journal. */
static void note_healed(struct switcher *switcher)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	unsigned count = object_take_healed(switcher->store, false, &text);

	if (count && switcher->session->healer)
		healer_note(switcher->session->healer, count, strbuf_text(&text), "by an activation");
}

/* CHECK: it must fit the base. What is served and does not is somebody else's to take off, and served as it is until then. */
static int prepare(struct switcher *switcher, const struct oid *commit, bool check, struct error *err)
{
	cleanup_view struct view *view = NULL;
	cleanup_free char *held = NULL;
	char hex[OID_HEX_LENGTH + 1];
	int r = load(switcher, commit, &view, err);

	switcher->looked_at = overlay_changes(switcher->session->overlay);
	distrust_objects(switcher);
	if (r == 0)
		r = view_complete(view, switcher->store, switcher->base_fd, err);
	note_healed(switcher);
	if (r == 0 && check)
		r = reconcile_check(view, switcher->store, switcher->base_fd, switcher->policy.base_change, &held, err);
	if (r < 0) {
		oid_to_hex(commit, hex);
		return error_prefix(err, r, "commit '%.12s' cannot be served", hex);
	}
	drop_prepared(switcher);
	switcher->prepared = TAKE_PTR(view);
	switcher->prepared_held = TAKE_PTR(held);
	look_at_served(switcher);
	return 0;
}

/* Names of the base that were changed while the switch went on: what the view found there is not to be relied on. Were there any? */
static bool look_again(struct switcher *switcher)
{
	unsigned changes = overlay_changes(switcher->session->overlay);
	struct error err = ERROR_INIT;

	if (changes == switcher->looked_at)
		return false;
	switcher->looked_at = changes;
	look_at_served(switcher);
	if (view_look_again(switcher->prepared, switcher->base_fd, &err) < 0)
		log_message(LOG_WARNING, "component '%s': %s", switcher->name, err.message);
	return true;
}

/* HELD NULL: all is well. */
static void set_health(struct switcher *switcher, const char *held)
{
	snprintf(switcher->served_health, sizeof switcher->served_health, "%s", held ? held : "ok");
	memcpy(switcher->health, switcher->served_health, sizeof switcher->health);
}

/* Answers that were made with the old view must be with the kernel before it is told to forget them. */
static void drain(struct switcher *switcher)
{
	while (!overlay_drain(switcher->session->overlay, DRAIN_TIMEOUT_MS))
		log_message(LOG_WARNING, "component '%s': a request takes longer than %d s; the switch waits for it",
			switcher->name, DRAIN_TIMEOUT_MS / 1000);
}

/* What the base shows already it goes on showing; true: somebody should look why. */
static bool carry_ended(struct switcher *switcher, const struct view *from, const struct view *to)
{
	bool any = false;

	if (from && view_carry_ended(from, to, switcher->settled, &any) < 0)
		log_message(LOG_ERR, "component '%s': out of memory: what was changed in the base a moment ago may be hidden again",
			switcher->name);
	return any;
}

/* What was prepared is served, and the kernel told how that differs from before. */
static void swap(struct switcher *switcher, uint64_t *ret_paths)
{
	struct overlay *overlay = switcher->session->overlay;
	cleanup_view struct view *view = NULL, *old = NULL;
	bool holds, changed;
	int r;

	changed = look_again(switcher);
	view = TAKE_PTR(switcher->prepared);
	old = overlay_view(overlay);
	changed |= carry_ended(switcher, old, view);
	view_unref(old);
	old = overlay_publish(overlay, view);
	drain(switcher);
	/* By requests that had the old view when it was swapped. */
	changed |= carry_ended(switcher, old, view);
	/*
	 * No directory that leads to something that a view serves is moved or removed through the mount meanwhile. So what the old view's
	 * directories were is what they were until now, whatever has become of them since; the new view's are what they are now.
	 */
	holds = overlay_changes(overlay) == switcher->looked_at;
	r = invalidate_difference(switcher->session, switcher->base_fd, (struct invalidate_side){ old, switcher->served_found },
		(struct invalidate_side){ view, holds ? view_found_at(view, 0) : NULL }, ret_paths);
	if (r < 0)
		log_message(LOG_ERR,
			"component '%s': the kernel was not told all of a switch, and may go on showing what was there before: %s",
			switcher->name, error_text(-r));
	drop_prepared(switcher);
	/* The view was compared with the base as it was before: what it did not hide until now, nobody was told of. */
	if (changed || !holds)
		overlay_tell_unseen(overlay, "the base was changed while the switch went on");
}

/* For the next worker: of the view that is served now. What ends meanwhile is noted twice, and ends once. */
static void note_all_ended(struct switcher *switcher)
{
	struct worker_state *state = switcher->session->state;
	cleanup_view struct view *view = overlay_view(switcher->session->overlay);

	worker_state_none_ended(state, &switcher->served);
	for (uint32_t i = 0; view && view_any_ended(view) && i < view_count(view); i++) {
		if (view_is_ended(view, i))
			worker_state_ended(state, i);
	}
}

static void publish(struct switcher *switcher, uint64_t *ret_paths)
{
	struct worker_state *state = switcher->session->state;

	SHARED_PUBLISH(state->told, 0);
	state->before = switcher->served;
	state->served = *view_commit(switcher->prepared);
	switcher->served = *view_commit(switcher->prepared);
	switcher->served_since_us = state->served_since_us = clock_us();
	switcher->refused = (struct oid){ { 0 } };
	set_health(switcher, switcher->prepared_held);
	swap(switcher, ret_paths);
	note_all_ended(switcher);
	SHARED_PUBLISH(state->told, 1);
}

/* ---- for commands ---- */

static void serve_tell(void *arg, struct oid *ret)
{
	*ret = ((struct switcher *)arg)->served;
}

static int serve_prepare(void *arg, const struct oid *commit, struct error *err)
{
	return prepare(arg, commit, true, err);
}

static void serve_publish(void *arg, uint64_t *ret_ns, uint64_t *ret_paths)
{
	uint64_t start = clock_monotonic_ns();

	publish(arg, ret_paths);
	*ret_ns = clock_monotonic_ns() - start;
}

static void serve_leave_journal(void *arg)
{
	((struct switcher *)arg)->journal_behind = true;
}

static struct activation_server server_of(struct switcher *switcher)
{
	return (struct activation_server){ switcher, serve_tell, serve_prepare, serve_publish, serve_leave_journal };
}

static int load_target(struct switcher *switcher, struct target *ret, struct error *err)
{
	ret->store = switcher->store;
	ret->store_borrowed = true;
	return target_load(ret, switcher->name, err);
}

/* What was taken off, or left, is said where somebody looks. */
static void say_outcome(struct switcher *switcher, const struct reconcile_report *report)
{
	if (report->outcome == RECONCILE_SWITCHED)
		log_message(LOG_NOTICE, "component '%s': taken off: %s", switcher->name, report->text);
	if (report->outcome == RECONCILE_SWITCHED)
		return;
	set_health(switcher, report->text);
	if (report->outcome == RECONCILE_HELD)
		log_message(LOG_WARNING, "component '%s': %s", switcher->name, switcher->health);
}

/* Serve the view again as it was made, where entries had ended (SETTLED) for a change that leaves it as it is. */
static int show_again(struct switcher *switcher, const struct view *served, const unsigned *settled, struct error *err)
{
	uint64_t paths;
	int r = 0;

	if (!served || !view_any_ended(served))
		return 0;
	r = prepare(switcher, &switcher->served, false, err);
	if (r < 0)
		return r;
	switcher->settled = settled;
	publish(switcher, &paths);
	switcher->settled = NULL;
	return 0;
}

/* The bare base is served, whatever the ref names, until that can be settled. */
static int withdraw(struct switcher *switcher, const struct oid *base, struct error *err)
{
	uint64_t paths;
	int r = prepare(switcher, base, false, err);

	if (r == 0)
		publish(switcher, &paths);
	return r;
}

/* What is served is not what the ref names, which was refused: where it does not fit the base any more, nothing of it is left. */
static int reconcile_served(struct switcher *switcher, const struct target *target, const struct view *served, const unsigned *settled,
	struct error *err)
{
	cleanup_view struct view *view = NULL;
	cleanup_free char *path = NULL, *removed = NULL;
	enum view_fit fit;
	int r = load(switcher, &switcher->served, &view, err);

	if (r == 0)
		r = view_fit(view, switcher->store, switcher->base_fd, &fit, &path, err);
	if (r == 0 && view_find_removed(view, served, &removed) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	if ((fit == VIEW_FITS && !removed) || switcher->policy.base_change != BASE_CHANGE_RETIRE)
		return show_again(switcher, served, settled, err);
	log_message(LOG_NOTICE, "component '%s': the base has changed beneath what is served while the ref names what is refused: the bare base is served",
		switcher->name);
	return withdraw(switcher, &target->component->base, err);
}

/* SETTLE: also where the ref names what is not served, for it does not fit the base. */
static int reconcile_locked(struct switcher *switcher, const char *cause, const struct journal_actor *actor, bool settle,
	struct reconcile_report *report, struct error *err)
{
	const struct activation_server server = server_of(switcher);
	cleanup_view struct view *served = overlay_view(switcher->session->overlay);
	cleanup_free unsigned *settled = served ? view_ended_now(served) : NULL;
	cleanup_target struct target target = TARGET_INIT;
	struct oid base;
	bool is_active;
	int r = served && !settled ? error_set(err, -ENOMEM, "out of memory") : load_policy(switcher, err);

	if (r == 0)
		r = load_target(switcher, &target, err);
	if (r < 0)
		return r;
	is_active = oid_equal(&target.component->active, &switcher->served);
	base = target.component->base;
	if (!is_active && !settle && !switcher->unsettled)
		return reconcile_served(switcher, &target, served, settled, err);
	r = reconcile(&target, switcher->base_fd, is_active ? served : NULL, cause, &server, actor, report, err);
	if (r < 0 && report->path) {
		/* It does not fit, and is to be seen no longer, whatever keeps it from being written down. */
		if (is_active && oid_equal(&target.active_before, &switcher->served))
			withdraw(switcher, &base, NULL);
		switcher->unsettled = true;
	}
	if (r < 0)
		return r;
	switcher->unsettled = false;
	if (report->outcome != RECONCILE_SWITCHED && is_active)
		r = show_again(switcher, served, settled, err);
	if (is_active || report->outcome == RECONCILE_SWITCHED)
		say_outcome(switcher, report);
	return r;
}

void switcher_is_unsettled(struct switcher *switcher)
{
	{
		SCOPED_LOCK(&switcher->lock);

		switcher->unsettled = true;
	}
	overlay_tell_unseen(switcher->session->overlay, "found at the mount");
}

int switcher_reconcile(struct switcher *switcher, const char *cause, const struct journal_actor *actor, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	cleanup_reconcile_report struct reconcile_report report = RECONCILE_REPORT_INIT;
	int r = reconcile_locked(switcher, cause, actor, false, &report, err);

	drop_prepared(switcher);
	return r;
}

int switcher_load_policy(struct switcher *switcher, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);

	return load_policy(switcher, err);
}

void switcher_labels_at(struct switcher *switcher, const char *path, struct strbuf *ret)
{
	SCOPED_LOCK(&switcher->lock);
	cleanup_target struct target target = TARGET_INIT;

	if (load_target(switcher, &target, NULL) < 0)
		return;
	for (size_t i = 0; i < target.stack.count; i++) {
		const struct patch *patch = patch_find_commit(&target.patches, &target.stack.patches[i]);
		cleanup_view struct view *view = NULL;

		if (patch && view_load_of(switcher->store, switcher->name, &patch->commit, &view, NULL) == 0 &&
			view_lookup(view, path) != VIEW_NONE)
			strbuf_addf(ret, "%s%s", ret->len ? " " : "", patch->label);
	}
}

/* Has a worker that was killed moved the ref for REQUEST? Whoever asks has the store's lock all the while: nobody else has. */
static bool was_done(const struct switcher *switcher, const struct transition_request *request, const struct target *target)
{
	const struct worker_state *state = switcher->session->state;

	return request->id && request->id == state->asked.id && oid_equal(&target->component->active, &state->asked.to) &&
		!oid_equal(&state->asked.from, &state->asked.to);
}

/* Then it is served, and told. */
static int report_done(struct switcher *switcher, const struct target *target, struct json_object **ret_row, char **ret_text, struct error *err)
{
	const struct worker_state *state = switcher->session->state;
	uint64_t paths = 0;
	int r = 0;

	if (!oid_equal(&switcher->served, &state->asked.to)) {
		r = prepare(switcher, &state->asked.to, true, err);
		if (r == 0)
			publish(switcher, &paths);
	}
	return r < 0 ? r : transition_report_done(target, state->asked.what, &state->asked.from, paths, ret_row, ret_text, err);
}

static void note_asked(struct switcher *switcher, const struct transition_request *request, const struct target *target,
	const struct transition *transition)
{
	struct worker_state *state = switcher->session->state;

	SHARED_PUBLISH(state->asked.id, 0);
	state->asked.from = target->component->active;
	state->asked.to = transition->commit;
	snprintf(state->asked.what, sizeof state->asked.what, "%s", strbuf_text(&transition->what));
	SHARED_PUBLISH(state->asked.id, request->id);
}

static int perform_once(struct switcher *switcher, const struct transition_request *request,
	const struct journal_actor *actor, struct json_object **ret_row, char **ret_text, struct error *err)
{
	const struct activation_server server = server_of(switcher);
	cleanup_target struct target target = TARGET_INIT;
	cleanup_transition struct transition transition = TRANSITION_INIT;
	int r = load_target(switcher, &target, err);

	if (r == 0 && was_done(switcher, request, &target))
		return report_done(switcher, &target, ret_row, ret_text, err);
	if (r == 0)
		r = transition_resolve(&target, request, &transition, err);
	if (r == 0)
		note_asked(switcher, request, &target, &transition);
	return r < 0 ? r : transition_perform(&target, &transition, &server, actor, ret_row, ret_text, err);
}

/* Where something does not fit the base, it may be a patch that is applied already: that one goes first. */
static int perform(struct switcher *switcher, const struct transition_request *request,
	const struct journal_actor *actor, struct json_object **ret_row, char **ret_text, struct error *err)
{
	cleanup_reconcile_report struct reconcile_report report = RECONCILE_REPORT_INIT;
	int r = load_policy(switcher, err);

	if (r == 0)
		r = perform_once(switcher, request, actor, ret_row, ret_text, err);
	if (r != -ESTALE || reconcile_locked(switcher, "found by a switch", actor, true, &report, NULL) < 0 ||
		report.outcome != RECONCILE_SWITCHED)
		return r;
	return perform_once(switcher, request, actor, ret_row, ret_text, err);
}

int switcher_transition(struct switcher *switcher, const struct transition_request *request,
	const struct journal_actor *actor, struct json_object **ret_row, char **ret_text, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	int r = perform(switcher, request, actor, ret_row, ret_text, err);

	drop_prepared(switcher);
	return r;
}

void switcher_state(struct switcher *switcher, struct oid *ret_commit, char *health, size_t health_size)
{
	SCOPED_LOCK(&switcher->lock);

	*ret_commit = switcher->served;
	snprintf(health, health_size, "%s", switcher->health);
}

/* ---- for the watch of the ref ---- */

static void refuse(struct switcher *switcher, const struct oid *commit, const char *reason)
{
	switcher->refused = *commit;
	snprintf(switcher->health, sizeof switcher->health, "refused: %.*s", HEALTH_BYTES - 16, reason);
}

enum follow_outcome switcher_follow(struct switcher *switcher, struct follow_report *ret)
{
	SCOPED_LOCK(&switcher->lock);
	struct error err = ERROR_INIT;
	uint64_t paths;
	bool again;

	if (repo_ref_read(switcher->store->repo, switcher->ref, &ret->to, &err) < 0)
		return FOLLOW_NOTHING;
	again = oid_equal(&ret->to, &switcher->refused);
	if (oid_equal(&ret->to, &switcher->served)) {
		/* What was changed meanwhile was looked at for what was served alone. */
		if (!oid_is_zero(&switcher->refused)) {
			memcpy(switcher->health, switcher->served_health, sizeof switcher->health);
			overlay_tell_unseen(switcher->session->overlay, "found when the ref came back");
		}
		switcher->refused = (struct oid){ { 0 } };
		return FOLLOW_NOTHING;
	}
	ret->from = switcher->served;
	ret->since_us = switcher->served_since_us;
	if (load_policy(switcher, &err) == 0 && prepare(switcher, &ret->to, true, &err) == 0) {
		publish(switcher, &paths);
		return FOLLOW_SWITCHED;
	}
	snprintf(ret->reason, sizeof ret->reason, "%s", err.message);
	refuse(switcher, &ret->to, err.message);
	return again ? FOLLOW_NOTHING : FOLLOW_REFUSED;
}

bool switcher_refuses(struct switcher *switcher)
{
	SCOPED_LOCK(&switcher->lock);

	return !oid_is_zero(&switcher->refused);
}

/* 1: the move is in the journal; 2: it is not, for what follows is older. */
static int look_for_move(void *arg, const struct journal_entry *entry, struct error *err)
{
	const struct follow_report *report = arg;

	if (entry->time_us < report->since_us)
		return 2;
	/* What this process has written down is about other moves, but for what it has found missing. */
	return (entry->actor.pid != getpid() || strcmp(entry->reason, RECOVER_REASON) == 0) && oid_equal(&entry->from, &report->from) &&
		oid_equal(&entry->to, &report->to);
}

int switcher_journal(struct switcher *switcher, const struct follow_report *report,
	const struct journal_entry *entry, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	struct journal_entry whole = *entry;

	whole.from = report->from;
	whole.to = report->to;
	/* A journal that cannot be read does not know of it. */
	if (journal_each(switcher->store, switcher->name, JOURNAL_LOOK_BACK, look_for_move, (void *)report, NULL) == 1)
		return 0;
	return journal_append(switcher->store, switcher->name, &whole, err);
}

bool switcher_ref_is(struct switcher *switcher, const struct oid *commit)
{
	SCOPED_LOCK(&switcher->lock);
	struct oid active;

	return repo_ref_read(switcher->store->repo, switcher->ref, &active, NULL) == 0 && oid_equal(&active, commit);
}

bool switcher_journal_behind(struct switcher *switcher)
{
	SCOPED_LOCK(&switcher->lock);

	return switcher->journal_behind;
}

int switcher_complete_journal(struct switcher *switcher, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	struct oid active;
	int r = repo_ref_read(switcher->store->repo, switcher->ref, &active, err);

	/* What is refused is followed, and told, by another way. */
	if (r == 0 && oid_equal(&active, &switcher->served))
		r = journal_complete(switcher->store, switcher->name, err);
	if (r == 0)
		switcher->journal_behind = false;
	return r;
}

/* ---- a base that was changed around the mount ---- */

/* The commit that is served, looked at with the base as it is now. Answers that were made before are with the kernel afterwards. */
static int serve_anew(struct switcher *switcher, struct error *err)
{
	cleanup_view struct view *same = NULL;
	cleanup_view struct view *old = NULL;
	uint64_t paths;
	int r = prepare(switcher, &switcher->served, false, err);

	if (r == 0) {
		swap(switcher, &paths);
		return 0;
	}
	drop_prepared(switcher);
	same = overlay_view(switcher->session->overlay);
	old = overlay_publish(switcher->session->overlay, same);
	drain(switcher);
	return r;
}

static int refresh(struct switcher *switcher, struct refresh_counts *ret, struct error *err)
{
	struct notices notices = invalidate_notices(switcher->session);
	int served = serve_anew(switcher, err), r;

	/* First: what changes after it was told is seen. */
	base_watch_all(switcher->session->watch);
	session_notices_begin(switcher->session);
	r = refresh_all(switcher->session->overlay, &notices, ret);
	session_notices_end(switcher->session);
	if (served < 0)
		return error_prefix(err, served, "component '%s': what is served takes after what the base was before", switcher->name);
	return r < 0 ? error_errno(err, -r, "component '%s': the kernel was not told all", switcher->name) : 0;
}

int switcher_refresh(struct switcher *switcher, const struct journal_actor *actor, struct refresh_counts *ret, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	cleanup_reconcile_report struct reconcile_report report = RECONCILE_REPORT_INIT;
	int r;

	*ret = (struct refresh_counts){ 0 };
	r = refresh(switcher, ret, err);
	if (r == 0 && actor)
		r = reconcile_locked(switcher, "changed around the mount, found by refresh", actor, true, &report, err);
	else if (r == 0)
		overlay_tell_unseen(switcher->session->overlay, "changed around the mount");
	drop_prepared(switcher);
	return r;
}

static int serve_anew_locked(struct switcher *switcher, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);

	return serve_anew(switcher, err);
}

int switcher_changed(struct switcher *switcher, struct refresh_change *changes, size_t count, struct error *err)
{
	struct notices notices = invalidate_notices(switcher->session);
	struct refresh_counts counts;
	int r = refresh_changed(switcher->session->overlay, &notices, changes, count, &counts);

	if (r < 0)
		return error_errno(err, -r, "component '%s': the kernel was not told all that changed", switcher->name);
	if (!counts.patched)
		return 0;
	r = serve_anew_locked(switcher, err);
	overlay_tell_unseen(switcher->session->overlay, "changed around the mount");
	return r;
}

/* What a worker before served, by its commit: how it differs is told. */
static int tell_since(struct switcher *switcher, const struct oid *commit, struct view *now, struct error *err)
{
	cleanup_view struct view *before = NULL;
	int r = view_load_of(switcher->store, switcher->name, commit, &before, err);
	uint64_t paths;

	if (r < 0)
		return r;
	r = invalidate_difference(switcher->session, switcher->base_fd, (struct invalidate_side){ before, NULL },
		(struct invalidate_side){ now, NULL }, &paths);
	return r < 0 ? error_errno(err, -r, "tell the kernel") : 0;
}

void switcher_catch_up(struct switcher *switcher)
{
	/* First: whoever is on the control socket may be switching by now. */
	SCOPED_LOCK(&switcher->lock);
	struct worker_state *state = switcher->session->state;
	cleanup_view struct view *now = overlay_view(switcher->session->overlay);
	const struct oid known[2] = { state->served, state->before };
	struct error err = ERROR_INIT;
	struct refresh_counts counts;
	bool told = state->told;
	int r = 0;

	for (int i = 0; i < (told ? 1 : 2) && r == 0; i++) {
		if (!oid_is_zero(&known[i]) && !(told && oid_equal(&known[i], &switcher->served)))
			r = tell_since(switcher, &known[i], now, &err);
	}
	if (r < 0) {
		log_message(LOG_WARNING, "component '%s': what the kernel knows is asked for anew: %s", switcher->name, err.message);
		refresh(switcher, &counts, NULL);
	}
	state->before = state->served;
	state->served = switcher->served;
	note_all_ended(switcher);
	SHARED_PUBLISH(state->told, 1);
	/* What the worker before has watched, and was told of meanwhile, nobody knows. */
	if (!oid_is_zero(&known[0]) && switcher->session->watch && refresh(switcher, &counts, &err) < 0)
		log_message(LOG_WARNING, "component '%s': changes around the mount may not be seen: %s", switcher->name, err.message);
}
