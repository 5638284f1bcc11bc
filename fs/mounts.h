/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_MOUNTS_H
#define VENEER_FS_MOUNTS_H

/*
 * What /proc/self/mountinfo (proc(5)) says of a directory, which is never touched itself; and what a mount over a
 * directory takes over from the one that it lies on.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "store/base/error.h"

#define MOUNT_TYPE "fuse.veneer"

/*
 * What LINE of mountinfo (taken apart here) says of DIRECTORY: 1: our mount is on it; 0: another's is; -ENOENT:
 * the line is about another directory, or is none.
 */
int mounts_line(char *line, const char *directory);

/*
 * The flags of mount(2) for a mount that shows what lies on the filesystem of ST: whatever was forbidden there (set-id
 * bits, devices, programs, writing, symlinks) stays so, and access times are kept as there.
 */
unsigned long mounts_flags(const struct statvfs *st);

/* Is the topmost mount at the absolute path DIRECTORY ours? */
int mounts_find(const char *directory, bool *ret_ours, struct error *err);

#endif
