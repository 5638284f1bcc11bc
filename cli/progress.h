/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_PROGRESS_H
#define VENEER_CLI_PROGRESS_H

/* One line on the terminal that says how far long work is. Silent with -q, with --json, and off a terminal. */

#include "cli/context.h"

struct progress {
	bool active;
	const char *what;	/* borrowed */
	uint64_t shown_at_ms;	/* when the line was last written */
	bool shown;
};

void progress_begin(struct progress *progress, const struct context *ctx, const char *what);
/* A progress_fn, see store/component.h; ARG is the struct progress. */
void progress_update(void *arg, uint64_t done_files, uint64_t done_bytes);
/* The same of work that has several parts: WHAT (borrowed) is this one's. */
void progress_show(void *arg, const char *what, uint64_t done_files, uint64_t done_bytes);
/* Wipe the line. */
void progress_end(struct progress *progress);
#define cleanup_progress __attribute__((cleanup(progress_end)))

#endif
