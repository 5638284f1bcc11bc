/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a view: what each path that differs is, and the trie of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/blobmap.h"
#include "store/object.h"
#include "store/plain_git.h"
#include "store/tree_cursor.h"
#include "store/view_internal.h"

#define SYMLINK_TARGET_MAX 4095u

/* What the base commit has at a path. */
struct record {
	enum base_record kind;
	struct oid blob; /* of BASE_FILE and BASE_SYMLINK */
};

/* An entry on its way; in order of paths, so that a parent stands before its children. */
struct node {
	struct view_entry entry; /* links of the final order are set in the end */
	struct record record;
	bool live; /* something is served at or below it */
	uint32_t parent, first_child, last_child, next;
};

struct build {
	struct repo *repo;
	struct view *view;
	struct tree_cursor content, meta; /* of the active tree */
	struct node *nodes; /* owned */
	size_t count, alloc;
};

static void build_release(struct build *build)
{
	tree_cursor_release(&build->content);
	tree_cursor_release(&build->meta);
	free(build->nodes);
}

/* ---- reading what one path is ---- */

/* What the active tree has at a path that differs; the base's metadata where it matters. */
struct subject {
	const struct difference *difference;
	struct tree_side content; /* mode 0: no file there */
	bool has_children;	  /* the tree has a directory there */
	bool has_meta;
	struct meta meta;
	struct record record;
};

static void subject_release(struct subject *subject)
{
	meta_release(&subject->meta);
}

static int subject_meta(struct build *build, struct subject *subject, struct error *err)
{
	const struct difference *difference = subject->difference;
	struct tree_side side = difference->meta[1];
	bool of_directory = difference->meta_of_directory[1];
	int r;

	if (!difference->meta_changed) {
		r = tree_meta_find(&build->meta, difference->path, &side, &of_directory, err);
		if (r < 0)
			return r;
	}
	if (side.mode == 0)
		return 0;
	subject->has_meta = true;
	return tree_meta_read(build->repo, &side.oid, of_directory, difference->path, &subject->meta, err);
}

static int subject_content(struct build *build, struct subject *subject, struct error *err)
{
	const struct difference *difference = subject->difference;
	struct tree_entry entry;
	int r;

	if (difference->content_changed && difference->content[1].mode != 0) {
		subject->content = difference->content[1];
		return 0;
	}
	r = tree_cursor_find(&build->content, difference->path, &entry, err);
	if (r < 0)
		return r;
	subject->has_children = entry.mode == TREE_MODE_DIRECTORY;
	if (entry.mode != 0 && !subject->has_children)
		subject->content = (struct tree_side){ entry.mode, entry.oid };
	return 0;
}

static enum base_record record_of_mode(uint32_t mode)
{
	if (mode == 0)
		return BASE_NONE;
	return mode == TREE_MODE_SYMLINK ? BASE_SYMLINK : BASE_FILE;
}

static enum base_record record_of_type(const struct meta *meta)
{
	if (!(meta->present & META_TYPE))
		return BASE_NONE;
	return meta->type == S_IFDIR ? BASE_DIRECTORY : BASE_SPECIAL;
}

/* What the base commit has at the path. */
static int subject_record(struct build *build, struct subject *subject, struct error *err)
{
	const struct difference *difference = subject->difference;
	const struct tree_side *content = difference->content_changed ? &difference->content[0] : &subject->content;
	cleanup_meta struct meta meta = META_INIT;
	int r;

	subject->record.kind = record_of_mode(content->mode);
	if (subject->record.kind != BASE_NONE) {
		subject->record.blob = content->oid;
		return 0;
	}
	if (!difference->meta_changed) {
		subject->record.kind = record_of_type(&subject->meta);
		return 0;
	}
	if (difference->meta[0].mode == 0)
		return 0;
	r = tree_meta_read(build->repo, &difference->meta[0].oid, difference->meta_of_directory[0], difference->path,
		&meta, err);
	if (r < 0)
		return error_prefix(err, r, "base");
	subject->record.kind = record_of_type(&meta);
	return 0;
}

