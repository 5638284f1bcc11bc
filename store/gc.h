/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_GC_H
#define VENEER_STORE_GC_H

/*
 * Removing what nothing needs: served objects, objects of git, leftovers of crashes; and putting what is left of git's objects into few
 * packs.
 *
 * Needed is whatever can be reached from any ref of the repository, the user's own included, from HEAD and its like, and from reflogs:
 * so every label, every active commit, and by the journal everything that was ever served. A served object is needed where a blob that
 * can be reached holds the same bytes. And what daemons have: the objects of files that the kernel knows, or that their view serves,
 * and the blobs that those are made from again. A daemon whose mount was taken off while files of it are open cannot be asked; what it serves
 * is in the journal.
 *
 * What is younger than the grace time is left, whoever needs it: plain git takes no lock, and writes objects before it names them. It
 * renews the time of an object that it finds there already; so what was renewed since it was looked at stays. Where plain git has a
 * worktree, whose index may name objects that nothing else does, nothing of git is dropped.
 *
 * Order: everything is looked at; new packs are written, made durable, read back and compared with their ids; the refs are read once
 * more (where one has moved, all is looked at again); only then anything is removed. Processes that have a pack open go on reading it,
 * and find the new ones.
 *
 * Locking: the store's lock is the caller's, from before the call to its end.
 *
 * Error handling: -EBADMSG: something that is needed is missing or damaged ("run fsck"); -EBUSY: a daemon does not answer, or the refs do not
 * stand still. Then, and on a full disk, nothing was removed.
 *
 * After a crash: nothing needed is lost; what was not removed yet is removed by the next one.
 *
 * Threads: one; it starts others and waits for them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/store.h"

#define GC_GRACE_HOURS 336u /* two weeks, as git's */
#define GC_GRACE_HOURS_MAX 876000u
#define GC_ROUNDS_MAX 5 /* how often it is looked at again where refs move meanwhile */

/* What a daemon needs: an object, and the blob it is made from again. */
struct gc_use {
	struct oid blob;
	struct hash128 object;
};

struct gc_row {
	const char *kind; /* "object", "git-object", "pack", "loose", "leftover" */
	char *name; /* owned */
	uint64_t bytes;
	const char *reason;
};

struct gc_report {
	struct gc_row *rows; /* owned */
	size_t count, alloc;
	uint64_t freed; /* bytes; of packs, less what the new ones take */
	size_t objects, git_objects, packs, loose, leftovers; /* removed */
	size_t new_packs, kept; /* packs written, and objects in them */
};
#define GC_REPORT_INIT { .rows = NULL }
void gc_report_release(struct gc_report *report);
#define cleanup_gc_report __attribute__((cleanup(gc_report_release)))

struct gc_options {
	bool dry_run;
	uint64_t grace_seconds;
	/* What the daemon of a component uses; none, where there is no daemon. -EBUSY: it does not answer. *RET is the caller's to free. */
	int (*in_use)(struct store *store, const char *name, struct gc_use **ret, size_t *ret_count, struct error *err);
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t bytes); /* may be NULL */
	void *progress_arg;
};

/* STORE is open, and locked. RET: what was removed, or would be. */
int gc_run(struct store *store, const struct gc_options *options, struct gc_report *ret, struct error *err);

#endif
