/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/ops_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fs/base_watch.h"
#include "fs/kernel_abi.h"
#include "fs/ops.h"
#include "fs/overlay_internal.h"
#include "store/base/cleanup.h"

#define XATTR_BYTES_MAX 65536u /* XATTR_SIZE_MAX and XATTR_LIST_MAX */
#define UNKNOWN_INODE 0xffffffffu
#define WRITE_BYTES_MAX (1u << 20) /* see MAILBOX_PACKET_MAX */

struct session *ops_begin(fuse_req_t req, enum request_kind kind)
{
	struct session *session = fuse_req_userdata(req);

	atomic_fetch_add_explicit(&session->requests[kind], 1, memory_order_relaxed);
	return session;
}

struct overlay_cred ops_cred(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct overlay_cred){ ctx->uid, ctx->gid, ctx->umask, ctx->pid };
}

void ops_enter(fuse_req_t req, struct session *session, struct overlay_guard *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	overlay_enter(session->overlay, ret);
	ret->pid = ctx->pid;
	ret->uid = ctx->uid;
}

void ops_fill_entry(const struct overlay_entry *entry, struct fuse_entry_param *param)
{
	memset(param, 0, sizeof *param);
	param->ino = entry->id;
	param->attr = entry->st;
	param->attr_timeout = TIMEOUT_INFINITE;
	param->entry_timeout = TIMEOUT_INFINITE;
}

void ops_reply_entry(fuse_req_t req, struct session *session, int r, const struct overlay_entry *entry)
{
	struct fuse_entry_param param;

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	ops_fill_entry(entry, &param);
	if (fuse_reply_entry(req, &param) < 0)
		overlay_forget(session->overlay, entry->id, 1);
}

int ops_made(struct overlay_guard *guard, uint64_t parent, const char *name, int r, struct overlay_entry *entry)
{
	if (r == -EEXIST && mailbox_is_again())
		r = overlay_lookup(guard, parent, name, entry);
	return mailbox_did(r);
}

bool ops_was_made(struct overlay_guard *guard, uint64_t parent, const char *name, int *ret, struct overlay_entry *entry)
{
	if (!mailbox_was_done(ret))
		return false;
	if (*ret == 0)
		*ret = overlay_lookup(guard, parent, name, entry);
	return true;
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	struct session *session = userdata;
	unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS |
		FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | FUSE_CAP_CACHE_SYMLINKS |
		FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA |
		FUSE_CAP_IOCTL_DIR;

	/* libfuse's own choices go: above all AUTO_INVAL_DATA, READDIRPLUS_AUTO and ATOMIC_O_TRUNC. */
	conn->want = conn->capable & wanted;
	session->open_unneeded = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	session->opendir_unneeded = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
	session->has_acl = conn->capable & FUSE_CAP_POSIX_ACL;
	if (conn->max_write > WRITE_BYTES_MAX)
		conn->max_write = WRITE_BYTES_MAX;
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct session *session = ops_begin(req, REQUEST_LOOKUP);
	cleanup_overlay_guard struct overlay_guard guard;
	struct fuse_entry_param absent = { .entry_timeout = TIMEOUT_INFINITE };
	struct overlay_entry entry;
	int r;

	/* Names become known by this and by listings: what is made or renamed was looked up before. */
	base_watch_directory(session->watch, parent);
	overlay_enter(session->overlay, &guard);
	r = overlay_lookup(&guard, parent, name, &entry);
	/* Node 0: the kernel shall remember that there is nothing; but not where the whole directory may come back. */
	if (r == -ENOENT && !overlay_is_gone(&guard, parent))
		fuse_reply_entry(req, &absent);
	else
		ops_reply_entry(req, session, r, &entry);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct session *session = ops_begin(req, REQUEST_FORGET);

	if (mailbox_steps() == 0)
		overlay_forget(session->overlay, ino, nlookup);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct session *session = ops_begin(req, REQUEST_FORGET);

	/* Step by step: one that is forgotten twice would be lost to whoever looked it up meanwhile. */
	for (size_t i = mailbox_steps(); i < count; i++) {
		overlay_forget(session->overlay, forgets[i].ino, forgets[i].nlookup);
		mailbox_stepped((uint32_t)i + 1);
	}
	fuse_reply_none(req);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_GETATTR);
	cleanup_overlay_guard struct overlay_guard guard;
	struct stat st;
	int r;

	overlay_enter(session->overlay, &guard);
	r = overlay_getattr(&guard, ino, &st);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, TIMEOUT_INFINITE);
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct session *session = ops_begin(req, REQUEST_READLINK);
	cleanup_strbuf struct strbuf target = STRBUF_INIT;
	int r = overlay_readlink(session->overlay, ino, &target);

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_readlink(req, strbuf_text(&target));
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct session *session = ops_begin(req, REQUEST_STATFS);
	struct statvfs st;

	if (fstatvfs(session->overlay->config.base_fd, &st) < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

/* ---- extended attributes ---- */

static void reply_xattr(fuse_req_t req, ssize_t n, const void *value, size_t size)
{
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, value, (size_t)n);
}

static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct session *session = ops_begin(req, REQUEST_GETXATTR);
	size_t room = size < XATTR_BYTES_MAX ? size : XATTR_BYTES_MAX;
	cleanup_overlay_guard struct overlay_guard guard;
	cleanup_free char *value = malloc(room + 1);

	overlay_enter(session->overlay, &guard);
	reply_xattr(req, value ? overlay_getxattr(&guard, ino, name, value, room) : -ENOMEM, value, size);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct session *session = ops_begin(req, REQUEST_LISTXATTR);
	size_t room = size < XATTR_BYTES_MAX ? size : XATTR_BYTES_MAX;
	bool trusted = fuse_req_ctx(req)->uid == 0;
	cleanup_overlay_guard struct overlay_guard guard;
	cleanup_free char *list = malloc(room + 1);

	overlay_enter(session->overlay, &guard);
	reply_xattr(req, list ? overlay_listxattr(&guard, ino, list, room, trusted) : -ENOMEM, list, size);
}

