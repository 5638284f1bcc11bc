/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_MOUNT_QUERY_H
#define VENEER_FS_MOUNT_QUERY_H

/* What is mounted over a component's directory, and the way to the directory beneath. */

#include "store/base/error.h"
#include "store/component.h"
#include "store/store.h"

enum mount_state {
	MOUNT_NONE,	/* the bare directory */
	MOUNT_SERVING,	/* mounted, and its daemon answers on the control socket */
	MOUNT_DEAD,	/* mounted, but nobody answers: `veneer umount` gives the bare directory back */
};
/* From /proc/self/mountinfo and the control socket; never touches the mountpoint itself (it might hang). */
int mount_query(struct store *store, const struct component *component, enum mount_state *ret,
	struct error *err);

/*
 * The component's own directory, as it is beneath the mount, as an O_PATH fd: the daemon hands it out over
 * its control socket (SCM_RIGHTS); where nothing is mounted it is opened by its path. What a
 * command reads of the base (create, apply) it reads through this fd, never by path. -ENOENT: the
 * directory is missing; -ENOTCONN: mounted, but the daemon does not answer.
 */
int mount_open_base(struct store *store, const struct component *component, int *ret_fd,
	struct error *err);

#endif
