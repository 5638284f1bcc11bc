/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_OPS_INTERNAL_H
#define VENEER_FS_OPS_INTERNAL_H

/* Between ops*.c; includes libfuse, so it comes first. */

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include <fuse3/fuse_lowlevel.h>

#include "fs/mailbox.h"
#include "fs/overlay_write.h"
#include "fs/session.h"

/* For ever: nothing reaches the base but through us, and a switch tells. Seconds; a hundred years. */
#define TIMEOUT_INFINITE 3155760000.0

/* The session, and the request counted. */
struct session *ops_begin(fuse_req_t req, enum request_kind kind);
void ops_fill_entry(const struct overlay_entry *entry, struct fuse_entry_param *param);
/* Reply with ENTRY, or with the error R. The look-up is taken back where the kernel did not take the reply. */
void ops_reply_entry(fuse_req_t req, struct session *session, int r, const struct overlay_entry *entry);
/*
 * R of what makes NAME in PARENT, and *ENTRY: where a worker that has died had made it already, it is looked up. Returns what the request
 * is answered with.
 */
int ops_made(struct overlay_guard *guard, uint64_t parent, const char *name, int r, struct overlay_entry *entry);
/* Had a worker that has died made NAME in PARENT, or found that it cannot? Then *RET is the answer, and *ENTRY looked up. */
bool ops_was_made(struct overlay_guard *guard, uint64_t parent, const char *name, int *ret, struct overlay_entry *entry);
struct overlay_cred ops_cred(fuse_req_t req);
/* overlay_enter(), for a request that may change the base: with who it is. */
void ops_enter(fuse_req_t req, struct session *session, struct overlay_guard *ret);

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *fi);
void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
	fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags);

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags);
void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
	unsigned flags, const void *in, size_t in_size, size_t out_size);

#endif
