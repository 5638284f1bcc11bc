/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_OVERLAY_TARGET_H
#define VENEER_FS_OVERLAY_TARGET_H

/*
 * A name in a directory of the base that a change is about to touch, and what the view has over it.
 *
 * What is patched cannot be written in place, but it can be replaced and removed: that is the package manager that installs a newer
 * base, and a newer base always wins. The change is made in the base; then the view's entry ends (view_end()), so that whoever looks
 * from now on sees the base, and whoever listens is told (overlay_tell()): he decides what becomes of the patch, and by the policy
 * hold (store/policy.h) serves it whole again. By the policy fail nothing can be changed.
 *
 * Calling sequence: overlay_target_open(), the change, overlay_target_changed() where it was made.
 */

#include "fs/overlay_internal.h"

#define OVERLAY_ASIDE_MAX 40

enum overlay_target_use {
	TARGET_MAKE,	/* something new is made there */
	TARGET_REPLACE, /* something is moved there, over what there is */
	TARGET_FILL,	/* something is moved there, where nothing is */
	TARGET_REMOVE,	/* a file */
	TARGET_REMOVE_DIRECTORY,
	TARGET_MOVE, /* it goes elsewhere: what is patched does not */
};

struct overlay_target {
	struct fdref directory; /* of the base; -EBADF: it has none (where something is removed) */
	uint64_t parent;	/* the directory's node */
	const char *name;	/* borrowed */
	char *path;		/* owned; component-relative; where ENTRY is one */
	uint32_t entry;		/* the view's entry at the name; VIEW_NONE: there is none */
	uint32_t shadow;	/* the same, but VIEW_NONE where it has ended */
	char aside[OVERLAY_ASIDE_MAX]; /* the name that what the view has deleted has meanwhile; "": none */
};
#define OVERLAY_TARGET_INIT { .directory = FDREF_INIT, .parent = 0, .name = NULL, .path = NULL, .entry = VIEW_NONE, .shadow = VIEW_NONE, .aside = "" }
void overlay_target_release(struct overlay_target *target);
#define cleanup_overlay_target __attribute__((cleanup(overlay_target_release)))

/*
 * NAME in directory PARENT. Where the view alone has that directory, and something is to be put there, the base gets one. What the view
 * has deleted and the base still has makes way before something new is made. A directory that is to be removed, and in which the base has
 * nothing but what the view has deleted, is emptied. -EROFS: what is there stays; -ENOTEMPTY,
 * -EEXIST, -ENOENT, -ENAMETOOLONG as for any directory.
 */
int overlay_target_open(struct overlay_guard *guard, uint64_t parent, const char *name, enum overlay_target_use use, struct overlay_target *ret);
/*
 * What the view has deleted and the base still has makes way for something that is to be put there: it is put aside, gone with
 * overlay_target_changed(), and back again where that is not called. Nothing where the view says otherwise. -EROFS: it is a directory, which is
 * not taken away in passing.
 */
int overlay_target_make_way(struct overlay_guard *guard, struct overlay_target *target);
/*
 * What the base said of a change, R, as it is to whoever sees the view: where that has a file, or nothing, over a directory of the base,
 * the directory stays (-EROFS).
 */
int overlay_target_error(const struct overlay_guard *guard, const struct overlay_target *target, int r);
/* The entry INDEX of GUARD's view, which is at PATH, ends (view_end()); in the view that has taken its place meanwhile, too. */
void overlay_end(struct overlay_guard *guard, uint32_t index, const char *path);
/* The base was changed at the name. */
void overlay_target_changed(struct overlay_guard *guard, struct overlay_target *target, enum overlay_event event);
/* Whoever has looked at the names of the base must look again. Before the request leaves. */
void overlay_names_changed(struct overlay *overlay);

/*
 * The kernel may know the file whose name is about to go: then an fd is put aside, for afterwards maybe no path
 * leads to it. Where the name does not go after all, or another is good, neither is the fd kept.
 */
struct victim {
	struct overlay *overlay;
	uint64_t id; /* 0: nothing was put aside */
	int fd;	     /* of the file, besides the one put aside */
	bool named;  /* the name is the one that the node is known by */
};
#define VICTIM_INIT { NULL, 0, -EBADF, false }

void victim_release(struct victim *victim);
#define cleanup_victim __attribute__((cleanup(victim_release)))

/* NAME in the base directory DIRECTORY of node PARENT; not where it is the file of key EXCEPT (may be NULL). */
int victim_pin(struct overlay *overlay, int directory, uint64_t parent, const char *name,
	const struct node_key *except, struct victim *ret);
/*
 * NAME in PARENT has gone. A file that has others stays reachable: by the one that its node is known by, or else by its handle.
 */
void victim_gone(struct victim *victim, uint64_t parent, const char *name);

#endif
