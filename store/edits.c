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

struct conversion {
	struct repo *repo;
	struct tree_cursor content, meta; /* of the new tree */
	int64_t time;
	struct edits edits;
};

static void conversion_release(struct conversion *conversion)
{
	tree_cursor_release(&conversion->content);
	tree_cursor_release(&conversion->meta);
	edits_release(&conversion->edits);
}

/* The metadata to be put beside the content that DIFFERENCE puts, where plain git's needs an interpretation. */
static int interpret(struct conversion *conversion, const struct difference *difference,
	struct tree_side *meta_side, bool *of_directory, struct error *err)
{
	const struct tree_side *old = &difference->content[0], *new = &difference->content[1];
	cleanup_meta struct meta meta = META_INIT;
	int r = 0;

	if (!difference->content_changed || new->mode == 0)
		return 0;
	if (!difference->meta_changed)
		r = tree_meta_find(&conversion->meta, difference->path, meta_side, of_directory, err);
	if (r == 0 && meta_side->mode != 0)
		r = tree_meta_read(conversion->repo, &meta_side->oid, *of_directory, difference->path, &meta, err);
	if (r < 0)
		return r;
	/* A 'type' beside a file is refused when the result is loaded. */
	if ((meta.present & META_TYPE) || !plain_git_meta(&meta, old->mode, &old->oid, new->mode, &new->oid,
						  !difference->meta_changed, conversion->time))
		return 0;
	meta_side->mode = TREE_MODE_FILE;
	*of_directory = false;
	return tree_meta_write(conversion->repo, &meta, &meta_side->oid, err);
}

/* Does DIFFERENCE take a directory away, of which the new tree has nothing left? 1, 0 or a negative errno. */
static int directory_goes(struct conversion *conversion, const struct difference *difference, struct error *err)
{
	struct tree_entry content, meta;
	int r;

	if (!difference->meta_changed || difference->meta[0].mode == 0 || !difference->meta_of_directory[0] ||
		*difference->path == '\0')
		return 0;
	r = tree_cursor_find(&conversion->content, difference->path, &content, err);
	if (r == 0)
		r = tree_cursor_find(&conversion->meta, difference->path, &meta, err);
	return r < 0 ? r : content.mode != TREE_MODE_DIRECTORY && meta.mode != TREE_MODE_DIRECTORY;
}

/*
 * The directory of DIFFERENCE with all that the tree to be edited has beneath it, which may be more than
 * the old tree knew of. What is put in its place, content or META, takes its own part along.
 */
static int remove_directory(struct conversion *conversion, const struct difference *difference,
	const struct tree_side *meta, struct error *err)
{
	int r = 0;

	if (!difference->content_changed)
		r = edits_add(&conversion->edits, difference->path, 0, NULL, err);
	if (r == 0 && meta->mode == 0)
		r = edits_add_meta(&conversion->edits, difference->path, false, 0, NULL, err);
	return r;
}

/* Metadata that is gone, or at its other place now. */
static int remove_meta(struct conversion *conversion, const struct difference *difference,
	const struct tree_side *meta, bool of_directory, struct error *err)
{
	int goes = directory_goes(conversion, difference, err);

	if (goes != 0)
		return goes < 0 ? goes : remove_directory(conversion, difference, meta, err);
	if (!difference->meta_changed || difference->meta[0].mode == 0)
		return 0;
	if (meta->mode != 0 && difference->meta_of_directory[0] == of_directory)
		return 0;
	return edits_add_meta(&conversion->edits, difference->path, difference->meta_of_directory[0], 0, NULL, err);
}

static int add_difference(struct conversion *conversion, const struct difference *difference, struct error *err)
{
	struct edits *edits = &conversion->edits;
	struct tree_side meta = { 0 };
	bool of_directory = false;
	int r = 0;

	if (difference->meta_changed) {
		meta = difference->meta[1];
		of_directory = difference->meta_of_directory[1];
	}
	r = interpret(conversion, difference, &meta, &of_directory, err);
	if (r == 0 && difference->content_changed)
		r = edits_add(edits, difference->path, difference->content[1].mode, &difference->content[1].oid,
			err);
	if (r == 0 && meta.mode != 0)
		r = edits_add_meta(edits, difference->path, of_directory, meta.mode, &meta.oid, err);
	return r < 0 ? r : remove_meta(conversion, difference, &meta, of_directory, err);
}

int edits_of_differences(struct repo *repo, const struct differences *differences,
	const struct oid *new_tree, int64_t time, struct edits *ret, struct error *err)
{
	CLEANUP(conversion_release)
	struct conversion conversion = { .repo = repo, .time = time, .edits = EDITS_INIT };
	struct oid meta;
	int r = tree_meta_root(repo, new_tree, &meta, err);

	if (r < 0)
		return r;
	tree_cursor_init(&conversion.content, repo, new_tree);
	tree_cursor_init(&conversion.meta, repo, &meta);
	for (size_t i = 0; r == 0 && i < differences->count; i++)
		r = add_difference(&conversion, &differences->items[i], err);
	if (r < 0)
		return r;
	*ret = conversion.edits;
	conversion.edits = (struct edits)EDITS_INIT;
	return 0;
}
