/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/base/path.h"
#include "store/git/internal.h"

/* A path below ".veneer/meta/" is deeper and longer than the file's own. */
#define EDIT_DEPTH_MAX (PATH_DEPTH_MAX + 8)

/* An entry of the tree under construction. The name is borrowed, and not NUL-terminated. */
struct new_entry {
	const char *name;
	size_t len;
	uint32_t mode;
	struct oid oid;
};

struct new_tree {
	struct new_entry *entries;
	size_t count, alloc;
};

static void new_tree_release(struct new_tree *tree)
{
	free(tree->entries);
}

static int new_tree_add(struct new_tree *tree, const char *name, size_t len, uint32_t mode,
	const struct oid *oid)
{
	if (tree->count == tree->alloc) {
		size_t alloc = tree->alloc ? tree->alloc * 2 : 16;
		struct new_entry *entries = reallocarray(tree->entries, alloc, sizeof *entries);

		if (!entries)
			return -ENOMEM;
		tree->entries = entries;
		tree->alloc = alloc;
	}
	tree->entries[tree->count++] = (struct new_entry){ name, len, mode, *oid };
	return 0;
}

/* Git's order: as bytes, a directory's name ending in '/'. */
static int new_entry_compare(const void *a, const void *b)
{
	const struct new_entry *first = a, *second = b;
	size_t common = first->len < second->len ? first->len : second->len;
	int order = memcmp(first->name, second->name, common);
	unsigned char c1, c2;

	if (order != 0)
		return order;
	c1 = first->len > common ? (unsigned char)first->name[common] :
	     first->mode == TREE_MODE_DIRECTORY ? '/' : 0;
	c2 = second->len > common ? (unsigned char)second->name[common] :
	     second->mode == TREE_MODE_DIRECTORY ? '/' : 0;
	return (c1 > c2) - (c1 < c2);
}

static int new_tree_write(struct repo *repo, struct new_tree *tree, struct oid *ret, struct error *err)
{
	cleanup_strbuf struct strbuf raw = STRBUF_INIT;
	size_t size;
	char *data;

	if (tree->count > 1)
		qsort(tree->entries, tree->count, sizeof *tree->entries, new_entry_compare);
	for (size_t i = 0; i < tree->count; i++) {
		const struct new_entry *entry = &tree->entries[i];

		strbuf_addf(&raw, "%o ", entry->mode);
		strbuf_add(&raw, entry->name, entry->len);
		strbuf_add(&raw, "", 1);
		strbuf_add(&raw, entry->oid.id, sizeof entry->oid.id);
	}
	if (strbuf_failed(&raw))
		return error_errno(err, ENOMEM, "a tree of %zu entries", tree->count);
	data = strbuf_detach(&raw, &size);
	return batch_put(repo, GIT_OBJECT_TREE, data, size, ret, err);
}

/* ---- checking and sorting the changes ---- */

static int change_compare(const void *a, const void *b)
{
	const struct tree_change *first = a, *second = b;

	return path_compare(first->path, second->path);
}

static int change_check(const struct tree_change *change, struct error *err)
{
	const char *at = change->path;
	size_t depth = 0;

	for (;;) {
		size_t len = strcspn(at, "/");

		if (len == 0 || len > PATH_NAME_MAX || (len <= 2 && memcmp(at, "..", len) == 0))
			return error_set(err, -EINVAL, "'%s' is no path in a tree", SHOW(change->path));
		if (++depth > EDIT_DEPTH_MAX)
			return error_set(err, -EINVAL, "'%s': nested deeper than %d directories",
				SHOW(change->path), EDIT_DEPTH_MAX);
		at += len;
		if (*at == '\0')
			break;
		at++;
	}
	if (change->mode != 0 && change->mode != TREE_MODE_FILE && change->mode != TREE_MODE_EXECUTABLE &&
		change->mode != TREE_MODE_SYMLINK)
		return error_set(err, -EINVAL, "'%s': mode %o cannot be put in a tree", SHOW(change->path),
			change->mode);
	return 0;
}

static int changes_sort(struct tree_change *changes, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		int rc = change_check(&changes[i], err);

		if (rc < 0)
			return rc;
	}
	if (count > 1)
		qsort(changes, count, sizeof *changes, change_compare);
	for (size_t i = 1; i < count; i++)
		if (strcmp(changes[i - 1].path, changes[i].path) == 0)
			return error_set(err, -EINVAL, "two changes of '%s'", SHOW(changes[i].path));
	return 0;
}

/* ---- one directory ---- */

/* Changes of one directory; their paths have the directory's own, PREFIX bytes of it, in front. */
struct span {
	const struct tree_change *changes;
	size_t count, prefix;
};

