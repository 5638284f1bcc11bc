/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/activate.h"

#include <errno.h>
#include <time.h>

#include "fs/control.h"
#include "fs/mount.h"
#include "store/base/cleanup.h"
#include "store/git/repo.h"
#include "store/journal.h"
#include "store/view.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t reply_number(struct json_object *reply, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(reply, key, &value) ? (uint64_t)json_object_get_int64(value) : 0;
}

static int load_complete_view(struct store *store, const char *name, const struct oid *commit, int basefd,
	struct view **ret, struct error *err)
{
	cleanup_view struct view *view = NULL;
	int r = view_load_of(store, name, commit, &view, err);

	if (r == 0)
		r = view_complete(view, store, basefd, err);
	if (r < 0) {
		char hex[OID_HEX_LENGTH + 1];

		oid_to_hex(commit, hex);
		return error_prefix(err, r, "commit '%.12s'", hex);
	}
	*ret = TAKE_PTR(view);
	return 0;
}

/*
 * Without a daemon: see that COMMIT can be served, and how many paths are then served differently. A commit
 * FROM that cannot be read may well be what one wants to get away from, so its paths count as the base's.
 */
static int prepare_here(struct store *store, const struct component *component, const struct oid *from,
	const struct oid *commit, uint64_t *ret_paths, struct error *err)
{
	cleanup_view struct view *old = NULL, *new = NULL;
	cleanup_close int basefd = -EBADF;
	int r = mount_open_base(store, component, &basefd, err);

	if (r == 0)
		r = load_complete_view(store, component->name, commit, basefd, &new, err);
	if (r < 0)
		return r;
	if (load_complete_view(store, component->name, from, basefd, &old, NULL) < 0)
		old = NULL;
	r = view_diff_count(old, new, ret_paths);
	return r < 0 ? error_errno(err, -r, "component '%s'", component->name) : 0;
}

/* The daemon does the same, and keeps the view: what it serves now it has at hand. */
static int prepare_daemon(struct control *control, const struct oid *commit, uint64_t *ret_paths,
	struct error *err)
{
	struct json_object *reply = NULL;
	int r = control_simple(control, "prepare", commit, &reply, err);

	if (r < 0)
		return r;
	*ret_paths = reply_number(reply, "changed_paths");
	json_object_put(reply);
	return 0;
}

/* The daemon of a mounted component in *RET; NULL where the component is not mounted. */
static int find_daemon(struct store *store, const struct component *component, struct control **ret,
	struct error *err)
{
	struct error problem = ERROR_INIT;
	enum mount_state state;
	int r = control_open(store, component->name, ret, &problem);

	if (r == 0)
		return 0;
	*ret = NULL;
	if (r != -ENOENT)
		return error_set(err, r, "%s", problem.message);
	r = mount_query(store, component, &state, err);
	if (r < 0)
		return r;
	if (state == MOUNT_NONE)
		return 0;
	return error_set(err, -ENOTCONN,
		"component '%s' is mounted, but its daemon does not answer: take the mount off with 'veneer umount %s'",
		component->name, component->name);
}

static int move_ref(struct store *store, const struct component *component, const struct oid *from,
	const struct oid *to, struct error *err)
{
	char ref[REF_NAME_MAX];
	struct ref_update update = { .new_oid = *to, .check = true, .old_oid = *from };

	component_ref(component->name, "active", ref);
	update.name = ref;
	return repo_refs_update(store->repo, &update, 1, err);
}

static int switch_daemon(struct control *control, const struct oid *commit, uint64_t *ret_ns,
	struct error *err)
{
	struct json_object *reply = NULL;
	int r = control_simple(control, "switch", commit, &reply, err);

	if (r < 0)
		return r;
	*ret_ns = reply_number(reply, "nanoseconds");
	json_object_put(reply);
	return 0;
}

static int write_journal(struct store *store, const struct component *component,
	const struct activation *activation, const struct activation_result *result, struct error *err)
{
	struct journal_entry entry = {
		.from = result->from,
		.to = result->to,
		.action = (char *)activation->action,
		.labels = (char *)activation->labels,
		.reason = (char *)activation->reason,
	};

	return journal_append(store, component->name, &entry, err);
}

/*
 * A step after the move of the ref has failed: everything back to what was, CODE and its message in ERR.
 * The daemon watches the ref and would follow by itself; it is asked so that this is done on return.
 */
static int undo(struct store *store, const struct component *component, struct control *control,
	const struct activation_result *result, int code, struct error *err)
{
	struct error problem = ERROR_INIT;
	uint64_t ns;
	int r = move_ref(store, component, &result->to, &result->from, &problem);

	if (r < 0)
		return error_prefix(err, code, "the switch failed and could not be undone (%s)", problem.message);
	if (control)
		switch_daemon(control, &result->from, &ns, NULL);
	return code;
}

/* From here on the ref moves; what fails is undone. */
static int publish(struct store *store, const struct component *component, struct control *control,
	const struct activation *activation, struct activation_result *result, struct error *err)
{
	int r = move_ref(store, component, &result->from, &result->to, err);

	if (r < 0)
		return r;
	if (control)
		r = switch_daemon(control, &result->to, &result->daemon_ns, err);
	if (r == 0)
		r = write_journal(store, component, activation, result, err);
	if (r < 0)
		return undo(store, component, control, result, r, err);
	return 0;
}

int activate_commit(struct store *store, struct component *component, const struct oid *commit,
	const struct activation *activation, struct activation_result *ret, struct error *err)
{
	struct activation_result result = { .from = component->active, .to = *commit };
	const uint64_t started = now_ns();
	cleanup_control struct control *control = NULL;
	int r;

	if (oid_equal(&component->active, commit)) {
		result.total_ns = now_ns() - started;
		*ret = result;
		return 0;
	}
	r = find_daemon(store, component, &control, err);
	if (r < 0)
		return r;
	result.changed = true;
	result.live = control != NULL;
	r = control ? prepare_daemon(control, commit, &result.paths, err) :
		      prepare_here(store, component, &result.from, commit, &result.paths, err);
	if (r < 0)
		return r;
	r = publish(store, component, control, activation, &result, err);
	if (r < 0)
		return r;
	component->active = *commit;
	result.total_ns = now_ns() - started;
	*ret = result;
	return 0;
}
