/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tree_cursor.h"

#include <errno.h>
#include <string.h>

#include "store/base/cleanup.h"

void tree_cursor_init(struct tree_cursor *cursor, struct repo *repo, const struct oid *root)
{
	memset(cursor, 0, sizeof *cursor);
	cursor->repo = repo;
	if (root)
		cursor->root = *root;
}

/* Keep the first DEPTH trees. */
static void cursor_truncate(struct tree_cursor *cursor, size_t depth)
{
	while (cursor->depth > depth)
		tree_free(cursor->trees[--cursor->depth]);
	cursor->directory[depth > 0 ? cursor->ends[depth - 1] : 0] = '\0';
}

void tree_cursor_release(struct tree_cursor *cursor)
{
	cursor_truncate(cursor, 0);
}

/* How many of the trees that are read lead to PATH: the root, and each whose path is an ancestor of it. */
static size_t cursor_shared(const struct tree_cursor *cursor, const char *path)
{
	size_t depth = cursor->depth > 0 ? 1 : 0;

	while (depth > 0 && depth < cursor->depth) {
		size_t end = cursor->ends[depth];

		if (strncmp(path, cursor->directory, end) != 0 || path[end] != '/')
			break;
		depth++;
	}
	return depth;
}

static int cursor_push(struct tree_cursor *cursor, const struct oid *oid, const char *path, size_t end,
	struct error *err)
{
	int r;

	if (cursor->depth == TREE_CURSOR_DEPTH || end >= sizeof cursor->directory)
		return error_set(err, -EBADMSG, "'%.60s…': nested too deep", path);
	r = repo_tree_read(cursor->repo, oid, &cursor->trees[cursor->depth], err);
	if (r < 0)
		return error_prefix(err, -EBADMSG, "directory '%.*s'", (int)end, path);
	memcpy(cursor->directory, path, end);
	cursor->directory[end] = '\0';
	cursor->ends[cursor->depth++] = end;
	return 0;
}

int tree_cursor_find(struct tree_cursor *cursor, const char *path, struct tree_entry *ret,
	struct error *err)
{
	const char *at;
	int r;

	memset(ret, 0, sizeof *ret);
	if (oid_is_zero(&cursor->root))
		return 0;
	if (*path == '\0') {
		ret->mode = TREE_MODE_DIRECTORY;
		ret->oid = cursor->root;
		return 0;
	}
	cursor_truncate(cursor, cursor_shared(cursor, path));
	if (cursor->depth == 0) {
		r = cursor_push(cursor, &cursor->root, path, 0, err);
		if (r < 0)
			return r;
	}
	at = path + cursor->ends[cursor->depth - 1];
	at += *at == '/';
	for (;;) {
		const char *end = strchrnul(at, '/');
		char name[PATH_NAME_MAX + 1];
		struct tree_entry entry;

		if (end == at || end - at > PATH_NAME_MAX)
			return 0;
		memcpy(name, at, (size_t)(end - at));
		name[end - at] = '\0';
		if (!tree_find(cursor->trees[cursor->depth - 1], name, &entry))
			return 0;
		entry.name = NULL;
		if (*end == '\0') {
			*ret = entry;
			return 0;
		}
		if (entry.mode != TREE_MODE_DIRECTORY)
			return 0;
		r = cursor_push(cursor, &entry.oid, path, (size_t)(end - path), err);
		if (r < 0)
			return r;
		at = end + 1;
	}
}
