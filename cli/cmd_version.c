/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

int cmd_version(struct context *ctx, struct error *err)
{
	static const struct column columns[] = { { "version", "veneer", COLUMN_TEXT } };
	CLEANUP_ROW struct json_object *row = json_object_new_object();

	row_text(row, "version", VENEER_VERSION);
	return context_report_record(ctx, columns, 1, row, err);
}
