/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/hidden.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

struct hidden_link {
	struct node_key key;
	nlink_t count;
};

/* By key, each once. */
struct hidden {
	struct hidden_link *links; /* owned */
	size_t count, alloc;
	struct node_key *files; /* owned, by key; every file that is hidden, whatever its links */
	size_t file_count;
	bool directories; /* a directory is hidden, too */
};

static int hidden_add(struct hidden *hidden, dev_t device, ino_t inode)
{
	if (hidden->count == hidden->alloc) {
		size_t alloc = hidden->alloc ? hidden->alloc * 2 : 16;
		struct hidden_link *grown = realloc(hidden->links, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		hidden->links = grown;
		hidden->alloc = alloc;
	}
	hidden->links[hidden->count++] = (struct hidden_link){ node_key_of_base(device, inode), 1 };
	return 0;
}

static int hide_directory(struct hidden *hidden, int parent, const char *name, unsigned depth);

/* NAME in the base's directory PARENT is hidden with that directory. */
static int hide_name(struct hidden *hidden, int parent, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return depth ? hide_directory(hidden, parent, name, depth - 1) : -ELOOP;
	return st.st_nlink > 1 ? hidden_add(hidden, st.st_dev, st.st_ino) : 0;
}

static int hide_directory(struct hidden *hidden, int parent, const char *name, unsigned depth)
{
	cleanup_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = hide_name(hidden, dirfd(dir), entry->d_name, depth);
	}
	return r < 0 ? r : -errno;
}

static bool is_directory(const struct view_entry *entry)
{
	return entry->kind == VIEW_THROUGH || entry->kind == VIEW_DIRECTORY;
}

/* The base's directory at entry INDEX goes with all that is in it. */
static int hide_tree(struct hidden *hidden, const struct view *view, uint32_t index, int base_fd)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	cleanup_close int fd = -EBADF;

	view_path(view, index, &path);
	if (strbuf_failed(&path))
		return -ENOMEM;
	hidden->directories = true;
	fd = path_open(base_fd, strbuf_text(&path), O_PATH | O_DIRECTORY, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0; /* gone since it was found */
	return fd < 0 ? fd : hide_directory(hidden, fd, ".", PATH_DEPTH_MAX);
}

/* What the base has at entry INDEX, if the entry hides it: a directory over a directory does not. */
static int hide_entry(struct hidden *hidden, const struct view *view, uint32_t index, int base_fd)
{
	const struct view_found *found = view_found_at(view, index);

	if (!found)
		return -EINVAL;
	if (S_ISDIR(found->type))
		return is_directory(view_at(view, index)) ? 0 : hide_tree(hidden, view, index, base_fd);
	return found->links > 1 ? hidden_add(hidden, found->device, found->inode) : 0;
}

static int key_compare(const struct node_key *a, const struct node_key *b)
{
	if (a->high != b->high)
		return a->high < b->high ? -1 : 1;
	return a->low < b->low ? -1 : a->low > b->low;
}

static int file_compare(const void *a, const void *b)
{
	return key_compare(a, b);
}

/* What the base has where the view has something else, or nothing; directories that go are not looked into. */
static int list_files(struct hidden *hidden, const struct view *view)
{
	hidden->files = calloc(view_count(view), sizeof *hidden->files);
	if (!hidden->files)
		return -ENOMEM;
	for (uint32_t i = 0; i < view_count(view); i++) {
		const struct view_found *found = view_found_at(view, i);

		if (found && S_ISREG(found->type))
			hidden->files[hidden->file_count++] = node_key_of_base(found->device, found->inode);
	}
	qsort(hidden->files, hidden->file_count, sizeof *hidden->files, file_compare);
	return 0;
}

static int hide_all(struct hidden *hidden, const struct view *view, int base_fd)
{
	int r = 0;

	for (uint32_t i = 0; i < view_count(view) && r == 0; i++)
		r = hide_entry(hidden, view, i, base_fd);
	return r;
}

static int link_compare(const void *a, const void *b)
{
	return key_compare(&((const struct hidden_link *)a)->key, &((const struct hidden_link *)b)->key);
}

static void merge_equal(struct hidden *hidden)
{
	size_t to = 0;

	qsort(hidden->links, hidden->count, sizeof *hidden->links, link_compare);
	for (size_t i = 1; i < hidden->count; i++) {
		if (link_compare(&hidden->links[to], &hidden->links[i]) == 0)
			hidden->links[to].count++;
		else
			hidden->links[++to] = hidden->links[i];
	}
	hidden->count = to + 1;
}

int hidden_count(const struct view *view, int base_fd, struct hidden **ret, bool *ret_directories)
{
	struct hidden *hidden = view ? calloc(1, sizeof *hidden) : NULL;
	int r;

	*ret = NULL;
	*ret_directories = view && !hidden;
	if (!hidden)
		return view ? -ENOMEM : 0;
	r = hide_all(hidden, view, base_fd);
	if (r == 0)
		r = list_files(hidden, view);
	*ret_directories = r < 0 || hidden->directories;
	if (r < 0 || (!hidden->count && !hidden->file_count)) {
		hidden_free(hidden);
		return r;
	}
	if (hidden->count)
		merge_equal(hidden);
	*ret = hidden;
	return 0;
}

void hidden_free(struct hidden *hidden)
{
	if (!hidden)
		return;
	free(hidden->links);
	free(hidden->files);
	free(hidden);
}

nlink_t hidden_links(const struct hidden *hidden, const struct node_key *key)
{
	struct hidden_link wanted = { .key = *key };
	const struct hidden_link *found = NULL;

	if (hidden && hidden->count)
		found = bsearch(&wanted, hidden->links, hidden->count, sizeof wanted, link_compare);
	return found ? found->count : 0;
}

bool hidden_has(const struct hidden *hidden, const struct node_key *key)
{
	return hidden && bsearch(key, hidden->files, hidden->file_count, sizeof *key, file_compare);
}

void hidden_each(const struct hidden *hidden, void (*fn)(void *arg, const struct node_key *key), void *arg)
{
	for (size_t i = 0; hidden && i < hidden->file_count; i++)
		fn(arg, &hidden->files[i]);
}

void hidden_diff(const struct hidden *old, const struct hidden *new, hidden_fn fn, void *arg)
{
	for (size_t i = 0; old && i < old->count; i++) {
		if (hidden_links(new, &old->links[i].key) != old->links[i].count)
			fn(arg, &old->links[i].key);
	}
	for (size_t i = 0; new && i < new->count; i++) {
		if (!hidden_links(old, &new->links[i].key))
			fn(arg, &new->links[i].key);
	}
}
