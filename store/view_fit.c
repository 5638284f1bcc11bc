/* SPDX-License-Identifier: Apache-2.0 */
/* Does the base still hold what a view was made over? Each path as it is on disk, against the record and against the view. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"
#include "store/base/path.h"
#include "store/base/path_cursor.h"
#include "store/fingerprint.h"
#include "store/view_internal.h"

#define TARGET_BYTES_MAX 4096

/* A file of the base whose content has to be read. */
struct unread {
	size_t subject;
	struct stat before, after; /* equal: what was read is what the attributes stand for */
};

/*
 * A subject is what is looked at: the entries of the view, and behind them what stands beneath directories that it takes away
 * (view->beneath), for as long as the base has those.
 */
struct fitting {
	const struct view *view;
	struct store *store;
	int basefd;
	struct stat *beneath; /* owned; of each view->beneath; st_mode 0: nothing is there */
	struct oid *contents; /* owned; the blob that the base has at each subject, as far as it is a file or symlink; zero: not looked at */
	struct unread *unread; /* owned */
	size_t unread_count, unread_alloc;
};

static void fitting_release(struct fitting *fitting)
{
	free(fitting->beneath);
	free(fitting->contents);
	free(fitting->unread);
}

static size_t subject_count(const struct fitting *fitting)
{
	return fitting->view->count + fitting->view->beneath_count;
}

/* NULL: an entry of the view. */
static const struct view_beneath *beneath_of(const struct fitting *fitting, size_t subject)
{
	return subject < fitting->view->count ? NULL : &fitting->view->beneath[subject - fitting->view->count];
}

/* ---- what the base has ---- */

/* The view takes a directory away that the base has: then what is in it counts. */
static bool takes_directory(const struct view *view, uint32_t index)
{
	return !view_kind_is_directory(view->entries[index].kind) && view->records[index] == BASE_DIRECTORY &&
		S_ISDIR(view->found[index].type);
}

static int look_beneath(struct fitting *fitting, struct error *err)
{
	CLEANUP(path_cursor_release) struct path_cursor base = PATH_CURSOR_INIT(fitting->basefd);
	const struct view *view = fitting->view;

	fitting->beneath = calloc(view->beneath_count + 1, sizeof *fitting->beneath);
	if (!fitting->beneath)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < view->beneath_count; i++) {
		struct stat st;
		int r;

		if (!takes_directory(view, view->beneath[i].top))
			continue;
		r = path_cursor_stat(&base, view->beneath[i].path, &st);
		if (r == 0)
			fitting->beneath[i] = st;
		else if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP)
			return error_errno(err, -r, "look at '%s' in the base", view->beneath[i].path);
	}
	return 0;
}

static struct stat stat_of(const struct fitting *fitting, size_t subject)
{
	const struct view_found *found = &fitting->view->found[subject];

	if (beneath_of(fitting, subject))
		return fitting->beneath[subject - fitting->view->count];
	return (struct stat){ .st_dev = found->device, .st_ino = found->inode, .st_mode = found->type | found->mode,
		.st_size = (off_t)found->size, .st_mtim = found->mtime, .st_ctim = found->ctime };
}

/* Only where it could decide something. */
static bool content_matters(const struct fitting *fitting, size_t subject, mode_t type)
{
	const struct view_beneath *beneath = beneath_of(fitting, subject);
	const enum base_record record = (enum base_record)(beneath ? beneath->record : fitting->view->records[subject]);
	const enum view_kind kind = beneath ? VIEW_DELETED : fitting->view->entries[subject].kind;

	return S_ISREG(type) ? record == BASE_FILE || kind == VIEW_FILE : S_ISLNK(type) && (record == BASE_SYMLINK || kind == VIEW_SYMLINK);
}

static void subject_path(const struct fitting *fitting, size_t subject, struct strbuf *path)
{
	const struct view_beneath *beneath = beneath_of(fitting, subject);

	if (beneath)
		strbuf_addstr(path, beneath->path);
	else
		view_path(fitting->view, (uint32_t)subject, path);
}

