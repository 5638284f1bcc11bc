/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/ref_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"

#define SYMBOLIC "ref: "
#define SYMBOLIC_DEPTH_MAX 5 /* as git's */

struct loading {
	int fd; /* the repository */
	struct ref_files *files;
	char **directories; /* owned; still to be read */
	size_t directory_count, directory_alloc;
	struct error *err;
};

void ref_files_release(struct ref_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		free(files->refs[i].name);
		free(files->refs[i].problem);
	}
	for (size_t i = 0; i < files->lock_count; i++)
		free(files->locks[i]);
	free(files->refs);
	free(files->others);
	free(files->locks);
	*files = (struct ref_files)REF_FILES_INIT;
}

static void loading_release(struct loading *loading)
{
	for (size_t i = 0; i < loading->directory_count; i++)
		free(loading->directories[i]);
	free(loading->directories);
}

/* ---- lists ---- */

static struct ref_file *add_ref(struct ref_files *files, const char *name, size_t len)
{
	struct ref_file *ref;

	if (files->count == REF_FILES_MAX)
		return NULL;
	if (files->count == files->alloc) {
		size_t alloc = files->alloc ? files->alloc * 2 : 64;
		struct ref_file *refs = reallocarray(files->refs, alloc, sizeof *refs);

		if (!refs)
			return NULL;
		files->refs = refs;
		files->alloc = alloc;
	}
	ref = &files->refs[files->count];
	*ref = (struct ref_file){ .name = strndup(name, len) };
	if (!ref->name)
		return NULL;
	files->count++;
	return ref;
}

static int add_other(struct ref_files *files, const struct oid *oid)
{
	if (oid_is_zero(oid))
		return 0;
	if (files->other_count == files->other_alloc) {
		size_t alloc = files->other_alloc ? files->other_alloc * 2 : 64;
		struct oid *others = reallocarray(files->others, alloc, sizeof *others);

		if (!others)
			return -ENOMEM;
		files->others = others;
		files->other_alloc = alloc;
	}
	files->others[files->other_count++] = *oid;
	return 0;
}

static int add_path(char ***list, size_t *count, const char *path)
{
	char **grown = reallocarray(*list, *count + 1, sizeof *grown);

	if (!grown)
		return -ENOMEM;
	*list = grown;
	grown[*count] = strdup(path);
	return grown[*count] ? (++*count, 0) : -ENOMEM;
}

/* A symbolic ref has its target in PROBLEM until all refs are known. */
static int set_problem(struct ref_file *ref, const char *problem)
{
	free(ref->problem);
	ref->problem = strdup(problem);
	return ref->problem ? 0 : -ENOMEM;
}

/* ---- one file ---- */

static int parse_ref(struct ref_file *ref, const struct strbuf *text)
{
	size_t len = text->len;

	while (len > 0 && strchr(" \t\r\n", text->buf[len - 1]))
		len--;
	if (len == 0)
		return set_problem(ref, "its file is empty");
	if (len > strlen(SYMBOLIC) && strncmp(text->buf, SYMBOLIC, strlen(SYMBOLIC)) == 0 && !memchr(text->buf, '\0', len)) {
		ref->problem = strndup(text->buf, len);
		return ref->problem ? 0 : -ENOMEM;
	}
	if (oid_from_hex(text->buf, len, &ref->oid) < 0)
		return set_problem(ref, "its file holds no id of an object");
	return 0;
}

static int load_ref(struct loading *loading, const char *path)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	struct ref_file *ref = add_ref(loading->files, path, strlen(path));
	struct error problem = ERROR_INIT;
	int r;

	if (!ref)
		return -ENOMEM;
	ref->loose = true;
	r = io_read_file_at(loading->fd, path, REF_FILE_BYTES_MAX, &text, &problem);
	if (r == -ENOENT) { /* deleted meanwhile */
		free(ref->name);
		loading->files->count--;
		return 0;
	}
	return r < 0 ? set_problem(ref, problem.message) : parse_ref(ref, &text);
}

static bool is_lock(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && strcmp(name + len - 5, ".lock") == 0;
}

