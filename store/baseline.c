/* SPDX-License-Identifier: Apache-2.0 */
#include "store/baseline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"
#include "store/baseline_queue.h"
#include "store/difference.h"

#define META_ROOT PATH_RESERVED "/meta"
#define PROGRESS_FILES 64u
/* Each path is two entries of the tree, content and metadata, and the whole must be readable again. */
#define BASELINE_PATHS_MAX (TREE_WALK_MAX / 2)

/* The entries to be put into the tree. */
struct recording {
	struct store *store;
	const struct oid *tree; /* what is recorded already; NULL: nothing */
	struct tree_change *changes; /* owned, their paths too */
	size_t count, alloc;
	/* Found, and not among the changes yet. While one is filled the other, of what comes before it, is read. */
	struct base_queue *filling, *reading; /* owned */
	bool whole; /* every file there is */
	progress_fn progress;
	void *progress_arg;
	uint64_t files, bytes;
};

static void recording_release(struct recording *recording)
{
	for (size_t i = 0; i < recording->count; i++)
		free((char *)recording->changes[i].path);
	free(recording->changes);
	base_queue_free(recording->filling);
	base_queue_free(recording->reading);
}

static int recording_begin(struct recording *recording, struct error *err)
{
	recording->filling = base_queue_new();
	recording->reading = base_queue_new();
	return recording->filling && recording->reading ? 0 : error_errno(err, ENOMEM, "record a base");
}

/* Takes PATH over, also on failure. */
static int recording_put(struct recording *recording, char *path, uint32_t mode, const struct oid *oid,
	struct error *err)
{
	cleanup_free char *owned = path;

	if (!owned)
		return error_errno(err, ENOMEM, "record a base path");
	if (recording->count >= 2 * (size_t)BASELINE_PATHS_MAX)
		return error_set(err, -E2BIG, "more than %u paths in one base, at '%s'", BASELINE_PATHS_MAX,
			owned);
	if (recording->count == recording->alloc) {
		size_t alloc = recording->alloc ? recording->alloc + recording->alloc / 2 : 64;
		struct tree_change *grown = reallocarray(recording->changes, alloc, sizeof *grown);

		if (!grown)
			return error_errno(err, ENOMEM, "record '%s'", owned);
		recording->changes = grown;
		recording->alloc = alloc;
	}
	recording->changes[recording->count++] =
		(struct tree_change){ .path = TAKE_PTR(owned), .mode = mode, .oid = *oid };
	return 0;
}

/* Where the metadata of PATH stands; the caller frees it. */
static char *meta_path(const char *path, bool directory)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_addf(&sb, "%s/%s%s", META_ROOT, path, directory ? META_DIRECTORY : "");
	return strbuf_detach(&sb, NULL);
}

static uint32_t tree_mode(mode_t mode)
{
	if (S_ISLNK(mode))
		return TREE_MODE_SYMLINK;
	return mode & S_IXUSR ? TREE_MODE_EXECUTABLE : TREE_MODE_FILE;
}

/* One path: its content, where git has a form for it, and its metadata. */
static int record_item(struct recording *recording, struct base_item *item, struct error *err)
{
	const struct stat *st = &item->entry.st;
	int r = 0;

	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode)) {
		r = source_draft_put(recording->store, &item->content, item->path, err);
		if (r == 0)
			r = recording_put(recording, strdup(item->path), tree_mode(st->st_mode), &item->content.oid, err);
		/* Who compares the base with its record soon need not read it again. Of a whole directory that would be too much to know. */
		if (r == 0 && !recording->whole)
			fingerprints_put(recording->store->fingerprints, st, &item->content.oid);
	}
	if (r == 0)
		r = source_draft_put(recording->store, &item->meta, item->path, err);
	if (r == 0)
		r = recording_put(recording, meta_path(item->path, S_ISDIR(st->st_mode)), TREE_MODE_FILE, &item->meta.oid, err);
	if (r < 0)
		return r;
	recording->files++;
	recording->bytes += S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	if (recording->progress && recording->files % PROGRESS_FILES == 0)
		recording->progress(recording->progress_arg, recording->files, recording->bytes);
	return 0;
}

/*
 * Records what was being read, while what was being filled is read: afterwards, where either holds a file too large for two of its
 * kind to be in memory. On failure both are empty.
 */
