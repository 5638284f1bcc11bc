/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SUPERVISOR_H
#define VENEER_FS_SUPERVISOR_H

/*
 * The process that a mount is: it keeps what must not be lost (descriptors, fs/keeper.h; memory, fs/shared.h), forks a worker that
 * serves, and another when that one is killed. It does nothing else, has one thread and never executes anything, for its libraries may be
 * under the mount.
 *
 * A worker that ends by itself ends the supervisor, with its status. One that is killed is replaced at once; one that crashes (SIGSEGV,
 * SIGABRT, …) or cannot begin to serve, again and again, is given time, and then up: the mount is taken off, and the bare directory shows.
 * A third process, which has nothing open, waits for the supervisor's death and takes the mount off if that comes unannounced.
 *
 * Another program may go on in its place (fs/handover.h). Whose the mount is, is one word in the shared memory: only he, and his third
 * process, ever take it off.
 */

#include <stdbool.h>

#include "fs/keeper.h"
#include "fs/worker_state.h"
#include "store/base/error.h"

#define SUPERVISOR_CRASHES_MAX 8u /* in a row */
#define SUPERVISOR_KILLED_MAX 100u /* in a row, before they served */
#define SUPERVISOR_CALM_MS 10000  /* after so long without one they count from the beginning */

struct supervisor_config {
	struct shared *shared; /* borrowed */
	struct keeper *keeper; /* borrowed */
	bool inherited;	       /* both are another supervisor's, who has the mount until READY says otherwise */
	bool foreground;       /* what is said goes to standard error, too */
	/* In the worker: its end is that of the process, with that status. FIRST: nothing is mounted yet. */
	int (*work)(void *arg, bool first);
	/* In the supervisor, once: the first worker serves (CODE 0), or why it does not. false: all ends here, and the mount stays as it is. */
	bool (*ready)(void *arg, int code, const struct error *err);
	/* Take the mount off, where it is still there: in the supervisor, or in the third process. */
	void (*give_up)(void *arg);
	void *arg;
};

/* Returns in the supervisor when all is over: the exit status. */
int supervisor_run(const struct supervisor_config *config);

#endif
