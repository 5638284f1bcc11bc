/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/activate.h"

#include <errno.h>
#include <time.h>

#include "fs/mount_query.h"
#include "fs/reconcile.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/git/repo.h"
#include "store/journal.h"
#include "store/object.h"
#include "store/view.h"

#define JOURNAL_ATTEMPTS 10 /* who writes to it without the store's lock is seldom, and quick */

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

/* -EAGAIN: somebody else has moved one of the refs. */
static int move_refs_once(struct store *store, const struct component *component, const struct journal_entry *entry, bool journaled,
	struct error *err)
{
	struct journal_draft journal;
	char ref[REF_NAME_MAX];
	struct ref_update updates[2];
	size_t count = 0;
	int r = journaled ? journal_prepare(store, component->name, entry, &journal, err) : 0;

	if (r < 0)
		return r;
	component_ref(component->name, "active", ref);
	/* The ref may name it already, where it was refused before. */
	if (!oid_equal(&component->active, &entry->to))
		updates[count++] = (struct ref_update){ ref, entry->to, true, component->active };
	if (journaled)
		updates[count++] = journal.update;
	return repo_refs_update(store->repo, updates, count, err);
}

/* The active ref and the journal, both or neither; the ref alone where there is no room for the other. */
static int move_refs(struct store *store, struct component *component, const struct activation *activation,
	const struct activation_result *result, struct error *err)
{
	struct journal_entry entry = {
		.from = result->from,
		.to = result->to,
		.action = (char *)activation->action,
		.labels = (char *)activation->labels,
		.reason = (char *)activation->reason,
	};
	struct error last = ERROR_INIT; /* of the last attempt: an earlier one's is no failure */
	int r = -EAGAIN;

	if (activation->actor)
		entry.actor = *activation->actor;
	for (int attempt = 0; attempt < JOURNAL_ATTEMPTS && r == -EAGAIN; attempt++)
		r = move_refs_once(store, component, &entry, !activation->without_journal, &last);
	if (r < 0)
		return error_set(err, r, "%s", last.message);
	component->active = result->to;
	return 0;
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
			r = move_refs(store, component, activation, &result, err);
	}
	if (r < 0)
		return r;
	if (result.live)
		server->publish(server->arg, &result.daemon_ns, &result.paths);
	result.total_ns = clock_monotonic_ns() - started;
	*ret = result;
	return 0;
}
