/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_JOURNAL_H
#define VENEER_STORE_JOURNAL_H

/*
 * The journal: an append-only chain of commits at refs/veneer/NAME/journal, one for each switch.
 * An entry's first parent is the entry before (the first has none); its second parent is the commit
 * that was switched to, which keeps it reachable for ever; its tree is that commit's tree. So
 * `git log --first-parent` reads it and `git diff JOURNAL~3 JOURNAL` shows what changed. Trailers:
 * Action, From, To, Actor-Uid, Actor-Login-Uid, Actor-Pid, Actor-Sudo-User, Actor-Command, Labels,
 * Reason, Time (ISO 8601 UTC with microseconds).
 */

#include <stdint.h>
#include <sys/types.h>

#include "store/base/error.h"
#include "store/component.h"

struct journal_actor {
	uid_t uid;
	uint32_t login_uid; /* UINT32_MAX: not set */
	pid_t pid;
	char *sudo_user; /* owned; NULL: none */
	char *command;	 /* owned; the command line, spaces between words, control characters escaped, at most 1,000 bytes */
};
/* From /proc/self and the environment. */
int journal_actor_self(struct journal_actor *ret, struct error *err);
void journal_actor_release(struct journal_actor *actor);

struct journal_entry {
	struct oid id; /* the journal commit */
	struct oid from, to;
	char *action; /* added, applied, reverted, rolled-back, switched, recomposed, refused */
	char *labels; /* the stack after it: "a c"; "" for the bare base */
	char *reason; /* "" where none */
	int64_t time_us; /* microseconds since the epoch */
	struct journal_actor actor;
};
void journal_entry_release(struct journal_entry *entry);

/* Append; action, labels, reason, from and to of ENTRY count, time is now, ACTOR is self unless NULL fields… see above. Store locked. */
int journal_append(struct store *store, const char *component, const struct journal_entry *entry,
	struct error *err);

/* Newest first, at most LIMIT entries (0: all); non-zero of FN ends and is returned. */
typedef int (*journal_fn)(void *arg, const struct journal_entry *entry, struct error *err);
int journal_each(struct store *store, const char *component, size_t limit, journal_fn fn, void *arg,
	struct error *err);

#endif
