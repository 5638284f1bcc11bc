/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_DAEMON_INTERNAL_H
#define VENEER_FS_DAEMON_INTERNAL_H

/* Between the files of the daemon: daemon.c (its life), daemon_mount.c (the mount itself), takeover.c (from another program). */

#include "fs/base_watch.h"
#include "fs/control_internal.h"
#include "fs/daemon.h"
#include "fs/keeper.h"
#include "fs/reconciler.h"
#include "fs/ref_watch.h"
#include "fs/session.h"
#include "fs/shared.h"
#include "fs/supervisor.h"
#include "fs/switch.h"
#include "fs/worker_state.h"

/* One mounted component. What is set is released, in the reverse order of the fields. */
struct daemon {
	const struct mount_options *options;
	const char *store_path, *name;
	struct shared *shared;	     /* what outlives this worker */
	struct worker_state *state;  /* of it */
	struct keeper *keeper;
	daemon_ready_fn ready;
	void *ready_arg;
	bool first;		   /* nothing is mounted yet; else it goes on with what a worker before has begun */
	struct store *store;	   /* the switcher's */
	struct healer *healer;
	struct scrub *scrub;
	struct component *component;
	int base_fd;
	struct view *view;
	struct reconciler *reconciler;
	bool held; /* what is active did not fit the base, and is served on */
	bool unsettled; /* whether it fits, or to take it off, is still to be tried */
	struct overlay *overlay;
	struct base_watch *base_watch; /* NULL: not asked for */
	struct session *session;
	struct switcher *switcher;
	struct ref_watch *watch;
	int control_lock; /* until the control server has it */
	struct control_server *control;
	int signal_fd;
	bool mounted;
	bool stacked;	/* base or store lie on a filesystem that lies on another */
	bool detached;	/* taken off while somebody uses it: the connection lives on */
	dev_t device;	/* of the mount */
};
#define DAEMON_INIT { .base_fd = -EBADF, .signal_fd = -EBADF, .control_lock = -EBADF }

/*
 * The supervisor of DAEMON, which has its options, names, shared memory and keeper: returns its exit status. INHERITED and REPORT: as in struct
 * supervisor_config.
 */
typedef bool (*daemon_report_fn)(void *daemon, int code, const struct error *err);
int daemon_supervise(struct daemon *daemon, bool inherited, daemon_report_fn report);
/* The first worker serves (CODE 0), or why it does not: whoever has started DAEMON is told. */
void daemon_say_ready(struct daemon *daemon, int code, const struct error *err);
/* What it was mounted with. */
struct mount_options daemon_options(const struct worker_state *state);

/* As many descriptors as are allowed: the supervisor keeps files without a name, and workers inherit its limit. */
void daemon_raise_fd_limit(void);
/* Which service manager this process was started by, if it was by one. */
void daemon_note_manager(struct worker_state *state);

/* ---- from another program (takeover.c) ---- */

/*
 * If the service manager has kept what a daemon that was killed has left, DAEMON goes on with it, and *RET is true. What cannot be gone on with
 * is let go of, and the log says why. -EBUSY: that daemon lives.
 */
int daemon_resume(struct daemon *daemon, bool *ret, struct error *err);

/* ---- the mount (daemon_mount.c) ---- */

/* /dev/fuse; -ENODEV: this kernel has none. */
int daemon_open_device(struct error *err);
/* By the open directory, not by its path: what was checked is what is mounted over. */
int daemon_mount_over(struct daemon *daemon, int device_fd, struct error *err);
/* Does the mount answer? The kernel asks for INIT, then for the root. */
int daemon_mount_answers(struct daemon *daemon, struct error *err);
/* false: it is not for us to take off what lies there. */
bool daemon_unmount(struct daemon *daemon);
/* The bare directory shows; who has something open gets an error when the last process that has /dev/fuse ends. */
void daemon_give_up(const struct daemon *daemon);

#endif