static int record_queue(struct recording *recording, struct error *err)
{
	struct base_queue *read = recording->reading, *filled = recording->filling;
	bool large = read->bytes > BASE_QUEUE_BYTES || filled->bytes > BASE_QUEUE_BYTES;
	int r = base_queue_finish(read, err);

	if (r == 0 && !large)
		base_queue_start(filled);
	for (size_t i = 0; r == 0 && i < read->count; i++)
		r = record_item(recording, &read->items[i], err);
	base_queue_clear(read);
	if (r == 0 && large)
		base_queue_start(filled);
	if (r < 0)
		base_queue_clear(filled);
	recording->reading = filled;
	recording->filling = read;
	return r;
}

static int record_entry(struct recording *recording, struct source_entry *entry, const char *path,
	struct error *err)
{
	int r = path_check(path, err);

	if (r == 0 && base_queue_full(recording->filling, entry))
		r = record_queue(recording, err);
	return r < 0 ? r : base_queue_add(recording->filling, entry, path, err);
}

/* What is queued when the walk ends with R comes before whatever ended it, and so does its error. */
static int record_rest(struct recording *recording, int r, struct error *err)
{
	struct error earlier = ERROR_INIT;
	int code = record_queue(recording, &earlier);

	if (code == 0)
		code = record_queue(recording, &earlier);
	return code < 0 ? error_set(err, code, "%s", earlier.message) : r;
}

/* ---- what is recorded already ---- */

/* Is there an entry (a file; or with ANY also a directory) at PATH of the tree? 1, 0 or a negative errno. */
static int tree_holds(struct recording *recording, const char *path, bool any, struct error *err)
{
	struct tree_entry found;
	int r = repo_tree_lookup(recording->store->repo, recording->tree, path, &found, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return repo_tree_lookup(recording->store->repo, recording->tree, path, &found, err);
	return any || found.mode != TREE_MODE_DIRECTORY;
}

/* Is an ancestor of PATH recorded as a file? Then that is what the base is on record to have had. */
static int ancestor_recorded(struct recording *recording, const char *path, struct error *err)
{
	cleanup_free char *prefix = strdup(path);
	int r = 0;

	if (!prefix)
		return error_errno(err, ENOMEM, "record '%s'", path);
	for (char *slash = strrchr(prefix, '/'); slash && r == 0; slash = strrchr(prefix, '/')) {
		*slash = '\0';
		r = tree_holds(recording, prefix, false, err);
	}
	return r;
}

static int already_recorded(struct recording *recording, const struct source_entry *entry,
	const char *path, struct error *err)
{
	cleanup_free char *of_file = meta_path(path, false), *of_directory = meta_path(path, true);
	int r;

	if (!recording->tree || oid_is_zero(recording->tree))
		return 0;
	if (!of_file || !of_directory)
		return error_errno(err, ENOMEM, "record '%s'", path);
	/* A directory of the tree is no record of the base's directory, its metadata is; to a file it is. */
	r = tree_holds(recording, path, !S_ISDIR(entry->st.st_mode), err);
	if (r == 0)
		r = tree_holds(recording, of_file, false, err);
	if (r == 0)
		r = tree_holds(recording, of_directory, false, err);
	if (r == 0)
		r = ancestor_recorded(recording, path, err);
	return r;
}

/* ---- walking ---- */

static int record_below(struct recording *recording, int dirfd, const char *path, struct error *err);

/* ENTRY, unless it is on record, and when DEEP everything in it. */
static int record_new(struct recording *recording, struct source_entry *entry, const char *path,
	bool deep, struct error *err)
{
	int r = already_recorded(recording, entry, path, err);

	if (r < 0)
		return r;
	if (r == 0)
		r = record_entry(recording, entry, path, err);
	else
		r = 0;
	if (r == 0 && deep && S_ISDIR(entry->st.st_mode))
		r = record_below(recording, entry->fd, path, err);
	return r;
}

static int record_below(struct recording *recording, int dirfd, const char *path, struct error *err)
{
	cleanup_source_names struct source_names names = SOURCE_NAMES_INIT;
	int r = source_names_read(dirfd, path, &names, err);

	for (size_t i = 0; r == 0 && i < names.count; i++) {
		cleanup_source_entry struct source_entry entry = SOURCE_ENTRY_INIT;
		cleanup_free char *full = NULL;

		/* ".git" and ".veneer": no commit can hold them, so no patch can touch them either. */
		if (path_name_problem(names.names[i], strlen(names.names[i])))
			continue;
		full = path_join(path, names.names[i]);
		if (!full)
			return error_errno(err, ENOMEM, "record '%s'", names.names[i]);
		r = source_entry_find(dirfd, names.names[i], &entry, err);
		if (r < 0)
			return error_prefix(err, r, "'%s'", full);
		if (entry.fd >= 0)
			r = record_new(recording, &entry, full, true, err);
	}
	return r;
}

static int recording_write(struct recording *recording, struct oid *ret_tree, struct error *err)
{
	if (recording->progress)
		recording->progress(recording->progress_arg, recording->files, recording->bytes);
	fingerprints_save(recording->store->fingerprints);
	return repo_tree_edit(recording->store->repo, recording->tree, recording->changes, recording->count,
		ret_tree, err);
}

int baseline_full(struct store *store, int basefd, progress_fn progress, void *arg, struct oid *ret_tree,
	struct error *err)
{
	CLEANUP(recording_release)
	struct recording recording = { .store = store, .whole = true, .progress = progress, .progress_arg = arg };
	int r = recording_begin(&recording, err);

	if (r < 0)
		return r;
	r = record_below(&recording, basefd, "", err);
	r = record_rest(&recording, r, err);
	return r < 0 ? r : recording_write(&recording, ret_tree, err);
}

static int touch_one(struct recording *recording, int basefd, const struct change *change, struct error *err)
{
	cleanup_source_entry struct source_entry entry = SOURCE_ENTRY_INIT;
	int r = source_entry_find(basefd, change->path, &entry, err);

	if (r < 0 || entry.fd < 0)
		return r;
	/* A directory that stays is touched by its metadata alone; one that goes takes all its content along. */
	return record_new(recording, &entry, change->path, change->kind != CHANGE_DIRECTORY, err);
}

static int touch_all(struct recording *recording, int basefd, const struct changeset *set, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < set->count; i++) {
		const char *path = set->changes[i].path;
		size_t len = strlen(path);

		r = touch_one(recording, basefd, &set->changes[i], err);
		/* What lies below a directory that goes was recorded with it: not twice. */
		if (set->changes[i].kind == CHANGE_DIRECTORY)
			continue;
		while (i + 1 < set->count && strncmp(set->changes[i + 1].path, path, len) == 0 &&
			set->changes[i + 1].path[len] == '/')
			i++;
	}
	return r;
}

