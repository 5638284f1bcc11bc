/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_RECONCILE_H
#define VENEER_FS_RECONCILE_H

/*
 * A patch is served only while the base still holds what the patch was made for. Here that is looked at, and what does not fit is taken
 * off: the whole patch or nothing. Done at the mount, after each change of a patched path through the mount (fs/reconciler.h), at
 * `refresh`, and where an activation finds that something does not fit.
 *
 * After a crash: the ref names what was served before or what remains; the next mount looks again.
 */

#include "fs/activate.h"
#include "store/policy.h"
#include "store/target.h"
#include "store/view.h"

enum reconcile_outcome {
	RECONCILE_FITS,	    /* all that is active fits the base */
	RECONCILE_HELD,	    /* it does not, and the policy is to leave it */
	RECONCILE_SWITCHED, /* patches were taken off: active is another commit */
};

struct reconcile_report {
	enum reconcile_outcome outcome;
	char *path; /* owned; a path that has changed; NULL: none */
	char *text; /* owned; what was taken off and why, or what is held, for people; NULL: nothing */
};
void reconcile_report_release(struct reconcile_report *report);
#define cleanup_reconcile_report __attribute__((cleanup(reconcile_report_release)))
#define RECONCILE_REPORT_INIT { RECONCILE_FITS, NULL, NULL }

/*
 * TARGET is loaded, its store locked, and no batch is open; it is stale afterwards where something was taken off. BASEFD: its
 * directory beneath any mount. SERVED (NULL: nothing is mounted) is the view that is served: what a patch adds and somebody has removed
 * is seen there alone, and the patch retires all the same. CAUSE, for the journal: "dpkg replaced 'x'" (NULL: none is known). SERVER and ACTOR as in
 * struct activation. An active commit that cannot be read is none of this function's business: RECONCILE_FITS.
 */
int reconcile(struct target *target, int basefd, const struct view *served, const char *cause, const struct activation_server *server,
	const struct journal_actor *actor, struct reconcile_report *ret, struct error *err);

/*
 * VIEW, completed, may be served: it fits, or POLICY is to hold: then *RET_HELD (may be NULL; the caller frees it) says what does not fit,
 * and is NULL where all does. -ESTALE: why it may not.
 */
int reconcile_check(struct view *view, struct store *store, int basefd, enum base_change policy, char **ret_held, struct error *err);

#endif
