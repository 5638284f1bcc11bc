/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SIBLINGS_H
#define VENEER_FS_SIBLINGS_H

/*
 * The files of one directory, and which of them a reader will probably want next. Who reads one file after the other does so in
 * one of two orders: as the mount lists them (find, tar, grep -r, cp -r), which is that of readdir_offset() and not the base's own; or
 * sorted by name (a shell's glob). Each file that is read is a step in both; where two steps in a row go forward by one or a few,
 * the files that follow in that order come next, twice as many each time, as the kernel's own readahead does within a file
 * (mm/readahead.c).
 *
 * A guess, made of a listing that may be old: names that are gone, or are something else by now, are no matter.
 *
 * Threads: one at a time.
 */

#include <stdbool.h>
#include <stddef.h>

#include "store/base/cleanup.h"
#include "store/base/strbuf.h"

#define SIBLINGS_MAX 8192u /* a directory of more files is not listed, */
#define SIBLINGS_TEXT_MAX (256u * 1024) /* nor one whose names have more bytes together */
#define SIBLINGS_STEP_MAX 4u /* how far a step may go and be one: some files of a directory are left out, or in memory */
#define SIBLINGS_WINDOW_MIN 4u
#define SIBLINGS_WINDOW_MAX 32u

struct siblings;

/*
 * The regular files in DIRECTORY (O_PATH, borrowed), and what may be one where the filesystem does not say. 0; -EFBIG: they are too
 * many; or a negative errno.
 */
int siblings_list(int directory, struct siblings **ret);
void siblings_free(struct siblings *siblings); /* NULL: nothing */
DEFINE_CLEANUP(siblings_free, struct siblings *);

/* The file NAME is being read. false: it was not there when the directory was listed. */
bool siblings_step(struct siblings *siblings, const char *name);
/*
 * The names that come next and were not said before in this run, appended to RET, each with its NUL; how many: 0 also where RET is
 * out of memory, and while half a window is still to be read.
 */
size_t siblings_next(struct siblings *siblings, struct strbuf *ret);

#endif
