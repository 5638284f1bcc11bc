/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/creds.h"
#include "fs/overlay_internal.h"
#include "fs/setid.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"

/* A name in a directory of the base that a change may touch. */
struct target {
	struct fdref directory; /* of the base */
	const char *name;
};
#define TARGET_INIT { FDREF_INIT, NULL }

static void target_release(struct target *target)
{
	fdref_release(&target->directory);
}
#define cleanup_target __attribute__((cleanup(target_release)))

static int target_open(struct overlay_guard *guard, uint64_t parent, const char *name, struct target *ret)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	size_t length = strnlen(name, PATH_NAME_MAX + 1);
	int r;

	if (length > PATH_NAME_MAX)
		return -ENAMETOOLONG;
	if (guard->overlay->config.deny_write)
		return -EROFS;
	r = overlay_place(guard, parent, &place);
	if (r < 0)
		return r;
	if (place.gone)
		return -ENOENT;
	if (place.view_index != VIEW_NONE &&
		view_child(guard->view, place.view_index, name, length) != VIEW_NONE)
		return -EROFS;
	r = overlay_base_directory(guard->overlay, parent, &ret->directory);
	ret->name = name;
	/* A directory that only the view has: nothing can be made in it. */
	return r == -ENOENT ? -EROFS : r;
}

/* Whoever has looked at the names of the base must look again. Before the request leaves. */
static void names_changed(struct overlay *overlay)
{
	atomic_fetch_add(&overlay->changes, 1);
}

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
	struct target *target, struct creds *creds)
{
	int r = target_open(guard, parent, name, target);

	return r < 0 ? r : creds_assume(creds, cred->uid, cred->gid, cred->umask);
}

/* Set-id and umask aside, what was made is looked up like any other name. */
static int target_lookup(struct overlay_guard *guard, uint64_t parent, const struct target *target,
	struct overlay_entry *ret)
{
	return overlay_lookup(guard, parent, target->name, ret);
}

int overlay_mknod(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, mode_t mode, dev_t device, struct overlay_entry *ret)
{
	cleanup_target struct target target = TARGET_INIT;
	int r = target_open(guard, parent, name, &target);

	if (r < 0)
		return r;
	if (S_ISDIR(mode))
		return -EPERM;
	{
		cleanup_creds struct creds creds = CREDS_INIT;
		bool device_node = S_ISCHR(mode) || S_ISBLK(mode);

		/* Device nodes need CAP_MKNOD, which the kernel has checked of the caller and a user id would lose. */
		r = creds_assume(&creds, device_node ? 0 : cred->uid, device_node ? 0 : cred->gid, cred->umask);
		if (r < 0)
			return r;
		if (!device_node)
			join_groups(cred, mode, &creds);
		if (mknodat(target.directory.fd, name, mode, device) < 0)
			return -errno;
		names_changed(guard->overlay);
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
	cleanup_target struct target target = TARGET_INIT;
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
	names_changed(guard->overlay);
	return r < 0 ? r : made_lookup(guard, parent, name, fd, ret);
}

int overlay_mkdir(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, mode_t mode, struct overlay_entry *ret)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int r = make_begin(guard, cred, parent, name, &target, &creds);

	if (r < 0)
		return r;
	if (mkdirat(target.directory.fd, name, mode) < 0)
		return -errno;
	creds_restore(&creds);
	names_changed(guard->overlay);
	return target_lookup(guard, parent, &target, ret);
}

int overlay_symlink(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, const char *link_target, struct overlay_entry *ret)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int r = make_begin(guard, cred, parent, name, &target, &creds);

	if (r < 0)
		return r;
	if (symlinkat(link_target, target.directory.fd, name) < 0)
		return -errno;
	creds_restore(&creds);
	names_changed(guard->overlay);
	return target_lookup(guard, parent, &target, ret);
}

