/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_BASELINE_H
#define VENEER_STORE_BASELINE_H

/*
 * Base trees: the content and metadata of the component's own files, as commits have them.
 * A base's meta holds mode, uid, gid, mtime and xattrs, never `object`: a plain-git patch inherits
 * the meta of the base it was checked out from, whatever bytes it then puts.
 */

#include "store/base/error.h"
#include "store/changeset.h"
#include "store/component.h"

/* Every file below BASEFD. In a batch; writes blobs, returns the tree. */
int baseline_full(struct store *store, int basefd, progress_fn progress, void *arg, struct oid *ret_tree,
	struct error *err);

/*
 * TREE grown by the base content of each path in SET that exists below BASEFD and that TREE lacks (of
 * a directory that is deleted or replaced: of everything in it). Paths that TREE has already stay as
 * recorded. *RET_TREE equals *TREE where nothing was missing.
 */
int baseline_touch(struct store *store, int basefd, const struct oid *tree, const struct changeset *set,
	struct oid *ret_tree, struct error *err);

/*
 * What TREE has on record, as it is now below BASEFD: each path again, those that are gone left out. With FULL every file there.
 * In a batch.
 */
int baseline_again(struct store *store, int basefd, const struct oid *tree, bool full, progress_fn progress, void *arg,
	struct oid *ret_tree, struct error *err);

#endif
