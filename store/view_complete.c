/* SPDX-License-Identifier: Apache-2.0 */
/* The last step before a view is published: objects on disk, and what entries inherit from the base's files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/log.h"
#include "store/base/path.h"
#include "store/blobmap.h"
#include "store/object.h"
#include "store/view_internal.h"

#define FACTS_ALL (META_TYPE | META_MODE | META_UID | META_GID | META_MTIME | META_XATTRS)

struct complete {
	struct view *view;
	struct store *store;
	int basefd;
	bool *live;	  /* owned; is anything served at or below it? */
	struct object_query *objects; /* owned; of each file, in the order of entries */
	size_t object_count;
	struct strbuf path; /* of the entry at hand */
};

static void complete_release(struct complete *complete)
{
	free(complete->live);
	free(complete->objects);
	strbuf_release(&complete->path);
}

/* ---- the base's side ---- */

static void fill_defaults(const struct view *view, struct view_entry *entry)
{
	if (!(entry->present & META_MTIME))
		entry->mtime = (struct timespec){ .tv_sec = (time_t)view->time };
	entry->present |= FACTS_ALL;
}

static int inherit_xattrs(const struct complete *complete, struct view_entry *entry, struct error *err)
{
	cleanup_meta struct meta meta = META_INIT;
	cleanup_close int fd = path_open(complete->basefd, strbuf_text(&complete->path), O_PATH, 0);
	int r = fd < 0 ? error_errno(err, -fd, "open it in the base") : meta_read_xattrs(&meta, fd, err);

	return r < 0 ? r : view_set_xattrs(&complete->view->pool, entry, &meta, err);
}

/* The keys that are missing, from a file of the base of the same type. */
static int fill_inherited(const struct complete *complete, struct view_entry *entry, const struct stat *st,
	struct error *err)
{
	int r;

	if (!(entry->present & META_MODE) && !S_ISLNK(entry->mode))
		entry->mode = st->st_mode;
	if (!(entry->present & META_UID))
		entry->uid = st->st_uid;
	if (!(entry->present & META_GID))
		entry->gid = st->st_gid;
	if (!(entry->present & META_MTIME))
		entry->mtime = st->st_mtim;
	if (!(entry->present & META_XATTRS)) {
		r = inherit_xattrs(complete, entry, err);
		if (r < 0)
			return error_prefix(err, r, "'%s'", strbuf_text(&complete->path));
	}
	entry->present |= FACTS_ALL;
	return 0;
}

/* The file of the base that the entry inherits from. Gone or of another type by now: then nothing. */
static int inherit(const struct complete *complete, struct view_entry *entry, bool *ret_inherited, struct error *err)
{
	struct stat st;
	int r = path_stat(complete->basefd, strbuf_text(&complete->path), &st);

	*ret_inherited = r == 0 && (st.st_mode & S_IFMT) == (entry->mode & S_IFMT);
	if (*ret_inherited)
		return fill_inherited(complete, entry, &st, err);
	if (r < 0 && r != -ENOENT && r != -ENOTDIR && r != -ELOOP)
		return error_errno(err, -r, "look at '%s' in the base", strbuf_text(&complete->path));
	return 0;
}

/* A path of the view must not lead through a symlink that the base has and the patch does not know of. */
static int refuse_symlink(const struct complete *complete, uint32_t index, struct error *err)
{
	if (!S_ISLNK(complete->view->found[index].type) || complete->view->records[index] == BASE_SYMLINK)
		return 0;
	return error_set(err, -EBADMSG,
		"passes through the symlink '%s': the base has a symlink where the commit has a directory",
		strbuf_text(&complete->path));
}

static int complete_directory(struct complete *complete, uint32_t index, struct error *err)
{
	struct view_entry *entry = &complete->view->entries[index];
	int r;

	if (S_ISDIR(complete->view->found[index].type))
		return 0;
	r = refuse_symlink(complete, index, err);
	if (r < 0)
		return r;
	if (entry->kind == VIEW_THROUGH) {
		/* Nothing but deletions below a directory that is gone already: as the base has it. */
		if (!complete->live[index])
			return 0;
		entry->kind = VIEW_DIRECTORY;
		entry->mode = S_IFDIR | 0755;
	}
	fill_defaults(complete->view, entry);
	return 0;
}

static int complete_leaf(struct complete *complete, uint32_t index, struct error *err)
{
	struct view_entry *entry = &complete->view->entries[index];
	bool inherited = false;
	int r = 0;

	if ((entry->present & FACTS_ALL) == FACTS_ALL)
		return 0;
	if (complete->view->found[index].type == (entry->mode & S_IFMT))
		r = inherit(complete, entry, &inherited, err);
	if (r == 0 && !inherited)
		fill_defaults(complete->view, entry);
	return r;
}

