/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SANDBOX_H
#define VENEER_FS_SANDBOX_H

/*
 * Running a command that sees a component's directory copy-on-write: what it changes there goes to an upper
 * layer of the kernel's overlayfs (Documentation/filesystems/overlayfs.rst), which source_upper() reads.
 * Nobody else sees any of it: the overlay is mounted in a mount namespace of the command's own
 * (mount_namespaces(7)), from which nothing propagates.
 *
 * Calling sequence:
 *
 *     sandbox_prepare()   upper and work directory in the store, the overlay over them, not yet attached
 *     sandbox_run()       the command, to its end
 *                         now read sandbox->upper_fd: nothing writes to it any more
 *     sandbox_release()   all of it is gone
 *
 * Three processes. The caller starts a *keeper*, which enters the namespace, attaches the overlay, starts the
 * command, adopts whatever the command leaves behind (PR_SET_CHILD_SUBREAPER), and tells the caller how it
 * went. Then it waits for the caller to let go, removes the directories, and ends. So they are removed even
 * if the caller is killed; if the keeper is, the caller removes them; if both are, the next
 * sandbox_prepare() in this store does (each is locked, flock(2), while one of the two lives).
 *
 * When the command has ended well, what it left running is killed, and the overlay is made read-only as a
 * whole. The kernel refuses that while anyone, in whatever namespace, has a file of it open for writing. So
 * the layer that is read is one to which nobody can write.
 *
 * What the command sees beneath the overlay is the base, not what is served: a patch is made over the base.
 *
 * How overlayfs is asked for: redirect_dir=on (directories can be renamed, as on any filesystem; source_upper()
 * follows redirects), metacopy=off (a file in the layer has its content), index=off (a hard link is broken
 * when its file is copied up. With an index its other names would change as well, but the layer
 * would not say so), volatile (no fsync: the layer is not kept). Directories are given as /proc/self/fd/N, so
 * nothing in a path needs escaping.
 *
 * Error handling: 0 or a negative errno with a message. -EPERM: not root; -EBUSY: a mount lies beneath the
 * directory, or what the command changed can still be written.
 *
 * Threads: the caller has only one when sandbox_run() forks.
 */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "store/base/error.h"
#include "store/component.h"
#include "store/store.h"

#define SANDBOX_NAME_MAX 32

struct sandbox {
	int upper_fd; /* the upper layer */
	/* The rest is the module's own. */
	int run_fd; /* of the store; its own fd */
	int directory_fd; /* run/NAME, locked; holds upper/ and work/ */
	int mount_fd; /* the overlay */
	int channel; /* to the keeper */
	pid_t keeper; /* 0: none */
	char name[SANDBOX_NAME_MAX];
};
#define SANDBOX_INIT { .upper_fd = -EBADF, .run_fd = -EBADF, .directory_fd = -EBADF, .mount_fd = -EBADF, \
	.channel = -EBADF, .keeper = 0, .name = "" }

/* What became of a command. */
struct sandbox_result {
	int exec_errno; /* it could not be run; 0: it was */
	int wait_status; /* of wait(2) */
	unsigned killed; /* processes that it left behind */
};

/* SANDBOX is fresh (SANDBOX_INIT); on failure it may be partly filled and is released as always. */
int sandbox_prepare(struct store *store, const struct component *component, int basefd, struct sandbox *sandbox,
	struct error *err);

/*
 * Run COMMAND (NULL-terminated; found by execvp(3) in what the command sees) with the caller's environment,
 * files, and working directory; where that lies in the component's directory, with the one of the same path in
 * the overlay. SIGINT, SIGTERM, SIGHUP and SIGQUIT that are sent to the caller are passed on; those
 * of the terminal reach the command by themselves. 0 and *RET also where the command failed; -ENOENT: the
 * working directory is not in the base. Once in a sandbox's life.
 */
int sandbox_run(struct sandbox *sandbox, const struct component *component, const char *const *command,
	struct sandbox_result *ret, struct error *err);

/* Takes fresh and half-built ones; waits for the keeper. */
void sandbox_release(struct sandbox *sandbox);
#define cleanup_sandbox __attribute__((cleanup(sandbox_release)))

/* Did it run and end with 0? */
bool sandbox_succeeded(const struct sandbox_result *result);
/* As a shell has it: its own, 128 + the signal that ended it, 127 where it was not found, else 126. */
int sandbox_exit_status(const struct sandbox_result *result);

#endif
