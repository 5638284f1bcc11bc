/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"
#include "store/source.h"

/*
 * An upper layer of overlayfs, read as the kernel reads it (Documentation/filesystems/overlayfs.rst).
 * A directory of the merged tree has up to three sides:
 *
 *     upper   its entries in the layer; whiteouts hide what the lower side has
 *     lower   the directory of the base that shows through: the one at the same path, that from which
 *             it was renamed (redirect), or none (opaque)
 *     base    what stands at this path in the base, against which the result is a set of changes
 *
 * Lower and base are the same directory almost always; then what the layer does not name is unchanged.
 */

#define OVERLAY_VALUE_MAX 4096

struct layer {
	struct store *store;
	int basefd;
	struct changeset *set;
};

/* One directory of the merged tree. */
struct merged {
	const char *path;  /* where it stands; "" for the component's directory */
	int upperfd;	   /* O_PATH */
	const char *lower; /* the base directory that shows through; NULL: none */
	size_t depth;
};

static int merge_directory(struct layer *layer, const struct merged *dir, struct error *err);

/* ---- marks ---- */

/* The overlayfs attribute NAME, of either namespace, as text; *RET is false where there is none. */
static int overlay_attribute(const struct source_entry *entry, const char *name, char value[OVERLAY_VALUE_MAX],
	bool *ret, const char *path, struct error *err)
{
	static const char *const spaces[] = { "trusted", "user" };
	char link[64], attribute[64];

	*ret = false;
	/* The kernel puts its marks on these two only. */
	if (!S_ISDIR(entry->st.st_mode) && !S_ISREG(entry->st.st_mode))
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", entry->fd);
	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
		ssize_t n;

		snprintf(attribute, sizeof attribute, "%s.overlay.%s", spaces[i], name);
		n = getxattr(link, attribute, value, OVERLAY_VALUE_MAX - 1);
		if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
			continue;
		if (n < 0)
			return error_errno(err, errno, "read the attribute '%s' of '%s'", attribute, path);
		value[n] = '\0';
		*ret = true;
		return 0;
	}
	return 0;
}

static int is_whiteout(const struct source_entry *entry, const char *path, bool *ret, struct error *err)
{
	char value[OVERLAY_VALUE_MAX];

	*ret = S_ISCHR(entry->st.st_mode) && entry->st.st_rdev == makedev(0, 0);
	if (*ret || !S_ISREG(entry->st.st_mode) || entry->st.st_size != 0)
		return 0;
	return overlay_attribute(entry, "whiteout", value, ret, path, err);
}

static int is_opaque(const struct source_entry *entry, const char *path, bool *ret, struct error *err)
{
	char value[OVERLAY_VALUE_MAX];
	int r = overlay_attribute(entry, "opaque", value, ret, path, err);

	/* "x" says only that whiteouts by attribute may be inside. */
	if (r == 0 && *ret)
		*ret = strcmp(value, "y") == 0;
	return r;
}

/*
 * Which path of the base shows through ENTRY, called NAME in DIR: the redirect where it bears one
 * (absolute from the root of the overlay, or a name in the same directory), else the same name in
 * DIR's lower side. The caller frees *RET; NULL: none.
 */
static int find_lower(const struct merged *dir, const struct source_entry *entry, const char *name,
	const char *path, char **ret, struct error *err)
{
	char redirect[OVERLAY_VALUE_MAX];
	const char *from = name;
	bool redirected;
	char *lower;
	int r = overlay_attribute(entry, "redirect", redirect, &redirected, path, err);

	if (r < 0)
		return r;
	*ret = NULL;
	if (redirected && redirect[0] == '/') {
		r = path_check(redirect + 1, err);
		if (r < 0)
			return error_prefix(err, r, "'%s' has a bad redirect", path);
		lower = strdup(redirect + 1);
	} else {
		if (redirected && path_name_problem(redirect, strlen(redirect)))
			return error_set(err, -EINVAL, "'%s' has a bad redirect: %s", path,
				path_name_problem(redirect, strlen(redirect)));
		if (redirected)
			from = redirect;
		if (!dir->lower)
			return 0;
		lower = path_join(dir->lower, from);
	}
	if (!lower)
		return error_errno(err, ENOMEM, "'%s'", path);
	*ret = lower;
	return 0;
}

/* ---- changes ---- */

static int add_deletion(struct layer *layer, const char *path, struct error *err)
{
	struct change *change = NULL;

	return changeset_add(layer->set, path, CHANGE_DELETE, &change, err);
}