/* ---- making its entry ---- */

static int entry_symlink(struct build *build, const struct subject *subject, struct view_entry *entry,
	struct error *err)
{
	cleanup_strbuf struct strbuf target = STRBUF_INIT;
	const char *path = subject->difference->path;
	int r = repo_blob_read(build->repo, &subject->content.oid, SYMLINK_TARGET_MAX, &target, err);

	if (r == -E2BIG)
		return error_set(err, -EBADMSG, "symlink '%s': a target longer than %u bytes", path,
			SYMLINK_TARGET_MAX);
	if (r < 0)
		return tree_blob_error(r, &subject->content.oid, path, "blob", err);
	if (target.len == 0 || memchr(target.buf, '\0', target.len))
		return error_set(err, -EBADMSG, "symlink '%s': %s", path,
			target.len == 0 ? "an empty target" : "a NUL byte in its target");
	entry->kind = VIEW_SYMLINK;
	entry->blob = subject->content.oid;
	entry->size = target.len;
	entry->target = pool_strndup(&build->view->pool, target.buf, target.len);
	return entry->target ? 0 : pool_error(&build->view->pool, err);
}

static int entry_file(struct build *build, const struct subject *subject, struct view_entry *entry,
	struct error *err)
{
	const struct meta *meta = &subject->meta;
	const char *path = subject->difference->path;
	struct hash128 object;
	int r = repo_blob_size(build->repo, &subject->content.oid, &entry->size, err);

	if (r < 0 && build->view->known && blobmap_find(build->view->known, &subject->content.oid, &object, &entry->size))
		r = 0;
	if (r < 0)
		return tree_blob_error(r, &subject->content.oid, path, "blob", err);
	if (entry->size > OBJECT_BYTES_MAX)
		return error_set(err, -EBADMSG, "'%s': larger than %llu bytes", path, OBJECT_BYTES_MAX);
	if ((meta->present & META_OBJECT) && meta->object_size != entry->size)
		return error_set(err, -EBADMSG,
			"'%s': its metadata claims an object of %llu bytes, its blob has %llu: 'create --commit' writes it anew",
			path, (unsigned long long)meta->object_size, (unsigned long long)entry->size);
	entry->kind = VIEW_FILE;
	entry->blob = subject->content.oid;
	entry->object = meta->object;
	return 0;
}

/* The keys that META gives; mode has its type bits and, where no mode is given, git's permissions. */
static int entry_facts(struct build *build, const struct meta *meta, mode_t type, mode_t permissions,
	struct view_entry *entry, struct error *err)
{
	entry->present = meta->present | META_TYPE;
	entry->mode = type | (meta->present & META_MODE ? meta->mode : permissions);
	if (S_ISLNK(type))
		entry->mode = S_IFLNK | 0777; /* Linux has no other */
	if (!S_ISREG(type))
		entry->present &= ~(unsigned)META_OBJECT;
	entry->uid = meta->present & META_UID ? meta->uid : 0;
	entry->gid = meta->present & META_GID ? meta->gid : 0;
	if (meta->present & META_MTIME)
		entry->mtime = meta->mtime;
	return view_set_xattrs(&build->view->pool, entry, meta, err);
}

static int entry_content(struct build *build, struct subject *subject, struct view_entry *entry,
	struct error *err)
{
	const struct difference *difference = subject->difference;
	const struct tree_side *content = &subject->content;
	bool symlink = content->mode == TREE_MODE_SYMLINK;
	int r;

