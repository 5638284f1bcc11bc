/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_ACTIVATE_H
#define VENEER_FS_ACTIVATE_H

/*
 * The switch, as a command does it (design, section 5):
 *
 *     daemon: prepare (view_load + view_complete: objects durable)  →  move the ref (fsynced)
 *     →  daemon: switch (swap the pointer, tell the kernel)  →  journal  →  return
 *
 * Where the component is not mounted, the view is loaded and completed here, and dropped. What can fail comes before the ref moves; on failure nothing has changed.
 * After a crash: the ref is the truth; a daemon that still runs sees it move, one that starts serves it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/component.h"

struct activation {
	const char *action; /* for the journal: "applied", … */
	const char *labels; /* the stack afterwards, for the journal */
	const char *reason; /* "" where none */
};

struct activation_result {
	bool changed;		 /* false: it was active already; nothing was written or sent */
	bool live;		 /* a mounted daemon switched */
	struct oid from, to;
	uint64_t paths;		 /* that are served differently */
	uint64_t total_ns;	 /* this call */
	uint64_t daemon_ns;	 /* the daemon's share, from its "switch" request to the kernel told */
};

/* Make COMMIT the component's active commit. Store locked by the caller. component->active is updated. */
int activate_commit(struct store *store, struct component *component, const struct oid *commit,
	const struct activation *activation, struct activation_result *ret, struct error *err);

#endif