/* The node stays known by the name that it had, while that is good: the new one may be short-lived. */
static int link_lookup(struct overlay_guard *guard, uint64_t parent, const struct target *target, uint64_t id,
	struct overlay_entry *ret)
{
	int r = node_look_up_again(guard->overlay->nodes, id);

	if (r < 0)
		return target_lookup(guard, parent, target, ret);
	ret->id = id;
	r = overlay_getattr(guard, id, &ret->st);
	if (r < 0)
		overlay_forget(guard->overlay, id, 1);
	return r;
}

int overlay_link(struct overlay_guard *guard, uint64_t id, uint64_t parent, const char *name,
	struct overlay_entry *ret)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_fdref struct fdref file = FDREF_INIT;
	char link[64];
	int r = target_open(guard, parent, name, &target);

	if (r < 0)
		return r;
	r = overlay_open_path(guard->overlay, id, &file);
	if (r < 0)
		return r == -ENOENT ? -EROFS : r; /* a patched file cannot be given a name in the base */
	snprintf(link, sizeof link, "/proc/self/fd/%d", file.fd);
	if (linkat(AT_FDCWD, link, target.directory.fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	names_changed(guard->overlay);
	return link_lookup(guard, parent, &target, id, ret);
}

/*
 * The kernel may know the file whose name is about to go: then an fd is put aside, for afterwards maybe no path
 * leads to it. Where the name does not go after all, or another is good, neither is the fd kept.
 */
struct victim {
	struct overlay *overlay;
	uint64_t id; /* 0: nothing was put aside */
	int fd;	     /* of the file, besides the one put aside */
	bool named;  /* the name is the one that the node is known by */
};
#define VICTIM_INIT { NULL, 0, -EBADF, false }

static void victim_release(struct victim *victim)
{
	if (victim->id)
		fdcache_unpin(victim->overlay->fds, victim->id);
	if (victim->fd >= 0)
		close(victim->fd);
}
#define cleanup_victim __attribute__((cleanup(victim_release)))

/* NAME in the base directory DIRECTORY of node PARENT; not where it is the file of key EXCEPT (may be NULL). */
static int victim_pin(struct overlay *overlay, int directory, uint64_t parent, const char *name,
	const struct node_key *except, struct victim *ret)
{
	cleanup_close int fd = path_open(directory, name, O_PATH, 0);
	struct node_key key;
	struct stat st;
	uint64_t id;
	int aside, r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	key = node_key_of_base(st.st_dev, st.st_ino);
	if (except && except->high == key.high && except->low == key.low)
		return 0;
	id = node_find(overlay->nodes, &key);
	if (!id)
		return 0;
	aside = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (aside < 0)
		return -errno;
	r = fdcache_pin(overlay->fds, id, aside);
	if (r == 0)
		*ret = (struct victim){ overlay, id, TAKE_FD(fd), node_is_named(overlay->nodes, id, parent, name) };
	return r;
}

/*
 * The name has gone. A file that has others stays reachable: by the one that its node is known by, or else by its
 * handle. Of names that go at the same time the last one sees that none is left. Then one fd for each node is
 * enough: one that had others before has its own already.
 */
static void victim_gone(struct victim *victim)
{
	struct overlay *overlay = victim->overlay;
	struct stat st;

	if (!victim->id)
		return;
	if (fstatat(victim->fd, "", &st, AT_EMPTY_PATH) == 0 && !S_ISDIR(st.st_mode) && st.st_nlink > 0) {
		if (!victim->named)
			return;
		if (overlay_keep_handle(overlay, victim->id, victim->fd, st.st_dev) == 0) {
			node_set_pinned(overlay->nodes, victim->id, false);
			return;
		}
	}
	if (!node_set_pinned(overlay->nodes, victim->id, true))
		victim->id = 0;
}

int overlay_remove(struct overlay_guard *guard, uint64_t parent, const char *name, bool directory)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_victim struct victim victim = VICTIM_INIT;
	int r = target_open(guard, parent, name, &target);

	if (r == 0)
		r = victim_pin(guard->overlay, target.directory.fd, parent, name, NULL, &victim);
	if (r < 0)
		return r;
	if (unlinkat(target.directory.fd, name, directory ? AT_REMOVEDIR : 0) < 0)
		return -errno;
	names_changed(guard->overlay);
	victim_gone(&victim);
	return 0;
}