	if (subject->meta.present & META_TYPE)
		return error_set(err, -EBADMSG,
			"'%s': a %s, but its metadata has a 'type' of its own; remove it from '%s/meta'", difference->path,
			symlink ? "symlink" : "file", PATH_RESERVED);
	if (difference->content_changed)
		plain_git_meta(&subject->meta, difference->content[0].mode, &difference->content[0].oid, content->mode,
			&content->oid, !difference->meta_changed, build->view->time);
	r = symlink ? entry_symlink(build, subject, entry, err) : entry_file(build, subject, entry, err);
	if (r < 0)
		return r;
	return entry_facts(build, &subject->meta, symlink ? S_IFLNK : S_IFREG,
		content->mode == TREE_MODE_EXECUTABLE ? 0755 : 0644, entry, err);
}

static int entry_typed(struct build *build, const struct subject *subject, struct view_entry *entry,
	struct error *err)
{
	const struct meta *meta = &subject->meta;

	if (meta->type == S_IFDIR) {
		entry->kind = VIEW_DIRECTORY;
		return entry_facts(build, meta, S_IFDIR, 0755, entry, err);
	}
	if (subject->has_children)
		return error_set(err, -EBADMSG, "'%s': a directory, but its metadata has another 'type'",
			subject->difference->path);
	entry->kind = VIEW_SPECIAL;
	entry->device = makedev(meta->device_major, meta->device_minor);
	return entry_facts(build, meta, meta->type, 0644, entry, err);
}

/* RET_NOTHING: the difference means nothing (metadata of what is not there, or gone from what stays). */
static int resolve(struct build *build, const struct difference *difference, struct view_entry *entry,
	struct record *ret_record, bool *ret_nothing, struct error *err)
{
	CLEANUP(subject_release) struct subject subject = { .difference = difference, .meta = META_INIT };
	int r = subject_content(build, &subject, err);

	if (r == 0)
		r = subject_meta(build, &subject, err);
	if (r == 0)
		r = subject_record(build, &subject, err);
	if (r < 0)
		return r;
	*ret_record = subject.record;
	*ret_nothing = false;
	if (subject.content.mode != 0) {
		*ret_nothing = !difference->content_changed && !subject.has_meta;
		return *ret_nothing ? 0 : entry_content(build, &subject, entry, err);
	}
	if (subject.meta.present & META_TYPE)
		return entry_typed(build, &subject, entry, err);
	*ret_nothing = subject.record.kind == BASE_NONE;
	entry->kind = VIEW_DELETED;
	return 0;
}

/* ---- the trie ---- */

static int node_add(struct build *build, uint32_t parent, const char *name, size_t len, uint32_t *ret,
	struct error *err)
{
	struct node *node;

	if (build->count == VIEW_ENTRIES_MAX)
		return error_set(err, -EBADMSG, "more than %u entries differ from the base", VIEW_ENTRIES_MAX);
	if (build->count == build->alloc) {
		size_t alloc = build->alloc ? build->alloc + build->alloc / 2 : 64;
		struct node *nodes = reallocarray(build->nodes, alloc, sizeof *nodes);

		if (!nodes)
			return error_set(err, -ENOMEM, "out of memory");
		build->nodes = nodes;
		build->alloc = alloc;
	}
	node = &build->nodes[build->count];
	*node = (struct node){ .parent = parent, .first_child = VIEW_NONE, .last_child = VIEW_NONE,
		.next = VIEW_NONE };
	node->entry.kind = VIEW_THROUGH;
	node->entry.name = pool_strndup(&build->view->pool, name, len);
	node->entry.name_length = (uint32_t)len;
	if (!node->entry.name)
		return pool_error(&build->view->pool, err);
	*ret = (uint32_t)build->count++;
	if (parent == VIEW_NONE)
		return 0;
	if (build->nodes[parent].first_child == VIEW_NONE)
		build->nodes[parent].first_child = *ret;
	else
		build->nodes[build->nodes[parent].last_child].next = *ret;
	build->nodes[parent].last_child = *ret;
	return 0;
}

