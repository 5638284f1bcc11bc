/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/meta_difference.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"
#include "store/base/base64.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"

#define META_PREFIX PATH_RESERVED "/meta"
#define VALUE_SHOWN_MAX 48u /* bytes of an attribute's value that text shows */
#define SPECIAL_BITS 07000u

struct collector {
	struct meta_difference *list;
	size_t count;
	bool failed;
};

/* ---- reading ---- */

/* One meta blob, in either of the places where it may stand; -ENOENT: neither has one. */
static int read_meta(struct store *store, const struct oid *tree, const char *path, struct meta *meta,
	struct error *err)
{
	static const char *const suffixes[] = { "", META_DIRECTORY };
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	struct tree_entry entry;
	int r = -ENOENT;

	if (oid_is_zero(tree))
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes) && r != 0; i++) {
		cleanup_strbuf struct strbuf full = STRBUF_INIT;

		strbuf_addf(&full, "%s%s%s%s", META_PREFIX, *path ? "/" : "", path, suffixes[i]);
		if (strbuf_failed(&full))
			return error_errno(err, ENOMEM, "metadata of '%s'", path);
		r = repo_tree_lookup(store->repo, tree, strbuf_text(&full), &entry, NULL);
		if (r == 0 && entry.mode == TREE_MODE_DIRECTORY)
			r = -ENOENT; /* of a directory: what is below it */
		if (r < 0 && r != -ENOENT)
			return error_errno(err, -r, "'%s'", strbuf_text(&full));
	}
	if (r < 0)
		return r;
	r = repo_blob_read(store->repo, &entry.oid, META_BYTES_MAX, &text, err);
	if (r == 0)
		r = meta_parse(strbuf_text(&text), text.len, meta, err);
	return r < 0 ? error_prefix(err, r == -ENOENT ? -EBADMSG : r, "metadata of '%s'", path) : 0;
}

/* What META leaves out is as BASE has it. */
static int inherit(struct meta *meta, const struct meta *base)
{
	const unsigned missing = base->present & ~meta->present;

	if (missing & META_MODE)
		meta->mode = base->mode;
	if (missing & META_UID)
		meta->uid = base->uid;
	if (missing & META_GID)
		meta->gid = base->gid;
	if (missing & META_MTIME)
		meta->mtime = base->mtime;
	for (size_t i = 0; (missing & META_XATTRS) && i < base->xattr_count; i++) {
		int r = meta_set_xattr(meta, base->xattrs[i].name, base->xattrs[i].value, base->xattrs[i].size);

		if (r < 0)
			return r;
	}
	meta->present |= missing & (META_MODE | META_UID | META_GID | META_MTIME | META_XATTRS);
	return 0;
}

int meta_side_load(struct store *store, const struct oid *tree, const struct oid *base_tree,
	const char *path, struct meta *meta, bool *ret_found, struct error *err)
{
	cleanup_meta struct meta base = META_INIT;
	int r = read_meta(store, tree, path, meta, err);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret_found = r == 0;
	r = read_meta(store, base_tree, path, &base, err);
	if (r == 0)
		r = inherit(meta, &base);
	if (r < 0 && r != -ENOENT)
		return error_set(err, r, "metadata of '%s' cannot be read", path);
	/* uid and gid are 0 already where nobody says otherwise */
	meta->present |= META_UID | META_GID;
	return 0;
}

/* ---- comparing ---- */

static char *copy_text(const char *text)
{
	return text ? strdup(text) : NULL;
}

static void add_difference(struct collector *collector, const char *key, const char *old, const char *new)
{
	struct meta_difference *grown, *one;

	if ((!old && !new) || (old && new && strcmp(old, new) == 0))
		return;
	grown = reallocarray(collector->list, collector->count + 1, sizeof *grown);
	if (!grown) {
		collector->failed = true;
		return;
	}
	collector->list = grown;
	one = &grown[collector->count++];
	*one = (struct meta_difference){ strdup(key), copy_text(old), copy_text(new) };
	if (!one->key || (old && !one->old_value) || (new && !one->new_value))
		collector->failed = true;
}

static const char *type_name(mode_t type)
{
	switch (type & S_IFMT) {
	case S_IFDIR:
		return "directory";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	default:
		return "file";
	}
}

/* 2026-01-02T03:04:05.123456789Z; beyond the calendar, seconds since the epoch */
static void add_mtime(const struct meta *meta, struct strbuf *sb)
{
	text_add_time(sb, meta->mtime.tv_sec, -1);
	if (sb->len == 0)
		strbuf_addf(sb, "%lld", (long long)meta->mtime.tv_sec);
	else
		strbuf_truncate(sb, sb->len - 1);
	strbuf_addf(sb, ".%09ld%s", (long)meta->mtime.tv_nsec, strchr(strbuf_text(sb), 'T') ? "Z" : "");
}

