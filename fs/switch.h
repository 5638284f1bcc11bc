/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SWITCH_H
#define VENEER_FS_SWITCH_H

/*
 * The daemon's side of a switch: a commit becomes a complete view, the view becomes the current one, and
 * the kernel is told what it must look up again. Everything that can fail comes before the pointer is
 * swapped; on failure the last good view goes on.
 *
 * Two callers: the control socket, and the watcher of refs/veneer/NAME/active (a ref moved by plain git).
 * Threads: switcher_* take the switcher's own lock; no handler ever waits for it.
 */

#include <stdint.h>

#include "fs/session.h"
#include "store/component.h"
#include "store/view.h"

struct switcher;

struct switch_report {
	uint64_t paths;		/* that are served differently */
	uint64_t published_ns;	/* from the call to the swapped pointer */
	uint64_t total_ns;	/* from the call to the kernel told */
};

/* STORE and BASE_FD are borrowed, and nobody else's from now on. FIRST is the view that is being served already. */
int switcher_new(struct store *store, const struct component *component, int base_fd, struct session *session,
	struct view *first, struct switcher **ret, struct error *err);
void switcher_free(struct switcher *switcher);

/*
 * Load, verify and complete COMMIT and keep its view ready for switcher_switch(). In *RET_PATHS how many
 * paths it serves differently from what is served now.
 */
int switcher_prepare(struct switcher *switcher, const struct oid *commit, uint64_t *ret_paths, struct error *err);
/* Serve COMMIT. One that is served already is no switch: the report of the last one is given. */
int switcher_switch(struct switcher *switcher, const struct oid *commit, struct switch_report *ret,
	struct error *err);

/* Follow the ref in a thread of its own, until switcher_unwatch(). */
int switcher_watch(struct switcher *switcher, struct error *err);
void switcher_unwatch(struct switcher *switcher);

/* The commit served now, and in HEALTH "ok", or which commit is refused and why. */
void switcher_state(struct switcher *switcher, struct oid *ret_commit, char *health, size_t health_size);

#endif