int baseline_touch(struct store *store, int basefd, const struct oid *tree, const struct changeset *set,
	struct oid *ret_tree, struct error *err)
{
	CLEANUP(recording_release) struct recording recording = { .store = store, .tree = tree };
	int r = recording_begin(&recording, err);

	if (r < 0)
		return r;
	r = touch_all(&recording, basefd, set, err);
	r = record_rest(&recording, r, err);
	if (r < 0)
		return r;
	if (recording.count == 0) {
		*ret_tree = *tree;
		return 0;
	}
	return recording_write(&recording, ret_tree, err);
}

/* The paths of DIFFERENCES, of an empty tree against another. A directory that is on record for its own sake is one; else a file. */
static int recorded_paths(const struct differences *differences, struct changeset *set, struct error *err)
{
	for (size_t i = 0; i < differences->count; i++) {
		const struct difference *difference = &differences->items[i];
		bool directory = !difference->content_changed && difference->meta_of_directory[1];
		struct change *change;
		int r;

		if (*difference->path == '\0')
			continue;
		r = changeset_add(set, difference->path, directory ? CHANGE_DIRECTORY : CHANGE_FILE, &change, err);
		if (r < 0)
			return r;
	}
	return changeset_sort(set, err);
}

int baseline_again(struct store *store, int basefd, const struct oid *tree, bool full, progress_fn progress, void *arg,
	struct oid *ret_tree, struct error *err)
{
	cleanup_pool struct pool pool = POOL_INIT;
	cleanup_differences struct differences differences = DIFFERENCES_INIT;
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	struct oid empty;
	int r;

	if (full)
		return baseline_full(store, basefd, progress, arg, ret_tree, err);
	r = repo_tree_empty(store->repo, &empty, err);
	if (r == 0)
		r = differences_collect(store->repo, &pool, &empty, tree, &differences, err);
	if (r == 0)
		r = recorded_paths(&differences, &set, err);
	return r < 0 ? r : baseline_touch(store, basefd, &empty, &set, ret_tree, err);
}
