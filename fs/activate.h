/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_ACTIVATE_H
#define VENEER_FS_ACTIVATE_H

/*
 * The switch (design, section 5):
 *
 *     prepare (view_load + view_complete: objects durable)  →  write the journal's entry (durable)
 *     →  move both refs, active and journal  →  publish (swap the pointer, tell the kernel)  →  return
 *
 * What can fail comes before the refs move, also on a full disk; on failure nothing has changed. In the daemon of a mounted
 * component both steps are the switcher's; where nothing is mounted, the view is made, and dropped.
 * After a crash: the ref is the truth; a daemon that starts serves it. Between the two refs: the journal lacks the entry, which
 * store_lock() sees to.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/component.h"
#include "store/journal.h"

struct activation {
	const char *action; /* for the journal: "applied", … */
	const char *labels; /* the stack afterwards, for the journal */
	const char *reason; /* "" where none */
	const struct journal_actor *actor; /* NULL: the calling process */
	bool without_journal; /* for want of room on the disk: store_doubt() is the caller's */
};

/* Who serves the component. */
struct activation_server {
	void *arg;
	/* What is served now. */
	void (*served)(void *arg, struct oid *ret);
	/* Everything about the switch to COMMIT that can fail. */
	int (*prepare)(void *arg, const struct oid *commit, struct error *err);
	/* Serve what was prepared; *RET_NS it took, *RET_PATHS are served differently. Cannot fail; does not use the store. */
	void (*publish)(void *arg, uint64_t *ret_ns, uint64_t *ret_paths);
	/* What was just published is not in the journal, for want of room: to be done later (journal_complete()). */
	void (*leave_journal)(void *arg);
};

struct activation_result {
	bool changed;		 /* false: it was active already; nothing was written or sent */
	bool live;		 /* a mounted daemon switched */
	struct oid from, to;
	uint64_t paths;		 /* that are served differently */
	uint64_t total_ns;	 /* this call */
	uint64_t daemon_ns;	 /* of it, from the swap of the view to the kernel told */
};

/*
 * Make COMMIT the component's active commit. SERVER NULL: it is not mounted. Store locked by the caller.
 * component->active is updated.
 */
int activate_commit(struct store *store, struct component *component, const struct oid *commit,
	const struct activation *activation, const struct activation_server *server,
	struct activation_result *ret, struct error *err);

#endif