static int key_at(int directory, const char *name, struct node_key *ret)
{
	struct stat st;

	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret = node_key_of_base(st.st_dev, st.st_ino);
	return 0;
}

static void moved(struct overlay *overlay, const struct node_key *key, uint64_t parent, const char *name)
{
	uint64_t id = node_find(overlay->nodes, key);

	if (node_move(overlay->nodes, key, parent, name) > 0)
		fdcache_unpin_all(overlay->fds, id);
}

int overlay_rename(struct overlay_guard *guard, uint64_t parent, const char *name, uint64_t new_parent,
	const char *new_name, unsigned flags)
{
	cleanup_target struct target from = TARGET_INIT;
	cleanup_target struct target to = TARGET_INIT;
	struct overlay *overlay = guard->overlay;
	cleanup_victim struct victim victim = VICTIM_INIT;
	struct node_key from_key, to_key;
	int r;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	r = target_open(guard, parent, name, &from);
	if (r == 0)
		r = target_open(guard, new_parent, new_name, &to);
	if (r == 0)
		r = key_at(from.directory.fd, name, &from_key);
	if (r == 0 && flags & RENAME_EXCHANGE)
		r = key_at(to.directory.fd, new_name, &to_key);
	if (r == 0 && !flags)
		r = victim_pin(overlay, to.directory.fd, new_parent, new_name, &from_key, &victim);
	if (r < 0)
		return r;
	atomic_fetch_add(&overlay->renames_begun, 1);
	if (renameat2(from.directory.fd, name, to.directory.fd, new_name, flags) < 0)
		r = -errno;
	if (r == 0)
		names_changed(overlay);
	if (r == 0)
		victim_gone(&victim);
	if (r == 0)
		moved(overlay, &from_key, new_parent, new_name);
	if (r == 0 && flags & RENAME_EXCHANGE)
		moved(overlay, &to_key, parent, name);
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
	if (info.content)
		return -EROFS;
	if (S_ISDIR(info.type)) {
		r = overlay_place(guard, id, &place);
		if (r < 0)
			return r;
		if (place.view_index != VIEW_NONE &&
			view_at(guard->view, place.view_index)->kind == VIEW_DIRECTORY)
			return -EROFS;
	}
	if (fdcache_get(overlay->fds, id, FD_WRITE, &ret->ref) || fdcache_get(overlay->fds, id, FD_READ, &ret->ref))
		return 0;
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
 * Work as the caller, where his change may end set-id bits. SET_KILL goes from *SET where there are none, or where it is alone
 * and they stay. 0 or a negative errno.
 */
static int kill_begin(const struct change *change, const struct overlay_cred *cred, unsigned *set, struct creds *creds)
{
	const struct caller caller = { cred->pid, cred->uid, cred->gid };
	struct stat st;

	if (fstatat(change->ref.fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (!setid_is_set(&st)) {
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

int overlay_setattr(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t id,
	const struct stat *attributes, unsigned set, struct stat *ret)
{
	cleanup_change struct change change = CHANGE_INIT;
	cleanup_creds struct creds creds = CREDS_INIT;
	int r = change_open(guard, id, &change);

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

int overlay_removexattr(struct overlay_guard *guard, uint64_t id, const char *name)
{
	cleanup_change struct change change = CHANGE_INIT;
	int r = change_open(guard, id, &change);

	if (r < 0)
		return r;
	r = change.by_path ? removexattr(change.link, name) : fremovexattr(change.ref.fd, name);
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