/* The node at PATH, made with its ancestors. Paths come in order, so what exists of it are last children. */
static int node_at(struct build *build, const char *path, uint32_t *ret, struct error *err)
{
	uint32_t at = 0;

	while (*path) {
		const char *end = strchrnul(path, '/');
		size_t len = (size_t)(end - path);
		uint32_t last = build->nodes[at].last_child;

		if (last != VIEW_NONE && build->nodes[last].entry.name_length == len &&
			memcmp(build->nodes[last].entry.name, path, len) == 0) {
			at = last;
		} else {
			int r = node_add(build, at, path, len, &at, err);

			if (r < 0)
				return r;
		}
		path = *end ? end + 1 : end;
	}
	*ret = at;
	return 0;
}

static int add_differences(struct build *build, const struct differences *differences, struct error *err)
{
	uint32_t index;
	int r = node_add(build, VIEW_NONE, "", 0, &index, err);

	for (size_t i = 0; r == 0 && i < differences->count; i++) {
		struct view_entry entry = { .kind = VIEW_THROUGH };
		struct record record = { .kind = BASE_NONE };
		bool nothing;

		r = resolve(build, &differences->items[i], &entry, &record, &nothing, err);
		if (r < 0 || nothing)
			continue;
		r = node_at(build, differences->items[i].path, &index, err);
		if (r < 0)
			break;
		entry.name = build->nodes[index].entry.name;
		entry.name_length = build->nodes[index].entry.name_length;
		build->nodes[index].entry = entry;
		build->nodes[index].record = record;
	}
	return r;
}

static void node_path(const struct build *build, uint32_t index, struct strbuf *sb)
{
	if (build->nodes[index].parent != VIEW_NONE && build->nodes[index].parent != 0) {
		node_path(build, build->nodes[index].parent, sb);
		strbuf_addch(sb, '/');
	}
	strbuf_addstr(sb, build->nodes[index].entry.name);
}

/* Does the active tree have anything below a directory whose own metadata is gone? */
static int directory_remains(struct build *build, uint32_t index, struct error *err)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	struct tree_entry entry;
	int r;

	if (index == 0)
		return 1;
	node_path(build, index, &path);
	if (strbuf_failed(&path))
		return error_set(err, -ENOMEM, "out of memory");
	r = tree_cursor_find(&build->content, path.buf, &entry, err);
	if (r == 0 && entry.mode != TREE_MODE_DIRECTORY)
		r = tree_cursor_find(&build->meta, path.buf, &entry, err);
	return r < 0 ? r : entry.mode == TREE_MODE_DIRECTORY;
}

/* A path with nothing at it in the active tree: gone, or a directory that only others say is there. */
static int settle_deleted(struct build *build, uint32_t index, bool live_children, struct error *err)
{
	struct node *node = &build->nodes[index];
	int r;

	if (node->record.kind != BASE_DIRECTORY) {
		if (live_children) {
			node->entry.kind = VIEW_DIRECTORY;
			node->entry.mode = S_IFDIR | 0755;
			node->entry.present = META_TYPE;
		}
		return 0;
	}
	r = live_children ? 1 : directory_remains(build, index, err);
	if (r > 0)
		node->entry.kind = VIEW_THROUGH;
	return r < 0 ? r : 0;
}

/* Decide what could not be told from one path alone, children before parents. */
static int settle(struct build *build, struct error *err)
{
	for (uint32_t index = (uint32_t)build->count; index-- > 0;) {
		struct node *node = &build->nodes[index];
		bool live_children = false;
		int r = 0;

		for (uint32_t i = node->first_child; i != VIEW_NONE; i = build->nodes[i].next)
			live_children |= build->nodes[i].live;
		if (node->entry.kind == VIEW_DELETED)
			r = settle_deleted(build, index, live_children, err);
		if (r < 0)
			return r;
		if (!view_kind_is_directory(node->entry.kind)) {
			cleanup_strbuf struct strbuf path = STRBUF_INIT;

			if (live_children) {
				node_path(build, index, &path);
				return error_set(err, -EBADMSG,
					"'%s': something stands below it, but it is no directory", strbuf_text(&path));
			}
			/* Deletions beneath what is gone or replaced say nothing more. */
			node->first_child = node->last_child = VIEW_NONE;
		}
		node->live = live_children ||
			(node->entry.kind != VIEW_DELETED && node->entry.kind != VIEW_THROUGH);
	}
	return 0;
}

