/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

int target_open_store(const struct context *ctx, const char *name, enum target_access access,
	struct target *target, struct error *err)
{
	int r = component_check_name(name, err);

	if (r == 0)
		r = store_open_directories(ctx->store_path, &target->store, err);
	if (r < 0 || access == TARGET_READ)
		return r;
	target->lock_fd = store_lock(target->store, STORE_LOCK_TIMEOUT_MS, err);
	return target->lock_fd < 0 ? target->lock_fd : 0;
}

int target_open(const struct context *ctx, const char *name, enum target_access access,
	struct target *target, struct error *err)
{
	int r = target_open_store(ctx, name, access, target, err);

	return r < 0 ? r : target_load(target, name, err);
}