static int open_subject(const struct fitting *fitting, size_t subject, int flags, struct error *err)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	int fd;

	subject_path(fitting, subject, &path);
	if (strbuf_failed(&path))
		return error_set(err, -ENOMEM, "out of memory");
	fd = path_open(fitting->basefd, strbuf_text(&path), flags, 0);
	return fd < 0 ? error_errno(err, -fd, "look at '%s' in the base", strbuf_text(&path)) : fd;
}

static int read_link(struct fitting *fitting, size_t subject, struct error *err)
{
	cleanup_close int fd = open_subject(fitting, subject, O_PATH, err);
	char target[TARGET_BYTES_MAX];
	ssize_t length;

	if (fd < 0)
		return fd;
	length = readlinkat(fd, "", target, sizeof target);
	if (length < 0)
		return error_errno(err, errno, "read a symlink of the base");
	return repo_blob_id(target, (size_t)length, &fitting->contents[subject], err);
}

/* Runs in threads of its own: nothing of the store. */
static int read_file(struct fitting *fitting, struct unread *unread, struct error *err)
{
	cleanup_close int fd = open_subject(fitting, unread->subject, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);
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
	fitting->contents[unread->subject] = draft.oid;
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

static int add_unread(struct fitting *fitting, size_t subject, struct error *err)
{
	if (fitting->unread_count == fitting->unread_alloc) {
		size_t alloc = fitting->unread_alloc ? fitting->unread_alloc * 2 : 16;
		struct unread *grown = reallocarray(fitting->unread, alloc, sizeof *grown);

		if (!grown)
			return error_set(err, -ENOMEM, "out of memory");
		fitting->unread = grown;
		fitting->unread_alloc = alloc;
	}
	fitting->unread[fitting->unread_count++] = (struct unread){ .subject = subject };
	return 0;
}

/* What the fingerprints do not know is read by all processors, and known from then on. */
static int read_contents(struct fitting *fitting, struct error *err)
{
	struct fingerprints *fingerprints = fitting->store->fingerprints;
	int r = 0;

	fingerprints_read(fingerprints);
	for (size_t i = 0; i < subject_count(fitting) && r == 0; i++) {
		const struct stat st = stat_of(fitting, i);

		if (!content_matters(fitting, i, st.st_mode & S_IFMT))
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
			fingerprints_put(fingerprints, &unread->after, &fitting->contents[unread->subject]);
	}
	if (fitting->unread_count)
		fingerprints_save(fingerprints);
	return r;
}

/* ---- what that means ---- */

static bool holds(const struct fitting *fitting, size_t subject, const struct oid *blob)
{
	return oid_equal(&fitting->contents[subject], blob);
}

/* The base has at the subject what its commit has on record. */
static bool is_on_record(const struct fitting *fitting, size_t subject, enum base_record record, const struct oid *blob, mode_t type)
{
	switch (record) {
	case BASE_NONE:
		return type == 0;
	case BASE_FILE:
		return S_ISREG(type) && holds(fitting, subject, blob);
	case BASE_SYMLINK:
		return S_ISLNK(type) && holds(fitting, subject, blob);
	case BASE_DIRECTORY:
		return S_ISDIR(type);
	case BASE_SPECIAL:
		return type != 0 && !S_ISREG(type) && !S_ISLNK(type) && !S_ISDIR(type);
	}
	return false;
}

static bool is_recorded(const struct fitting *fitting, uint32_t index)
{
	const struct view *view = fitting->view;

	return is_on_record(fitting, index, (enum base_record)view->records[index], &view->recorded[index], view->found[index].type);
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

/* Has the base something else than a directory on record, and the view a directory? */
static bool makes_directory(const struct view *view, uint32_t index)
{
	const enum base_record record = (enum base_record)view->records[index];

	return record == BASE_FILE || record == BASE_SYMLINK || record == BASE_SPECIAL;
}

/* What fits, counted: as it is on record, and the view changes it; as the view has it. */
struct tally {
	size_t recorded, absorbed;
};

/* A directory is seen through: only that the base has no file in its place, or the one that it takes the place of. */
static bool directory_fits(const struct fitting *fitting, uint32_t index, struct tally *tally)
{
	const mode_t type = fitting->view->found[index].type;

	if (!makes_directory(fitting->view, index))
		return type == 0 || S_ISDIR(type);
	if (S_ISDIR(type)) {
		tally->absorbed++;
		return true;
	}
	tally->recorded++;
	return is_recorded(fitting, index);
}

static bool entry_fits(const struct fitting *fitting, uint32_t index, struct tally *tally)
{
	if (view_kind_is_directory(fitting->view->entries[index].kind))
		return directory_fits(fitting, index, tally);
	if (is_recorded(fitting, index))
		tally->recorded += changes_content(fitting->view, index);
	else if (is_served(fitting, index))
		tally->absorbed++;
	else
		return false;
	return true;
}

/* ---- what went with a directory ---- */

static bool beneath_fits(const struct fitting *fitting, size_t index)
{
	const struct view_beneath *beneath = &fitting->view->beneath[index];
	const mode_t type = fitting->beneath[index].st_mode & S_IFMT;

	if (beneath->record == BASE_NONE)
		return S_ISDIR(type);
	return is_on_record(fitting, fitting->view->count + index, (enum base_record)beneath->record, &beneath->blob, type);
}

static int compare_beneath(const void *path, const void *beneath)
{
	return path_compare(path, ((const struct view_beneath *)beneath)->path);
}

/* A name in directory PATH of the base that was not there when it was recorded: *RET_NEW, or NULL. */
static int find_new(const struct fitting *fitting, const char *path, char **ret_new, struct error *err)
{
	const struct view *view = fitting->view;
	cleanup_closedir DIR *dir = NULL;
	cleanup_close int fd = path_open(fitting->basefd, path, O_RDONLY | O_DIRECTORY, 0);
	const struct dirent *entry;

	*ret_new = NULL;
	if (fd < 0)
		return error_errno(err, -fd, "look at '%s' in the base", path);
	dir = fdopendir(fd);
	if (!dir)
		return error_errno(err, errno, "read '%s' in the base", path);
	TAKE_FD(fd);
	while (errno = 0, (entry = readdir(dir))) {
		cleanup_free char *name = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		name = path_join(path, entry->d_name);
		if (!name)
			return error_set(err, -ENOMEM, "out of memory");
		if (bsearch(name, view->beneath, view->beneath_count, sizeof *view->beneath, compare_beneath))
			continue;
		*ret_new = TAKE_PTR(name);
		return 0;
	}
	return errno ? error_errno(err, errno, "read '%s' in the base", path) : 0;
}

/* What the view takes away with its directories: the first path that is not as recorded, or NULL. */
static int find_changed_beneath(const struct fitting *fitting, char **ret_path, struct error *err)
{
	const struct view *view = fitting->view;
	int r = 0;

	*ret_path = NULL;
	for (uint32_t i = 1; i < view->count && r == 0 && !*ret_path; i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;

		if (!takes_directory(view, i))
			continue;
		view_path(view, i, &path);
		r = strbuf_failed(&path) ? error_set(err, -ENOMEM, "out of memory") : find_new(fitting, strbuf_text(&path), ret_path, err);
	}
	for (size_t i = 0; i < view->beneath_count && r == 0 && !*ret_path; i++) {
		const struct view_beneath *beneath = &view->beneath[i];

		if (!takes_directory(view, beneath->top))
			continue;
		if (!beneath_fits(fitting, i)) {
			*ret_path = strdup(beneath->path);
			return *ret_path ? 0 : error_set(err, -ENOMEM, "out of memory");
		}
		if (S_ISDIR(fitting->beneath[i].st_mode))
			r = find_new(fitting, beneath->path, ret_path, err);
	}
	return r;
}

/* ---- is anything left to patch, where the base has all the contents? ---- */

/* A label says where a file stands, not what it is: the base's own is right there. */
static const struct meta_xattr *skip_labels(const struct meta_xattr *at, const struct meta_xattr *end)
{
	while (at < end && strcmp(at->name, "security.selinux") == 0)
		at++;
	return at;
}

static bool xattrs_equal(const struct view_entry *entry, const struct meta *base)
{
	const struct meta_xattr *a = entry->xattrs, *a_end = a + entry->xattr_count;
	const struct meta_xattr *b = base->xattrs, *b_end = b + base->xattr_count;

	for (;; a++, b++) {
		a = skip_labels(a, a_end);
		b = skip_labels(b, b_end);
		if (a == a_end || b == b_end)
			return a == a_end && b == b_end;
		if (strcmp(a->name, b->name) != 0 || a->size != b->size || memcmp(a->value, b->value, a->size) != 0)
			return false;
	}
}

/* Mode, owner and attributes that the entry gives are what the base has there. Times are not what a patch is made for. */
static int metadata_is_absorbed(const struct fitting *fitting, uint32_t index, bool *ret, struct error *err)
{
	const struct view_entry *entry = &fitting->view->entries[index];
	const struct view_found *found = &fitting->view->found[index];
	cleanup_meta struct meta base = META_INIT;
	cleanup_close int fd = -EBADF;
	int r;

	*ret = entry->kind == VIEW_DELETED || entry->kind == VIEW_THROUGH;
	if (*ret || found->type != (entry->mode & S_IFMT))
		return 0;
	*ret = !((entry->present & META_MODE && !S_ISLNK(entry->mode) && (entry->mode & 07777) != found->mode) ||
		(entry->present & META_UID && entry->uid != found->uid) || (entry->present & META_GID && entry->gid != found->gid));
	if (!*ret || !(entry->present & META_XATTRS))
		return 0;
	fd = open_subject(fitting, index, O_PATH, err);
	r = fd < 0 ? fd : meta_read_xattrs(&base, fd, err);
	if (r == 0)
		*ret = xattrs_equal(entry, &base);
	return r;
}

static int all_metadata_is_absorbed(const struct fitting *fitting, bool *ret, struct error *err)
{
	int r = 0;

	*ret = true;
	for (uint32_t i = 1; i < fitting->view->count && r == 0 && *ret; i++)
		r = metadata_is_absorbed(fitting, i, ret, err);
	return r;
}

static int decide(const struct fitting *fitting, enum view_fit *ret, char **ret_path, struct error *err)
{
	const struct view *view = fitting->view;
	struct tally tally = { 0, 0 };
	char *changed = NULL;
	bool absorbed = false;
	int r;

	for (uint32_t i = 1; i < view->count && !changed; i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;

		if (entry_fits(fitting, i, &tally))
			continue;
		view_path(view, i, &path);
		changed = strbuf_detach(&path, NULL);
		if (!changed)
			return error_set(err, -ENOMEM, "out of memory");
	}
	r = changed ? 0 : find_changed_beneath(fitting, &changed, err);
	if (r == 0 && !changed && tally.absorbed && !tally.recorded)
		r = all_metadata_is_absorbed(fitting, &absorbed, err);
	if (r < 0)
		return r;
	*ret_path = changed;
	*ret = changed ? VIEW_CHANGED : absorbed ? VIEW_ABSORBED : VIEW_FITS;
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

	if (r == 0)
		r = look_beneath(&fitting, err);
	if (r < 0)
		return r;
	fitting.contents = calloc(subject_count(&fitting), sizeof *fitting.contents);
	if (!fitting.contents)
		return error_set(err, -ENOMEM, "out of memory");
	r = read_contents(&fitting, err);
	return r < 0 ? r : decide(&fitting, ret, ret_path, err);
}