/* The text of one key of META; NULL where there is none. */
static const char *value_text(const struct meta *meta, unsigned key, struct strbuf *sb)
{
	if (!meta || !(meta->present & key))
		return NULL;
	switch (key) {
	case META_TYPE:
		strbuf_addstr(sb, type_name(meta->type));
		if (S_ISCHR(meta->type) || S_ISBLK(meta->type))
			strbuf_addf(sb, " %u:%u", meta->device_major, meta->device_minor);
		break;
	case META_MODE:
		strbuf_addf(sb, "%04o", (unsigned)meta->mode);
		/* as the meta itself is written: 04755 */
		if (meta->mode & SPECIAL_BITS) {
			strbuf_reset(sb);
			strbuf_addf(sb, "%05o", (unsigned)meta->mode);
		}
		break;
	case META_UID:
		strbuf_addf(sb, "%u", (unsigned)meta->uid);
		break;
	case META_GID:
		strbuf_addf(sb, "%u", (unsigned)meta->gid);
		break;
	case META_MTIME:
		add_mtime(meta, sb);
		break;
	}
	return strbuf_text(sb);
}

static void compare_key(struct collector *collector, const char *name, unsigned key,
	const struct meta *old, const struct meta *new)
{
	cleanup_strbuf struct strbuf old_text = STRBUF_INIT, new_text = STRBUF_INIT;
	const char *old_value = value_text(old, key, &old_text);
	const char *new_value = value_text(new, key, &new_text);

	/* A time that one side leaves open is no difference that could be shown. */
	if (key == META_MTIME && old && new && (!old_value || !new_value))
		return;
	add_difference(collector, name, old_value, new_value);
}

static const struct meta_xattr *find_xattr(const struct meta *meta, const char *name)
{
	for (size_t i = 0; meta && i < meta->xattr_count; i++)
		if (strcmp(meta->xattrs[i].name, name) == 0)
			return &meta->xattrs[i];
	return NULL;
}

static void compare_xattr(struct collector *collector, const struct meta_xattr *old,
	const struct meta_xattr *new)
{
	cleanup_strbuf struct strbuf key = STRBUF_INIT, old_text = STRBUF_INIT, new_text = STRBUF_INIT;

	strbuf_addf(&key, "xattr %s", old ? old->name : new->name);
	strbuf_addstr(&old_text, "base64:");
	strbuf_addstr(&new_text, "base64:");
	if (old)
		base64_encode(old->value, old->size, &old_text);
	if (new)
		base64_encode(new->value, new->size, &new_text);
	add_difference(collector, strbuf_text(&key), old ? strbuf_text(&old_text) : NULL,
		new ? strbuf_text(&new_text) : NULL);
}

int meta_differences_find(const struct meta *old, const struct meta *new, struct meta_difference **ret,
	size_t *ret_count)
{
	struct collector collector = { NULL, 0, false };

	compare_key(&collector, "type", META_TYPE, old, new);
	compare_key(&collector, "mode", META_MODE, old, new);
	compare_key(&collector, "uid", META_UID, old, new);
	compare_key(&collector, "gid", META_GID, old, new);
	compare_key(&collector, "mtime", META_MTIME, old, new);
	for (size_t i = 0; old && i < old->xattr_count; i++)
		compare_xattr(&collector, &old->xattrs[i], find_xattr(new, old->xattrs[i].name));
	for (size_t i = 0; new && i < new->xattr_count; i++)
		if (!find_xattr(old, new->xattrs[i].name))
			compare_xattr(&collector, NULL, &new->xattrs[i]);
	if (collector.failed) {
		meta_differences_free(collector.list, collector.count);
		return -ENOMEM;
	}
	*ret = collector.list;
	*ret_count = collector.count;
	return 0;
}

void meta_differences_free(struct meta_difference *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].key);
		free(list[i].old_value);
		free(list[i].new_value);
	}
	free(list);
}

/* ---- showing ---- */

static void add_value(const char *value, struct strbuf *sb)
{
	if (!value) {
		strbuf_addstr(sb, "none");
	} else if (strlen(value) > VALUE_SHOWN_MAX) {
		strbuf_addf(sb, "%.*s…", (int)VALUE_SHOWN_MAX, value);
	} else {
		text_add_printable(sb, value, false);
	}
}

void meta_difference_print(const struct meta_difference *difference, struct strbuf *sb)
{
	text_add_printable(sb, difference->key, false);
	strbuf_addch(sb, ' ');
	add_value(difference->old_value, sb);
	strbuf_addstr(sb, " → ");
	add_value(difference->new_value, sb);
}

bool meta_is_plain(const struct meta_difference *difference)
{
	const char *value = difference->new_value;

	if (!value || strcmp(difference->key, "type") == 0)
		return true;
	if (strcmp(difference->key, "mode") == 0)
		return strlen(value) == 4; /* no set-id or sticky bits */
	if (strcmp(difference->key, "uid") == 0 || strcmp(difference->key, "gid") == 0)
		return strcmp(value, "0") == 0;
	return strcmp(difference->key, "mtime") == 0;
}

struct json_object *meta_differences_rows(const struct meta_difference *list, size_t count)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_new_object();

		row_text(row, "key", list[i].key);
		row_text(row, "old", list[i].old_value);
		row_text(row, "new", list[i].new_value);
		json_object_array_add(rows, row);
	}
	return rows;
}
