/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_READDIR_H
#define VENEER_FS_READDIR_H

/*
 * Listing a directory without an open handle. The offset of an entry is a function of its name alone
 * (a hash), and entries come in the order of their offsets: so an offset means the same before and
 * after a switch, a change, or a restart, and no unchanged name is lost or seen twice. "." and ".."
 * have the offsets 1 and 2, 0 is the beginning. (Two names of one hash follow each other and are never
 * parted between two answers.)
 *
 * That order asks for the whole list at once: it is read, merged with the view and sorted, and kept
 * for the next piece of the same reading, as long as directory and view stay as they are. A few such
 * snapshots are kept, and each goes as soon as its end was read.
 */

#include "fs/overlay.h"

/* The offset of NAME, which is not one of the dots: greater than theirs, and it fits off_t. */
uint64_t readdir_offset(const char *name, size_t length);

struct readdir_cache;
struct readdir_cache *readdir_cache_new(void); /* NULL: out of memory */
void readdir_cache_free(struct readdir_cache *cache);
/* Directory ID was changed through the mount: its snapshot is void. */
void readdir_cache_drop(struct readdir_cache *cache, uint64_t id);

/*
 * Called for each entry behind OFFSET; OFFSET of the entry is what to continue behind. TYPE: S_IFMT part.
 * INODE as stat would show it; 0: unknown. false: no more room, this entry was not taken.
 */
typedef bool (*readdir_emit_fn)(void *arg, const char *name, uint64_t offset, ino_t inode, mode_t type);
/* PLUS: EMIT will ask for the attributes of each name (fs/stat_ahead.h). */
int readdir_list(struct readdir_cache *cache, struct overlay_guard *guard, uint64_t id, uint64_t offset, bool plus,
	readdir_emit_fn emit, void *arg);

#endif
