/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/source.h"

/*
 * The directory as it should be, walked side by side with the directory as it is. Both listings are
 * sorted, so that one pass over the two finds what is gone, what is new and what stands on both sides.
 */
struct comparison {
	struct store *store;
	struct changeset *set;
};

static int compare_directories(struct comparison *comparison, int old_fd, int new_fd, const char *path,
	size_t depth, struct error *err);

static int add_deletion(struct comparison *comparison, const char *path, struct error *err)
{
	struct change *change;

	return changeset_add(comparison->set, path, CHANGE_DELETE, &change, err);
}

/* ENTRY, and if it is a directory all in it, where the base has nothing that could stay. */
static int add_new(struct comparison *comparison, const struct source_entry *entry, const char *path,
	size_t depth, struct error *err)
{
	struct change *change;
	int r = source_add_entry(comparison->set, comparison->store, entry, path, &change, err);

	if (r < 0)
		return r;
	change->ignore_mtime = true;
	if (!S_ISDIR(entry->st.st_mode))
		return 0;
	return compare_directories(comparison, -EBADF, entry->fd, path, depth + 1, err);
}

static int compare_both(struct comparison *comparison, const struct source_entry *old,
	const struct source_entry *new, const char *path, size_t depth, struct error *err)
{
	struct change *change;
	bool same = false;
	int r = 0;

	if ((old->st.st_mode & S_IFMT) != (new->st.st_mode & S_IFMT))
		return add_new(comparison, new, path, depth, err);
	r = source_metadata_equal(old, new, path, &same, err);
	if (r == 0 && same)
		r = source_content_equal(old, new, path, &same, err);
	if (r < 0)
		return r;
	if (!same) {
		r = source_add_entry(comparison->set, comparison->store, new, path, &change, err);
		if (r < 0)
			return r;
		change->ignore_mtime = true;
		/* The base's directory goes on living, and so does its own time. */
		if (change->kind == CHANGE_DIRECTORY)
			change->meta.present &= ~(unsigned)META_MTIME;
	}
	if (!S_ISDIR(new->st.st_mode))
		return 0;
	return compare_directories(comparison, old->fd, new->fd, path, depth + 1, err);
}

/* NAME is in the new directory, in the old one, or in both; an fd of -EBADF is a directory that is not there. */
static int compare_name(struct comparison *comparison, int old_fd, int new_fd, const char *path,
	const char *name, size_t depth, struct error *err)
{
	cleanup_source_entry struct source_entry old = SOURCE_ENTRY_INIT, new = SOURCE_ENTRY_INIT;
	cleanup_free char *full = path_join(path, name);
	int r = 0;

	if (!full)
		return error_errno(err, ENOMEM, "'%s'", name);
	if (old_fd >= 0)
		r = source_entry_find(old_fd, name, &old, err);
	if (r == 0 && new_fd >= 0)
		r = source_entry_find(new_fd, name, &new, err);
	if (r < 0)
		return error_prefix(err, r, "'%s'", full);
	if (old.fd < 0 && new.fd < 0)
		return 0;
	if (new.fd < 0)
		return add_deletion(comparison, full, err);
	if (old.fd < 0)
		return add_new(comparison, &new, full, depth, err);
	return compare_both(comparison, &old, &new, full, depth, err);
}

static int compare_directories(struct comparison *comparison, int old_fd, int new_fd, const char *path,
	size_t depth, struct error *err)
{
	cleanup_source_names struct source_names old = SOURCE_NAMES_INIT, new = SOURCE_NAMES_INIT;
	size_t i = 0, k = 0;
	int r = 0;

	if (depth > PATH_DEPTH_MAX)
		return error_set(err, -EINVAL, "'%.60s…': nested deeper than %d directories", path,
			PATH_DEPTH_MAX);
	if (old_fd >= 0)
		r = source_names_read(old_fd, path, &old, err);
	if (r == 0)
		r = source_names_read(new_fd, path, &new, err);
	while (r == 0 && (i < old.count || k < new.count)) {
		int order;

		if (i == old.count || k == new.count)
			order = i == old.count ? 1 : -1;
		else
			order = strcmp(old.names[i], new.names[k]);
		r = compare_name(comparison, old_fd, new_fd, path, order <= 0 ? old.names[i] : new.names[k],
			depth, err);
		i += order <= 0;
		k += order >= 0;
	}
	return r;
}

int source_directory(struct store *store, int basefd, int dirfd, struct changeset *set, struct error *err)
{
	struct comparison comparison = { store, set };
	int r = compare_directories(&comparison, basefd, dirfd, "", 0, err);

	return r < 0 ? r : changeset_sort(set, err);
}
