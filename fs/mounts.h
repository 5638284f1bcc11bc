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
#include <sys/types.h>

#include "store/base/error.h"

#define MOUNT_TYPE "fuse.veneer"

/*
 * What LINE of mountinfo (taken apart here) says of DIRECTORY: 1: a mount of veneer's is on it; 0: another's is;
 * -ENOENT: the line is about another directory, or is none. *RET_DEVICE: the mounted filesystem's, as st_dev; 0
 * where the line does not say.
 */
int mounts_line(char *line, const char *directory, dev_t *ret_device);

/* Where LINE of mountinfo says that something is mounted, within it (it is taken apart); NULL: it is no such line. */
char *mounts_line_path(char *line);

/*
 * The flags of mount(2) for a mount that shows what lies on the filesystem of ST: whatever was forbidden there (set-id
 * bits, devices, programs, writing, symlinks) stays so, and access times are kept as there.
 */
unsigned long mounts_flags(const struct statvfs *st);

/* Is the topmost mount at the absolute path DIRECTORY veneer's? */
int mounts_find(const char *directory, bool *ret_ours, struct error *err);

/*
 * A path strictly below DIRECTORY at which something is mounted, or NULL; the caller frees *RET. Also what
 * a mount over DIRECTORY itself hides counts.
 */
int mounts_find_beneath(const char *directory, char **ret, struct error *err);

/* Calls FN for each mount of veneer's, a lower one before a higher one; non-zero of it ends and is returned. */
typedef int (*mounts_fn)(void *arg, const char *path, dev_t device);
int mounts_each_ours(mounts_fn fn, void *arg, struct error *err);

/* Is veneer's mount with the device DEVICE at DIRECTORY, and is it the topmost one there? */
int mounts_find_device(const char *directory, dev_t device, bool *ret_there, bool *ret_topmost, struct error *err);

#endif
