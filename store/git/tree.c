/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/git/internal.h"

/*
 * Tree objects are read by our own parser: libgit2's keeps names that it dislikes out of sight in some
 * versions and not in others, and we need to see, name and refuse them.
 */

static const struct oid empty_tree = { { 0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5,
	0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49, 0x04 } };

struct raw_entry {
	const char *name; /* in the object */
	uint32_t mode;
};

struct tree {
	git_odb_object *object; /* NULL: the empty tree */
	struct raw_entry *entries;
	size_t count, alloc;
	uint32_t *by_name; /* indices in the order of strcmp(); NULL: that is git's order here */
};

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	libgit2.odb_object_free(tree->object);
	free(tree->entries);
	free(tree->by_name);
	free(tree);
}

/* As git reads modes: old trees have 100664, and only the owner's x counts. What is unknown stays. */
static uint32_t mode_normalise(uint32_t mode)
{
	switch (mode & 0170000u) {
	case 0100000u:
		return mode & 0100u ? TREE_MODE_EXECUTABLE : TREE_MODE_FILE;
	case TREE_MODE_SYMLINK:
	case TREE_MODE_DIRECTORY:
	case TREE_MODE_COMMIT:
		return mode & 0170000u;
	}
	return mode;
}

bool tree_mode_known(uint32_t mode)
{
	return mode == TREE_MODE_DIRECTORY || mode == TREE_MODE_FILE || mode == TREE_MODE_EXECUTABLE ||
	       mode == TREE_MODE_SYMLINK || mode == TREE_MODE_COMMIT;
}

static int tree_append(struct tree *tree, const char *name, uint32_t mode)
{
	if (tree->count == tree->alloc) {
		size_t alloc = tree->alloc ? tree->alloc * 2 : 16;
		struct raw_entry *entries = reallocarray(tree->entries, alloc, sizeof *entries);

		if (!entries)
			return -ENOMEM;
		tree->entries = entries;
		tree->alloc = alloc;
	}
	tree->entries[tree->count++] = (struct raw_entry){ name, mode };
	return 0;
}

/* "MODE NAME\0" and 20 bytes of id. Returns the bytes used, 0 where it is malformed. */
static size_t entry_parse(const char *at, size_t len, uint32_t *ret_mode, const char **ret_name)
{
	uint32_t mode = 0;
	size_t used = 0;
	const char *end;

	while (used < len && used < 7 && at[used] >= '0' && at[used] <= '7')
		mode = mode * 8 + (uint32_t)(at[used++] - '0');
	if (used == 0 || used == len || at[used] != ' ')
		return 0;
	used++;
	end = memchr(at + used, '\0', len - used);
	if (!end || (size_t)(at + len - end) < 1 + sizeof(struct oid))
		return 0;
	*ret_mode = mode;
	*ret_name = at + used;
	return (size_t)(end - at) + 1 + sizeof(struct oid);
}

static int tree_parse(struct tree *tree, const struct oid *oid, struct error *err)
{
	const char *at = libgit2.odb_object_data(tree->object);
	size_t left = libgit2.odb_object_size(tree->object);

	while (left > 0) {
		const char *name = NULL;
		uint32_t mode = 0;
		size_t used = entry_parse(at, left, &mode, &name);

		if (used == 0)
			return error_set(err, -EBADMSG, "tree '%s': entry %zu is malformed", OID_HEX(oid),
				tree->count);
		if (tree_append(tree, name, mode_normalise(mode)) < 0)
			return error_errno(err, ENOMEM, "tree '%s'", OID_HEX(oid));
		at += used;
		left -= used;
	}
	return 0;
}

static int index_compare(const void *a, const void *b, void *arg)
{
	const struct raw_entry *entries = arg;

	return strcmp(entries[*(const uint32_t *)a].name, entries[*(const uint32_t *)b].name);
}

/* Git sorts directories as if their names ended in '/': only then do the two orders differ. */
static int tree_sort(struct tree *tree)
{
	bool sorted = true;

	for (size_t i = 1; i < tree->count && sorted; i++)
		sorted = strcmp(tree->entries[i - 1].name, tree->entries[i].name) < 0;
	if (sorted)
		return 0;
	tree->by_name = reallocarray(NULL, tree->count, sizeof *tree->by_name);
	if (!tree->by_name)
		return -ENOMEM;
	for (size_t i = 0; i < tree->count; i++)
		tree->by_name[i] = (uint32_t)i;
	qsort_r(tree->by_name, tree->count, sizeof *tree->by_name, index_compare, tree->entries);
	return 0;
}

