/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/ops_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/kernel_abi.h"
#include "fs/passthrough.h"
#include "fs/setid.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"

/* Of one request to copy: the caller asks again for the rest, and a thread is not taken for long. */
#define COPY_MAX ((size_t)16 << 20)

static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static uint32_t open_flags(int32_t backing)
{
	return backing ? ABI_FOPEN_PASSTHROUGH : FOPEN_KEEP_CACHE;
}

/* Under passthrough: register the file behind the node, and answer with its id. While the choice watches: without one. */
static void reply_counted(fuse_req_t req, struct session *session, fuse_ino_t ino)
{
	struct abi_open_out out = { .fh = 0 };
	int r = passthrough_open(session, ino, &out.backing_id);

	out.open_flags = open_flags(out.backing_id);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (fuse_reply_buf(req, (const char *)&out, sizeof out) < 0)
		passthrough_release(session, ino);
}

/* The beginning of a file is about to be read: so may those be that follow it in its directory. */
static void tell_ahead(struct session *session, fuse_ino_t ino)
{
	char name[NAME_MAX + 1];
	uint64_t parent;

	if (node_name(overlay_nodes(session->overlay), ino, &parent, name) == 0)
		read_ahead_tell(session->files_ahead, parent, name);
}

static void watch_open(struct session *session, fuse_ino_t ino)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	struct stat st;

	if (overlay_open(session->overlay, ino, FD_READ, &file) == 0 && fstat(file.fd, &st) == 0)
		io_choice_see(&session->choice, (uint64_t)st.st_size);
}

static bool appends_only(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && flags & O_APPEND;
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_OPEN);
	cleanup_fdref struct fdref file = FDREF_INIT;
	int r = 0;

	/* What cannot be written is refused here as long as the kernel asks; and by write itself when it no longer does. */
	if (wants_write(fi->flags) || fi->flags & O_TRUNC)
		r = overlay_open(session->overlay, ino, FD_WRITE, &file);
	if (r == 0 && file.fd >= 0 && appends_only(file.fd) && (!(fi->flags & O_APPEND) || fi->flags & O_TRUNC))
		r = -EPERM;
	if (r < 0) {
		fuse_reply_err(req, -r);
	} else if (io_choice_mode(&session->choice) != IO_CACHED) {
		if (!wants_write(fi->flags))
			tell_ahead(session, ino);
		if (io_choice_mode(&session->choice) == IO_AUTO && !wants_write(fi->flags))
			watch_open(session, ino);
		reply_counted(req, session, ino);
	} else if (session->open_unneeded) {
		/* From here on the kernel opens files by itself. */
		fuse_reply_err(req, ENOSYS);
	} else {
		fi->keep_cache = 1;
		fuse_reply_open(req, fi);
	}
}

/* fuse_entry_out and fuse_open_out of an answer to CREATE under passthrough, which libfuse 3.14 cannot say. */
struct create_out {
	struct fuse_entry_out entry;
	struct abi_open_out open;
};

static void fill_attr(const struct stat *st, struct fuse_attr *attr)
{
	attr->ino = st->st_ino;
	attr->mode = st->st_mode;
	attr->nlink = (uint32_t)st->st_nlink;
	attr->uid = st->st_uid;
	attr->gid = st->st_gid;
	attr->rdev = (uint32_t)st->st_rdev;
	attr->size = (uint64_t)st->st_size;
	attr->blksize = (uint32_t)st->st_blksize;
	attr->blocks = (uint64_t)st->st_blocks;
	attr->atime = (uint64_t)st->st_atim.tv_sec;
	attr->mtime = (uint64_t)st->st_mtim.tv_sec;
	attr->ctime = (uint64_t)st->st_ctim.tv_sec;
	attr->atimensec = (uint32_t)st->st_atim.tv_nsec;
	attr->mtimensec = (uint32_t)st->st_mtim.tv_nsec;
	attr->ctimensec = (uint32_t)st->st_ctim.tv_nsec;
}

