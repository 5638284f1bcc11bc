/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/tree_difference.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/meta_difference.h"
#include "cli/text.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/meta.h"

#define META_TREE PATH_RESERVED "/meta"

struct finder {
	struct store *store;
	const struct comparison *trees;
	struct tree_differences *found;
};

void tree_differences_release(struct tree_differences *differences)
{
	for (size_t i = 0; i < differences->count; i++) {
		meta_differences_free(differences->list[i].meta, differences->list[i].meta_count);
		free(differences->list[i].path);
	}
	free(differences->list);
	*differences = (struct tree_differences)TREE_DIFFERENCES_INIT;
}

static struct tree_difference *append(struct tree_differences *differences, const char *path, size_t len)
{
	struct tree_difference *row;

	if (differences->count == differences->alloc) {
		size_t alloc = differences->alloc ? differences->alloc * 2 : 64;
		struct tree_difference *grown = reallocarray(differences->list, alloc, sizeof *grown);

		if (!grown)
			return NULL;
		differences->list = grown;
		differences->alloc = alloc;
	}
	row = &differences->list[differences->count];
	*row = (struct tree_difference){ .path = strndup(path, len) };
	if (!row->path)
		return NULL;
	differences->count++;
	return row;
}

static int add_content(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct finder *finder = arg;
	struct tree_difference *row = append(finder->found, path, strlen(path));

	if (!row)
		return error_errno(err, ENOMEM, "'%s'", path);
	if (old_entry) {
		row->old_mode = old_entry->mode;
		row->old_blob = old_entry->oid;
	}
	if (new_entry) {
		row->new_mode = new_entry->mode;
		row->new_blob = new_entry->oid;
	}
	return 0;
}

/* PATH is that of a meta blob below .veneer/meta. */
static int add_meta(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err)
{
	struct finder *finder = arg;
	const size_t suffix = strlen(META_DIRECTORY);
	size_t len = strlen(path);
	struct tree_difference *row;

	if (strcmp(path, PATH_RESERVED) == 0)
		len = 0; /* the component's own directory */
	else if (len > suffix && strcmp(path + len - suffix, META_DIRECTORY) == 0)
		len -= suffix;
	row = append(finder->found, path, len);
	if (!row)
		return error_errno(err, ENOMEM, "'%s'", path);
	row->meta_differs = true;
	return 0;
}

static int compare_rows(const void *a, const void *b)
{
	const struct tree_difference *x = a, *y = b;
	int order = path_compare(x->path, y->path);

	/* content before metadata */
	return order ? order : (int)x->meta_differs - (int)y->meta_differs;
}

/* Content and metadata of one path become one row. */
static void merge_rows(struct tree_differences *differences)
{
	size_t kept = 0;

	if (differences->count == 0)
		return;
	qsort(differences->list, differences->count, sizeof *differences->list, compare_rows);
	for (size_t i = 1; i < differences->count; i++) {
		struct tree_difference *last = &differences->list[kept], *row = &differences->list[i];

		if (strcmp(last->path, row->path) == 0) {
			last->meta_differs |= row->meta_differs;
			free(row->path);
		} else {
			differences->list[++kept] = *row;
		}
	}
	differences->count = kept + 1;
}

/* What is at PATH on one side, as a file type; 0: nothing. Fills MODE and BLOB where the row does not have them yet. */
static int side_type(const struct finder *finder, const struct comparison_side *side, const char *path, uint32_t *mode,
	struct oid *blob, struct meta *meta, bool *ret_has_meta, mode_t *ret, struct error *err)
{
	struct tree_entry entry;
	int r;

	*ret = *path ? 0 : S_IFDIR;
	if (*path) {
		r = repo_tree_lookup(finder->store->repo, &side->tree, path, &entry, NULL);
		if (r == 0 && entry.mode == TREE_MODE_DIRECTORY) {
			*ret = S_IFDIR;
		} else if (r == 0) {
			*mode = entry.mode;
			*blob = entry.oid;
			*ret = entry.mode == TREE_MODE_SYMLINK ? S_IFLNK : S_IFREG;
		} else if (r != -ENOENT) {
			return error_errno(err, -r, "'%s'", path);
		}
	}
	r = meta_side_load(finder->store, &side->tree, &side->base_tree, path, meta, ret_has_meta, err);
	if (r < 0)
		return r;
	/* A meta blob may outlive its file in a commit made by hand: alone it means something only with a type. */
	if (*ret == 0 && (meta->present & META_TYPE) && *ret_has_meta)
		*ret = meta->type;
	return 0;
}

static char status_of(const struct tree_difference *row, mode_t old_type, mode_t new_type)
{
	if (old_type == 0)
		return 'A';
	if (new_type == 0)
		return 'D';
	if (old_type != new_type)
		return 'T';
	return oid_equal(&row->old_blob, &row->new_blob) ? 'm' : 'M';
}

/* Status and metadata of a row; *RET_KEEP false: it says nothing. */
static int fill_row(const struct finder *finder, struct tree_difference *row, bool *ret_keep,
	struct error *err)
{
	cleanup_meta struct meta old = META_INIT, new = META_INIT;
	bool old_has = false, new_has = false;
	mode_t old_type = 0, new_type = 0;
	int r = side_type(finder, &finder->trees->a, row->path, &row->old_mode, &row->old_blob, &old, &old_has,
		&old_type, err);

