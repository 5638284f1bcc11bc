/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_OPS_H
#define VENEER_FS_OPS_H

/*
 * The handlers of requests: each decodes, calls one overlay function, and replies exactly once.
 * ops.c: the table, names and attributes; ops_io.c: open, read, write; ops_change.c: everything that
 * changes names and metadata.
 */

#include <stddef.h>

struct fuse_lowlevel_ops;
const struct fuse_lowlevel_ops *ops_table(void);
size_t ops_table_size(void);

#endif
