/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_HELP_H
#define VENEER_CLI_HELP_H

/* Help and the completion script, both made from the table. */

#include "cli/table.h"
#include "store/base/strbuf.h"

void help_overview(struct strbuf *sb);
void help_command(struct strbuf *sb, const struct command *command);
/* The table as rows: name, usage, summary, options. The caller puts the array. */
struct json_object *help_rows(void);
/* A bash script: commands, options and their choices from the table, names and labels by asking `veneer status`. */
void help_completion(struct strbuf *sb);

#endif
