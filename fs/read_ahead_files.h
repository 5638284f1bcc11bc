/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_READ_AHEAD_FILES_H
#define VENEER_FS_READ_AHEAD_FILES_H

/*
 * Files, read ahead: the kernel's readahead knows of one file only. The base's filesystem is asked for the first READ_AHEAD_BYTES of
 * each (posix_fadvise(2)), where none of them is in memory (mincore(2)).
 */

#include "fs/read_ahead.h"

#define READ_AHEAD_BYTES (128 * 1024) /* what Linux reads ahead in a file at most, by default */
#define READ_AHEAD_FILES 32u	      /* so many ahead of the reader at most */
#define READ_AHEAD_FILES_WARM 2u
#define READ_AHEAD_FILES_REST 256u

extern const struct read_ahead_kind read_ahead_files;

#endif