static const struct raw_entry *raw_by_name(const struct tree *tree, size_t index)
{
	return &tree->entries[tree->by_name ? tree->by_name[index] : index];
}

static int tree_check_order(const struct tree *tree, const struct oid *oid, struct error *err)
{
	for (size_t i = 1; i < tree->count; i++) {
		const char *name = raw_by_name(tree, i)->name;

		if (strcmp(raw_by_name(tree, i - 1)->name, name) == 0)
			return error_set(err, -EBADMSG, "tree '%s': two entries are called '%s'",
				OID_HEX(oid), SHOW(name));
	}
	return 0;
}

int repo_tree_read(struct repo *repo, const struct oid *oid, struct tree **ret, struct error *err)
{
	cleanup_tree struct tree *tree = calloc(1, sizeof *tree);
	int rc;

	if (!tree)
		return error_errno(err, ENOMEM, "tree '%s'", OID_HEX(oid));
	if (!oid_equal(oid, &empty_tree)) { /* known to git without being stored */
		rc = object_read(repo, oid, GIT_OBJECT_TREE, TREE_BYTES_MAX, &tree->object, err);
		if (rc < 0)
			return rc;
		rc = tree_parse(tree, oid, err);
		if (rc < 0)
			return rc;
	}
	if (tree_sort(tree) < 0)
		return error_errno(err, ENOMEM, "tree '%s'", OID_HEX(oid));
	rc = tree_check_order(tree, oid, err);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(tree);
	return 0;
}

static struct tree_entry entry_of(const struct raw_entry *raw)
{
	struct tree_entry entry = { .name = raw->name, .mode = raw->mode };

	memcpy(entry.oid.id, raw->name + strlen(raw->name) + 1, sizeof entry.oid.id);
	return entry;
}

size_t tree_count(const struct tree *tree)
{
	return tree->count;
}

struct tree_entry tree_at(const struct tree *tree, size_t index)
{
	return entry_of(&tree->entries[index]);
}

struct tree_entry tree_by_name(const struct tree *tree, size_t index)
{
	return entry_of(raw_by_name(tree, index));
}

bool tree_find(const struct tree *tree, const char *name, struct tree_entry *ret)
{
	size_t low = 0, high = tree->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct raw_entry *raw = raw_by_name(tree, middle);
		int order = strcmp(name, raw->name);

		if (order == 0) {
			*ret = entry_of(raw);
			return true;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

int repo_tree_lookup(struct repo *repo, const struct oid *root, const char *path, struct tree_entry *ret,
	struct error *err)
{
	struct tree_entry entry = { .mode = TREE_MODE_DIRECTORY, .oid = *root };
	const char *at = path;

	for (;;) {
		cleanup_tree struct tree *tree = NULL;
		cleanup_free char *name = strndup(at, strcspn(at, "/"));
		int rc;

		if (!name)
			return error_errno(err, ENOMEM, "'%s'", SHOW(path));
		if (entry.mode != TREE_MODE_DIRECTORY)
			return error_set(err, -ENOENT, "'%s' is not in tree '%s'", SHOW(path), OID_HEX(root));
		rc = repo_tree_read(repo, &entry.oid, &tree, err);
		if (rc < 0) /* a tree that is named and missing is damage, not the absence of a path */
			return error_prefix(err, rc == -ENOENT && at != path ? -EBADMSG : rc, "'%s'", SHOW(path));
		if (!tree_find(tree, name, &entry))
			return error_set(err, -ENOENT, "'%s' is not in tree '%s'", SHOW(path), OID_HEX(root));
		at += strlen(name);
		if (*at == '\0')
			break;
		at++;
	}
	entry.name = NULL;
	*ret = entry;
	return 0;
}

int repo_tree_empty(struct repo *repo, struct oid *ret, struct error *err)
{
	if (!repo->batch.open && repo_object_exists(repo, &empty_tree)) {
		*ret = empty_tree;
		return 0;
	}
	return batch_put(repo, GIT_OBJECT_TREE, NULL, 0, ret, err);
}