static int add_entry(struct layer *layer, const struct source_entry *entry, const char *path,
	struct change **ret, struct error *err)
{
	struct change *change = NULL;
	int r = source_add_entry(layer->set, layer->store, entry, path, &change, err);

	if (r < 0)
		return r;
	change->ignore_mtime = true;
	if (ret)
		*ret = change;
	return 0;
}

/* What shows through from the base at another path, FROM, with all in it: it was renamed to PATH. */
static int copy_base(struct layer *layer, const char *from, const char *path, size_t depth, struct error *err)
{
	cleanup_source_entry struct source_entry entry = SOURCE_ENTRY_INIT;
	cleanup_source_names struct source_names names = SOURCE_NAMES_INIT;
	int r = source_entry_find(layer->basefd, from, &entry, err);

	if (r < 0 || entry.fd < 0)
		return r;
	r = add_entry(layer, &entry, path, NULL, err);
	if (r < 0 || !S_ISDIR(entry.st.st_mode))
		return r;
	if (depth > PATH_DEPTH_MAX)
		return error_set(err, -EINVAL, "'%.60s…': nested deeper than %d directories", path,
			PATH_DEPTH_MAX);
	r = source_names_read(entry.fd, from, &names, err);
	for (size_t i = 0; r == 0 && i < names.count; i++) {
		cleanup_free char *inner_from = path_join(from, names.names[i]);
		cleanup_free char *inner_path = path_join(path, names.names[i]);

		if (!inner_from || !inner_path)
			return error_errno(err, ENOMEM, "'%s'", path);
		r = copy_base(layer, inner_from, inner_path, depth + 1, err);
	}
	return r;
}

/*
 * A file whose content was not copied up: the metadata is the layer's, the bytes are those of LOWER in
 * the base. At its own place that is a change of metadata alone.
 */
static int merge_metacopy(struct layer *layer, const struct source_entry *upper, const char *lower,
	const char *path, struct error *err)
{
	cleanup_source_entry struct source_entry data = SOURCE_ENTRY_INIT;
	cleanup_meta struct meta meta = META_INIT;
	struct change *change = NULL;
	bool same = false;
	int r = 0;

	if (lower)
		r = source_entry_find(layer->basefd, lower, &data, err);
	if (r < 0)
		return r;
	if (!source_entry_is(&data, S_IFREG))
		return error_set(err, -EINVAL, "'%s' is without its content, and the base has no file '%s' to take it from",
			path, lower ? lower : path);
	if (strcmp(lower, path) == 0)
		r = source_metadata_equal(&data, upper, path, &same, err);
	if (r < 0 || same)
		return r;
	r = source_entry_meta(upper, path, &meta, err);
	if (r == 0)
		r = add_entry(layer, &data, path, &change, err);
	if (r < 0)
		return r;
	meta.present |= META_OBJECT;
	meta.object = change->meta.object;
	meta.object_size = change->meta.object_size;
	meta_release(&change->meta);
	change->meta = meta;
	meta = (struct meta)META_INIT;
	return 0;
}

static int merge_file(struct layer *layer, const struct source_entry *upper, const char *lower,
	const char *path, struct error *err)
{
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT;
	char value[OVERLAY_VALUE_MAX];
	bool metacopy, same = false;
	int r = overlay_attribute(upper, "metacopy", value, &metacopy, path, err);

	if (r < 0)
		return r;
	if (metacopy)
		return merge_metacopy(layer, upper, lower, path, err);
	r = source_entry_find(layer->basefd, path, &base, err);
	if (r == 0 && base.fd >= 0)
		r = source_metadata_equal(&base, upper, path, &same, err);
	if (r == 0 && same)
		r = source_content_equal(&base, upper, path, &same, err);
	if (r < 0 || same)
		return r;
	return add_entry(layer, upper, path, NULL, err);
}

static int merge_subdirectory(struct layer *layer, const struct merged *dir, const struct source_entry *upper,
	const char *lower, const char *path, struct error *err)
{
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT, through = SOURCE_ENTRY_INIT;
	struct merged child = { .path = path, .upperfd = upper->fd, .depth = dir->depth + 1 };
	bool opaque, same = false;
	struct change *change = NULL;
	int r = is_opaque(upper, path, &opaque, err);

	if (r == 0 && lower && !opaque)
		r = source_entry_find(layer->basefd, lower, &through, err);
	if (r == 0)
		r = source_entry_find(layer->basefd, path, &base, err);
	if (r == 0 && source_entry_is(&base, S_IFDIR))
		r = source_metadata_equal(&base, upper, path, &same, err);
	if (r < 0)
		return r;
	if (!same) {
		r = add_entry(layer, upper, path, &change, err);
		if (r < 0)
			return r;
		/* A directory of the base goes on living, and so does its own time. */
		if (source_entry_is(&base, S_IFDIR))
			change->meta.present &= ~(unsigned)META_MTIME;
	}
	/* Only a directory shows through a directory. */
	if (source_entry_is(&through, S_IFDIR))
		child.lower = lower;
	return merge_directory(layer, &child, err);
}

