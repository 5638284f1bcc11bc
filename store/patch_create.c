/* SPDX-License-Identifier: Apache-2.0 */
/* A patch of a changeset. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/baseline.h"
#include "store/edits.h"
#include "store/patch_internal.h"
#include "store/view.h"

/* A changeset on its way to become edits of the base tree. */
struct laying {
	struct repo *repo;
	struct tree_cursor content, meta; /* of the base tree */
	struct edits edits;
	const char *removed; /* the last path that was taken away; what comes beneath it is new */
};

static void laying_release(struct laying *laying)
{
	tree_cursor_release(&laying->content);
	tree_cursor_release(&laying->meta);
	edits_release(&laying->edits);
}

/* What the base has on record at one path. */
struct record {
	struct tree_entry content; /* mode 0: none; may be a directory */
	struct tree_entry any_meta; /* the blob or tree in `.veneer/meta`; mode 0: none */
	struct meta meta;
};

static void record_release(struct record *record)
{
	meta_release(&record->meta);
}

static int record_read(struct laying *laying, const char *path, struct record *ret, struct error *err)
{
	struct tree_side side = { 0 };
	bool of_directory;
	int r = tree_cursor_find(&laying->content, path, &ret->content, err);

	if (r == 0)
		r = tree_cursor_find(&laying->meta, path, &ret->any_meta, err);
	if (r == 0)
		r = tree_meta_find(&laying->meta, path, &side, &of_directory, err);
	if (r < 0 || side.mode == 0)
		return r;
	return tree_meta_read(laying->repo, &side.oid, of_directory, path, &ret->meta, err);
}

static bool record_is_type(const struct record *record, mode_t type)
{
	return (record->meta.present & META_TYPE) && record->meta.type == type;
}

/* ---- equal to the base? ---- */

/* Each fact that the change states is as the base has it. */
static bool facts_equal(const struct change *change, const struct meta *base)
{
	const struct meta *meta = &change->meta;
	unsigned stated = meta->present & (META_MODE | META_UID | META_GID | META_MTIME | META_XATTRS);

	if (change->kind == CHANGE_SYMLINK)
		stated &= ~(unsigned)META_MODE;
	if (change->kind == CHANGE_DIRECTORY || change->ignore_mtime)
		stated &= ~(unsigned)META_MTIME;
	if ((base->present & stated) != stated)
		return false;
	if (((stated & META_MODE) && meta->mode != base->mode) ||
		((stated & META_UID) && meta->uid != base->uid) ||
		((stated & META_GID) && meta->gid != base->gid))
		return false;
	if ((stated & META_MTIME) &&
		(meta->mtime.tv_sec != base->mtime.tv_sec || meta->mtime.tv_nsec != base->mtime.tv_nsec))
		return false;
	return !(stated & META_XATTRS) || meta_xattrs_equal(meta, base);
}

static bool change_is_equal(const struct change *change, const struct record *record)
{
	const struct meta *meta = &change->meta;
	uint32_t mode = record->content.mode;

	switch (change->kind) {
	case CHANGE_DELETE:
		return mode == 0 && record->any_meta.mode == 0;
	case CHANGE_FILE:
		return (mode == TREE_MODE_FILE || mode == TREE_MODE_EXECUTABLE) &&
			oid_equal(&change->blob, &record->content.oid) && facts_equal(change, &record->meta);
	case CHANGE_SYMLINK:
		return mode == TREE_MODE_SYMLINK && oid_equal(&change->blob, &record->content.oid) &&
			facts_equal(change, &record->meta);
	case CHANGE_DIRECTORY:
		return record_is_type(record, S_IFDIR) && facts_equal(change, &record->meta);
	case CHANGE_SPECIAL:
		return record_is_type(record, meta->type) && meta->device_major == record->meta.device_major &&
			meta->device_minor == record->meta.device_minor && facts_equal(change, &record->meta);
	}
	return false;
}

/* ---- edits ---- */

/* As git reads the mode of a file: the owner's x. Without a mode: as the base has it. */
static uint32_t file_mode(const struct change *change, const struct record *record)
{
	if (change->meta.present & META_MODE)
		return change->meta.mode & S_IXUSR ? TREE_MODE_EXECUTABLE : TREE_MODE_FILE;
	return record->content.mode == TREE_MODE_EXECUTABLE ? TREE_MODE_EXECUTABLE : TREE_MODE_FILE;
}

/* The metadata as it is stored: the type where git has none, and nothing that does not belong to the kind. */
static int put_meta(struct laying *laying, const struct change *change, const struct record *record,
	struct error *err)
{
	bool directory = change->kind == CHANGE_DIRECTORY;
	struct meta meta = change->meta; /* borrowed, not released */
	struct oid oid;
	int r;

