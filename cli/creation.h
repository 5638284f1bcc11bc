/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_CREATION_H
#define VENEER_CLI_CREATION_H

/*
 * What the commands that make a patch share, whatever it is made of: the options that say what is known about
 * it, making it of a changeset, and the report.
 *
 * Calling sequence: creation_check_usage(), creation_begin(), creation_open(), fill basefd, open the
 * repository's batch, creation_make().
 */

#include "cli/context.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "store/changeset.h"
#include "store/patch.h"

struct creation {
	struct context *ctx;
	struct target target;
	int basefd;
	struct changeset set;
	struct patch_spec spec;
	struct progress progress;
	struct json_object *left_out; /* paths of packages that do not lie under the component */
};
#define CREATION_INIT { .target = TARGET_INIT, .basefd = -EBADF, .set = CHANGESET_INIT }
void creation_release(struct creation *creation);
#define cleanup_creation __attribute__((cleanup(creation_release)))

/* Message and ids: what needs no store to be told wrong. */
int creation_check_usage(struct context *ctx, struct error *err);
/* A fresh one for CTX, its spec as the options say. */
int creation_begin(struct creation *creation, struct context *ctx, struct error *err);
/*
 * The component that the first argument names; and whatever patch_create() would refuse of the spec is refused
 * now. May be done again, as for reading first and for writing later.
 */
int creation_open(struct creation *creation, enum target_access access, struct error *err);

/* Fills creation->set, writing blobs into the open batch. */
typedef int (*creation_read_fn)(struct creation *creation, const void *arg, struct error *err);
/* The patch of what READ_SOURCE, which is given ARG, finds; and the report; with --dry-run the plan alone. */
int creation_make(struct creation *creation, creation_read_fn read_source, const void *arg, struct error *err);

int creation_report(struct creation *creation, const char *label, const struct oid *commit, struct error *err);
int creation_report_plan(struct creation *creation, struct error *err);

#endif
