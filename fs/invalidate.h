/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_INVALIDATE_H
#define VENEER_FS_INVALIDATE_H

/*
 * After a switch: what the kernel holds and must forget, and nothing else. For each path that is served
 * differently the name in its directory (FUSE_NOTIFY_INVAL_ENTRY), for each directory with such a name its
 * listing, for each directory with new metadata its attributes (FUSE_NOTIFY_INVAL_INODE). A directory that the
 * kernel does not know has nothing to forget and costs a stat.
 *
 * FUSE_NOTIFY_INC_EPOCH, which makes all names stale with one notice, is not used: the kernel then
 * drops each stale dentry at the next walk through it, and with a directory's dentry all mounts
 * beneath it, in every mount namespace (docs/decisions/invalidation.md).
 */

#include "fs/session.h"
#include "store/view.h"

/* The number of paths that OLD and NEW (either may be NULL) serve differently. */
uint64_t invalidate_difference(struct session *session, int base_fd, const struct view *old,
	const struct view *new);

#endif
