/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_OVERLAY_INTERNAL_H
#define VENEER_FS_OVERLAY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/hidden.h"
#include "fs/overlay.h"

struct overlay {
	struct overlay_config config;
	dev_t base_device;
	struct node_table *nodes;
	struct fdcache *fds;
	node_reap_fn on_forget; /* overlay_on_forget() */
	void *on_forget_arg;
	int handles_fd; /* of the base, to open file handles by; -EBADF: its filesystem has none that last */
	/* Renames through the mount: where both agree and stay so, none was between the base and the node table. */
	atomic_uint renames_begun, renames_ended;
	atomic_uint changes; /* of names in the base, made through the mount */
	atomic_int base_change; /* enum base_change */

	pthread_mutex_t view_lock; /* guards the five below; innermost, nothing is called under it */
	pthread_cond_t view_drained;
	struct view *view;
	struct hidden *hidden; /* the links that it hides; owned */
	unsigned generation; /* of the current view */
	size_t inside[2];    /* requests that entered in even and in odd generations */
	/* Of the view before: for requests that entered before the last publish. Only overlay_publish() and its caller use it. */
	struct hidden *hidden_before;
	bool hides_directories, hid_directories; /* so does the view, so did the one before: directories of the base */
};

/*
 * The file of a base node, opened anew by its path (or by the fd or handle put aside when its name went). -ESTALE: the
 * path leads to another file now.
 */
int overlay_open_lower(struct overlay *overlay, const struct node_info *info, enum fd_kind kind);
/* The same, kept in the cache of descriptors. */
int overlay_open_lower_cached(struct overlay *overlay, const struct node_info *info, enum fd_kind kind,
	struct fdref *ret);

/*
 * Handles of files that lose the name that we know (name_to_handle_at(2)): an fd of the base to open them by, or -EBADF; and the
 * handle of FD, an inode of DEVICE, kept for node ID. 0, or -EOPNOTSUPP: keep an fd; -ENOMEM.
 */
int overlay_open_handles(int base_fd);
int overlay_keep_handle(struct overlay *overlay, uint64_t id, int fd, dev_t device);

/* See to it that the object is whole. 0 or a negative errno. */
int overlay_heal(struct overlay *overlay, const struct content *content);

/* Does the view serve anything below directory INDEX? Where the base has lost the directory, deletions alone make none. */
bool overlay_leads_somewhere(const struct view *view, uint32_t index);
/* Is the base's inode KEY a file that the view in use hides? */
bool overlay_hides(struct overlay *overlay, const struct node_key *key);
/* To whoever listens. PATH may be NULL: it is the node's. */
void overlay_tell(struct overlay *overlay, enum overlay_event event, uint64_t id, const char *path, pid_t pid, uid_t uid);

/* The number that a base inode shows: its own on the base's device, else one made of both. */
ino_t overlay_base_inode(const struct overlay *overlay, dev_t device, ino_t inode);

#endif
