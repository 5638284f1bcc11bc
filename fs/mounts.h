/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_MOUNTS_H
#define VENEER_FS_MOUNTS_H

/* What /proc/self/mountinfo (proc(5)) says of a directory; the directory itself is never touched. */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"

#define MOUNT_TYPE "fuse.veneer"

/* Is the topmost mount at the absolute path DIRECTORY ours? */
int mounts_find(const char *directory, bool *ret_ours, struct error *err);

#endif
