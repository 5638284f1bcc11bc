/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_TREE_META_H
#define VENEER_STORE_TREE_META_H

/* Metadata as it stands in a commit's tree: where (see store/meta.h), reading, writing. */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/git/repo.h"
#include "store/meta.h"
#include "store/tree_cursor.h"

/* An entry of a tree without its name. */
struct tree_side {
	uint32_t mode; /* 0: nothing there */
	struct oid oid;
};

/* The tree `.veneer/meta` of TREE, zero where it has none. -EBADMSG: something else stands below `.veneer`. */
int tree_meta_root(struct repo *repo, const struct oid *tree, struct oid *ret, struct error *err);

/* ".veneer/meta/PATH", for a directory with "/.veneer" behind. The caller frees it; NULL: out of memory. */
char *tree_meta_path(const char *path, bool of_directory);

/* The metadata blob of PATH below the root that META walks; mode 0: none. *RET_OF_DIRECTORY: it stands at PATH/.veneer. */
int tree_meta_find(struct tree_cursor *meta, const char *path, struct tree_side *ret,
	bool *ret_of_directory, struct error *err);

/* Read and parse, at most META_BYTES_MAX. -EBADMSG: missing, too large or malformed; PATH is for the message. */
int tree_meta_read(struct repo *repo, const struct oid *oid, bool of_directory, const char *path,
	struct meta *ret, struct error *err);
/* As a blob of the open batch, in canonical form. */
int tree_meta_write(struct repo *repo, const struct meta *meta, struct oid *ret, struct error *err);

/* A failure CODE to read the blob OID of PATH, told as -EBADMSG. WHAT: "blob", "metadata blob". */
int tree_blob_error(int code, const struct oid *oid, const char *path, const char *what,
	struct error *err);

#endif