static int reply_create_counted(fuse_req_t req, struct session *session, const struct overlay_entry *entry)
{
	struct create_out out;
	int r;

	memset(&out, 0, sizeof out);
	r = passthrough_open(session, entry->id, &out.open.backing_id);
	if (r < 0)
		return r;
	out.entry.nodeid = entry->id;
	out.entry.entry_valid = out.entry.attr_valid = (uint64_t)TIMEOUT_INFINITE;
	fill_attr(&entry->st, &out.entry.attr);
	out.open.open_flags = open_flags(out.open.backing_id);
	if (fuse_reply_buf(req, (const char *)&out, sizeof out) < 0) {
		passthrough_release(session, entry->id);
		overlay_forget(session->overlay, entry->id, 1);
	}
	return 0;
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_CREATE);
	struct overlay_cred cred = ops_cred(req);
	cleanup_overlay_guard struct overlay_guard guard;
	struct fuse_entry_param param;
	struct overlay_entry entry;
	int r;

	ops_enter(req, session, &guard);
	if (!ops_was_made(&guard, parent, name, &r, &entry))
		r = ops_made(&guard, parent, name, overlay_create(&guard, &cred, parent, name, mode, &entry), &entry);
	readdir_cache_drop(session->listings, parent);
	if (r == 0 && io_choice_mode(&session->choice) != IO_CACHED) {
		r = reply_create_counted(req, session, &entry);
		if (r == 0)
			return;
		overlay_forget(session->overlay, entry.id, 1);
	}
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	ops_fill_entry(&entry, &param);
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &param, fi) < 0)
		overlay_forget(session->overlay, entry.id, 1);
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_READ);
	cleanup_free char *buf = malloc(size);
	ssize_t n;

	if (off == 0)
		tell_ahead(session, ino);
	n = buf ? overlay_read(session->overlay, ino, buf, (uint64_t)off, size) : -ENOMEM;
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

/*
 * All of it, or what could be written before the first error; the error where that is nothing. Where a file can only be appended to,
 * what is not for its end is from who opened it without asking us (or stored in a mapping), and goes nowhere.
 */
static ssize_t write_some(int fd, const char *buf, size_t size, off_t off)
{
	size_t done = 0;
	struct stat st;

	if (appends_only(fd) && (fstat(fd, &st) < 0 || st.st_size != off)) {
		/* A worker that has died may have appended it, or a part. */
		if (!mailbox_is_again() || st.st_size <= off || st.st_size > off + (off_t)size)
			return -EPERM;
		done = (size_t)(st.st_size - off);
	}

	while (done < size) {
		ssize_t n = pwrite(fd, buf + done, size - done, off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && !done)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* A file that a request writes. */
struct content_change {
	struct fdref file;
	struct creds creds;
	bool kills; /* set-id bits */
};
#define CONTENT_CHANGE_INIT { FDREF_INIT, CREDS_INIT, false }

/* What the request says of the caller's CAP_FSETID. */
enum fsetid { FSETID_HELD, FSETID_LACKED, FSETID_NOT_SAID };

/*
 * Open node INO to be written for the request: set-id bits end with that where they must. Nearly always they have ended by
 * then, for the kernel first sends a SETATTR, whose answer tells it of them. 0 or -errno.
 */
static int content_change_begin(fuse_req_t req, fuse_ino_t ino, enum fsetid fsetid, struct content_change *change)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	const struct caller caller = { ctx->pid, ctx->uid, ctx->gid };
	struct session *session = fuse_req_userdata(req);
	struct stat st;
	int r = overlay_open(session->overlay, ino, FD_WRITE, &change->file);

	if (r < 0 || !session->kill_setid || fsetid == FSETID_HELD)
		return r;
	if (fstat(change->file.fd, &st) < 0)
		return -errno;
	if (!setid_is_set(&st) || (fsetid == FSETID_NOT_SAID && caller_has_fsetid(&caller)))
		return 0;
	r = setid_begin(&change->creds, &st, &caller);
	change->kills = r == 0;
	return r;
}

/* Before the reply. */
static void content_change_end(fuse_req_t req, fuse_ino_t ino, struct content_change *change)
{
	creds_restore(&change->creds);
	/* Again: whether the worker before has said so is not known. */
	if (change->kills || mailbox_is_again())
		session_node_spoiled(fuse_req_userdata(req), ino);
	fdref_release(&change->file);
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_WRITE);
	struct content_change change = CONTENT_CHANGE_INIT;
	enum fsetid fsetid = (unsigned)fi->flags & WRITE_KILL_SETID ? FSETID_LACKED : FSETID_HELD;
	ssize_t n = content_change_begin(req, ino, fsetid, &change);
	int r;

	/* What was written must not be written again once it is answered: somebody else may have written there since. */
	if (mailbox_was_done(&r))
		n = r;
	else
		n = mailbox_did(n < 0 ? (int)n : (int)write_some(change.file.fd, buf, size, off));
	/* Through a shared mapping it is in the page cache already, for all to see. */
	if (n == -EROFS || n == -EPERM)
		session_node_spoiled(session, ino);
	content_change_end(req, ino, &change);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	ops_begin(req, REQUEST_FLUSH);
	/* Writes have been handed to the base already: the kernel need not ask. */
	fuse_reply_err(req, ENOSYS);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_RELEASE);

	/* What was opened while the choice watched is closed when it has been made. */
	if (session->passthrough && mailbox_steps() == 0)
		passthrough_release(session, ino);
	fuse_reply_err(req, 0);
}

