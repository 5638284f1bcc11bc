/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/deb.h"
#include "store/image_divert.h"
#include "store/image_owner.h"
#include "store/image_path.h"
#include "store/object.h"
#include "store/source.h"

/*
 * A package is read twice. The first pass looks at the whole of it and writes nothing: a package that
 * is broken is refused before anything was made of it. It also learns which symlinks the package
 * brings, through which its other paths lead, and which files have hard links, whose content must be
 * kept even when they lie outside the component. The second pass makes the changes.
 */

struct link { /* a symlink of the package */
	char *path;   /* owned; canonical */
	char *target; /* owned */
};

struct linked { /* a file of the package that has further names in it */
	char *path; /* owned; as the package names it */
	bool known; /* it has come by */
	struct change content; /* blob, size and meta; path is NULL */
};

struct unpacking {
	struct store *store;
	const char *file;
	struct image image;
	struct image_owners *owners;
	struct image_diversions *diversions;
	char *package; /* owned; its name */
	struct changeset *set;
	left_out_fn left_out;
	void *left_out_arg;
	void *links;  /* tsearch(3) tree of struct link */
	void *linked; /* tsearch(3) tree of struct linked */
	bool inside;  /* something of the package lies under the component */
};

static int link_compare(const void *a, const void *b)
{
	return strcmp(((const struct link *)a)->path, ((const struct link *)b)->path);
}

static int linked_compare(const void *a, const void *b)
{
	return strcmp(((const struct linked *)a)->path, ((const struct linked *)b)->path);
}

static void link_free(void *node)
{
	struct link *link = node;

	free(link->path);
	free(link->target);
	free(link);
}

static void linked_free(void *node)
{
	struct linked *linked = node;

	meta_release(&linked->content.meta);
	free(linked->path);
	free(linked);
}

static void unpacking_release(struct unpacking *unpacking)
{
	tdestroy(unpacking->links, link_free);
	tdestroy(unpacking->linked, linked_free);
	image_owners_free(unpacking->owners);
	image_diversions_free(unpacking->diversions);
	free(unpacking->package);
	if (unpacking->image.rootfd >= 0)
		close(unpacking->image.rootfd);
}

static const char *coming_link(void *arg, const char *path)
{
	struct unpacking *unpacking = arg;
	struct link key = { (char *)path, NULL };
	void *node = tfind(&key, &unpacking->links, link_compare);

	return node ? (*(struct link **)node)->target : NULL;
}

static struct linked *find_linked(struct unpacking *unpacking, const char *path)
{
	struct linked key = { .path = (char *)path };
	void *node = tfind(&key, &unpacking->linked, linked_compare);

	return node ? *(struct linked **)node : NULL;
}

/* Where a file of the package goes: its path, unless that is diverted. */
static const char *file_path(const struct unpacking *unpacking, const struct deb_member *member)
{
	return image_diversions_find(unpacking->diversions, member->path, unpacking->package);
}

/* ---- the first pass ---- */

static int remember_link(struct unpacking *unpacking, const struct deb_member *member, struct error *err)
{
	struct link *link = calloc(1, sizeof *link);
	struct link **node;
	int r;

	if (!link)
		return error_errno(err, ENOMEM, "'%s'", unpacking->file);
	r = image_path_resolve_parent(&unpacking->image, file_path(unpacking, member), &link->path, err);
	link->target = strdup(member->target);
	if (r < 0 || !link->target) {
		link_free(link);
		return r < 0 ? r : error_errno(err, ENOMEM, "'%s'", unpacking->file);
	}
	node = tsearch(link, &unpacking->links, link_compare);
	if (node && *node == link)
		return 0;
	/* The same path again: the later one stands. */
	if (node) {
		char *earlier = (*node)->target;

		(*node)->target = link->target;
		link->target = earlier;
	}
	link_free(link);
	return node ? 0 : error_errno(err, ENOMEM, "'%s'", unpacking->file);
}

