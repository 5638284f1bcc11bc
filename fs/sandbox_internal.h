/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SANDBOX_INTERNAL_H
#define VENEER_FS_SANDBOX_INTERNAL_H

/* What the parts of the sandbox share: sandbox.c (the caller's side), sandbox_directory.c, sandbox_keeper.c. */

#include "fs/sandbox.h"

#define SANDBOX_PREFIX "record-" /* of names in the store's run/ */

/*
 * Make run/NAME with upper/ and work/ in it, lock it, and remove what died before it could remove its own.
 * Fills run_fd, directory_fd, name and upper_fd.
 */
int sandbox_make_directory(struct store *store, struct sandbox *sandbox, struct error *err);
/* Nothing where it is gone already. */
void sandbox_remove_directory(const struct sandbox *sandbox);

/* What the keeper has to do, beside the sandbox. */
struct sandbox_job {
	const char *directory; /* the component's */
	const char *working_directory; /* to enter; NULL: stay */
	bool mounted; /* a mount of veneer's is over the directory */
	char *const *command;
	sigset_t signals; /* the mask for the command */
};

/* What it answers, one packet on its channel. */
struct sandbox_report {
	int code; /* 0, or a negative errno with a message */
	struct sandbox_result result;
	char message[ERROR_MESSAGE_MAX];
};

/* A packet to the keeper: pass this signal on to the command. The channel's end: the caller has let go. */
struct sandbox_order {
	int signal;
};

/* The keeper's whole life, in a process of its own. */
_Noreturn void sandbox_keep(struct sandbox *sandbox, const struct sandbox_job *job, int channel);

#endif
