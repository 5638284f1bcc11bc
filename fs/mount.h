/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_MOUNT_H
#define VENEER_FS_MOUNT_H

/*
 * Mounting a component over its own directory, and taking it off.
 */

#include <stdbool.h>

#include "fs/mount_options.h"
#include "store/base/error.h"
#include "store/component.h"
#include "store/store.h"

/*
 * Mount component NAME of the store at STORE_PATH and start its daemon. Returns when the mount answers
 * (the parent of the daemon, or with FOREGROUND after the unmount). Everything that can be refused is
 * refused before mount(2). -EEXIST: already mounted; -EPERM: not root; -ENODEV: no FUSE in this
 * kernel; -EOPNOTSUPP: passthrough asked for and not to be had; -ELOOP: the store lies below the
 * mountpoint; -ENOENT: the directory is missing.
 */
int mount_start(const char *store_path, const char *name, const struct mount_options *options,
	struct error *err);

/*
 * This program serves the mounted component NAME from now on, instead of the daemon that does, and has its options. Returns when it does, or when it is known
 * why it does not; then the other one goes on. Errors: fs/takeover.h.
 */
int mount_take_over(const char *store_path, const char *name, struct error *err);

/* Was this process started by a service manager with what it has kept of a daemon that was killed (fs/service.h)? Then it goes on with that, and asks nobody first. */
bool mount_resumes(void);

/*
 * Take the mount off: the bare directory is back when this returns. *RET_LAZY: files were still open in
 * it, so the filesystem lives on, unreachable by name, until the last of them is closed.
 * -ENOENT: not mounted.
 */
int mount_stop(struct store *store, const struct component *component, bool *ret_lazy, struct error *err);

#endif
