/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_PLAIN_GIT_H
#define VENEER_STORE_PLAIN_GIT_H

/*
 * What a commit made with plain git means. Whoever edits a checkout of a base or a patch and commits it
 * leaves `.veneer/meta` as it was, while git itself carries content, kind and one bit of the mode.
 * Metadata that a change of content has left untouched is therefore read like this:
 *
 *   - another content of a file: owner, mode and attributes stay; the mtime is the commit's (build tools
 *     and the caches of interpreters compare times); what it says of its object is void;
 *   - git's executable bit set or cleared: so are the x bits of the mode;
 *   - file made symlink or the reverse: only the owner stays (0777 or a capability was the other's);
 *   - a file that was not there: the mtime is the commit's, unless its metadata gives one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/git/repo.h"
#include "store/meta.h"

/*
 * Apply that to META, the metadata that stands beside NEW_MODE/NEW_OID. OLD_MODE 0: nothing was there.
 * UNTOUCHED: the metadata is the same as beside the old entry. TIME: the commit's. True: META was changed.
 */
bool plain_git_meta(struct meta *meta, uint32_t old_mode, const struct oid *old_oid, uint32_t new_mode,
	const struct oid *new_oid, bool untouched, int64_t time);

#endif