static int look_at_lock(struct loading *loading, const char *path)
{
	struct stat st;

	if (fstatat(loading->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
		!ref_lock_is_stale(st.st_mtime, time(NULL)))
		return 0;
	return add_path(&loading->files->locks, &loading->files->lock_count, path);
}

/* ---- trees of files, without recursion ---- */

typedef int (*file_fn)(struct loading *loading, const char *path);

static int walk_entry(struct loading *loading, int dirfd, const char *directory, const char *name, file_fn fn)
{
	cleanup_free char *path = path_join(directory, name);
	struct stat st;

	if (!path)
		return -ENOMEM;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return strlen(path) > PATH_LENGTH_MAX ? -ENAMETOOLONG :
							add_path(&loading->directories, &loading->directory_count, path);
	return is_lock(name) ? look_at_lock(loading, path) : fn(loading, path);
}

static int walk_directory(struct loading *loading, const char *directory, file_fn fn)
{
	cleanup_close int fd = openat(loading->fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *entry;
	int r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while (r == 0 && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = walk_entry(loading, dirfd(dir), directory, entry->d_name, fn);
	return r;
}

static int walk_files(struct loading *loading, const char *top, file_fn fn)
{
	int r = add_path(&loading->directories, &loading->directory_count, top);

	while (r == 0 && loading->directory_count > 0) {
		cleanup_free char *directory = loading->directories[--loading->directory_count];

		r = walk_directory(loading, directory, fn);
	}
	return r;
}

/* ---- packed refs ---- */

static int compare_refs(const void *a, const void *b)
{
	const struct ref_file *first = a, *second = b;
	int order = strcmp(first->name, second->name);

	return order ? order : (int)second->loose - (int)first->loose;
}

static int load_packed_line(struct ref_files *files, const char *line, size_t len)
{
	struct ref_file *ref;
	struct oid oid;

	if (len == 0 || *line == '#' || *line == '^')
		return 0;
	if (len <= OID_HEX_LENGTH + 1 || line[OID_HEX_LENGTH] != ' ' || oid_from_hex(line, OID_HEX_LENGTH, &oid) < 0) {
		ref = add_ref(files, "packed-refs", strlen("packed-refs"));
		return ref ? set_problem(ref, "a line of it is no ref") : -ENOMEM;
	}
	ref = add_ref(files, line + OID_HEX_LENGTH + 1, len - OID_HEX_LENGTH - 1);
	if (!ref)
		return -ENOMEM;
	ref->oid = oid;
	return 0;
}

static int load_packed(struct loading *loading)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	int r = io_read_file_at(loading->fd, "packed-refs", PACKED_REFS_BYTES_MAX, &text, loading->err);

	if (r == -ENOENT)
		return 0;
	for (size_t at = 0; r == 0 && at < text.len;) {
		const char *end = memchr(text.buf + at, '\n', text.len - at);
		size_t len = (size_t)((end ? end : text.buf + text.len) - (text.buf + at));

		r = load_packed_line(loading->files, text.buf + at, len);
		at += len + 1;
	}
	return r;
}

/* Of a loose ref and a packed one of the same name the loose one counts. */
static void drop_hidden(struct ref_files *files)
{
	size_t kept = 0;

	if (files->count > 1)
		qsort(files->refs, files->count, sizeof *files->refs, compare_refs);
	for (size_t i = 0; i < files->count; i++) {
		if (kept > 0 && strcmp(files->refs[kept - 1].name, files->refs[i].name) == 0) {
			free(files->refs[i].name);
			free(files->refs[i].problem);
			continue;
		}
		files->refs[kept++] = files->refs[i];
	}
	files->count = kept;
}

const struct ref_file *ref_files_find(const struct ref_files *files, const char *name)
{
	size_t low = 0, high = files->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, files->refs[middle].name);

		if (order == 0)
			return &files->refs[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static bool is_symbolic(const struct ref_file *ref)
{
	return ref->problem && strncmp(ref->problem, SYMBOLIC, strlen(SYMBOLIC)) == 0;
}

static int resolve_symbolic(struct ref_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		const struct ref_file *at = &files->refs[i];
		struct ref_file *ref = &files->refs[i];

		if (!is_symbolic(ref))
			continue;
		for (int depth = 0; at && is_symbolic(at) && depth < SYMBOLIC_DEPTH_MAX; depth++)
			at = ref_files_find(files, at->problem + strlen(SYMBOLIC));
		if (at && !at->problem) {
			ref->oid = at->oid;
			free(ref->problem);
			ref->problem = NULL;
		}
	}
	/* What is still symbolic leads nowhere. */
	for (size_t i = 0; i < files->count; i++)
		if (is_symbolic(&files->refs[i]) && set_problem(&files->refs[i], "it is a symbolic ref that leads nowhere") < 0)
			return -ENOMEM;
	return 0;
}

/* ---- what else names objects ---- */

static int load_ids(struct loading *loading, const char *path)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	struct oid oid;
	int r = io_read_file_at(loading->fd, path, REFLOG_BYTES_MAX, &text, loading->err);

	if (r == -ENOENT || r == -EINVAL)
		return 0;
	/* In reflogs two ids a line begin it, in HEAD and its like one. */
	for (size_t at = 0; r == 0 && at < text.len;) {
		const char *end = memchr(text.buf + at, '\n', text.len - at);
		size_t len = (size_t)((end ? end : text.buf + text.len) - (text.buf + at));

		for (size_t from = 0; r == 0 && from <= OID_HEX_LENGTH + 1 && from + OID_HEX_LENGTH <= len; from += OID_HEX_LENGTH + 1)
			if (oid_from_hex(text.buf + at + from, OID_HEX_LENGTH, &oid) == 0)
				r = add_other(loading->files, &oid);
		at += len + 1;
	}
	return r;
}


/* HEAD, ORIG_HEAD, FETCH_HEAD and whatever else of that kind there is; and locks. */
static int load_top(struct loading *loading)
{
	cleanup_close int fd = openat(loading->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		size_t len = strlen(name);

		if (is_lock(name))
			r = look_at_lock(loading, name);
		else if (len >= 4 && strcmp(name + len - 4, "HEAD") == 0)
			r = load_ids(loading, name);
		else if (strcmp(name, "index") == 0 || strcmp(name, "worktrees") == 0)
			loading->files->has_worktrees = true;
	}
	return r;
}

/* ---- names alone ---- */

static int load_name(struct loading *loading, const char *path)
{
	struct ref_file *ref;
	struct stat st;

	if (fstatat(loading->fd, path, &st, 0) < 0 || !S_ISREG(st.st_mode))
		return 0;
	ref = add_ref(loading->files, path, strlen(path));
	if (!ref)
		return -ENOMEM;
	ref->loose = true;
	return 0;
}

static void keep_prefix(struct ref_files *files, const char *prefix)
{
	size_t kept = 0;

	for (size_t i = 0; i < files->count; i++) {
		struct ref_file *ref = &files->refs[i];

		if (strncmp(ref->name, prefix, strlen(prefix)) == 0) {
			files->refs[kept++] = *ref;
			continue;
		}
		free(ref->name);
		free(ref->problem);
	}
	files->count = kept;
}

static int check_packed(const struct ref_files *files, struct error *err)
{
	for (size_t i = 0; i < files->count; i++)
		if (files->refs[i].problem)
			return error_set(err, -EBADMSG, "'%s': %s", files->refs[i].name, files->refs[i].problem);
	return 0;
}

int ref_files_names(const char *path, const char *prefix, struct ref_files *ret, struct error *err)
{
	cleanup_ref_files struct ref_files files = REF_FILES_INIT;
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct error problem = ERROR_INIT;
	CLEANUP(loading_release) struct loading loading = { .fd = fd, .files = &files, .err = &problem };
	cleanup_free char *directory = strndup(prefix, (size_t)(strrchr(prefix, '/') - prefix));
	int r;

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", path);
	r = directory ? walk_files(&loading, directory, load_name) : -ENOMEM;
	if (r == -ENOTDIR) /* a ref is where others are looked for */
		r = 0;
	/* Behind the loose ones: what is packed meanwhile is seen twice, and not never. */
	if (r == 0)
		r = load_packed(&loading);
	if (r == 0)
		r = check_packed(&files, &problem);
	if (r < 0)
		return problem.message[0] ? error_set(err, r, "refs of '%s': %s", path, problem.message) :
					    error_errno(err, -r, "refs of '%s'", path);
	keep_prefix(&files, prefix);
	drop_hidden(&files);
	*ret = files;
	files = (struct ref_files)REF_FILES_INIT;
	return 0;
}

/* ---- all of them ---- */

int ref_files_load(const char *path, struct ref_files *ret, struct error *err)
{
	cleanup_ref_files struct ref_files files = REF_FILES_INIT;
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(loading_release) struct loading loading = { .fd = fd, .files = &files, .err = err };
	struct error problem = ERROR_INIT;
	int r;

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", path);
	loading.err = &problem;
	r = walk_files(&loading, "refs", load_ref);
	if (r == 0)
		r = load_packed(&loading);
	if (r == 0) {
		drop_hidden(&files);
		r = resolve_symbolic(&files);
	}
	if (r == 0)
		r = load_top(&loading);
	if (r == 0)
		r = walk_files(&loading, "logs", load_ids);
	if (r == 0 && files.has_worktrees)
		r = walk_files(&loading, "worktrees", load_ids);
	if (r < 0)
		return problem.message[0] ? error_set(err, r, "refs of '%s': %s", path, problem.message) :
					    error_errno(err, -r, "refs of '%s'", path);
	*ret = files;
	files = (struct ref_files)REF_FILES_INIT;
	return 0;
}

bool ref_files_equal(const struct ref_files *a, const struct ref_files *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->refs[i].name, b->refs[i].name) != 0 || !oid_equal(&a->refs[i].oid, &b->refs[i].oid) ||
			!a->refs[i].problem != !b->refs[i].problem)
			return false;
	return true;
}