	if (r == 0)
		r = side_type(finder, &finder->trees->b, row->path, &row->new_mode, &row->new_blob, &new, &new_has,
			&new_type, err);
	if (r < 0)
		return r;
	*ret_keep = old_type != 0 || new_type != 0;
	if (!*ret_keep)
		return 0;
	row->status = status_of(row, old_type, new_type);
	if (row->meta_differs)
		r = meta_differences_find(old_type ? &old : NULL, new_type ? &new : NULL, &row->meta,
			&row->meta_count);
	if (r < 0)
		return error_errno(err, -r, "metadata of '%s'", row->path);
	/* Metas that differ in the object's address alone, or in what they spell out, say the same. */
	*ret_keep = row->status != 'm' || row->meta_count > 0 || row->old_mode != row->new_mode;
	return 0;
}

static int fill_rows(const struct finder *finder, struct error *err)
{
	struct tree_differences *found = finder->found;
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < found->count; i++) {
		struct tree_difference *row = &found->list[i];
		bool keep = true;

		if (r == 0)
			r = fill_row(finder, row, &keep, err);
		if (keep) {
			found->list[kept++] = *row;
		} else {
			meta_differences_free(row->meta, row->meta_count);
			free(row->path);
		}
	}
	found->count = kept;
	return r;
}

/* The tree below .veneer/meta; zero where there is none. */
static int find_meta_tree(struct store *store, const struct oid *tree, struct oid *ret, struct error *err)
{
	struct tree_entry entry;
	int r = repo_tree_lookup(store->repo, tree, META_TREE, &entry, err);

	*ret = (struct oid){ { 0 } };
	if (r == 0 && entry.mode == TREE_MODE_DIRECTORY)
		*ret = entry.oid;
	return r == -ENOENT ? 0 : r;
}

int tree_differences_find(struct store *store, const struct comparison *trees,
	struct tree_differences *ret, struct error *err)
{
	struct finder finder = { .store = store, .trees = trees, .found = ret };
	struct oid meta_a, meta_b;
	int r = find_meta_tree(store, &trees->a.tree, &meta_a, err);

	if (r == 0)
		r = find_meta_tree(store, &trees->b.tree, &meta_b, err);
	if (r == 0)
		r = repo_tree_compare(store->repo, &trees->a.tree, &trees->b.tree, PATH_RESERVED, true,
			add_content, &finder, err);
	if (r == 0)
		r = repo_tree_compare(store->repo, &meta_a, &meta_b, NULL, true, add_meta, &finder, err);
	if (r < 0)
		return r;
	merge_rows(ret);
	return fill_rows(&finder, err);
}

static bool is_wanted(const char *path, const char *const *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (path_is_beneath(path, wanted[i]))
			return true;
	return count == 0;
}

void tree_differences_limit(struct tree_differences *differences, const char *const *paths, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < differences->count; i++) {
		struct tree_difference *row = &differences->list[i];

		if (is_wanted(row->path, paths, count)) {
			differences->list[kept++] = *row;
		} else {
			meta_differences_free(row->meta, row->meta_count);
			free(row->path);
		}
	}
	differences->count = kept;
}

static void row_git_mode(struct json_object *row, const char *key, uint32_t mode)
{
	char text[16];

	snprintf(text, sizeof text, "%06o", mode);
	row_text(row, key, mode ? text : NULL);
}

struct json_object *tree_differences_rows(const struct tree_differences *differences)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < differences->count; i++) {
		const struct tree_difference *difference = &differences->list[i];
		struct json_object *row = json_object_new_object();
		char status[] = { difference->status, '\0' };

		row_text(row, "path", *difference->path ? difference->path : ".");
		row_text(row, "status", status);
		row_git_mode(row, "old_mode", difference->old_mode);
		row_git_mode(row, "new_mode", difference->new_mode);
		row_oid(row, "old_blob", &difference->old_blob);
		row_oid(row, "new_blob", &difference->new_blob);
		row_object(row, "metadata", meta_differences_rows(difference->meta, difference->meta_count));
		json_object_array_add(rows, row);
	}
	return rows;
}

/* Times alone are noise beside new content; a new file is spoken of where it is more than plain. */
static bool is_shown(const struct tree_difference *row, const struct meta_difference *meta, bool all)
{
	if (all)
		return true;
	if (row->status == 'D')
		return false;
	if (strcmp(meta->key, "mtime") == 0)
		return row->status == 'm' && row->meta_count == 1;
	if (row->status != 'A')
		return true;
	return !meta_is_plain(meta);
}

void tree_differences_print_meta(const struct tree_differences *differences, bool all, struct strbuf *sb)
{
	for (size_t i = 0; i < differences->count; i++) {
		const struct tree_difference *row = &differences->list[i];
		bool titled = false;

		for (size_t j = 0; j < row->meta_count; j++) {
			const struct meta_difference *meta = &row->meta[j];

			if (!is_shown(row, meta, all))
				continue;
			if (!titled) {
				strbuf_addstr(sb, "metadata ");
				text_add_printable(sb, *row->path ? row->path : ".", false);
				strbuf_addch(sb, '\n');
			}
			titled = true;
			strbuf_addstr(sb, "  ");
			meta_difference_print(meta, sb);
			strbuf_addch(sb, '\n');
		}
	}
}
