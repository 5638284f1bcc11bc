/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_REFRESH_H
#define VENEER_FS_REFRESH_H

/*
 * The base was changed around the mount: the kernel is made to forget what it knows of it. Either everything
 * (refresh_all(): linear in what the kernel knows), or what is said to have changed (refresh_changed(), for fs/base_watch.h).
 *
 * Everything is told without asking whether it changed: pages, attributes and listings of each node of the base. A time of change
 * proves nothing (stores through a mapping set it once, and clocks are coarse), and what is told for nothing is read again from
 * memory. Names alone are compared with the base, by the directories that the kernel knows, not by paths: one that
 * leads elsewhere now is forgotten (FUSE_NOTIFY_INVAL_ENTRY); one that the base has and no node bears, of which the kernel
 * may know that it does not exist, is looked up anew; one that leads where it led gets no notice, for that would take
 * off the mounts beneath (docs/decisions/invalidation.md).
 *
 * A node whose name leads elsewhere is moved to where its file is now, if that is found in a directory that the kernel
 * knows. Else its path is gone, as if it had been removed through the mount: what descriptor of it there is is put aside for
 * those who have it open, and its pages are left to them.
 *
 * Error handling: as fs/invalidate.h.
 * Threads: any but one that a handler waits for; no lock is held while a notice is sent. refresh_all() and switches exclude each other.
 */

#include "fs/invalidate.h"

struct refresh_counts {
	uint64_t directories, names, files; /* that the kernel knew and has forgotten */
	bool patched; /* refresh_changed(): the view speaks of something that changed */
};

int refresh_all(struct overlay *overlay, const struct notices *notices, struct refresh_counts *ret);

enum refresh_what {
	REFRESH_NAME = 1 << 0,	     /* which file it is */
	REFRESH_CONTENT = 1 << 1,    /* its bytes, and so its attributes */
	REFRESH_ATTRIBUTES = 1 << 2, /* xattrs included */
};
/* NAME in the directory node DIRECTORY; NULL: the directory itself, which has attributes alone. */
struct refresh_change {
	uint64_t directory;
	const char *name; /* borrowed */
	unsigned what;	  /* enum refresh_what */
};
/* CHANGES is sorted and made free of doubles. */
int refresh_changed(struct overlay *overlay, const struct notices *notices, struct refresh_change *changes, size_t count,
	struct refresh_counts *ret);

#endif
