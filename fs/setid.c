/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/setid.h"

#include "store/base/cleanup.h"

bool setid_ends(const struct stat *st, const struct caller *caller)
{
	if (st->st_mode & S_ISUID || (st->st_mode & S_ISGID && st->st_mode & S_IXGRP))
		return true;
	return st->st_mode & S_ISGID && !caller_is_in_group(caller, st->st_gid);
}

int setid_begin(struct creds *creds, const struct stat *st, const struct caller *caller)
{
	cleanup_free gid_t *groups = NULL;
	size_t count = 0;

	/* The bit of a group that may not execute is the only one that members keep. */
	if (st->st_mode & S_ISGID && !(st->st_mode & S_IXGRP))
		groups = caller_groups(caller, &count);
	return creds_renounce(creds, caller->gid, groups, count);
}