/*
 * What was beneath a directory that is gone or replaced is no entry, but the patch was made for it all the same (view_fit()). PLACES: where each
 * node stands in the view; VIEW_NONE: nowhere.
 */
static int keep_beneath(struct build *build, const uint32_t *places, struct error *err)
{
	struct view *view = build->view;

	if (build->count == view->count)
		return 0;
	view->beneath = calloc(build->count - view->count, sizeof *view->beneath);
	if (!view->beneath)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < build->count; i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;
		const struct node *node = &build->nodes[i];
		struct view_beneath *beneath = &view->beneath[view->beneath_count];
		uint32_t top = i;

		if (places[i] != VIEW_NONE)
			continue;
		while (places[top] == VIEW_NONE)
			top = build->nodes[top].parent;
		node_path(build, i, &path);
		if (strbuf_failed(&path))
			return error_set(err, -ENOMEM, "out of memory");
		*beneath = (struct view_beneath){ pool_strndup(&view->pool, path.buf, path.len), places[top],
			(uint8_t)node->record.kind, node->record.blob };
		if (!beneath->path)
			return pool_error(&view->pool, err);
		view->beneath_count++;
	}
	return 0;
}

/* Breadth-first: each directory's children are appended when the directory itself is reached. */
static int flatten(struct build *build, struct error *err)
{
	struct view *view = build->view;
	cleanup_free uint32_t *source = calloc(build->count, sizeof *source);
	cleanup_free uint32_t *places = malloc(build->count * sizeof *places);

	view->entries = calloc(build->count, sizeof *view->entries);
	view->records = calloc(build->count, sizeof *view->records);
	view->recorded = calloc(build->count, sizeof *view->recorded);
	if (!source || !places || !view->entries || !view->records || !view->recorded)
		return error_set(err, -ENOMEM, "out of memory");
	memset(places, 0xff, build->count * sizeof *places); /* VIEW_NONE */
	view->entries[0] = build->nodes[0].entry;
	view->entries[0].parent = VIEW_NONE;
	view->count = 1;
	for (uint32_t at = 0; at < view->count; at++) {
		const struct node *node = &build->nodes[source[at]];

		places[source[at]] = at;
		view->records[at] = (uint8_t)node->record.kind;
		view->recorded[at] = node->record.blob;
		view->entries[at].first_child = (uint32_t)view->count;
		for (uint32_t i = node->first_child; i != VIEW_NONE; i = build->nodes[i].next) {
			source[view->count] = i;
			view->entries[view->count] = build->nodes[i].entry;
			view->entries[view->count].parent = at;
			view->count++;
		}
		view->entries[at].child_count = (uint32_t)view->count - view->entries[at].first_child;
	}
	return keep_beneath(build, places, err);
}

static int identify(struct view *view, struct error *err)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;

	for (uint32_t i = 0; i < view->count; i++) {
		strbuf_reset(&path);
		view_path(view, i, &path);
		if (view_set_identity(&view->entries[i], &path) < 0)
			return error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

int view_build(struct repo *repo, struct view *view, const struct oid *tree,
	const struct differences *differences, struct error *err)
{
	CLEANUP(build_release) struct build build = { .repo = repo, .view = view };
	struct oid meta;
	int r = tree_meta_root(repo, tree, &meta, err);

	if (r < 0)
		return r;
	tree_cursor_init(&build.content, repo, tree);
	tree_cursor_init(&build.meta, repo, &meta);
	r = add_differences(&build, differences, err);
	if (r == 0)
		r = settle(&build, err);
	if (r == 0)
		r = flatten(&build, err);
	return r < 0 ? r : identify(view, err);
}
