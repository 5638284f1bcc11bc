/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_INVALIDATE_H
#define VENEER_FS_INVALIDATE_H

/*
 * After a switch: what the kernel holds and must forget, and nothing else. For each path that is served
 * differently the name in its directory (FUSE_NOTIFY_INVAL_ENTRY), for each directory with such a name its
 * listing, for each directory with new metadata its attributes (FUSE_NOTIFY_INVAL_INODE), and not its name: the notice
 * would take off the mounts beneath. A directory that the
 * kernel does not know has nothing to forget and costs a stat at most. A file of the base of whose hard links
 * more or fewer are hidden has new attributes. Where a view takes away a directory of the base, or gives
 * it back, each known node beneath it is told of, too: a process may stand there. Where the base cannot say which directory is at a
 * path, the node table is walked: it knows each node by the path that the overlay resolves names with.
 *
 * FUSE_NOTIFY_INC_EPOCH, which makes all names stale with one notice, is not used: the kernel then
 * drops each stale dentry at the next walk through it, and with a directory's dentry all mounts
 * beneath it, in every mount namespace (docs/decisions/invalidation.md).
 *
 * Error handling: all notices that can be sent are sent; then the first error is returned, and the kernel may
 * hold for ever what was served before. -ENOENT of a notice is none: the kernel had nothing to forget.
 */

#include "fs/session.h"
#include "store/view.h"

/* How the kernel is told: 0, -ENOENT (it does not know the name or node), or another negative errno. */
struct notices {
	int (*entry)(void *arg, uint64_t parent, const char *name);
	int (*inode)(void *arg, uint64_t id);
	int (*attributes)(void *arg, uint64_t id);
	void *arg;
};

/*
 * From OLD to NEW, which OVERLAY published last: either may be NULL, the bare base. FOUND_HOLDS: what NEW found in the base when
 * it was completed is there still, and need not be asked again. *RET_PATHS, set also on failure: how many paths they serve
 * differently.
 */
int invalidate_tell(struct overlay *overlay, int base_fd, const struct view *old, const struct view *new,
	bool found_holds, const struct notices *notices, uint64_t *ret_paths);

/* The same, by the notices of SESSION. */
int invalidate_difference(struct session *session, int base_fd, const struct view *old,
	const struct view *new, bool found_holds, uint64_t *ret_paths);

#endif
