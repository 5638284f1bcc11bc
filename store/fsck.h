/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_FSCK_H
#define VENEER_STORE_FSCK_H

/*
 * Is a store whole? Every directory and file of it, every ref, every object of git in each of its copies, what the trees of
 * components say, journals, and the objects that files are served from. With REPAIR what can be mended is:
 *
 *     leftovers of crashes           removed
 *     served objects                 made again from git; what nothing needs is removed
 *     blobs of git                   made again from the served objects, or from the base; the damaged copy goes
 *     a pack with a damaged object   written anew from all that can be read, then removed; put aside (git/damaged/) where something
 *                                    that is needed is in no other place
 *     the ref active                 the newest commit of the journal that can be loaded, else the base; the journal says "healed"
 *     the ref base                   the base that active stands on
 *     a journal behind active        an entry "switched"
 *
 * Locking: with REPAIR the store's lock is held to the end. Without it the first look is taken beside whoever works; only where that
 * finds something, the lock is taken, and all is looked at once more: what changes meanwhile is no finding. Plain git takes no lock: its
 * objects come before its refs, so that too is seen whole.
 *
 * A component that is broken hinders none of the others. Mounted components are served on meanwhile.
 *
 * Error handling: what is wrong with the store is a finding, no error. An error is what kept us from looking, or from mending.
 *
 * After a crash in a repair: as it was, or mended; the next repair goes on.
 *
 * Threads: one; it starts others and waits for them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/component.h"

#define FSCK_FINDINGS_MAX 10000u /* told; of others it is counted how many there are */
#define FSCK_LEFTOVER_SECONDS 3600 /* a temporary file of this age is nobody's */
#define FSCK_STRETCH 4096u /* copies of objects that are looked at between two reports of progress */
#define FSCK_JOURNAL_BACKWARD_SECONDS 300 /* so far a clock may be set back without a word */

enum fsck_severity { FSCK_WARNING, FSCK_ERROR };

struct fsck_finding {
	const char *kind; /* one word; see docs/man/veneer.8 */
	char *subject; /* owned, as are the other texts: a path, a ref, an id */
	char *component; /* NULL: of none */
	char *problem;
	char *remedy; /* what to do, or what was done; NULL: nothing */
	enum fsck_severity severity;
	bool repaired;
};

/* A served object that was made again: whoever serves COMPONENT is to be told (fs/control.h, "heal"). */
struct fsck_healed {
	char component[COMPONENT_NAME_MAX + 1];
	struct hash128 object;
};

struct fsck_report {
	struct fsck_finding *findings; /* owned */
	size_t count, alloc;
	size_t errors, warnings, repaired; /* ERRORS and WARNINGS: of those that are not repaired */
	uint64_t refs, git_objects, copies, objects, entries; /* looked at */
	struct fsck_healed *healed; /* owned; those of one component side by side */
	size_t healed_count;
};
#define FSCK_REPORT_INIT { .findings = NULL }
void fsck_report_release(struct fsck_report *report);
#define cleanup_fsck_report __attribute__((cleanup(fsck_report_release)))

struct fsck_options {
	const char *const *names; /* NULL-terminated, or NULL: the whole store */
	bool repair;
	/* The directory of a component beneath its mount, as mount_open_base(); NULL: the base is not asked. */
	int (*open_base)(struct store *store, const struct component *component, int *ret_fd, struct error *err);
	/* What is being done, and how far; may be NULL. */
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t bytes);
	void *progress_arg;
};

/* -ENOENT: there is no store, or no component of such a name. 0: see RET. */
int fsck_run(const char *store_path, const struct fsck_options *options, struct fsck_report *ret, struct error *err);

#endif