static int remember_linked(struct unpacking *unpacking, const char *path, struct error *err)
{
	struct linked *linked = calloc(1, sizeof *linked);
	struct linked **node = NULL;

	if (linked)
		linked->path = strdup(path);
	if (linked && linked->path)
		node = tsearch(linked, &unpacking->linked, linked_compare);
	if (linked && (!node || *node != linked))
		linked_free(linked);
	return node ? 0 : error_errno(err, ENOMEM, "'%s'", unpacking->file);
}

static int survey(struct unpacking *unpacking, struct error *err)
{
	cleanup_deb struct deb *deb = NULL;
	struct deb_member member;
	int r = deb_open(unpacking->file, &deb, err);

	if (r < 0)
		return r;
	unpacking->package = strdup(deb_package(deb));
	if (!unpacking->package)
		return error_errno(err, ENOMEM, "'%s'", unpacking->file);
	while ((r = deb_next(deb, &member, err)) == 1) {
		int problem = 0;

		if (member.type == S_IFLNK && *member.path)
			problem = remember_link(unpacking, &member, err);
		if (member.type == 0)
			problem = remember_linked(unpacking, member.target, err);
		if (problem < 0)
			return problem;
	}
	return r;
}

/* ---- metadata ---- */

/* What dpkg would make of a member: its own owner table, by name where the name is known; overrides win. */
static void member_meta(const struct unpacking *unpacking, const struct deb_member *member, struct meta *meta)
{
	const struct image_override *override;

	meta->present = META_MODE | META_UID | META_GID | META_MTIME | META_XATTRS;
	meta->mode = member->mode;
	meta->uid = member->uid;
	meta->gid = member->gid;
	meta->mtime = (struct timespec){ .tv_sec = member->mtime };
	if (member->type == S_IFLNK)
		meta->mode = 0777;
	image_owners_user(unpacking->owners, member->user, &meta->uid);
	image_owners_group(unpacking->owners, member->group, &meta->gid);
	override = member->type == S_IFLNK ? NULL :
					     image_owners_override(unpacking->owners, member->path);
	if (override) {
		meta->mode = override->mode;
		meta->uid = override->uid;
		meta->gid = override->gid;
	}
	if (member->type == S_IFREG || member->type == S_IFLNK)
		return;
	meta->present |= META_TYPE;
	meta->type = member->type;
	meta->device_major = member->device_major;
	meta->device_minor = member->device_minor;
}

/*
 * The capabilities of what it replaces: no package brings any, maintainer scripts set them when it has
 * been unpacked, and a patch may not take them away. All other attributes go with the old file.
 */
static int keep_capabilities(const struct source_entry *base, const char *path, struct meta *meta,
	struct error *err)
{
	cleanup_meta struct meta old = META_INIT;
	int r = 0;

	if (!source_entry_is(base, S_IFREG))
		return 0;
	r = meta_read_xattrs(&old, base->fd, err);
	if (r < 0)
		return error_prefix(err, r, "'%s'", path);
	for (size_t i = 0; r == 0 && i < old.xattr_count; i++)
		if (strcmp(old.xattrs[i].name, "security.capability") == 0)
			r = meta_set_xattr(meta, old.xattrs[i].name, old.xattrs[i].value, old.xattrs[i].size);
	return r < 0 ? error_errno(err, -r, "'%s'", path) : 0;
}

/* Is what stands in the base of this type, owner and time? */
static bool stat_equals(const struct source_entry *base, mode_t type, const struct meta *meta)
{
	return source_entry_is(base, type) && base->st.st_uid == meta->uid && base->st.st_gid == meta->gid &&
		(type == S_IFLNK || (base->st.st_mode & 07777) == meta->mode) &&
		base->st.st_mtim.tv_sec == meta->mtime.tv_sec &&
		base->st.st_mtim.tv_nsec == meta->mtime.tv_nsec;
}

/* ---- the second pass: files ---- */

/* One regular file of the package: what it is, and where its bytes can be read. */
struct content {
	const struct meta *meta;
	uint64_t size;
	int fd;
	const struct linked *stored; /* it is in the store already, or NULL */
};

static int base_equals(const struct source_entry *base, const struct content *content, const char *path,
	bool *ret, struct error *err)
{
	cleanup_close int fd = -EBADF;

	*ret = false;
	if (!stat_equals(base, S_IFREG, content->meta) || (uint64_t)base->st.st_size != content->size)
		return 0;
	fd = source_entry_read(base, path, err);
	if (fd < 0)
		return fd;
	return source_bytes_equal(fd, content->fd, content->size, path, ret, err);
}

