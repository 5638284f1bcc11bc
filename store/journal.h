/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_JOURNAL_H
#define VENEER_STORE_JOURNAL_H

/*
 * The journal: an append-only chain of commits at refs/veneer/NAME/journal, one for each switch.
 * An entry's parents are the entry before and the commit that is served from then on (the first entry
 * has the latter only), which keeps it reachable for ever; its tree is that commit's tree. So
 * `git log --first-parent` reads it and `git diff JOURNAL~3 JOURNAL` shows what changed.
 *
 * The action "refused" switches nothing: what is served is still FROM, and TO, which may be broken or
 * hostile, is named and not kept. Nor does "restarted": FROM and TO are what is active. "healed" says that something of the store was made
 * again that had been damaged or lost. Objects: FROM and TO are what is active, and the reason says which, and by what it was noticed:
 * "object 'ab/cdef…': damaged: 12 bytes, not 20, found by the scrub", several separated by "; ". The ref active: TO is what it
 * names now, and FROM what it had named, as far as that is known.
 *
 * The subject is for people: "applied: 1a2b3c4 → 5d6e7f8 (a c)". Trailers: Action, From, To (full ids,
 * zeros: none), Labels, Reason (both left out where empty), Time (ISO 8601 UTC with microseconds),
 * Actor-Uid, Actor-Login-Uid (left out: not set), Actor-Pid, Actor-Sudo-User (left out: none),
 * Actor-Command. Control characters in texts are written \xHH.
 */

#include <stdint.h>
#include <sys/types.h>

#include "store/base/error.h"
#include "store/component.h"

#define JOURNAL_TEXT_MAX 1000u /* bytes of a command line, a reason, a user's name; what is longer is cut */

struct journal_actor {
	uid_t uid;	    /* real */
	uint32_t login_uid; /* of the session's login, whatever sudo or su did since; UINT32_MAX: not set */
	pid_t pid;
	char *sudo_user; /* owned; NULL: none */
	char *command;	 /* owned; the command line, blanks between words, escaped */
};
/* The calling process, from /proc/self and the environment. */
int journal_actor_self(struct journal_actor *ret, struct error *err);
/* Another one, which waits for us: from /proc/PID; SUDO_USER as it was when it was started. -ESRCH: gone. */
int journal_actor_of(pid_t pid, uid_t uid, struct journal_actor *ret, struct error *err);
void journal_actor_release(struct journal_actor *actor);

struct journal_entry {
	struct oid id; /* the journal commit */
	struct oid from, to;
	char *action; /* this and the texts below: owned; added, applied, reverted, rolled-back, switched, recomposed, rebased, retired, absorbed, refused, restarted, healed */
	char *labels; /* the stack after it: "a c"; "" for the bare base */
	char *reason; /* "" where none */
	int64_t time_us; /* microseconds since the epoch */
	struct journal_actor actor;
};
void journal_entry_release(struct journal_entry *entry);
#define cleanup_journal_entry __attribute__((cleanup(journal_entry_release)))

/*
 * Append an entry: action, from and to of ENTRY, and labels and reason where they are not NULL. The time
 * is now. The actor is ENTRY's where entry->actor.command is set (whoever asked the daemon), else the
 * calling process. Writes a batch of its own: none may be open. Store locked, or else retried where
 * another process appends at the same time. TO (FROM of what was refused) must be a commit that is there.
 * After a crash: the entry is there whole, or not at all.
 */
int journal_append(struct store *store, const char *component, const struct journal_entry *entry,
	struct error *err);

/* The entry that COMMIT is; its id too. -EBADMSG: it is none. */
int journal_parse(const struct commit *commit, struct journal_entry *ret, struct error *err);

/*
 * The same in two steps, for who moves other refs with it: the entry is made durable, and DRAFT has the update that makes it part of
 * the journal (repo_refs_update(); -EAGAIN there: it may be the journal that has grown, draft it anew). The draft stays where it is.
 */
struct journal_draft {
	char ref[REF_NAME_MAX];
	struct ref_update update; /* its name is REF */
};
int journal_prepare(struct store *store, const char *component, const struct journal_entry *entry, struct journal_draft *ret,
	struct error *err);

/*
 * Newest first, at most LIMIT entries (0: all); non-zero of FN ends and is returned. ENTRY is valid
 * during the call. No journal: no call. -EBADMSG: an entry that is broken, named.
 */
typedef int (*journal_fn)(void *arg, const struct journal_entry *entry, struct error *err);
int journal_each(struct store *store, const char *component, size_t limit, journal_fn fn, void *arg,
	struct error *err);

#endif
