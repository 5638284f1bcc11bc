/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/content.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 4096u

ino_t content_inode(const struct hash128 *identity)
{
	uint64_t value;

	memcpy(&value, identity->bytes, sizeof value);
	return (ino_t)(value | 3ull << 62);
}

void content_stat(const struct view_entry *entry, struct stat *st)
{
	memset(st, 0, sizeof *st);
	st->st_ino = content_inode(&entry->identity);
	st->st_mode = entry->mode;
	st->st_nlink = S_ISDIR(entry->mode) ? 2 : 1;
	st->st_uid = entry->uid;
	st->st_gid = entry->gid;
	st->st_rdev = entry->device;
	st->st_size = S_ISDIR(entry->mode) ? BLOCK_BYTES : (off_t)entry->size;
	st->st_blksize = BLOCK_BYTES;
	/* What du(1) should count: whole blocks, as a plain file of this size takes. */
	if (S_ISREG(entry->mode))
		st->st_blocks = (blkcnt_t)((entry->size + BLOCK_BYTES - 1) / BLOCK_BYTES * (BLOCK_BYTES / 512));
	else if (S_ISDIR(entry->mode))
		st->st_blocks = BLOCK_BYTES / 512;
	st->st_mtim = st->st_atim = st->st_ctim = entry->mtime;
}

struct content *content_new(const struct view_entry *entry)
{
	struct content *content = calloc(1, sizeof *content);

	if (!content)
		return NULL;
	atomic_init(&content->users, 1);
	content->kind = entry->kind;
	content_stat(entry, &content->st);
	content->identity = entry->identity;
	content->object = entry->object;
	content->blob = entry->blob;
	if (entry->target) {
		content->target = strdup(entry->target);
		if (!content->target) {
			content_unref(content);
			return NULL;
		}
	}
	content->meta.present = META_XATTRS;
	for (size_t i = 0; i < entry->xattr_count; i++) {
		const struct meta_xattr *xattr = &entry->xattrs[i];

		if (meta_set_xattr(&content->meta, xattr->name, xattr->value, xattr->size) < 0) {
			content_unref(content);
			return NULL;
		}
	}
	return content;
}

struct content *content_ref(struct content *content)
{
	if (content)
		atomic_fetch_add_explicit(&content->users, 1, memory_order_relaxed);
	return content;
}

void content_unref(struct content *content)
{
	if (!content || atomic_fetch_sub_explicit(&content->users, 1, memory_order_acq_rel) != 1)
		return;
	free(content->target);
	meta_release(&content->meta);
	free(content);
}