static int refuse_directory(const char *path, struct error *err)
{
	return error_set(err, -EISDIR,
		"'%s' is a directory in the component and none in the package; dpkg would refuse that too",
		path);
}

static int put_content(struct unpacking *unpacking, const char *path, const struct content *content,
	struct error *err)
{
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT;
	struct change *change;
	bool same;
	int r = source_entry_find(unpacking->image.basefd, path, &base, err);

	if (r < 0)
		return r;
	if (source_entry_is(&base, S_IFDIR))
		return refuse_directory(path, err);
	r = base_equals(&base, content, path, &same, err);
	if (r == 0 && same)
		return changeset_cancel(unpacking->set, path, err);
	if (r < 0)
		return r;
	r = changeset_add(unpacking->set, path, CHANGE_FILE, &change, err);
	if (r < 0)
		return r;
	r = meta_copy(content->meta, &change->meta);
	if (r < 0)
		return error_errno(err, -r, "'%s'", path);
	r = keep_capabilities(&base, path, &change->meta, err);
	if (r < 0)
		return r;
	if (!content->stored)
		return source_put_file(unpacking->store, content->fd, content->size, change, err);
	change->blob = content->stored->content.blob;
	change->size = content->stored->content.size;
	return 0;
}

/* A file without a name in the store's cache/; with one for a moment where the filesystem knows no O_TMPFILE. */
static int open_temporary(struct store *store, struct error *err)
{
	static const char name[] = ".unpacking"; /* the store is locked: nobody else unpacks */
	int fd = openat(store->cache_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	unlinkat(store->cache_fd, name, 0);
	fd = openat(store->cache_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_errno(err, errno, "make a temporary file in 'cache' of the store '%s'", store->path);
	unlinkat(store->cache_fd, name, 0);
	return fd;
}

/* The content of MEMBER in a temporary file; the fd. */
static int spool(struct unpacking *unpacking, struct deb *deb, const struct deb_member *member,
	struct error *err)
{
	cleanup_close int fd = open_temporary(unpacking->store, err);
	int r = fd < 0 ? fd : deb_write_content(deb, member, fd, err);

	return r < 0 ? r : TAKE_FD(fd);
}

/* Keep what further names of this file will need. META is the member's; it gets the object too. */
static int keep_linked(struct unpacking *unpacking, struct linked *linked, const struct deb_member *member,
	int fd, struct meta *meta, struct error *err)
{
	int r;

	linked->content.path = linked->path; /* for messages */
	r = source_put_file(unpacking->store, fd, member->size, &linked->content, err);
	linked->content.path = NULL;
	if (r < 0)
		return r;
	meta->present |= META_OBJECT;
	meta->object = linked->content.meta.object;
	meta->object_size = linked->content.meta.object_size;
	r = meta_copy(meta, &linked->content.meta);
	if (r < 0)
		return error_errno(err, -r, "'%s'", member->path);
	linked->known = true;
	return 0;
}

/* The regular file whose content is in FD; PATH is NULL outside the component. */
static int put_file(struct unpacking *unpacking, const struct deb_member *member, int fd, const char *path,
	struct error *err)
{
	struct linked *linked = find_linked(unpacking, member->path);
	cleanup_meta struct meta meta = META_INIT;
	struct content content = { &meta, member->size, fd, linked };
	int r = 0;

	member_meta(unpacking, member, &meta);
	if (linked)
		r = keep_linked(unpacking, linked, member, fd, &meta, err);
	return r < 0 || !path ? r : put_content(unpacking, path, &content, err);
}

/* A further name: the very same file, wherever its first name lies. */
static int put_hard_link(struct unpacking *unpacking, const struct deb_member *member, const char *path,
	struct error *err)
{
	const struct linked *linked = find_linked(unpacking, member->target);
	cleanup_close int fd = -EBADF;
	struct content content;

	if (!linked || !linked->known)
		return error_set(err, -EINVAL, "'%s' is a hard link to '%s', which does not come before it",
			member->path, member->target);
	if (!path)
		return 0;
	fd = object_open_pending(unpacking->store, &linked->content.meta.object, linked->content.size, err);
	if (fd < 0)
		return error_prefix(err, fd, "'%s'", path);
	content = (struct content){ &linked->content.meta, linked->content.size, fd, linked };
	return put_content(unpacking, path, &content, err);
}

/* ---- the second pass: everything else ---- */

static int target_equals(const struct source_entry *base, const char *target, bool *ret)
{
	char old[PATH_LENGTH_MAX + 2];
	ssize_t n = readlinkat(base->fd, "", old, sizeof old);

	if (n < 0)
		return -errno;
	*ret = (size_t)n == strlen(target) && memcmp(old, target, (size_t)n) == 0;
	return 0;
}

static int put_symlink(struct unpacking *unpacking, const struct deb_member *member, const char *path,
	struct error *err)
{
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT;
	cleanup_meta struct meta meta = META_INIT;
	struct change *change;
	bool same = false;
	int r = source_entry_find(unpacking->image.basefd, path, &base, err);

	if (r < 0)
		return r;
	/* dpkg leaves a directory where it is; moving it is for a maintainer script to do. */
	if (source_entry_is(&base, S_IFDIR))
		return 0;
	member_meta(unpacking, member, &meta);
	if (stat_equals(&base, S_IFLNK, &meta))
		r = target_equals(&base, member->target, &same);
	if (r < 0)
		return error_errno(err, -r, "read the symlink '%s'", path);
	if (same)
		return changeset_cancel(unpacking->set, path, err);
	r = changeset_add(unpacking->set, path, CHANGE_SYMLINK, &change, err);
	if (r < 0)
		return r;
	change->meta = meta; /* no attributes: nothing of it is owned */
	change->size = strlen(member->target);
	return repo_blob_write(unpacking->store->repo, member->target, change->size, &change->blob, err);
}

static int put_special(struct unpacking *unpacking, const struct deb_member *member, const char *path,
	struct error *err)
{
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT;
	dev_t device = makedev(member->device_major, member->device_minor);
	cleanup_meta struct meta meta = META_INIT;
	struct change *change;
	int r = source_entry_find(unpacking->image.basefd, path, &base, err);

	if (r < 0)
		return r;
	if (source_entry_is(&base, S_IFDIR))
		return refuse_directory(path, err);
	member_meta(unpacking, member, &meta);
	if (stat_equals(&base, member->type, &meta) &&
		(member->type == S_IFIFO || base.st.st_rdev == device))
		return changeset_cancel(unpacking->set, path, err);
	r = changeset_add(unpacking->set, path, CHANGE_SPECIAL, &change, err);
	if (r == 0)
		change->meta = meta;
	return r;
}

static int put_directory(struct unpacking *unpacking, const struct deb_member *member, const char *path,
	struct error *err)
{
	cleanup_source_entry struct source_entry base = SOURCE_ENTRY_INIT;
	struct change *change;
	int r = 0;

	if (*path)
		r = source_entry_find(unpacking->image.basefd, path, &base, err);
	if (r < 0 || *path == '\0' || source_entry_is(&base, S_IFDIR))
		return r;
	r = changeset_add(unpacking->set, path, CHANGE_DIRECTORY, &change, err);
	if (r == 0)
		member_meta(unpacking, member, &change->meta);
	return r;
}

/* Where MEMBER lands, as a canonical path of the image. */
static int resolve_member(const struct unpacking *unpacking, const struct deb_member *member, char **ret,
	struct error *err)
{
	cleanup_close int fd = -EBADF;
	cleanup_free char *followed = NULL;
	struct stat st;
	int r;

	if (member->type != S_IFDIR)
		return image_path_resolve_parent(&unpacking->image, file_path(unpacking, member), ret, err);
	/* A symlink to a directory is as good as a directory to dpkg, and stays. */
	r = image_path_resolve(&unpacking->image, member->path, &followed, err);
	if (r < 0)
		return r;
	fd = image_path_open(&unpacking->image, followed, O_PATH);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return image_path_resolve_parent(&unpacking->image, member->path, ret, err);
	*ret = TAKE_PTR(followed);
	return 0;
}

static int report_left_out(struct unpacking *unpacking, const char *landing, struct error *err)
{
	cleanup_free char *absolute = NULL;

	if (!unpacking->left_out)
		return 0;
	if (asprintf(&absolute, "/%s", landing) < 0)
		return error_errno(err, ENOMEM, "'%s'", landing);
	unpacking->left_out(unpacking->left_out_arg, absolute);
	return 0;
}

/* MEMBER at PATH of the component, or (NULL) outside; the content of a regular file is in FD. */
static int put_member(struct unpacking *unpacking, const struct deb_member *member, int fd, const char *path,
	struct error *err)
{
	switch (member->type) {
	case 0:
		return put_hard_link(unpacking, member, path, err);
	case S_IFREG:
		return fd < 0 ? 0 : put_file(unpacking, member, fd, path, err);
	case S_IFDIR:
		return path ? put_directory(unpacking, member, path, err) : 0;
	case S_IFLNK:
		return path ? put_symlink(unpacking, member, path, err) : 0;
	default:
		return path ? put_special(unpacking, member, path, err) : 0;
	}
}

static int unpack_member(struct unpacking *unpacking, struct deb *deb, const struct deb_member *member,
	struct error *err)
{
	cleanup_close int fd = -EBADF;
	cleanup_free char *landing = NULL;
	const char *path;
	int r = resolve_member(unpacking, member, &landing, err);

	if (r < 0)
		return error_prefix(err, r, "'%s'", unpacking->file);
	path = image_path_in_component(&unpacking->image, landing);
	/* At the very place of the component there is a directory, and dpkg would leave it alone. */
	if (path && *path == '\0' && member->type != S_IFDIR)
		path = NULL;
	if (path && member->type != S_IFDIR)
		unpacking->inside = true;
	if (!path && member->type != S_IFDIR)
		r = report_left_out(unpacking, landing, err);
	if (r == 0 && member->type == S_IFREG && (path || find_linked(unpacking, member->path)))
		r = fd = spool(unpacking, deb, member, err);
	if (r < 0)
		return r;
	r = put_member(unpacking, member, fd, path, err);
	return r < 0 ? error_prefix(err, r, "'%s'", unpacking->file) : 0;
}

static int unpack(struct unpacking *unpacking, struct error *err)
{
	cleanup_deb struct deb *deb = NULL;
	struct deb_member member;
	int r = deb_open(unpacking->file, &deb, err);

	if (r < 0)
		return r;
	while ((r = deb_next(deb, &member, err)) == 1) {
		int problem = unpack_member(unpacking, deb, &member, err);

		if (problem < 0)
			return problem;
	}
	return r;
}

int source_deb(struct store *store, const char *root, const char *directory, int basefd,
	const char *file, struct changeset *set, left_out_fn left_out, void *arg, struct error *err)
{
	CLEANUP(unpacking_release)
	struct unpacking unpacking = {
		.store = store,
		.file = file,
		.image = { .rootfd = -EBADF, .basefd = basefd },
		.set = set,
		.left_out = left_out,
		.left_out_arg = arg,
	};
	int r;

	if (!path_is_beneath(directory, root))
		return error_set(err, -EINVAL, "'%s' does not lie beneath '%s'", directory, root);
	unpacking.image.directory = directory + strlen(root);
	unpacking.image.directory += strspn(unpacking.image.directory, "/");
	unpacking.image.rootfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (unpacking.image.rootfd < 0)
		return error_errno(err, errno, "open '%s'", root);
	r = image_owners_load(&unpacking.image, &unpacking.owners, err);
	if (r == 0)
		r = image_diversions_load(&unpacking.image, &unpacking.diversions, err);
	if (r < 0)
		return r;
	unpacking.image.link = coming_link;
	unpacking.image.link_arg = &unpacking;
	r = survey(&unpacking, err);
	if (r == 0)
		r = unpack(&unpacking, err);
	if (r < 0)
		return r;
	if (!unpacking.inside)
		return error_set(err, -ENOENT, "nothing of '%s' lies under '%s'", file, directory);
	return changeset_sort(set, err);
}
