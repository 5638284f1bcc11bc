/* SPDX-License-Identifier: Apache-2.0 */
/* Does the base still hold what a view was made over? Each path as it is on disk, against the record and against the view. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"
#include "store/base/path.h"
#include "store/fingerprint.h"
#include "store/view_internal.h"

#define TARGET_BYTES_MAX 4096

/* A file of the base whose content has to be read. */
struct unread {
	uint32_t index;
	struct stat before, after; /* equal: what was read is what the attributes stand for */
};

struct fitting {
	const struct view *view;
	struct store *store;
	int basefd;
	struct oid *contents; /* owned; the blob that the base has at each entry, as far as it is a file or symlink; zero: not looked at */
	struct unread *unread; /* owned */
	size_t unread_count, unread_alloc;
};

static void fitting_release(struct fitting *fitting)
{
	free(fitting->contents);
	free(fitting->unread);
}

/* ---- what the base has ---- */

/* Only where it could decide something. */
static bool content_matters(const struct view *view, uint32_t index)
{
	const mode_t type = view->found[index].type;
	const enum view_kind kind = view->entries[index].kind;
	const enum base_record record = (enum base_record)view->records[index];

	if (view_kind_is_directory(kind))
		return false;
	return S_ISREG(type) ? record == BASE_FILE || kind == VIEW_FILE : S_ISLNK(type) && (record == BASE_SYMLINK || kind == VIEW_SYMLINK);
}

static struct stat stat_of(const struct view_found *found)
{
	return (struct stat){ .st_dev = found->device, .st_ino = found->inode, .st_mode = found->type | found->mode,
		.st_size = (off_t)found->size, .st_mtim = found->mtime, .st_ctim = found->ctime };
}

static int open_entry(const struct fitting *fitting, uint32_t index, int flags, struct error *err)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	int fd;

	view_path(fitting->view, index, &path);
	if (strbuf_failed(&path))
		return error_set(err, -ENOMEM, "out of memory");
	fd = path_open(fitting->basefd, strbuf_text(&path), flags, 0);
	return fd < 0 ? error_errno(err, -fd, "look at '%s' in the base", strbuf_text(&path)) : fd;
}

static int read_link(struct fitting *fitting, uint32_t index, struct error *err)
{
	cleanup_close int fd = open_entry(fitting, index, O_PATH, err);
	char target[TARGET_BYTES_MAX];
	ssize_t length;

	if (fd < 0)
		return fd;
	length = readlinkat(fd, "", target, sizeof target);
	if (length < 0)
		return error_errno(err, errno, "read a symlink of the base");
	return repo_blob_id(target, (size_t)length, &fitting->contents[index], err);
}

/* Runs in threads of its own: nothing of the store. */
static int read_file(struct fitting *fitting, struct unread *unread, struct error *err)
{
	cleanup_close int fd = open_entry(fitting, unread->index, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);
	cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(fd, &unread->before) < 0)
		return error_errno(err, errno, "stat a file of the base");
	if (!S_ISREG(unread->before.st_mode))
		return error_set(err, -EAGAIN, "a file of the base is replaced while it is looked at");
	r = blob_draft_read(fd, (uint64_t)unread->before.st_size, &draft, err);
	if (r < 0)
		return r;
	if (fstat(fd, &unread->after) < 0)
		return error_errno(err, errno, "stat a file of the base");
	fitting->contents[unread->index] = draft.oid;
	return 0;
}

static int read_range(void *arg, size_t from, size_t to, struct error *err)
{
	struct fitting *fitting = arg;
	int r = 0;

	for (size_t i = from; i < to && r == 0; i++)
		r = read_file(fitting, &fitting->unread[i], err);
	return r;
}

