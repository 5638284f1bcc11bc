/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/activate.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "fs/mount_query.h"
#include "fs/reconcile.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/thread.h"
#include "store/git/repo.h"
#include "store/journal.h"
#include "store/object.h"
#include "store/view.h"

/* CHECK: it must fit the base. */
static int load_complete_view(struct store *store, const char *name, const struct oid *commit, int basefd, bool check,
	struct view **ret, struct error *err)
{
	cleanup_view struct view *view = NULL;
	struct policy policy;
	int r = view_load_of(store, name, commit, &view, err);

	if (r == 0)
		r = view_complete(view, store, basefd, err);
	if (r == 0)
		r = policy_load(store, name, &policy, err);
	if (r == 0 && check)
		r = reconcile_check(view, store, basefd, policy.base_change, NULL, err);
	if (r < 0) {
		char hex[OID_HEX_LENGTH + 1];

		oid_to_hex(commit, hex);
		return error_prefix(err, r, "commit '%.12s'", hex);
	}
	*ret = TAKE_PTR(view);
	return 0;
}

/* What was damaged of a view that is about to be served, and was made again. */
static int journal_healed(struct store *store, const struct component *component, struct error *err)
{
	struct journal_entry entry = { .from = component->active, .to = component->active, .action = (char *)"healed" };
	cleanup_strbuf struct strbuf text = STRBUF_INIT;

	if (!object_take_healed(store, false, &text))
		return 0;
	strbuf_addstr(&text, ", found by an activation");
	entry.reason = text.buf;
	return strbuf_failed(&text) ? error_set(err, -ENOMEM, "out of memory") : journal_append(store, component->name, &entry, err);
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
		r = load_complete_view(store, component->name, commit, basefd, true, &new, err);
	if (r == 0)
		r = journal_healed(store, component, err);
	if (r < 0)
		return r;
	if (load_complete_view(store, component->name, from, basefd, false, &old, NULL) < 0)
		old = NULL;
	r = view_diff_count(old, new, ret_paths);
	return r < 0 ? error_errno(err, -r, "component '%s'", component->name) : 0;
}

static int move_ref(struct store *store, const struct component *component, const struct oid *from,
	const struct oid *to, struct error *err)
{
	char ref[REF_NAME_MAX];
	struct ref_update update = { .new_oid = *to, .check = true, .old_oid = *from };

	if (oid_equal(from, to))
		return 0;
	component_ref(component->name, "active", ref);
	update.name = ref;
	return repo_refs_update(store->repo, &update, 1, err);
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

	if (activation->actor)
		entry.actor = *activation->actor;
	return journal_append(store, component->name, &entry, err);
}

/* A step after the move of the ref has failed: everything back to what was, CODE and its message in ERR. */
static int undo(struct store *store, const struct component *component,
	const struct activation_server *server, const struct oid *served, int code, struct error *err)
{
	struct error problem = ERROR_INIT;
	uint64_t ns, paths;
	int r = move_ref(store, component, &component->active, served, &problem);

	if (r < 0)
		return error_prefix(err, code, "the switch failed and could not be undone (%s)", problem.message);
	if (server && server->prepare(server->arg, served, NULL) == 0)
		server->publish(server->arg, &ns, &paths);
	return code;
}

struct publishing {
	const struct activation_server *server;
	struct activation_result *result;
};

static void *run_publish(void *arg)
{
	const struct publishing *publishing = arg;

	publishing->server->publish(publishing->server->arg, &publishing->result->daemon_ns, &publishing->result->paths);
	return NULL;
}

/* Serve it and write it down. The journal waits for the disk, what is served for the kernel: neither for the other. */
static int publish_and_journal(struct store *store, const struct component *component, const struct activation *activation,
	const struct activation_server *server, struct activation_result *result, struct error *err)
{
	struct publishing publishing = { server, result };
	pthread_t thread;
	bool started;
	int r;

	if (!server)
		return write_journal(store, component, activation, result, err);
	started = thread_start(&thread, run_publish, &publishing) == 0;
	if (!started)
		run_publish(&publishing);
	r = write_journal(store, component, activation, result, err);
	if (started)
		pthread_join(thread, NULL);
	return r;
}

/* From here on the ref moves; what fails is undone. */
static int publish(struct store *store, struct component *component, const struct activation *activation,
	const struct activation_server *server, struct activation_result *result, struct error *err)
{
	const struct oid before = component->active;
	int r = move_ref(store, component, &before, &result->to, err);

	if (r < 0)
		return r;
	component->active = result->to;
	r = publish_and_journal(store, component, activation, server, result, err);
	if (r < 0) {
		r = undo(store, component, server, &before, r, err);
		component->active = before;
	}
	return r;
}

int activate_commit(struct store *store, struct component *component, const struct oid *commit,
	const struct activation *activation, const struct activation_server *server,
	struct activation_result *ret, struct error *err)
{
	struct activation_result result = { .from = component->active, .to = *commit };
	const uint64_t started = clock_monotonic_ns();
	int r = 0;

	/* The ref may name what the daemon has refused, or has not followed yet. */
	if (server && oid_equal(&result.from, commit))
		server->served(server->arg, &result.from);
	result.changed = !oid_equal(&result.from, commit);
	result.live = result.changed && server;
	if (result.changed) {
		r = server ? server->prepare(server->arg, commit, err) :
			     prepare_here(store, component, &result.from, commit, &result.paths, err);
		if (r == 0)
			r = publish(store, component, activation, server, &result, err);
	}
	if (r < 0)
		return r;
	result.total_ns = clock_monotonic_ns() - started;
	*ret = result;
	return 0;
}
