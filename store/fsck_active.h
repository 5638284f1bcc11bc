/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_FSCK_ACTIVE_H
#define VENEER_STORE_FSCK_ACTIVE_H

/* The ref active: can what it names be loaded, and what it is set to where it cannot. */

#include "store/fsck_internal.h"

/* Why the commit ACTIVE (NULL: nothing) cannot be served, appended to SB; nothing where it can, or where that is told otherwise. */
int fsck_active_problem(struct fsck *fsck, const char *name, const struct oid *active, struct strbuf *sb, struct error *err);
/* 1: *RET, the newest commit that the journal knows to have been switched to and that can be loaded, else the base; 0: there is none. */
int fsck_active_choose(struct fsck *fsck, const char *name, struct oid *ret, bool *ret_base, struct error *err);
/* The journal says so; *RET_DONE (owned by the caller) is for people. */
int fsck_active_note(struct fsck *fsck, const char *name, const struct oid *from, const struct oid *to, const char *problem,
	bool to_base, char **ret_done, struct error *err);
/* "a c", or "" where COMMIT is no stack of patches that is known. The caller frees it; NULL: out of memory. */
char *fsck_labels(struct fsck *fsck, const char *name, const struct oid *commit);

#endif
