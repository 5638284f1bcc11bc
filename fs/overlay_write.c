/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/content.h"
#include "fs/creds.h"
#include "fs/overlay_internal.h"
#include "fs/overlay_target.h"
#include "fs/setid.h"
#include "fs/mailbox.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"

/* A set-gid bit stays on a new file only where its maker is in the group, which may be one of his others. */
static void join_groups(const struct overlay_cred *cred, mode_t mode, struct creds *creds)
{
	const struct caller caller = { cred->pid, cred->uid, cred->gid };
	cleanup_free gid_t *groups = NULL;
	size_t count = 0;

	if (!(mode & S_ISGID) || cred->uid == 0)
		return;
	groups = caller_groups(&caller, &count);
	creds_join(creds, groups, count);
}

/* To make NAME in PARENT, as the caller of the request: then it is his. */
static int make_begin(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent, const char *name,
	struct overlay_target *target, struct creds *creds)
{
	int r = overlay_target_open(guard, parent, name, TARGET_MAKE, target);

	return r < 0 ? r : creds_assume(creds, cred->uid, cred->gid, cred->umask);
}

/* Set-id and umask aside, what was made is looked up like any other name. */
static int target_lookup(struct overlay_guard *guard, uint64_t parent, const struct overlay_target *target,
	struct overlay_entry *ret)
{
	return overlay_lookup(guard, parent, target->name, ret);
}