/* ---- objects ---- */

/* Which of the files have their objects already. */
static int find_objects(struct complete *complete, struct error *err)
{
	const struct view *view = complete->view;

	complete->objects = calloc(view->count, sizeof *complete->objects);
	if (!complete->objects)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < view->count; i++)
		if (view->entries[i].kind == VIEW_FILE)
			complete->objects[complete->object_count++].blob = view->entries[i].blob;
	return objects_find(complete->store, complete->objects, complete->object_count, err);
}

/* By these a reader's share of it is known to be right. */
static int find_blocks(struct complete *complete, struct view_entry *entry, struct error *err)
{
	struct object_blocks *blocks = NULL;
	int r = object_find_blocks(complete->store, &entry->blob, &entry->object, entry->size, &blocks, err);

	if (r < 0)
		return error_prefix(err, r, "'%s'", strbuf_text(&complete->path));
	object_blocks_unref(entry->blocks);
	entry->blocks = blocks;
	return 0;
}

static int find_object(struct complete *complete, struct view_entry *entry, const struct object_query *found,
	struct error *err)
{
	const char *path = strbuf_text(&complete->path);
	const struct hash128 claim = entry->object;
	bool claimed = entry->present & META_OBJECT;
	uint64_t size = found->size;
	int r = 0;

	if (found->there && (!claimed || hash128_equal(&claim, &found->object)))
		entry->object = found->object;
	else
		r = object_materialise(complete->store, &entry->blob, claimed ? &claim : NULL, &entry->object, &size, err);
	if (r < 0)
		return error_prefix(err, r, "'%s'", path);
	if (size != entry->size)
		return error_set(err, -EBADMSG, "'%s': its object has %llu bytes, its blob %llu", path,
			(unsigned long long)size, (unsigned long long)entry->size);
	entry->present |= META_OBJECT;
	return find_blocks(complete, entry, err);
}

/* It is named, and looked for again by whoever reads it. false: it cannot be. */
static bool leave_object(const struct complete *complete, struct view_entry *entry, const struct error *why)
{
	struct hash128 object;
	uint64_t size;

	if (!complete->view->known || why->code == -ENOMEM)
		return false;
	if (!(entry->present & META_OBJECT)) {
		if (!blobmap_find(complete->store->blobs, &entry->blob, &object, &size) || size != entry->size)
			return false;
		entry->object = object;
		entry->present |= META_OBJECT;
	}
	log_message(LOG_ALERT, "%s; who reads it gets an error", why->message);
	return true;
}

static int complete_object(struct complete *complete, struct view_entry *entry, const struct object_query *found,
	struct error *err)
{
	struct error problem = ERROR_INIT;
	int r = find_object(complete, entry, found, &problem);

	if (r == 0 || leave_object(complete, entry, &problem))
		return 0;
	return error_set(err, r, "%s", problem.message);
}

/* FILES: how many files were completed before. */
static int complete_entry(struct complete *complete, uint32_t index, size_t *files, struct error *err)
{
	struct view_entry *entry = &complete->view->entries[index];
	int r = 0;

	strbuf_reset(&complete->path);
	view_path(complete->view, index, &complete->path);
	if (view_kind_is_directory(entry->kind))
		r = complete_directory(complete, index, err);
	else if (entry->kind != VIEW_DELETED)
		r = complete_leaf(complete, index, err);
	if (r == 0 && entry->kind == VIEW_FILE)
		r = complete_object(complete, entry, &complete->objects[(*files)++], err);
	if (r < 0)
		return r;
	return view_set_identity(entry, &complete->path) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

int view_complete(struct view *view, struct store *store, int basefd, struct error *err)
{
	CLEANUP(complete_release)
	struct complete complete = { .view = view, .store = store, .basefd = basefd, .path = STRBUF_INIT };
	size_t files = 0;
	int r;

	complete.live = calloc(view->count, sizeof *complete.live);
	view->ended = calloc(view->count, sizeof *view->ended);
	if (!complete.live || !view->ended)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = (uint32_t)view->count; i-- > 1;) {
		enum view_kind kind = view->entries[i].kind;

		complete.live[i] |= kind != VIEW_DELETED && kind != VIEW_THROUGH;
		complete.live[view->entries[i].parent] |= complete.live[i];
	}
	r = view_look_again(view, basefd, err);
	if (r == 0)
		r = find_objects(&complete, err);
	if (r == 0)
		r = object_batch_begin(store, err);
	/* Breadth-first: a parent is known before its children. */
	for (uint32_t i = 0; r == 0 && i < view->count; i++)
		r = complete_entry(&complete, i, &files, err);
	if (r < 0) {
		object_batch_abort(store);
		return r;
	}
	return object_sync_all(store, err);
}
