/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SWITCH_H
#define VENEER_FS_SWITCH_H

/*
 * The daemon's side of a switch: a commit becomes a complete view, the view becomes the current one, and
 * the kernel is told what it must look up again. Everything that can fail comes before the pointer is
 * swapped; on failure the last good view goes on.
 *
 * Its callers: the control socket, for commands; fs/ref_watch.h, for a ref moved by plain git; fs/reconciler.h and fs/base_watch.h, for a
 * base that changes.
 * Threads: switcher_* take the switcher's own lock, which also guards the store; no handler ever waits for it.
 */

#include <json-c/json.h>
#include <stdint.h>

#include "fs/refresh.h"
#include "fs/session.h"
#include "fs/transition.h"
#include "store/component.h"
#include "store/view.h"

struct switcher;

/* STORE and BASE_FD are borrowed, and nobody else's from now on. FIRST is the view that is being served already. */
int switcher_new(struct store *store, const struct component *component, int base_fd, struct session *session,
	struct view *first, struct switcher **ret, struct error *err);
void switcher_free(struct switcher *switcher);

/*
 * Do what REQUEST asks for, on behalf of ACTOR, who holds the store's lock. *RET_ROW and *RET_TEXT as those of
 * transition_perform().
 */
int switcher_transition(struct switcher *switcher, const struct transition_request *request,
	const struct journal_actor *actor, struct json_object **ret_row, char **ret_text, struct error *err);

enum follow_outcome { FOLLOW_NOTHING, FOLLOW_SWITCHED, FOLLOW_REFUSED };
struct follow_report {
	struct oid from, to;
	int64_t since_us; /* FROM was served since then; microseconds since the epoch */
	char reason[ERROR_MESSAGE_MAX]; /* refused: why */
};
/*
 * Serve what the ref names now, if that is not so already. A commit that was refused is refused again, in
 * silence, until it can be served or the ref has named another one in between.
 */
enum follow_outcome switcher_follow(struct switcher *switcher, struct follow_report *ret);
/*
 * See that what is served still fits the base, on behalf of ACTOR: what does not is taken off, or left where that is the policy
 * (fs/reconcile.h). Where it is left, or fits after all, what has ended of it is served again. CAUSE for the journal and the log. Store locked.
 */
int switcher_reconcile(struct switcher *switcher, const char *cause, const struct journal_actor *actor, struct error *err);
/* The ref names what does not fit the base, and could not be settled before there was a switcher: it is tried again. */
void switcher_is_unsettled(struct switcher *switcher);
/* The labels of the patches that are applied and touch PATH, with blanks between them; "" where none is known. */
void switcher_labels_at(struct switcher *switcher, const char *path, struct strbuf *ret);
/*
 * Once, before anybody else switches, when what is served first is not what a worker before had served, or was about to: the kernel is told of all that differs. Nothing
 * where there was none.
 */
void switcher_catch_up(struct switcher *switcher);
/* The policy has been written anew. */
int switcher_load_policy(struct switcher *switcher, struct error *err);
/* Is a refused commit waiting to be tried again? */
bool switcher_refuses(struct switcher *switcher);

/*
 * Write down what was REPORTed, for which ENTRY has action and reason, unless the ref's mover has done so himself.
 * Store locked.
 */
int switcher_journal(struct switcher *switcher, const struct follow_report *report,
	const struct journal_entry *entry, struct error *err);
bool switcher_ref_is(struct switcher *switcher, const struct oid *commit);
/* Was something switched, and not written down for want of room? */
bool switcher_journal_behind(struct switcher *switcher);
/* What is served is active, and a worker before this one may have been killed before it was written down. Store locked. */
int switcher_complete_journal(struct switcher *switcher, struct error *err);

/*
 * The base was changed around the mount: what is served inherits from the base as it is now, and the kernel forgets what it knows of
 * the base (fs/refresh.h). On failure it was told what could be told all the same. Then what does not fit the base any more is taken
 * off, on behalf of ACTOR, who has the store's lock; ACTOR NULL: soon, by whoever is told of changes (fs/reconciler.h).
 */
int switcher_refresh(struct switcher *switcher, const struct journal_actor *actor, struct refresh_counts *ret, struct error *err);
/* The same for a batch of what was seen to change (refresh_changed()). It waits for a switch only where the view speaks of what changed. */
int switcher_changed(struct switcher *switcher, struct refresh_change *changes, size_t count, struct error *err);

/* The commit served now, and in HEALTH "ok", which commit is refused and why, or what does not fit the base and is held. */
void switcher_state(struct switcher *switcher, struct oid *ret_commit, char *health, size_t health_size);

const char *switcher_name(const struct switcher *switcher);
/* Its path and its lock only: everything else of it needs the switcher's lock. */
struct store *switcher_store(const struct switcher *switcher);

#endif
