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
	atomic_init(&content->blocks, object_blocks_ref(entry->blocks));
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
	object_blocks_unref(content->blocks);
	free(content->target);
	meta_release(&content->meta);
	free(content);
}

/* ---- as bytes ---- */

/* Then the blocks' sums, the target with its NUL, if it has one, and the attributes: each name with its NUL, and its value. */
struct packed {
	struct stat st;
	struct hash128 identity, object;
	struct oid blob;
	uint32_t kind, target_size, xattr_count, block_count;
};

void content_pack(const struct content *content, struct strbuf *sb)
{
	const struct object_blocks *blocks = content->blocks;
	struct packed packed;

	memset(&packed, 0, sizeof packed);
	packed.st = content->st;
	packed.identity = content->identity;
	packed.object = content->object;
	packed.blob = content->blob;
	packed.kind = content->kind;
	packed.target_size = content->target ? (uint32_t)strlen(content->target) + 1 : 0;
	packed.xattr_count = (uint32_t)content->meta.xattr_count;
	packed.block_count = blocks ? (uint32_t)blocks->count : 0;
	strbuf_add(sb, &packed, sizeof packed);
	if (blocks)
		strbuf_add(sb, blocks->sums, packed.block_count * sizeof *blocks->sums);
	strbuf_add(sb, content->target, packed.target_size);
	for (size_t i = 0; i < content->meta.xattr_count; i++) {
		const struct meta_xattr *xattr = &content->meta.xattrs[i];
		uint32_t size = (uint32_t)xattr->size;

		strbuf_add(sb, xattr->name, strlen(xattr->name) + 1);
		strbuf_add(sb, &size, sizeof size);
		strbuf_add(sb, xattr->value, xattr->size);
	}
}

struct reader {
	const char *at;
	size_t left;
};

/* The next SIZE bytes; NULL: there are not so many. */
static const char *take(struct reader *reader, size_t size)
{
	const char *at = reader->at;

	if (size > reader->left)
		return NULL;
	reader->at += size;
	reader->left -= size;
	return at;
}

static const char *take_string(struct reader *reader)
{
	return take(reader, strnlen(reader->at, reader->left) + 1);
}

/* COUNT sums of a file of SIZE bytes. */
static struct object_blocks *take_blocks(struct reader *reader, uint64_t size, uint32_t count)
{
	const char *sums = count == object_block_count(size) ? take(reader, count * sizeof(uint64_t)) : NULL;
	struct object_blocks *blocks = sums ? object_blocks_new(size) : NULL;

	if (blocks)
		memcpy(blocks->sums, sums, count * sizeof *blocks->sums);
	return blocks;
}

static bool take_xattr(struct reader *reader, struct meta *meta)
{
	const char *name = take_string(reader), *length = name ? take(reader, sizeof(uint32_t)) : NULL, *value;
	uint32_t size;

	if (!length)
		return false;
	memcpy(&size, length, sizeof size);
	value = take(reader, size);
	return value && meta_set_xattr(meta, name, value, size) == 0;
}

struct content *content_unpack(const void *bytes, size_t size)
{
	struct reader reader = { bytes, size };
	const char *head = take(&reader, sizeof(struct packed)), *target;
	struct content *content = head ? calloc(1, sizeof *content) : NULL;
	struct packed packed;
	bool good = true;

	if (!content)
		return NULL;
	memcpy(&packed, head, sizeof packed);
	atomic_init(&content->users, 1);
	content->kind = (enum view_kind)packed.kind;
	content->st = packed.st;
	content->identity = packed.identity;
	content->object = packed.object;
	content->blob = packed.blob;
	content->meta.present = META_XATTRS;
	if (packed.block_count) {
		content->blocks = take_blocks(&reader, (uint64_t)content->st.st_size, packed.block_count);
		good = content->blocks;
	}
	if (good && packed.target_size) {
		target = take(&reader, packed.target_size);
		content->target = target && !target[packed.target_size - 1] ? strdup(target) : NULL;
		good = content->target;
	}
	for (uint32_t i = 0; good && i < packed.xattr_count; i++)
		good = take_xattr(&reader, &content->meta);
	if (good)
		return content;
	content_unref(content);
	return NULL;
}
