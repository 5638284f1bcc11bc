/* SPDX-License-Identifier: Apache-2.0 */
#include "store/edits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/plain_git.h"
#include "store/tree_meta.h"

void edits_release(struct edits *edits)
{
	for (size_t i = 0; i < edits->count; i++)
		free((char *)edits->changes[i].path);
	free(edits->changes);
	*edits = (struct edits)EDITS_INIT;
}

/* Takes PATH over, also on failure. */
static int edits_take(struct edits *edits, char *path, uint32_t mode, const struct oid *oid, struct error *err)
{
	cleanup_free char *owned = path;

	if (owned && edits->count == edits->alloc) {
		size_t alloc = edits->alloc ? edits->alloc + edits->alloc / 2 : 64;
		struct tree_change *changes = reallocarray(edits->changes, alloc, sizeof *changes);

		if (changes) {
			edits->changes = changes;
			edits->alloc = alloc;
		}
	}
	if (!owned || edits->count == edits->alloc)
		return error_set(err, -ENOMEM, "out of memory");
	edits->changes[edits->count] = (struct tree_change){ .path = TAKE_PTR(owned), .mode = mode };
	if (mode != 0)
		edits->changes[edits->count].oid = *oid;
	edits->count++;
	return 0;
}

int edits_add(struct edits *edits, const char *path, uint32_t mode, const struct oid *oid, struct error *err)
{
	return edits_take(edits, strdup(path), mode, oid, err);
}

int edits_add_meta(struct edits *edits, const char *path, bool of_directory, uint32_t mode,
	const struct oid *oid, struct error *err)
{
	return edits_take(edits, tree_meta_path(path, of_directory), mode, oid, err);
}

/* ---- of differences ---- */

/* The metadata to be put beside the content that DIFFERENCE puts, where plain git's needs an interpretation. */
static int interpret(struct repo *repo, struct tree_cursor *cursor, const struct difference *difference,
	int64_t time, struct tree_side *meta_side, bool *of_directory, struct error *err)
{
	const struct tree_side *old = &difference->content[0], *new = &difference->content[1];
	cleanup_meta struct meta meta = META_INIT;
	int r = 0;

	if (!difference->content_changed || new->mode == 0)
		return 0;
	if (!difference->meta_changed)
		r = tree_meta_find(cursor, difference->path, meta_side, of_directory, err);
	if (r == 0 && meta_side->mode != 0)
		r = tree_meta_read(repo, &meta_side->oid, *of_directory, difference->path, &meta, err);
	if (r < 0)
		return r;
	/* A 'type' beside a file is refused when the result is loaded. */
	if ((meta.present & META_TYPE) ||
		!plain_git_meta(&meta, old->mode, &old->oid, new->mode, &new->oid, !difference->meta_changed, time))
		return 0;
	meta_side->mode = TREE_MODE_FILE;
	*of_directory = false;
	return tree_meta_write(repo, &meta, &meta_side->oid, err);
}

static int add_difference(struct repo *repo, struct tree_cursor *cursor, const struct difference *difference,
	int64_t time, struct edits *edits, struct error *err)
{
	struct tree_side meta = { 0 };
	bool of_directory = false, moved;
	int r = 0;

	if (difference->meta_changed) {
		meta = difference->meta[1];
		of_directory = difference->meta_of_directory[1];
	}
	r = interpret(repo, cursor, difference, time, &meta, &of_directory, err);
	if (r == 0 && difference->content_changed)
		r = edits_add(edits, difference->path, difference->content[1].mode, &difference->content[1].oid,
			err);
	if (r == 0 && meta.mode != 0)
		r = edits_add_meta(edits, difference->path, of_directory, meta.mode, &meta.oid, err);
	if (r < 0 || !difference->meta_changed || difference->meta[0].mode == 0)
		return r;
	/* Gone, or at its other place now. */
	moved = meta.mode == 0 || difference->meta_of_directory[0] != of_directory;
	return moved ? edits_add_meta(edits, difference->path, difference->meta_of_directory[0], 0, NULL, err) :
		       0;
}

int edits_of_differences(struct repo *repo, const struct differences *differences,
	const struct oid *new_tree, int64_t time, struct edits *ret, struct error *err)
{
	cleanup_edits struct edits edits = EDITS_INIT;
	cleanup_tree_cursor struct tree_cursor cursor;
	struct oid meta;
	int r;

	tree_cursor_init(&cursor, repo, NULL);
	r = tree_meta_root(repo, new_tree, &meta, err);
	if (r < 0)
		return r;
	tree_cursor_init(&cursor, repo, &meta);
	for (size_t i = 0; r == 0 && i < differences->count; i++)
		r = add_difference(repo, &cursor, &differences->items[i], time, &edits, err);
	if (r < 0)
		return r;
	*ret = edits;
	edits = (struct edits)EDITS_INIT;
	return 0;
}