/* ---- the walk ---- */

static int merge_entry(struct layer *layer, const struct merged *dir, const char *name, struct error *err)
{
	cleanup_source_entry struct source_entry upper = SOURCE_ENTRY_INIT, base = SOURCE_ENTRY_INIT;
	cleanup_free char *path = path_join(dir->path, name), *lower = NULL;
	bool whiteout = false;
	int r;

	if (!path)
		return error_errno(err, ENOMEM, "'%s'", name);
	r = source_entry_find(dir->upperfd, name, &upper, err);
	if (r < 0 || upper.fd < 0)
		return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
	r = is_whiteout(&upper, path, &whiteout, err);
	if (r < 0)
		return r;
	if (whiteout) {
		r = source_entry_find(layer->basefd, path, &base, err);
		return r < 0 || base.fd < 0 ? r : add_deletion(layer, path, err);
	}
	r = find_lower(dir, &upper, name, path, &lower, err);
	if (r < 0)
		return r;
	if (S_ISDIR(upper.st.st_mode))
		return merge_subdirectory(layer, dir, &upper, lower, path, err);
	return merge_file(layer, &upper, lower, path, err);
}

/* The names in directory PATH of the base; none where there is no directory. */
static int base_names(struct layer *layer, const char *path, struct source_names *ret, struct error *err)
{
	cleanup_source_entry struct source_entry entry = SOURCE_ENTRY_INIT;
	int r = source_entry_find(layer->basefd, path, &entry, err);

	if (r < 0 || !source_entry_is(&entry, S_IFDIR))
		return r;
	return source_names_read(entry.fd, path, ret, err);
}

/*
 * What the layer does not name in a directory through which another one of the base shows, or none: the
 * lower side's entries are new here, and those of the base that are on neither side are gone.
 */
static int merge_unnamed(struct layer *layer, const struct merged *dir, const struct source_names *upper,
	struct error *err)
{
	cleanup_source_names struct source_names lower = SOURCE_NAMES_INIT, base = SOURCE_NAMES_INIT;
	int r = 0;

	if (dir->lower)
		r = base_names(layer, dir->lower, &lower, err);
	for (size_t i = 0; r == 0 && i < lower.count; i++) {
		cleanup_free char *from = path_join(dir->lower, lower.names[i]);
		cleanup_free char *path = path_join(dir->path, lower.names[i]);

		if (!from || !path)
			return error_errno(err, ENOMEM, "'%s'", dir->path);
		if (!source_names_contain(upper, lower.names[i]))
			r = copy_base(layer, from, path, dir->depth + 1, err);
	}
	if (r == 0)
		r = base_names(layer, dir->path, &base, err);
	for (size_t i = 0; r == 0 && i < base.count; i++) {
		cleanup_free char *path = path_join(dir->path, base.names[i]);

		if (!path)
			return error_errno(err, ENOMEM, "'%s'", dir->path);
		if (!source_names_contain(upper, base.names[i]) && !source_names_contain(&lower, base.names[i]))
			r = add_deletion(layer, path, err);
	}
	return r;
}

static int merge_directory(struct layer *layer, const struct merged *dir, struct error *err)
{
	cleanup_source_names struct source_names names = SOURCE_NAMES_INIT;
	int r;

	if (dir->depth > PATH_DEPTH_MAX)
		return error_set(err, -EINVAL, "'%.60s…': nested deeper than %d directories", dir->path,
			PATH_DEPTH_MAX);
	r = source_names_read(dir->upperfd, dir->path, &names, err);
	for (size_t i = 0; r == 0 && i < names.count; i++)
		r = merge_entry(layer, dir, names.names[i], err);
	if (r < 0 || (dir->lower && strcmp(dir->lower, dir->path) == 0))
		return r;
	return merge_unnamed(layer, dir, &names, err);
}

int source_upper(struct store *store, int basefd, int upperfd, struct changeset *set, struct error *err)
{
	struct layer layer = { store, basefd, set };
	/* The root of a layer is never opaque to the kernel. */
	struct merged root = { .path = "", .upperfd = upperfd, .lower = "" };
	int r = merge_directory(&layer, &root, err);

	return r < 0 ? r : changeset_sort(set, err);
}
