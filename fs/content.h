/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CONTENT_H
#define VENEER_FS_CONTENT_H

/*
 * What a patched node was bound to at its birth: its bytes' address and all of its metadata, copied
 * out of the view, so that an open file keeps it when the view has long gone. Immutable (but for blocks that are found late), counted.
 */

#include <stdatomic.h>
#include <sys/stat.h>

#include "store/base/strbuf.h"
#include "store/view.h"

struct content {
	atomic_uint users;
	enum view_kind kind; /* VIEW_FILE, VIEW_SYMLINK, VIEW_SPECIAL, VIEW_DIRECTORY */
	struct stat st;	     /* complete, st_ino included */
	struct hash128 identity;
	struct hash128 object;
	/* Counted; of a file whose parts can be known to be right (store/object_blocks.h); NULL: it needs none, or was not whole when they
	 * were looked for: then whoever finds them sets them, once. */
	struct object_blocks *_Atomic blocks;
	struct oid blob;
	char *target;	     /* symlink */
	struct meta meta;    /* holds the xattrs */
};

/* A copy of ENTRY with one user; NULL: out of memory. */
struct content *content_new(const struct view_entry *entry);
struct content *content_ref(struct content *content);
void content_unref(struct content *content); /* NULL is fine */
static inline void content_unrefp(struct content **content)
{
	content_unref(*content);
}
#define cleanup_content __attribute__((cleanup(content_unrefp)))

/* All of it as bytes, for another process with the same program, appended to SB (see strbuf_failed()). */
void content_pack(const struct content *content, struct strbuf *sb);
/* What was packed, with one user; NULL: it is not that, or out of memory. */
struct content *content_unpack(const void *bytes, size_t size);

/* The inode number that an identity shows: its top bits are 11, so that it never meets one of the base (overlay_base_inode()). */
ino_t content_inode(const struct hash128 *identity);
/* st_mode, owner, size, times, blocks and inode number of ENTRY into ST (zeroed first). */
void content_stat(const struct view_entry *entry, struct stat *st);

#endif