static void sync_node(fuse_req_t req, struct session *session, fuse_ino_t ino, int datasync)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	int r = overlay_open(session->overlay, ino, FD_READ, &file);

	if (r == -EINVAL) /* a directory of the patch alone: durable before it was served */
		r = 0;
	else if (r == 0 && (datasync ? fdatasync(file.fd) : fsync(file.fd)) < 0)
		r = -errno;
	fuse_reply_err(req, -r);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	sync_node(req, ops_begin(req, REQUEST_FSYNC), ino, datasync);
}

void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	sync_node(req, ops_begin(req, REQUEST_FSYNCDIR), ino, datasync);
}

void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *fi)
{
	struct content_change change = CONTENT_CHANGE_INIT;
	int r;

	ops_begin(req, REQUEST_FALLOCATE);
	r = content_change_begin(req, ino, FSETID_NOT_SAID, &change);
	if (!mailbox_was_done(&r))
		r = mailbox_did(r == 0 && fallocate(change.file.fd, mode, offset, length) < 0 ? -errno : r);
	content_change_end(req, ino, &change);
	fuse_reply_err(req, -r);
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_LSEEK);
	cleanup_fdref struct fdref file = FDREF_INIT;
	off_t at = overlay_open(session->overlay, ino, FD_READ, &file);

	/* The position of the shared fd is of no use to anyone: reads and writes name theirs. */
	if (at == 0) {
		at = lseek(file.fd, off, whence);
		if (at < 0)
			at = -errno;
	}
	if (at < 0)
		fuse_reply_err(req, (int)-at);
	else
		fuse_reply_lseek(req, at);
}

static ssize_t copy_some(int from, off_t off_in, int to, off_t off_out, size_t length, unsigned flags)
{
	ssize_t n = copy_file_range(from, &off_in, to, &off_out, length, flags);

	return n < 0 ? -errno : n;
}

void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
	fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct session *session = ops_begin(req, REQUEST_COPY_FILE_RANGE);
	cleanup_fdref struct fdref from = FDREF_INIT;
	struct content_change to = CONTENT_CHANGE_INIT;
	/* What a patch serves is read, and thereby known to be right; the kernel does that when it may not copy. */
	ssize_t n = overlay_is_patched(session->overlay, ino_in) ? -EXDEV : overlay_open(session->overlay, ino_in, FD_READ, &from);
	int r;

	if (n == 0)
		n = content_change_begin(req, ino_out, FSETID_NOT_SAID, &to);
	/* Nothing is copied to what is appended to: the kernel reads and writes instead. */
	if (n == 0 && appends_only(to.file.fd))
		n = -EXDEV;
	if (mailbox_was_done(&r)) {
		n = r;
	} else {
		if (n == 0)
			n = copy_some(from.fd, off_in, to.file.fd, off_out, len < COPY_MAX ? len : COPY_MAX, (unsigned)flags);
		n = mailbox_did((int)n);
	}
	content_change_end(req, ino_out, &to);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}
