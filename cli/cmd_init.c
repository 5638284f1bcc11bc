/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"
#include "store/store.h"

int cmd_init(struct context *ctx, struct error *err)
{
	CLEANUP_ROW struct json_object *row = json_object_new_object();
	bool existed = false;
	int r = store_init(ctx->store_path, &existed, err);

	if (r < 0)
		return r;
	row_text(row, "store", ctx->store_path);
	row_flag(row, "created", !existed);
	if (ctx->json)
		return context_report_json(ctx, row, err);
	context_say(ctx, existed ? "there is a store at %s already" : "made a store at %s", ctx->store_path);
	return 0;
}
