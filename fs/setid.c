/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/setid.h"

#include "store/base/cleanup.h"

int setid_begin(struct creds *creds, const struct stat *st, const struct caller *caller)
{
	cleanup_free gid_t *groups = NULL;
	size_t count = 0;

	/* The bit of a group that may not execute is the only one that members keep. */
	if (st->st_mode & S_ISGID && !(st->st_mode & S_IXGRP))
		groups = caller_groups(caller, &count);
	return creds_renounce(creds, caller->gid, groups, count);
}