/* ---- directories ---- */

static void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_OPENDIR);

	if (session->opendir_unneeded) {
		/* From here on the kernel opens directories by itself, and caches what they list. */
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->cache_readdir = 1;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

/* One answer to READDIR or READDIRPLUS in the making. */
struct listing {
	fuse_req_t req;
	struct overlay_guard *guard;
	uint64_t id;
	char *buf;
	size_t size, used;
	bool plus;
	struct overlay_place place;
	struct fdref directory;
};

static bool emit_plain(void *arg, const char *name, uint64_t offset, ino_t inode, mode_t type)
{
	struct listing *listing = arg;
	struct stat st = { .st_ino = inode ? inode : UNKNOWN_INODE, .st_mode = type };
	size_t room = listing->size - listing->used;
	size_t need = fuse_add_direntry(listing->req, listing->buf + listing->used, room, name, &st, (off_t)offset);

	if (need > room)
		return false;
	listing->used += need;
	return true;
}

static bool emit_plus(void *arg, const char *name, uint64_t offset, ino_t inode, mode_t type)
{
	struct listing *listing = arg;
	size_t room = listing->size - listing->used, need;
	struct fuse_entry_param param = { .attr = { .st_ino = inode ? inode : UNKNOWN_INODE, .st_mode = type } };
	struct overlay_entry entry;
	bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
	int r = -ENOENT;

	/* The room is asked for first: a look-up that is not sent would have to be taken back. */
	need = fuse_add_direntry_plus(listing->req, NULL, 0, name, NULL, 0);
	if (need > room)
		return false;
	if (!dots) {
		r = overlay_lookup_at(listing->guard, listing->id, &listing->place, listing->directory.fd, name,
			&entry);
		if (r == -ENOENT)
			return true; /* gone since it was listed */
	}
	if (r == 0) {
		ops_fill_entry(&entry, &param);
	}
	listing->used += fuse_add_direntry_plus(listing->req, listing->buf + listing->used, room, name, &param,
		(off_t)offset);
	return true;
}

static int list_directory(struct session *session, struct listing *listing, off_t off)
{
	int r;

	listing->buf = malloc(listing->size);
	if (!listing->buf)
		return -ENOMEM;
	if (listing->plus) {
		r = overlay_place(listing->guard, listing->id, &listing->place);
		if (r == 0)
			r = overlay_base_directory(session->overlay, listing->id, &listing->directory);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return readdir_list(session->listings, listing->guard, listing->id, (uint64_t)off, listing->plus,
		listing->plus ? emit_plus : emit_plain, listing);
}

static void take_back(void *arg, enum mailbox_credit kind, uint64_t id)
{
	struct session *session = arg;

	overlay_forget(session->overlay, id, 1);
}

static void reply_listing(fuse_req_t req, struct session *session, fuse_ino_t ino, size_t size, off_t off,
	bool plus)
{
	cleanup_overlay_guard struct overlay_guard guard;
	struct listing listing = { .req = req, .guard = &guard, .id = ino, .size = size, .plus = plus,
		.place = { NULL, VIEW_NONE, false }, .directory = FDREF_INIT };
	int r;

	base_watch_directory(session->watch, ino);
	overlay_enter(session->overlay, &guard);
	r = list_directory(session, &listing, off);
	/* Names that are in the answer were looked up: an error now would lose them. */
	if (r < 0 && !listing.used)
		fuse_reply_err(req, -r);
	else if (fuse_reply_buf(req, listing.buf, listing.used) < 0)
		mailbox_uncredit(take_back, session);
	free(listing.buf);
	overlay_place_release(&listing.place);
	fdref_release(&listing.directory);
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	reply_listing(req, ops_begin(req, REQUEST_READDIR), ino, size, off, false);
}

/* A directory is about to be listed: so may those be that follow it in its own, and those that it holds. */
static void tell_ahead(struct session *session, fuse_ino_t ino)
{
	char name[NAME_MAX + 1];
	uint64_t parent;

	if (node_name(overlay_nodes(session->overlay), ino, &parent, name) == 0)
		read_ahead_tell(session->directories_ahead, parent, name);
	read_ahead_begin(session->directories_ahead, ino);
}

static void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, REQUEST_READDIRPLUS);

	if (off == 0)
		tell_ahead(session, ino);
	reply_listing(req, session, ino, size, off, true);
}

static const struct fuse_lowlevel_ops table = {
	.init = ops_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.setattr = ops_setattr,
	.readlink = ops_readlink,
	.mknod = ops_mknod,
	.mkdir = ops_mkdir,
	.unlink = ops_unlink,
	.rmdir = ops_rmdir,
	.symlink = ops_symlink,
	.rename = ops_rename,
	.link = ops_link,
	.open = ops_open,
	.create = ops_create,
	.read = ops_read,
	.write = ops_write,
	.flush = ops_flush,
	.release = ops_release,
	.fsync = ops_fsync,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.fsyncdir = ops_fsyncdir,
	.statfs = ops_statfs,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
	.setxattr = ops_setxattr,
	.removexattr = ops_removexattr,
	.fallocate = ops_fallocate,
	.lseek = ops_lseek,
	.copy_file_range = ops_copy_file_range,
	.ioctl = ops_ioctl,
};

const struct fuse_lowlevel_ops *ops_table(void)
{
	return &table;
}

size_t ops_table_size(void)
{
	return sizeof table;
}
