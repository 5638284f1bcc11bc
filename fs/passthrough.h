/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_PASSTHROUGH_H
#define VENEER_FS_PASSTHROUGH_H

/*
 * Passthrough (Linux 6.9, Documentation/filesystems/fuse-passthrough.rst): the kernel is given the file
 * behind a node when it is opened, and reads, writes and maps it without us.
 *
 * An inode may have one backing file only, as long as it is open (a second is -EBUSY, shown as EIO):
 * so the backing id belongs to the node and is counted there.
 */

#include <stdbool.h>
#include <stdint.h>

#include "fs/session.h"

/* The backing id to answer an OPEN of node ID with; counted until passthrough_release(). */
int passthrough_open(struct session *session, uint64_t id, int32_t *ret_backing);
void passthrough_release(struct session *session, uint64_t id);

#endif
