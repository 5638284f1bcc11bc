/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_PASSTHROUGH_H
#define VENEER_FS_PASSTHROUGH_H

/*
 * Passthrough (Linux 6.9, Documentation/filesystems/fuse-passthrough.rst): the kernel is given the file
 * behind a node when it is opened, and reads, writes and maps it without us.
 *
 * An inode may have one backing file only, as long as it is open (a second is -EBUSY, shown as EIO):
 * so the backing id belongs to the node and is counted there.
 *
 * Filesystems stack two deep at most, and some have no files that can be read so: what lies there is read
 * through us and the kernel's page cache, as in cached mode. So is a file that can only be appended to (chattr +a).
 */

#include <stdbool.h>
#include <stdint.h>

#include "fs/session.h"

/*
 * The backing id to answer an OPEN of node ID with; 0: this file cannot be passed through, or is open already without,
 * or the mount still watches, and it is opened as in cached mode. Counted until passthrough_release(), either way.
 */
int passthrough_open(struct session *session, uint64_t id, int32_t *ret_backing);
void passthrough_release(struct session *session, uint64_t id);

/* Does the kernel take FD for a backing file? 0 or a negative errno. */
int passthrough_try(struct session *session, int fd);
/* Any regular file beneath BASE_FD, opened to be read, or -ENOENT: none is among the first names. */
int passthrough_sample(int base_fd);

#endif
