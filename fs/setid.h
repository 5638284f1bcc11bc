/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SETID_H
#define VENEER_FS_SETID_H

/*
 * Set-id bits end when a file is written, truncated or given to another owner, by rules that depend on who does it. Where the
 * kernel leaves that to us (FUSE_HANDLE_KILLPRIV_V2, docs/decisions/killpriv.md), the filesystem beneath does it by its own
 * rules: the thread works without CAP_FSETID, and where it matters in the caller's groups.
 * security.capability needs nothing: the filesystem beneath takes it away whoever writes.
 *
 * Calling sequence: setid_begin() → the change → creds_restore(), or the end of the scope.
 */

#include <stdbool.h>
#include <sys/stat.h>

#include "fs/caller.h"
#include "fs/creds.h"

/* Has the file set-id bits that may end? */
static inline bool setid_is_set(const struct stat *st)
{
	return !S_ISDIR(st->st_mode) && st->st_mode & (S_ISUID | S_ISGID);
}

/* Do bits of the file of ST, which has some, end when CALLER, who has no CAP_FSETID, changes it? */
bool setid_ends(const struct stat *st, const struct caller *caller);
/* Until CREDS are restored this thread changes the file of ST, which has such bits, as CALLER, who has no CAP_FSETID. 0 or -errno. */
int setid_begin(struct creds *creds, const struct stat *st, const struct caller *caller);

#endif
