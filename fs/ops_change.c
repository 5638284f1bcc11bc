/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/ops_internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/xattr.h>

/* Of an attribute, as mailbox_note() has it. */
enum { WAS_ABSENT = 1, WAS_THERE };

/* The directory's listing is not what it was. */
static void listing_changed(struct session *session, fuse_ino_t directory)
{
	readdir_cache_drop(session->listings, directory);
}

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_SETATTR);
	struct overlay_cred cred = ops_cred(req);
	cleanup_overlay_guard struct overlay_guard guard;
	struct stat st;
	unsigned set = 0;
	int r;

	set |= to_set & FUSE_SET_ATTR_MODE ? SET_MODE : 0;
	set |= to_set & FUSE_SET_ATTR_UID ? SET_UID : 0;
	set |= to_set & FUSE_SET_ATTR_GID ? SET_GID : 0;
	set |= to_set & FUSE_SET_ATTR_SIZE ? SET_SIZE : 0;
	set |= to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW) ? SET_ATIME : 0;
	set |= to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW) ? SET_MTIME : 0;
	/* A request to set nothing is all that the kernel says before a write, or at a chown(2) for no owner. */
	if (session->kill_setid && (attr->st_mode & SETATTR_KILL_SETID || set == 0))
		set |= SET_KILL;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		attr->st_atim.tv_nsec = UTIME_NOW;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		attr->st_mtim.tv_nsec = UTIME_NOW;
	ops_enter(req, session, &guard);
	if (!mailbox_was_done(&r))
		r = mailbox_did(overlay_setattr(&guard, &cred, ino, attr, set, &st));
	else if (r == 0)
		r = overlay_getattr(&guard, ino, &st);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, TIMEOUT_INFINITE);
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct session *session = ops_begin(req, REQUEST_MKNOD);
	struct overlay_cred cred = ops_cred(req);
	cleanup_overlay_guard struct overlay_guard guard;
	struct overlay_entry entry;
	int r;

	ops_enter(req, session, &guard);
	if (!ops_was_made(&guard, parent, name, &r, &entry))
		r = ops_made(&guard, parent, name, overlay_mknod(&guard, &cred, parent, name, mode, rdev, &entry), &entry);
	listing_changed(session, parent);
	ops_reply_entry(req, session, r, &entry);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct session *session = ops_begin(req, REQUEST_MKDIR);
	struct overlay_cred cred = ops_cred(req);
	cleanup_overlay_guard struct overlay_guard guard;
	struct overlay_entry entry;
	int r;

	ops_enter(req, session, &guard);
	if (!ops_was_made(&guard, parent, name, &r, &entry))
		r = ops_made(&guard, parent, name, overlay_mkdir(&guard, &cred, parent, name, mode, &entry), &entry);
	listing_changed(session, parent);
	ops_reply_entry(req, session, r, &entry);
}

void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	struct session *session = ops_begin(req, REQUEST_SYMLINK);
	struct overlay_cred cred = ops_cred(req);
	cleanup_overlay_guard struct overlay_guard guard;
	struct overlay_entry entry;
	int r;

	ops_enter(req, session, &guard);
	if (!ops_was_made(&guard, parent, name, &r, &entry))
		r = ops_made(&guard, parent, name, overlay_symlink(&guard, &cred, parent, name, link, &entry), &entry);
	listing_changed(session, parent);
	ops_reply_entry(req, session, r, &entry);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct session *session = ops_begin(req, REQUEST_LINK);
	cleanup_overlay_guard struct overlay_guard guard;
	struct overlay_entry entry;
	int r;

	ops_enter(req, session, &guard);
	if (!ops_was_made(&guard, newparent, newname, &r, &entry))
		r = ops_made(&guard, newparent, newname, overlay_link(&guard, ino, newparent, newname, &entry), &entry);
	listing_changed(session, newparent);
	ops_reply_entry(req, session, r, &entry);
}

static void remove_name(fuse_req_t req, struct session *session, fuse_ino_t parent, const char *name,
	bool directory)
{
	cleanup_overlay_guard struct overlay_guard guard;
	int r;

	ops_enter(req, session, &guard);
	if (!mailbox_was_done(&r)) {
		r = overlay_remove(&guard, parent, name, directory);
		/* It was there when the kernel asked. */
		if (r == -ENOENT && mailbox_is_again())
			r = 0;
		mailbox_did(r);
	}
	listing_changed(session, parent);
	fuse_reply_err(req, -r);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, ops_begin(req, REQUEST_UNLINK), parent, name, false);
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, ops_begin(req, REQUEST_RMDIR), parent, name, true);
}

