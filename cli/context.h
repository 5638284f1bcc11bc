/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_CONTEXT_H
#define VENEER_CLI_CONTEXT_H

/*
 * One invocation: which command, with which options; and how it speaks. Results go to stdout, what
 * goes on beside them (notes, progress) to stderr.
 *
 * Error handling: a command returns 0 or a negative errno and leaves the message to main(). Wrong usage
 * is said through usage_error(), which makes main() exit with 2 instead of 1.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "cli/options.h"
#include "cli/output.h"
#include "store/base/error.h"
#include "store/store.h"

struct command;

struct context {
	const struct command *command; /* NULL: none was named (--help and --version need none) */
	struct options options;
	const char *store_path; /* --store, VENEER_STORE, or the default */
	bool json, quiet, verbose;
	bool wrong_usage; /* set by usage_error() */
	int exit_status; /* of a failure, where it is another program's to say; 0: it is not */
};
#define CONTEXT_INIT { .command = NULL }
void context_release(struct context *ctx);
#define cleanup_context __attribute__((cleanup(context_release)))

/* Take ARGV apart (with the program's name at 0). -EINVAL and wrong_usage: as usage_error(). */
int context_parse(struct context *ctx, int argc, char *const *argv, struct error *err);

/* "… (see 'veneer help COMMAND')"; returns -EINVAL. */
int usage_error(struct context *ctx, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The N-th argument; NULL where there are fewer. */
const char *context_argument(const struct context *ctx, size_t n);
int context_open_store(const struct context *ctx, struct store **ret, struct error *err);
/* Is this a --dry-run? */
bool context_dry_run(const struct context *ctx);
/* Colours only on a terminal, and not where NO_COLOR is set (https://no-color.org). */
bool context_color(const struct context *ctx);

/* ---- speaking ---- */

/* The result as a person reads it: not with --json, not with -q. A newline is added. */
void context_say(const struct context *ctx, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A note on stderr: not with -q. A newline is added. */
void context_note(const struct context *ctx, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A report: with --json the value whole, else as text by COLUMNS. */
int context_report_table(const struct context *ctx, const struct column *columns, size_t count,
	struct json_object *rows, struct error *err);
int context_report_record(const struct context *ctx, const struct column *columns, size_t count,
	struct json_object *row, struct error *err);
int context_report_json(const struct context *ctx, struct json_object *value, struct error *err);
int context_write(const struct strbuf *sb, struct error *err);

#endif