	meta.present &= ~(unsigned)META_TYPE;
	if (directory || change->kind == CHANGE_SPECIAL)
		meta.present |= META_TYPE;
	if (directory)
		meta.type = S_IFDIR;
	if (change->kind != CHANGE_FILE)
		meta.present &= ~(unsigned)META_OBJECT;
	/* A directory of the base goes on having the time that its own entries give it. */
	if (directory && record_is_type(record, S_IFDIR))
		meta.present &= ~(unsigned)META_MTIME;
	if (meta.present == 0)
		return edits_add_meta(&laying->edits, change->path, false, 0, NULL, err);
	r = tree_meta_write(laying->repo, &meta, &oid, err);
	if (r < 0)
		return error_prefix(err, r, "'%s'", change->path);
	return edits_add_meta(&laying->edits, change->path, directory, TREE_MODE_FILE, &oid, err);
}

static int lay_change(struct laying *laying, const struct change *change, const struct record *record,
	struct error *err)
{
	const bool is_file = record->content.mode != 0 && record->content.mode != TREE_MODE_DIRECTORY;
	int r = 0;

	switch (change->kind) {
	case CHANGE_DELETE:
		r = edits_add(&laying->edits, change->path, 0, NULL, err);
		return r < 0 ? r : edits_add_meta(&laying->edits, change->path, false, 0, NULL, err);
	case CHANGE_FILE:
		r = edits_add(&laying->edits, change->path, file_mode(change, record), &change->blob, err);
		break;
	case CHANGE_SYMLINK:
		r = edits_add(&laying->edits, change->path, TREE_MODE_SYMLINK, &change->blob, err);
		break;
	case CHANGE_DIRECTORY:
		if (is_file)
			r = edits_add(&laying->edits, change->path, 0, NULL, err);
		break;
	case CHANGE_SPECIAL:
		r = edits_add(&laying->edits, change->path, 0, NULL, err);
		break;
	}
	return r < 0 ? r : put_meta(laying, change, record, err);
}

static bool below_removed(const struct laying *laying, const char *path)
{
	return laying->removed && path_is_beneath(path, laying->removed);
}

static int lay_set(struct laying *laying, const struct changeset *set, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < set->count; i++) {
		const struct change *change = &set->changes[i];
		CLEANUP(record_release) struct record record = { .meta = META_INIT };

		r = record_read(laying, change->path, &record, err);
		if (r < 0)
			break;
		if (below_removed(laying, change->path)) {
			if (change->kind == CHANGE_DELETE)
				continue;
		} else if (change_is_equal(change, &record)) {
			continue;
		}
		r = lay_change(laying, change, &record, err);
		if (change->kind == CHANGE_DELETE && !below_removed(laying, change->path))
			laying->removed = change->path;
	}
	return r;
}

/* The tree of SET over BASE_TREE. -ENODATA: the same tree. */
static int lay_over(struct repo *repo, const struct oid *base_tree, const struct changeset *set,
	struct oid *ret, struct error *err)
{
	CLEANUP(laying_release) struct laying laying = { .repo = repo, .edits = EDITS_INIT };
	struct oid meta, tree;
	int r = tree_meta_root(repo, base_tree, &meta, err);

	if (r < 0)
		return error_prefix(err, r, "base");
	tree_cursor_init(&laying.content, repo, base_tree);
	tree_cursor_init(&laying.meta, repo, &meta);
	r = lay_set(&laying, set, err);
	if (r < 0)
		return r;
	tree = *base_tree;
	if (laying.edits.count > 0)
		r = repo_tree_edit(repo, base_tree, laying.edits.changes, laying.edits.count, &tree, err);
	if (r < 0)
		return r;
	if (oid_equal(&tree, base_tree))
		return error_set(err, -ENODATA, "nothing differs from the base: there is nothing to make a patch of");
	*ret = tree;
	return 0;
}

int patch_create(struct store *store, struct component *component, int basefd,
	const struct changeset *set, const struct patch_spec *spec, char **ret_label,
	struct oid *ret_commit, struct error *err)
{
	cleanup_patch_draft struct patch_draft draft = PATCH_DRAFT_INIT;
	struct oid base = component->base, base_tree, tree, commit;
	struct commit_spec commit_spec = { .parents = &base, .parent_count = 1, .time = time(NULL) };
	cleanup_free char *label = NULL;
	int r = patch_draft_begin(store, component, spec, NULL, &draft, err);

	if (r == 0)
		r = baseline_touch(store, basefd, &component->base_tree, set, &base_tree, err);
	if (r == 0)
		r = lay_over(store->repo, &base_tree, set, &tree, err);
	if (r == 0)
		r = view_check_over(store, &base_tree, &tree, basefd, err);
	if (r == 0 && !oid_equal(&base_tree, &component->base_tree))
		r = component_write_base(store, component, &base_tree, &component->base, commit_spec.time, &base,
			err);
	if (r < 0)
		return r;
	commit_spec.tree = tree;
	label = strdup(draft.label);
	if (!label)
		return error_set(err, -ENOMEM, "out of memory");
	r = patch_draft_write(store, component, &draft, &commit_spec, &commit, err);
	if (r == 0)
		r = patch_draft_publish(store, component, &draft, &commit, &base, &base_tree, err);
	if (r < 0)
		return r;
	*ret_label = TAKE_PTR(label);
	*ret_commit = commit;
	return 0;
}
