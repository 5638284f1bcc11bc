/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_INVALIDATE_H
#define VENEER_FS_INVALIDATE_H

/*
 * After a switch: what the kernel holds and must forget, and nothing else. For each path that is served
 * differently the name in its directory (FUSE_NOTIFY_INVAL_ENTRY), for each directory with such a name its
 * listing (which goes with a name that the kernel knew), for each directory with new metadata its attributes
 * (FUSE_NOTIFY_INVAL_INODE), and not its name: the notice would take off the mounts beneath. A directory that the
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
	/* 0: the kernel has forgotten the name, and with it the listing of PARENT and its attributes (fs/fuse/dir.c, fuse_dir_changed()) */
	int (*entry)(void *arg, uint64_t parent, const char *name);
	int (*inode)(void *arg, uint64_t id);
	int (*attributes)(void *arg, uint64_t id);
	void *arg;
	/*
	 * The name is looked up at its next use, and what is mounted on it stays if it leads where it led. As entry() with the listing. NULL:
	 * the kernel does not know how (Linux 6.2). fs/refresh.h alone uses it.
	 */
	int (*expire)(void *arg, uint64_t parent, const char *name);
};

struct notices invalidate_notices(struct session *session);

/* A view that is served or was until now. */
struct invalidate_side {
	const struct view *view; /* NULL: the bare base */
	/* What the base has at its directories (view_look_at_directories()), which need not be asked again; NULL: not known. */
	const struct view_found *found;
};

/* From OLD to NEW, which OVERLAY published last. *RET_PATHS, set also on failure: how many paths they serve differently. */
int invalidate_tell(struct overlay *overlay, int base_fd, struct invalidate_side old, struct invalidate_side new,
	const struct notices *notices, uint64_t *ret_paths);

/* invalidate_tell(), by the notices of SESSION. */
int invalidate_difference(struct session *session, int base_fd, struct invalidate_side old, struct invalidate_side new,
	uint64_t *ret_paths);

#endif