static bool unchanged(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
		a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int add_unread(struct fitting *fitting, uint32_t index, struct error *err)
{
	if (fitting->unread_count == fitting->unread_alloc) {
		size_t alloc = fitting->unread_alloc ? fitting->unread_alloc * 2 : 16;
		struct unread *grown = reallocarray(fitting->unread, alloc, sizeof *grown);

		if (!grown)
			return error_set(err, -ENOMEM, "out of memory");
		fitting->unread = grown;
		fitting->unread_alloc = alloc;
	}
	fitting->unread[fitting->unread_count++] = (struct unread){ .index = index };
	return 0;
}

/* What the fingerprints do not know is read by all processors, and known from then on. */
static int read_contents(struct fitting *fitting, struct error *err)
{
	struct fingerprints *fingerprints = fitting->store->fingerprints;
	const struct view *view = fitting->view;
	int r = 0;

	for (uint32_t i = 0; i < view->count && r == 0; i++) {
		const struct stat st = stat_of(&view->found[i]);

		if (!content_matters(view, i))
			continue;
		if (S_ISLNK(st.st_mode))
			r = read_link(fitting, i, err);
		else if (!fingerprints_find(fingerprints, &st, &fitting->contents[i]))
			r = add_unread(fitting, i, err);
	}
	if (r == 0)
		r = parallel_run(fitting->unread_count, 1, read_range, fitting, err);
	for (size_t i = 0; i < fitting->unread_count && r == 0; i++) {
		const struct unread *unread = &fitting->unread[i];

		if (unchanged(&unread->before, &unread->after))
			fingerprints_put(fingerprints, &unread->after, &fitting->contents[unread->index]);
	}
	if (fitting->unread_count)
		fingerprints_save(fingerprints);
	return r;
}

/* ---- what that means ---- */

static bool holds(const struct fitting *fitting, uint32_t index, const struct oid *blob)
{
	return oid_equal(&fitting->contents[index], blob);
}

/* The base at the entry is what its commit has on record. */
static bool is_recorded(const struct fitting *fitting, uint32_t index)
{
	const mode_t type = fitting->view->found[index].type;

	switch ((enum base_record)fitting->view->records[index]) {
	case BASE_NONE:
		return type == 0;
	case BASE_FILE:
		return S_ISREG(type) && holds(fitting, index, &fitting->view->recorded[index]);
	case BASE_SYMLINK:
		return S_ISLNK(type) && holds(fitting, index, &fitting->view->recorded[index]);
	case BASE_DIRECTORY:
		return S_ISDIR(type);
	case BASE_SPECIAL:
		return type != 0 && !S_ISREG(type) && !S_ISLNK(type) && !S_ISDIR(type);
	}
	return false;
}

/* The base at the entry is what the view serves there. */
static bool is_served(const struct fitting *fitting, uint32_t index)
{
	const struct view_entry *entry = &fitting->view->entries[index];
	const mode_t type = fitting->view->found[index].type;

	switch (entry->kind) {
	case VIEW_DELETED:
		return type == 0;
	case VIEW_FILE:
		return S_ISREG(type) && holds(fitting, index, &entry->blob);
	case VIEW_SYMLINK:
		return S_ISLNK(type) && holds(fitting, index, &entry->blob);
	case VIEW_SPECIAL:
		return type != 0 && type == (entry->mode & S_IFMT);
	case VIEW_THROUGH:
	case VIEW_DIRECTORY:
		break;
	}
	return false;
}

/* Is there anything but metadata that the view changes there? What it is over is not seen in the content then. */
static bool changes_content(const struct view *view, uint32_t index)
{
	const struct view_entry *entry = &view->entries[index];
	const enum base_record record = (enum base_record)view->records[index];

	if ((entry->kind == VIEW_FILE && record == BASE_FILE) || (entry->kind == VIEW_SYMLINK && record == BASE_SYMLINK))
		return !oid_equal(&entry->blob, &view->recorded[index]);
	return !(entry->kind == VIEW_SPECIAL && record == BASE_SPECIAL);
}

/* A directory is seen through: only that the base has no file in its place, where a directory is on record or nothing was. */
static bool directory_fits(const struct view *view, uint32_t index)
{
	const mode_t type = view->found[index].type;
	const enum base_record record = (enum base_record)view->records[index];

	return type == 0 || S_ISDIR(type) || record == BASE_FILE || record == BASE_SYMLINK || record == BASE_SPECIAL;
}

static int decide(const struct fitting *fitting, enum view_fit *ret, char **ret_path, struct error *err)
{
	const struct view *view = fitting->view;
	size_t absorbed = 0, recorded = 0;

	for (uint32_t i = 1; i < view->count; i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;

		if (view_kind_is_directory(view->entries[i].kind)) {
			if (directory_fits(view, i))
				continue;
		} else if (is_recorded(fitting, i)) {
			recorded += changes_content(view, i);
			continue;
		} else if (is_served(fitting, i)) {
			absorbed++;
			continue;
		}
		view_path(view, i, &path);
		*ret = VIEW_CHANGED;
		*ret_path = strbuf_detach(&path, NULL);
		return *ret_path ? 0 : error_set(err, -ENOMEM, "out of memory");
	}
	*ret_path = NULL;
	*ret = absorbed && !recorded ? VIEW_ABSORBED : VIEW_FITS;
	return 0;
}

static bool adds(const struct view *view, uint32_t index)
{
	const enum view_kind kind = view->entries[index].kind;

	return view->found[index].type == 0 && kind != VIEW_DELETED && kind != VIEW_THROUGH;
}

int view_find_removed(const struct view *view, const struct view *served, char **ret)
{
	*ret = NULL;
	if (!served || !view_any_ended(served))
		return 0;
	for (uint32_t i = 1; i < view->count; i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;
		uint32_t index;

		if (!adds(view, i))
			continue;
		view_path(view, i, &path);
		if (strbuf_failed(&path))
			return -ENOMEM;
		index = view_lookup(served, strbuf_text(&path));
		if (index == VIEW_NONE || !view_is_ended(served, index))
			continue;
		*ret = strbuf_detach(&path, NULL);
		return *ret ? 0 : -ENOMEM;
	}
	return 0;
}

int view_fit(struct view *view, struct store *store, int basefd, enum view_fit *ret, char **ret_path, struct error *err)
{
	CLEANUP(fitting_release) struct fitting fitting = { .view = view, .store = store, .basefd = basefd };
	int r = view->found ? 0 : view_look_again(view, basefd, err);

	if (r < 0)
		return r;
	fitting.contents = calloc(view->count, sizeof *fitting.contents);
	if (!fitting.contents)
		return error_set(err, -ENOMEM, "out of memory");
	r = read_contents(&fitting, err);
	return r < 0 ? r : decide(&fitting, ret, ret_path, err);
}
