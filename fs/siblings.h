/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SIBLINGS_H
#define VENEER_FS_SIBLINGS_H

/*
 * The files of one directory, or its subdirectories, and which of them a reader will probably want next. Who reads one after the
 * other does so in one of two orders: as the mount lists them (find, tar, grep -r, cp -r), which is that of readdir_offset() and not
 * the base's own; or sorted by name (a shell's glob). Each name that is read is a step in both; where two steps in a row go forward by
 * one or a few, the names that follow in that order come next, twice as many each time, as the kernel's own readahead does within a
 * file (mm/readahead.c).
 *
 * A guess, made of a listing that may be old: names that are gone, or are something else by now, are no matter.
 *
 * Threads: one at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/cleanup.h"
#include "store/base/strbuf.h"

#define SIBLINGS_MAX 8192u /* a directory of more of them is not listed, */
#define SIBLINGS_TEXT_MAX (256u * 1024) /* nor one whose names have more bytes together */
#define SIBLINGS_STEP_MAX 4u /* how far a step may go and be one: some are left out, or in memory */
#define SIBLINGS_WINDOW_MIN 4u

struct siblings_kind {
	unsigned char type; /* DT_REG or DT_DIR */
	uint32_t window;    /* the widest; a multiple of SIBLINGS_WINDOW_MIN by a power of two */
	uint32_t at_once;   /* so many at most are said together: few where it takes long to do what is done with one */
};

struct siblings;

/*
 * Those in DIRECTORY (O_PATH, borrowed), and what may be one where the filesystem does not say; never "." and "..". KIND is borrowed for
 * as long as *RET lives. 0; -EFBIG: they are too many; or a negative errno.
 */
int siblings_list(int directory, const struct siblings_kind *kind, struct siblings **ret);
/*
 * NAME in DIRECTORY, itself a directory and no symlink, to be listed: "." is DIRECTORY itself. When it was last read is not touched
 * where that is allowed (O_NOATIME). An fd or a negative errno.
 */
int siblings_open(int directory, const char *name);
void siblings_free(struct siblings *siblings); /* NULL: nothing */
DEFINE_CLEANUP(siblings_free, struct siblings *);

/* A reading begins: who reads the very first, in either order, has made a step. */
void siblings_begin(struct siblings *siblings);
/* NAME is being read. false: it was not there when the directory was listed. */
bool siblings_step(struct siblings *siblings, const char *name);
/* Would siblings_next() say any? Not while half a window is still to be read, or that of which so many are said together. */
bool siblings_due(const struct siblings *siblings);
/*
 * The names that come next and were not said before in this run, nor passed by the reader meanwhile, appended to RET, each with its
 * NUL; how many: 0 also where RET is out of memory.
 */
size_t siblings_next(struct siblings *siblings, struct strbuf *ret);

#endif
