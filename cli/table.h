/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TABLE_H
#define VENEER_CLI_TABLE_H

/*
 * The one table of commands: parsing, help, usage errors and the completion script come from it, and
 * tests/cli/test_help.sh holds the man page against it.
 */

#include "cli/context.h"
#include "cli/options.h"

#define ARGUMENTS_ANY 4096u /* "L…" */

struct command {
	const char *name;
	const char *usage;   /* what follows the name */
	const char *summary; /* one line */
	const char *details; /* a paragraph, lines broken; NULL: none */
	int (*run)(struct context *ctx, struct error *err);
	size_t least, most;  /* arguments */
	bool separator;	     /* words behind `--` are kept apart */
	const struct option_spec *options;
};

extern const struct option_spec global_options[];
extern const struct command commands[]; /* ends with a NULL name */

const struct command *command_find(const char *name); /* NULL: none */

int cmd_init(struct context *ctx, struct error *err);
int cmd_add(struct context *ctx, struct error *err);
int cmd_create(struct context *ctx, struct error *err);
int cmd_record(struct context *ctx, struct error *err);
int cmd_mount(struct context *ctx, struct error *err);
int cmd_umount(struct context *ctx, struct error *err);
int cmd_takeover(struct context *ctx, struct error *err);
int cmd_apply(struct context *ctx, struct error *err);
int cmd_revert(struct context *ctx, struct error *err);
int cmd_rollback(struct context *ctx, struct error *err);
int cmd_switch(struct context *ctx, struct error *err);
int cmd_policy(struct context *ctx, struct error *err);
int cmd_status(struct context *ctx, struct error *err);
int cmd_refresh(struct context *ctx, struct error *err);
int cmd_log(struct context *ctx, struct error *err);
int cmd_show(struct context *ctx, struct error *err);
int cmd_diff(struct context *ctx, struct error *err);
int cmd_fsck(struct context *ctx, struct error *err);
int cmd_gc(struct context *ctx, struct error *err);
int cmd_help(struct context *ctx, struct error *err);
int cmd_version(struct context *ctx, struct error *err);

#endif