/* The first of SPAN and those that share its next name: the entry itself (which sorts first) and what lies beneath. */
static struct span span_take(struct span *span, const char **ret_name, size_t *ret_len)
{
	const char *name = span->changes->path + span->prefix;
	size_t len = strcspn(name, "/");
	struct span group = { span->changes, 0, span->prefix };

	while (group.count < span->count) {
		const char *other = span->changes[group.count].path + span->prefix;

		if (strncmp(other, name, len) != 0 || (other[len] != '/' && other[len] != '\0'))
			break;
		group.count++;
	}
	span->changes += group.count;
	span->count -= group.count;
	*ret_name = name;
	*ret_len = len;
	return group;
}

static const struct tree_change *span_first_put(const struct span *span)
{
	for (size_t i = 0; i < span->count; i++)
		if (span->changes[i].mode != 0)
			return &span->changes[i];
	return NULL;
}

static int edit_directory(struct repo *repo, const struct oid *base, struct span span, struct oid *ret,
	struct error *err);

/*
 * What stands at one name after the changes GROUP: OLD (mode 0: nothing) is what stood there. *RET
 * has mode 0 where nothing does.
 */
static int edit_entry(struct repo *repo, const struct tree_entry *old, struct span group, size_t len,
	struct tree_entry *ret, struct error *err)
{
	const struct tree_change *own = NULL;
	const struct tree_change *put;
	struct tree_entry kept = *old;
	int rc;

	if (group.changes->path[group.prefix + len] == '\0') {
		own = group.changes++;
		group.count--;
		kept = (struct tree_entry){ .mode = own->mode, .oid = own->oid };
	}
	put = span_first_put(&group);
	if (put && own && own->mode != 0)
		return error_set(err, -EINVAL, "'%s' is put beneath the file '%s'", SHOW(put->path),
			SHOW(own->path));
	/* Removals beneath what is no directory remove nothing. */
	if (group.count == 0 || (!put && kept.mode != TREE_MODE_DIRECTORY)) {
		*ret = kept;
		return 0;
	}
	group.prefix += len + 1;
	rc = edit_directory(repo, kept.mode == TREE_MODE_DIRECTORY ? &kept.oid : NULL, group, &kept.oid, err);
	if (rc < 0)
		return rc;
	kept.mode = oid_is_zero(&kept.oid) ? 0 : TREE_MODE_DIRECTORY;
	*ret = kept;
	return 0;
}

static int name_order(const struct tree *tree, size_t index, const char *name, size_t len)
{
	const char *other = tree_by_name(tree, index).name;
	int order = strncmp(other, name, len);

	return order ? order : other[len] != '\0';
}

/* Merge the old entries with the changes, both in order of names. *RET is zero where nothing is left. */
static int edit_directory(struct repo *repo, const struct oid *base, struct span span, struct oid *ret,
	struct error *err)
{
	CLEANUP(new_tree_release) struct new_tree result = { NULL, 0, 0 };
	cleanup_tree struct tree *tree = NULL;
	size_t next = 0, count = 0;
	int rc;

	if (base) {
		rc = repo_tree_read(repo, base, &tree, err);
		if (rc < 0)
			return rc == -ENOENT ? error_prefix(err, -EBADMSG, "edit a tree") : rc;
		count = tree_count(tree);
	}
	while (next < count || span.count > 0) {
		const char *name = NULL;
		size_t len = 0;
		struct tree_entry entry = { .mode = 0 };
		struct span group = { NULL, 0, 0 };
		int order = -1;

		if (span.count > 0) {
			struct span rest = span;

			group = span_take(&rest, &name, &len);
			order = next < count ? name_order(tree, next, name, len) : 1;
			if (order >= 0)
				span = rest;
		}
		if (order <= 0)
			entry = tree_by_name(tree, next++);
		if (order < 0) {
			name = entry.name;
			len = strlen(name);
		} else {
			rc = edit_entry(repo, &entry, group, len, &entry, err);
			if (rc < 0)
				return rc;
		}
		if (entry.mode != 0 && new_tree_add(&result, name, len, entry.mode, &entry.oid) < 0)
			return error_errno(err, ENOMEM, "edit a tree");
	}
	*ret = (struct oid){ { 0 } };
	return result.count > 0 ? new_tree_write(repo, &result, ret, err) : 0;
}

int repo_tree_edit(struct repo *repo, const struct oid *base, struct tree_change *changes, size_t count,
	struct oid *ret, struct error *err)
{
	struct oid oid;
	int rc;

	if (base && oid_is_zero(base))
		base = NULL;
	rc = changes_sort(changes, count, err);
	if (rc < 0)
		return rc;
	rc = edit_directory(repo, base, (struct span){ changes, count, 0 }, &oid, err);
	if (rc == 0 && oid_is_zero(&oid))
		rc = repo_tree_empty(repo, &oid, err);
	if (rc < 0)
		return rc;
	*ret = oid;
	return 0;
}
