/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_READ_AHEAD_DIRECTORIES_H
#define VENEER_FS_READ_AHEAD_DIRECTORIES_H

/*
 * Directories, read ahead: who walks a tree in order (find, tar, du, ls -R) lists one directory after the other and asks for the
 * attributes of all that is in them. The base's next directories are listed, and all their entries looked at (fstatat(2)): what the
 * answer to READDIRPLUS then asks for is there. fs/stat_ahead.h shares the work within one directory; this goes before the reader.
 *
 * A directory was in memory where fewer than a quarter of the looks took READ_AHEAD_LOOK_NS or longer. (On a machine where one of what is
 * in memory takes 1.6 µs, one that makes an inode from blocks in memory takes 4 or more, and one that waits for the disk 50. A mean
 * says less: once not running, for want of a processor, is as long as a thousand looks.)
 *
 * No symlink is followed, nothing is mounted (automount), and no mount point in the base is entered: what is there may not answer.
 */

#include "fs/read_ahead.h"

#define READ_AHEAD_WALK 4u	 /* so many directories ahead of the reader at most */
#define READ_AHEAD_ENTRIES 4096u /* of one directory so many are looked at */
#define READ_AHEAD_LOOK_NS 2500u
#define READ_AHEAD_WALK_WARM 2u
#define READ_AHEAD_WALK_REST 64u

extern const struct read_ahead_kind read_ahead_directories;

#endif
