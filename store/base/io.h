/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_IO_H
#define VENEER_BASE_IO_H

/* Whole reads and writes over file descriptors. EINTR and short transfers are handled here. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/error.h"
#include "store/base/strbuf.h"

/* Bytes read: LEN, or fewer only at the end of the file; negative errno. */
ssize_t io_read(int fd, void *buf, size_t len);
ssize_t io_pread(int fd, void *buf, size_t len, uint64_t offset);
/* The same of an fd that is O_DIRECT: BUF, LEN and OFFSET are multiples of IO_DIRECT_ALIGNMENT. -EINVAL: the disk wants larger ones. */
#define IO_DIRECT_ALIGNMENT 4096u
ssize_t io_pread_direct(int fd, void *buf, size_t len, uint64_t offset);
/* All of it, or a negative errno. */
int io_write(int fd, const void *buf, size_t len);
int io_pwrite(int fd, const void *buf, size_t len, uint64_t offset);

/* The rest of FD appended to SB; -E2BIG beyond LIMIT bytes. */
int io_read_all(int fd, size_t limit, struct strbuf *sb);
/* A whole regular file beneath DIRFD (not through a final symlink) appended to SB; -E2BIG beyond LIMIT. */
int io_read_file_at(int dirfd, const char *path, size_t limit, struct strbuf *sb, struct error *err);
/*
 * Replace DIRFD/NAME by these bytes: temporary file, fsync, rename, fsync of the directory. On failure the old file is there again.
 * After a crash: the old file or the new one, and perhaps the other one as ".tmp-*".
 */
int io_write_file_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
	struct error *err);
/* The same for what can be made again: nothing is synced. After a crash: the old file, the new one, or a torn one. */
int io_write_cache_file_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
	struct error *err);
/* fsync of the directory that FD names (opened O_RDONLY or O_PATH: reopened where needed). */
int io_sync_dir(int fd);

#endif