int overlay_mknod(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, mode_t mode, dev_t device, struct overlay_entry *ret)
{
	cleanup_overlay_target struct overlay_target target = OVERLAY_TARGET_INIT;
	int r = S_ISDIR(mode) ? -EPERM : overlay_target_open(guard, parent, name, TARGET_MAKE, &target);

	if (r < 0)
		return r;
	{
		cleanup_creds struct creds creds = CREDS_INIT;
		bool device_node = S_ISCHR(mode) || S_ISBLK(mode);

		/* Device nodes need CAP_MKNOD, which the kernel has checked of the caller and a user id would lose. */
		r = creds_assume(&creds, device_node ? 0 : cred->uid, device_node ? 0 : cred->gid, cred->umask);
		if (r < 0)
			return r;
		if (!device_node)
			join_groups(cred, mode, &creds);
		/* Made by a worker that has died, it may not have been given away. */
		if (mknodat(target.directory.fd, name, mode, device) < 0 && !(errno == EEXIST && device_node && mailbox_is_again()))
			return -errno;
		overlay_target_changed(guard, &target, OVERLAY_REPLACED);
		if (device_node && (cred->uid || cred->gid) &&
			fchownat(target.directory.fd, name, cred->uid, cred->gid, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	}
	return target_lookup(guard, parent, &target, ret);
}

/* A new file of the base at NAME is looked up by the descriptor that made it, which is given away. */
static int made_lookup(struct overlay_guard *guard, uint64_t parent, const char *name, int fd, struct overlay_entry *ret)
{
	cleanup_fdref struct fdref kept = FDREF_INIT;
	int r = overlay_lookup_made(guard, parent, name, fd, ret);

	if (r < 0)
		close(fd);
	else
		fdcache_add(guard->overlay->fds, ret->id, FD_WRITE, fd, &kept);
	return r;
}

int overlay_create(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent, const char *name,
	mode_t mode, struct overlay_entry *ret)
{
	cleanup_overlay_target struct overlay_target target = OVERLAY_TARGET_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int fd, r = make_begin(guard, cred, parent, name, &target, &creds);

	if (r < 0)
		return r;
	join_groups(cred, mode, &creds);
	fd = openat(target.directory.fd, name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, mode & 07777);
	if (fd < 0)
		r = -errno;
	creds_restore(&creds);
	/* Also after an error: a file may have been made that could not be opened. */
	overlay_names_changed(guard->overlay);
	if (r < 0)
		return r;
	overlay_target_changed(guard, &target, OVERLAY_REPLACED);
	return made_lookup(guard, parent, name, fd, ret);
}

int overlay_mkdir(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, mode_t mode, struct overlay_entry *ret)
{
	cleanup_overlay_target struct overlay_target target = OVERLAY_TARGET_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int r = make_begin(guard, cred, parent, name, &target, &creds);

	if (r < 0)
		return r;
	if (mkdirat(target.directory.fd, name, mode) < 0)
		return -errno;
	creds_restore(&creds);
	overlay_target_changed(guard, &target, OVERLAY_REPLACED);
	return target_lookup(guard, parent, &target, ret);
}

int overlay_symlink(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, const char *link_target, struct overlay_entry *ret)
{
	cleanup_overlay_target struct overlay_target target = OVERLAY_TARGET_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int r = make_begin(guard, cred, parent, name, &target, &creds);

	if (r < 0)
		return r;
	if (symlinkat(link_target, target.directory.fd, name) < 0)
		return -errno;
	creds_restore(&creds);
	overlay_target_changed(guard, &target, OVERLAY_REPLACED);
	return target_lookup(guard, parent, &target, ret);
}

/* The node stays known by the name that it had, while that is good: the new one may be short-lived. */
static int link_lookup(struct overlay_guard *guard, uint64_t parent, const struct overlay_target *target, uint64_t id,
	struct overlay_entry *ret)
{
	int r = node_look_up_again(guard->overlay->nodes, id, parent, target->name);

	if (r < 0)
		return target_lookup(guard, parent, target, ret);
	ret->id = id;
	r = overlay_getattr(guard, id, &ret->st);
	if (r < 0)
		overlay_forget(guard->overlay, id, 1);
	return r;
}

/*
 * What a patch hides at the path of the node gets another name, not the patched file: that is how a package manager keeps what it is
 * about to replace (dpkg), and what it puts back where it fails. *RET is an O_PATH fd; untouched: the base has nothing there, or something
 * of another type, which could be no link of the node.
 */
static int open_hidden(const struct overlay_guard *guard, const struct node_info *info, const char *path, int *ret)
{
	cleanup_close int fd = path_open(guard->overlay->config.base_fd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	/* The kernel has checked what the caller may do to the file that he sees: of another owner that says nothing. */
	if (S_ISDIR(st.st_mode) || (guard->uid != 0 && st.st_uid != info->content->st.st_uid))
		return -EROFS;
	if ((st.st_mode & S_IFMT) == (info->type & S_IFMT))
		*ret = TAKE_FD(fd);
	return 0;
}

/* After the owner, whose change ends capabilities, and the mode, which ACLs say once more. */
static int copy_xattrs(const struct content *content, int fd)
{
	for (size_t i = 0; i < content->meta.xattr_count; i++) {
		const struct meta_xattr *xattr = &content->meta.xattrs[i];

		if (fsetxattr(fd, xattr->name, xattr->value, xattr->size, 0) < 0 && errno != EOPNOTSUPP)
			return -errno;
	}
	return 0;
}

static int copy_metadata(const struct content *content, int fd)
{
	int r;

	if (fchown(fd, content->st.st_uid, content->st.st_gid) < 0 || fchmod(fd, content->st.st_mode & 07777) < 0)
		return -errno;
	r = copy_xattrs(content, fd);
	if (r < 0)
		return r;
	return futimens(fd, (struct timespec[2]){ content->st.st_atim, content->st.st_mtim }) < 0 ? -errno : 0;
}

/* The base has nothing there: then what the patch adds is copied, for a name in the base can be that of a file in the base alone. */
static int copy_patched(struct overlay *overlay, const struct node_info *info, const struct overlay_target *target)
{
	const size_t piece = OBJECT_PIECE_BYTES;
	cleanup_free char *buf = NULL;
	cleanup_close int fd = -EBADF;
	char link[64];
	int r = 0;

	if (info->content->kind != VIEW_FILE)
		return -EROFS;
	buf = malloc(piece);
	if (!buf)
		return -ENOMEM;
	fd = openat(target->directory.fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EOPNOTSUPP ? -EROFS : -errno;
	for (off_t at = 0; r == 0 && at < info->content->st.st_size; at += (off_t)piece) {
		ssize_t n = overlay_read(overlay, info->id, buf, (uint64_t)at, piece);

		r = n < 0 ? (int)n : io_write(fd, buf, (size_t)n);
	}
	if (r == 0)
		r = copy_metadata(info->content, fd);
	if (r < 0)
		return r;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, target->directory.fd, target->name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Is the node what the view has at PATH? One that was replaced or reverted has lost its name, and there is no link of it to be had. */
static bool is_served_at(const struct overlay_guard *guard, const struct node_info *info, const char *path)
{
	const uint32_t index = guard->view ? view_lookup(guard->view, path) : VIEW_NONE;

	return index != VIEW_NONE && !view_is_ended(guard->view, index) &&
		hash128_equal(&view_at(guard->view, index)->identity, &info->content->identity);
}

static int link_patched(struct overlay_guard *guard, uint64_t id, uint64_t parent, struct overlay_target *target,
	struct overlay_entry *ret)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	cleanup_close int hidden = -EBADF;
	char link[64];
	int r = node_get(guard->overlay->nodes, id, &info);

	if (r == 0)
		r = node_path(guard->overlay->nodes, id, &path);
	if (r == 0 && (!info.content || !is_served_at(guard, &info, strbuf_text(&path))))
		r = -ENOENT;
	if (r == 0)
		r = open_hidden(guard, &info, strbuf_text(&path), &hidden);
	if (r < 0)
		return r;
	if (hidden >= 0) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", hidden);
		r = linkat(AT_FDCWD, link, target->directory.fd, target->name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
	} else {
		r = copy_patched(guard->overlay, &info, target);
	}
	if (r < 0)
		return r;
	overlay_target_changed(guard, target, OVERLAY_REPLACED);
	return target_lookup(guard, parent, target, ret);
}

int overlay_link(struct overlay_guard *guard, uint64_t id, uint64_t parent, const char *name,
	struct overlay_entry *ret)
{
	cleanup_overlay_target struct overlay_target target = OVERLAY_TARGET_INIT;
	cleanup_fdref struct fdref file = FDREF_INIT;
	char link[64];
	int r = overlay_target_open(guard, parent, name, TARGET_MAKE, &target);

	if (r < 0)
		return r;
	r = overlay_open_path(guard->overlay, id, &file);
	if (r == -ENOENT)
		return link_patched(guard, id, parent, &target, ret);
	if (r < 0)
		return r;
	snprintf(link, sizeof link, "/proc/self/fd/%d", file.fd);
	if (linkat(AT_FDCWD, link, target.directory.fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	overlay_target_changed(guard, &target, OVERLAY_REPLACED);
	return link_lookup(guard, parent, &target, id, ret);
}

/* In the base; where the view alone has it, there is nothing to do there. */
static int remove_from_base(struct overlay_guard *guard, uint64_t parent, const struct overlay_target *target, bool directory)
{
	cleanup_victim struct victim victim = VICTIM_INIT;
	int r;

	if (target->directory.fd < 0)
		return -ENOENT;
	r = victim_pin(guard->overlay, target->directory.fd, parent, target->name, NULL, &victim);
	if (r < 0)
		return r;
	if (unlinkat(target->directory.fd, target->name, directory ? AT_REMOVEDIR : 0) < 0)
		return -errno;
	overlay_names_changed(guard->overlay);
	victim_gone(&victim, parent, target->name);
	return 0;
}

int overlay_remove(struct overlay_guard *guard, uint64_t parent, const char *name, bool directory)
{
	cleanup_overlay_target struct overlay_target target = OVERLAY_TARGET_INIT;
	int r = overlay_target_open(guard, parent, name, directory ? TARGET_REMOVE_DIRECTORY : TARGET_REMOVE, &target);

	if (r < 0)
		return r;
	r = remove_from_base(guard, parent, &target, directory);
	if (target.shadow != VIEW_NONE && r == -ENOENT)
		r = 0;
	if (r == 0)
		overlay_target_changed(guard, &target, OVERLAY_REMOVED);
	return overlay_target_error(guard, &target, r);
}

static int key_at(int directory, const char *name, struct node_key *ret)
{
	struct stat st;

	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret = node_key_of_base(st.st_dev, st.st_ino);
	return 0;
}

static enum overlay_target_use use_of_new_name(unsigned flags)
{
	return flags & RENAME_EXCHANGE ? TARGET_MOVE : flags & RENAME_NOREPLACE ? TARGET_FILL : TARGET_REPLACE;
}

/* A directory does not go over a file: where that is one that the patch has deleted, it goes first. */
static int rename_over(struct overlay_guard *guard, const struct overlay_target *from, uint64_t new_parent,
	struct overlay_target *to, unsigned flags)
{
	int r = renameat2(from->directory.fd, from->name, to->directory.fd, to->name, flags) < 0 ? -errno : 0;

	if (r != -ENOTDIR || to->shadow == VIEW_NONE || view_at(guard->view, to->shadow)->kind != VIEW_DELETED)
		return overlay_target_error(guard, to, r);
	r = overlay_target_make_way(guard, to);
	if (r < 0)
		return r;
	return renameat2(from->directory.fd, from->name, to->directory.fd, to->name, flags) < 0 ? -errno : 0;
}

/* The file was FROM_NAME in FROM_PARENT. */
static void moved(struct overlay *overlay, const struct node_key *key, uint64_t from_parent, const char *from_name,
	uint64_t parent, const char *name)
{
	uint64_t id = node_find(overlay->nodes, key);

	if (node_move(overlay->nodes, key, parent, name) > 0)
		fdcache_unpin_all(overlay->fds, id);
	node_unalias(overlay->nodes, id, from_parent, from_name);
}

int overlay_rename(struct overlay_guard *guard, uint64_t parent, const char *name, uint64_t new_parent,
	const char *new_name, unsigned flags)
{
	cleanup_overlay_target struct overlay_target from = OVERLAY_TARGET_INIT;
	cleanup_overlay_target struct overlay_target to = OVERLAY_TARGET_INIT;
	struct overlay *overlay = guard->overlay;
	cleanup_victim struct victim victim = VICTIM_INIT;
	struct node_key from_key, to_key;
	int r;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	r = overlay_target_open(guard, parent, name, TARGET_MOVE, &from);
	if (r == 0)
		r = overlay_target_open(guard, new_parent, new_name, use_of_new_name(flags), &to);
	/* What the patch has deleted is not there, whatever the base has. */
	if (r == 0 && to.shadow != VIEW_NONE && view_at(guard->view, to.shadow)->kind == VIEW_DELETED)
		flags &= ~(unsigned)RENAME_NOREPLACE;
	if (r == 0)
		r = key_at(from.directory.fd, name, &from_key);
	if (r == 0 && flags & RENAME_EXCHANGE)
		r = key_at(to.directory.fd, new_name, &to_key);
	if (r == 0 && !flags)
		r = victim_pin(overlay, to.directory.fd, new_parent, new_name, &from_key, &victim);
	if (r < 0)
		return r;
	atomic_fetch_add(&overlay->renames_begun, 1);
	r = rename_over(guard, &from, new_parent, &to, flags);
	if (r == 0)
		overlay_target_changed(guard, &to, OVERLAY_REPLACED);
	if (r == 0)
		victim_gone(&victim, new_parent, new_name);
	if (r == 0)
		moved(overlay, &from_key, parent, name, new_parent, new_name);
	if (r == 0 && flags & RENAME_EXCHANGE)
		moved(overlay, &to_key, new_parent, new_name, parent, name);
	atomic_fetch_add(&overlay->renames_ended, 1);
	return r;
}

/* A node's file, to be changed: by a descriptor that is open already, or by a path for the calls that know no O_PATH fd. */
struct change {
	struct fdref ref;
	bool by_path;
	char link[64];
};
#define CHANGE_INIT { FDREF_INIT, false, "" }

static void change_release(struct change *change)
{
	fdref_release(&change->ref);
}
#define cleanup_change __attribute__((cleanup(change_release)))

/*
 * A file that has lost its last name around the mount, and not through it, was replaced there: who is told so looks its name up anew
 * (estale_retry() in the kernel), and changes the file that is there now.
 */
static int check_linked(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_nlink > 0 ? 0 : -ESTALE;
}

/* -EROFS for what is patched. */
static int change_open(struct overlay_guard *guard, uint64_t id, struct change *ret)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	struct overlay *overlay = guard->overlay;
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int r;

	if (overlay->config.deny_write)
		return -EROFS;
	r = node_get(overlay->nodes, id, &info);
	if (r < 0)
		return r;
	if (info.content) {
		overlay_tell(overlay, OVERLAY_REFUSED, id, NULL, guard->pid, guard->uid);
		return -EROFS;
	}
	if (S_ISDIR(info.type)) {
		r = overlay_place(guard, id, &place);
		if (r < 0)
			return r;
		if (place.view_index != VIEW_NONE &&
			view_served_kind(guard->view, place.view_index) == VIEW_DIRECTORY)
			return -EROFS;
	}
	if (fdcache_get(overlay->fds, id, FD_WRITE, &ret->ref) || fdcache_get(overlay->fds, id, FD_READ, &ret->ref))
		return info.pinned ? 0 : check_linked(ret->ref.fd);
	ret->by_path = true;
	r = overlay_open_path(overlay, id, &ret->ref);
	if (r < 0)
		return r;
	snprintf(ret->link, sizeof ret->link, "/proc/self/fd/%d", ret->ref.fd);
	return 0;
}

static int change_mode(const struct change *change, mode_t mode)
{
	int r = change->by_path ? chmod(change->link, mode) : fchmod(change->ref.fd, mode);

	return r < 0 ? -errno : 0;
}

static int set_size(struct overlay *overlay, uint64_t id, off_t size)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	int r = overlay_open(overlay, id, FD_WRITE, &file);

	if (r < 0)
		return r;
	return ftruncate(file.fd, size) < 0 ? -errno : 0;
}

/*
 * Work as the caller, where his change may end set-id bits. SET_KILL goes from *SET where there are none and something else is to
 * be set, or where it is alone and they stay. 0 or a negative errno.
 */
static int kill_begin(const struct change *change, const struct overlay_cred *cred, unsigned *set, struct creds *creds)
{
	const struct caller caller = { cred->pid, cred->uid, cred->gid };
	struct stat st;

	if (fstatat(change->ref.fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (!setid_is_set(&st)) {
		/* Alone it is a chown(2) for no owner, or comes before a write to what had a capability: the filesystem beneath decides. */
		if (*set != SET_KILL)
			*set &= ~(unsigned)SET_KILL;
		return 0;
	}
	if (*set & SET_SIZE || !caller_has_fsetid(&caller)) {
		/* A chown(2) for no owner that ends them is a change of the mode, which only the owner may make. */
		if (*set == SET_KILL && !caller_is_owner(&caller, st.st_uid) && caller_is_in_chown(&caller) &&
			setid_ends(&st, &caller))
			return -EPERM;
		return setid_begin(creds, &st, &caller);
	}
	/* Who has CAP_FSETID and writes keeps them: he only lost a capability, which the kernel has removed by itself. */
	if (*set == SET_KILL && !caller_is_in_chown(&caller))
		*set &= ~(unsigned)SET_KILL;
	return 0;
}

static int set_owner_and_mode(const struct change *change, const struct stat *attributes, unsigned set)
{
	uid_t uid = set & SET_UID ? attributes->st_uid : (uid_t)-1;
	gid_t gid = set & SET_GID ? attributes->st_gid : (gid_t)-1;

	/* A chown(2) for no owner ends set-id bits as a write does. */
	if ((set & (SET_UID | SET_GID) || set == SET_KILL) && fchownat(change->ref.fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	/* After the owner, whose change clears set-id bits. */
	return set & SET_MODE ? change_mode(change, attributes->st_mode & 07777) : 0;
}

static int set_times(const struct change *change, const struct stat *attributes, unsigned set)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	int r;

	if (set & SET_ATIME)
		times[0] = attributes->st_atim;
	if (set & SET_MTIME)
		times[1] = attributes->st_mtim;
	r = change->by_path ? utimensat(AT_FDCWD, change->link, times, 0) : futimens(change->ref.fd, times);
	return r < 0 ? -errno : 0;
}

/*
 * A package manager takes the set-id bits off a file before it removes it, so that no other hard link of it keeps them (dpkg,
 * secure_unlink()). Of a patched one that is the beginning of its removal: what the patch hides loses them, and is seen from now on.
 * false: it is nothing of the kind.
 */
static bool removal_begins(struct overlay_guard *guard, uint64_t id, const struct stat *attributes, unsigned set, struct stat *ret)
{
	const mode_t set_id = S_ISUID | S_ISGID | S_ISVTX;
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	cleanup_close int fd = -EBADF;
	char link[64];
	uint32_t index;

	if (set != SET_MODE || (attributes->st_mode & 07777) != 0600 || !guard->view || guard->overlay->config.deny_write ||
		atomic_load(&guard->overlay->base_change) != BASE_CHANGE_RETIRE)
		return false;
	if (node_get(guard->overlay->nodes, id, &info) < 0 || !info.content || info.content->kind != VIEW_FILE ||
		!(info.content->st.st_mode & set_id) || node_path(guard->overlay->nodes, id, &path) < 0)
		return false;
	index = view_lookup(guard->view, strbuf_text(&path));
	if (!is_served_at(guard, &info, strbuf_text(&path)) || open_hidden(guard, &info, strbuf_text(&path), &fd) < 0)
		return false;
	*ret = info.content->st;
	ret->st_mode = S_IFREG | 0600;
	if (fd < 0)
		return true; /* the patch adds it: its bits go with it */
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (chmod(link, 0600) < 0)
		return false;
	overlay_names_changed(guard->overlay);
	overlay_end(guard, index, strbuf_text(&path));
	overlay_tell(guard->overlay, OVERLAY_REMOVED, id, strbuf_text(&path), guard->pid, guard->uid);
	return true;
}

int overlay_setattr(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t id,
	const struct stat *attributes, unsigned set, struct stat *ret)
{
	cleanup_change struct change change = CHANGE_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int r;

	if (removal_begins(guard, id, attributes, set, ret))
		return 0;
	r = change_open(guard, id, &change);
	if (r == 0 && set & SET_KILL)
		r = kill_begin(&change, cred, &set, &creds);
	if (r == 0 && set & (SET_MODE | SET_UID | SET_GID | SET_KILL))
		r = set_owner_and_mode(&change, attributes, set);
	if (r == 0 && set & SET_SIZE)
		r = set_size(guard->overlay, id, attributes->st_size);
	creds_restore(&creds);
	if (r == 0 && set & (SET_ATIME | SET_MTIME))
		r = set_times(&change, attributes, set);
	if (r < 0)
		return r;
	return overlay_getattr(guard, id, ret);
}

/* As the filesystem beneath does it for such a caller, who is not us. */
static int clear_sgid(const struct change *change)
{
	struct stat st;

	if (fstatat(change->ref.fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (!(st.st_mode & S_ISGID))
		return 0;
	return change_mode(change, st.st_mode & 07777 & ~(mode_t)S_ISGID);
}

int overlay_setxattr(struct overlay_guard *guard, uint64_t id, const char *name, const void *value,
	size_t size, int flags, bool kill_sgid)
{
	cleanup_change struct change change = CHANGE_INIT;
	int r = change_open(guard, id, &change);

	if (r < 0)
		return r;
	r = change.by_path ? setxattr(change.link, name, value, size, flags) :
			     fsetxattr(change.ref.fd, name, value, size, flags);
	if (r < 0)
		return -errno;
	return kill_sgid && strcmp(name, "system.posix_acl_access") == 0 ? clear_sgid(&change) : 0;
}

/*
 * Before a write the kernel ends a file's capability by a request like any other. Beneath, that is allowed also for a file that can only be
 * appended to, and the write does it.
 */
static bool ends_with_write(const struct overlay_guard *guard, const struct change *change, const char *name)
{
	const struct caller caller = { guard->pid, guard->uid, 0 };
	struct statx st;

	return strcmp(name, "security.capability") == 0 && statx(change->ref.fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == 0 &&
		st.stx_attributes & STATX_ATTR_APPEND && !(st.stx_attributes & STATX_ATTR_IMMUTABLE) && caller_is_in_write(&caller);
}

int overlay_removexattr(struct overlay_guard *guard, uint64_t id, const char *name)
{
	cleanup_change struct change change = CHANGE_INIT;
	int r = change_open(guard, id, &change);

	if (r < 0)
		return r;
	r = change.by_path ? removexattr(change.link, name) : fremovexattr(change.ref.fd, name);
	if (r < 0 && errno == EPERM && ends_with_write(guard, &change, name))
		return 0;
	return r < 0 ? -errno : 0;
}

static bool has_flags(const struct node_info *info)
{
	return S_ISREG(info->type) || S_ISDIR(info->type);
}

int overlay_get_flags(struct overlay_guard *guard, uint64_t id, unsigned command, union overlay_flags *ret)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	int r = node_get(guard->overlay->nodes, id, &info);

	if (r < 0)
		return r;
	if (!has_flags(&info))
		return -ENOTTY;
	if (info.content)
		return 0;
	r = overlay_open_lower_cached(guard->overlay, &info, FD_READ, &ref);
	if (r < 0)
		return r;
	return ioctl(ref.fd, command, ret) < 0 ? -errno : 0;
}

int overlay_set_flags(struct overlay_guard *guard, uint64_t id, unsigned command, const union overlay_flags *value)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_change struct change change = CHANGE_INIT;
	cleanup_close int fd = -EBADF;
	int r = change_open(guard, id, &change);

	if (r == 0)
		r = node_get(guard->overlay->nodes, id, &info);
	if (r < 0)
		return r;
	if (!has_flags(&info))
		return -ENOTTY;
	if (change.by_path) {
		fd = open(change.link, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	if (ioctl(change.by_path ? fd : change.ref.fd, command, value) < 0)
		return -errno;
	/* Append-only and immutable count when a file is opened: who writes from now on opens it anew. */
	fdcache_drop(guard->overlay->fds, id, FD_WRITE);
	return 0;
}
