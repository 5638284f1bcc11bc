/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_OVERLAY_WRITE_H
#define VENEER_FS_OVERLAY_WRITE_H

/*
 * Changes through the mount: whatever is not patched goes to the base. What is patched cannot be written in place or moved away
 * (-EROFS), but replaced and removed (fs/overlay_target.h); a hard link of it is one of what it hides. Under --write deny everything is
 * -EROFS.
 *
 * The caller of the request is CRED; see creds.h. Everything else as overlay.h.
 */

#include <linux/fs.h>

#include "fs/overlay.h"

struct overlay_cred {
	uid_t uid;
	gid_t gid;
	mode_t umask;
	pid_t pid; /* of the thread; 0: not known */
};

/* open(2) of a new regular file; *RET is looked up once. The descriptor that made it is kept for the writes that follow. */
int overlay_create(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent, const char *name,
	mode_t mode, struct overlay_entry *ret);
/* mknod(2) of any type but directories; *RET is looked up once. */
int overlay_mknod(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, mode_t mode, dev_t device, struct overlay_entry *ret);
int overlay_mkdir(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, mode_t mode, struct overlay_entry *ret);
int overlay_symlink(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t parent,
	const char *name, const char *target, struct overlay_entry *ret);
int overlay_link(struct overlay_guard *guard, uint64_t id, uint64_t parent, const char *name,
	struct overlay_entry *ret);
/* unlink(2), or rmdir(2) for DIRECTORY. What the kernel knows of it stays usable. */
int overlay_remove(struct overlay_guard *guard, uint64_t parent, const char *name, bool directory);
/* renameat2(2) with its FLAGS (RENAME_NOREPLACE, RENAME_EXCHANGE; a whiteout is -EINVAL). */
int overlay_rename(struct overlay_guard *guard, uint64_t parent, const char *name, uint64_t new_parent,
	const char *new_name, unsigned flags);

/* Which of these to set. */
enum overlay_set {
	SET_MODE = 1 << 0,
	SET_UID = 1 << 1,
	SET_GID = 1 << 2,
	SET_SIZE = 1 << 3,
	SET_ATIME = 1 << 4, /* with st_atim, which may hold UTIME_NOW */
	SET_MTIME = 1 << 5,
	/*
	 * End set-id bits (fs/setid.h). With SET_SIZE: the caller has no CAP_FSETID. Alone: he is about to write, or calls chown(2)
	 * for no owner.
	 */
	SET_KILL = 1 << 6,
};
int overlay_setattr(struct overlay_guard *guard, const struct overlay_cred *cred, uint64_t id,
	const struct stat *attributes, unsigned set, struct stat *ret);
/* KILL_SGID: an access ACL clears the set-gid bit, for the caller may not set it. */
int overlay_setxattr(struct overlay_guard *guard, uint64_t id, const char *name, const void *value,
	size_t size, int flags, bool kill_sgid);
int overlay_removexattr(struct overlay_guard *guard, uint64_t id, const char *name);

/* Inode flags (ioctl_iflags(2)) of regular files and directories of the base; -ENOTTY for others. A patched one has none. */
union overlay_flags {
	unsigned flags;	       /* FS_IOC_GETFLAGS, FS_IOC_SETFLAGS */
	struct fsxattr fsxattr; /* FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR */
	unsigned long room;    /* what the first two may write */
};
int overlay_get_flags(struct overlay_guard *guard, uint64_t id, unsigned command, union overlay_flags *ret);
int overlay_set_flags(struct overlay_guard *guard, uint64_t id, unsigned command, const union overlay_flags *value);

#endif
