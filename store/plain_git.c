/* SPDX-License-Identifier: Apache-2.0 */
#include "store/plain_git.h"

static bool set_mtime(struct meta *meta, int64_t time)
{
	meta->mtime = (struct timespec){ .tv_sec = (time_t)time };
	meta->present |= META_MTIME;
	return true;
}

/* As chmod +x does it: whoever may read may execute. */
static bool set_executable(struct meta *meta, bool executable)
{
	mode_t mode = executable ? meta->mode | (meta->mode & 0444) >> 2 : meta->mode & ~(mode_t)0111;

	if (!(meta->present & META_MODE) || mode == meta->mode)
		return false;
	meta->mode = mode;
	return true;
}

bool plain_git_meta(struct meta *meta, uint32_t old_mode, const struct oid *old_oid, uint32_t new_mode,
	const struct oid *new_oid, bool untouched, int64_t time)
{
	bool changed = false;

	if (old_mode == 0)
		return (untouched || !(meta->present & META_MTIME)) && set_mtime(meta, time);
	if (!untouched)
		return false;
	if ((old_mode == TREE_MODE_SYMLINK) != (new_mode == TREE_MODE_SYMLINK)) {
		meta->present &= ~(unsigned)(META_MODE | META_XATTRS | META_OBJECT);
		return set_mtime(meta, time);
	}
	if (new_mode == TREE_MODE_SYMLINK)
		return false;
	if (old_mode != new_mode)
		changed = set_executable(meta, new_mode == TREE_MODE_EXECUTABLE);
	if (!oid_equal(old_oid, new_oid)) {
		meta->present &= ~(unsigned)META_OBJECT;
		changed = set_mtime(meta, time);
	}
	return changed;
}
