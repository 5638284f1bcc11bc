/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_EDITS_H
#define VENEER_STORE_EDITS_H

/* A growing list of changes for repo_tree_edit(), which owns their paths. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/difference.h"
#include "store/git/repo.h"
#include "store/meta.h"

struct edits {
	struct tree_change *changes; /* owned, their paths too */
	size_t count, alloc;
};
#define EDITS_INIT { NULL, 0, 0 }
void edits_release(struct edits *edits);
#define cleanup_edits __attribute__((cleanup(edits_release)))

/* Put (mode 0: remove) at PATH; -ENOMEM. */
int edits_add(struct edits *edits, const char *path, uint32_t mode, const struct oid *oid, struct error *err);
/* The same for the metadata of PATH. Removing takes all metadata beneath PATH along unless OF_DIRECTORY. */
int edits_add_meta(struct edits *edits, const char *path, bool of_directory, uint32_t mode,
	const struct oid *oid, struct error *err);

/*
 * What lays DIFFERENCES, which lead to the tree NEW_TREE of a commit of time TIME, over another tree. Metadata that plain git
 * left untouched is written as it is to be read (store/plain_git.h), so that what is served depends no
 * more on which commit the path stands in. A directory that goes takes along what the other tree has
 * beneath it, known to the differences or not. In a batch.
 */
int edits_of_differences(struct repo *repo, const struct differences *differences,
	const struct oid *new_tree, int64_t time, struct edits *ret, struct error *err);

#endif