/* The node that NAME leads to, by its id; 0: none. */
static uint64_t leads_to(struct overlay_guard *guard, uint64_t parent, const char *name)
{
	struct overlay_entry entry;

	if (overlay_lookup(guard, parent, name, &entry) < 0)
		return 0;
	overlay_forget(guard->overlay, entry.id, 1);
	return entry.id;
}

/* A rename that a worker that has died may have made: to exchange two names once more would undo it. */
static int rename_once(struct overlay_guard *guard, uint64_t parent, const char *name, uint64_t newparent, const char *newname, unsigned flags)
{
	uint64_t noted = mailbox_noted();
	int r;

	if (flags & RENAME_EXCHANGE) {
		if (noted && leads_to(guard, newparent, newname) == noted && leads_to(guard, parent, name) != noted)
			return 0;
		mailbox_note(leads_to(guard, parent, name));
	}
	r = overlay_rename(guard, parent, name, newparent, newname, flags);
	/* It was there when the kernel asked. To look it up is to know it by its new name. */
	if (r == -ENOENT && mailbox_is_again() && leads_to(guard, newparent, newname))
		return 0;
	return r;
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags)
{
	struct session *session = ops_begin(req, REQUEST_RENAME);
	cleanup_overlay_guard struct overlay_guard guard;
	int r;

	ops_enter(req, session, &guard);
	if (!mailbox_was_done(&r))
		r = mailbox_did(rename_once(&guard, parent, name, newparent, newname, flags));
	listing_changed(session, parent);
	listing_changed(session, newparent);
	fuse_reply_err(req, -r);
}

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct session *session = ops_begin(req, REQUEST_SETXATTR);
	bool kill_sgid = (unsigned)flags & SETXATTR_KILL_SGID;
	cleanup_overlay_guard struct overlay_guard guard;
	int r;

	flags &= (int)~SETXATTR_KILL_SGID;
	ops_enter(req, session, &guard);
	if (!mailbox_was_done(&r)) {
		/* Whether there was one beforehand is known to nobody else. */
		if (flags & XATTR_CREATE && !mailbox_noted())
			mailbox_note(overlay_getxattr(&guard, ino, name, NULL, 0) < 0 ? WAS_ABSENT : WAS_THERE);
		r = overlay_setxattr(&guard, ino, name, value, size, flags, kill_sgid);
		if (r == -EEXIST && mailbox_noted() == WAS_ABSENT)
			r = 0;
		mailbox_did(r);
	}
	fuse_reply_err(req, -r);
}

void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct session *session = ops_begin(req, REQUEST_REMOVEXATTR);
	cleanup_overlay_guard struct overlay_guard guard;
	int r;

	ops_enter(req, session, &guard);
	if (!mailbox_was_done(&r)) {
		if (!mailbox_noted())
			mailbox_note(overlay_getxattr(&guard, ino, name, NULL, 0) < 0 ? WAS_ABSENT : WAS_THERE);
		r = overlay_removexattr(&guard, ino, name);
		if (r == -ENODATA && mailbox_noted() == WAS_THERE)
			r = 0;
		mailbox_did(r);
	}
	fuse_reply_err(req, -r);
}

/* The flags of lsattr(1) and chattr(1), and no other: the kernel asks for them itself, and has checked what the caller may. */
void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
	unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	struct session *session = ops_begin(req, REQUEST_IOCTL);
	cleanup_overlay_guard struct overlay_guard guard;
	union overlay_flags value = { 0 };
	int r = -ENOTTY;

	ops_enter(req, session, &guard);
	if ((cmd == FS_IOC_GETFLAGS || cmd == FS_IOC_FSGETXATTR) && out_size <= sizeof value) {
		r = overlay_get_flags(&guard, ino, cmd, &value);
	} else if ((cmd == FS_IOC_SETFLAGS || cmd == FS_IOC_FSSETXATTR) && in_size <= sizeof value) {
		memcpy(&value, in, in_size);
		if (!mailbox_was_done(&r))
			r = mailbox_did(overlay_set_flags(&guard, ino, cmd, &value));
		out_size = 0;
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_ioctl(req, 0, &value, out_size);
}
