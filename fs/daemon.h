/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_DAEMON_H
#define VENEER_FS_DAEMON_H

/*
 * The processes that serve one mounted component, from the first check to the last open file: the caller's becomes the supervisor
 * (fs/supervisor.h), and READY is called in it; workers do what follows.
 *
 * Everything is opened before mount(2): the base (O_PATH), the store, /dev/fuse. Afterwards nothing is
 * loaded by name that could lie under the mountpoint: no exec, no dlopen, no NSS, no locale, no time zone.
 *
 * READY is called once, when the mount answers (0), or with what was refused.
 */

#include "fs/mount_options.h"
#include "store/base/error.h"

typedef void (*daemon_ready_fn)(void *arg, int code, const struct error *err);

/* Returns when the filesystem is gone, in the supervisor (fs/supervisor.h): the exit status. */
int daemon_run(const char *store_path, const char *name, const struct mount_options *options,
	daemon_ready_fn ready, void *arg);

#endif
