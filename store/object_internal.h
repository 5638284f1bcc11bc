/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_OBJECT_INTERNAL_H
#define VENEER_STORE_OBJECT_INTERNAL_H

/* Between the files of the objects: object.c (reading), object_write.c, object_heal.c, object_temporary.c. */

#include <errno.h>
#include <stddef.h>

#include "store/object.h"

#define OBJECT_TEMPORARY_NAME_MAX 32
#define OBJECT_DIRECTORY_MODE 0700

/* A file that is written and has no name yet (O_TMPFILE) or, where there is no such thing, a temporary one. */
struct object_temporary {
	int directory_fd; /* borrowed: objects/ */
	int fd;
	char name[OBJECT_TEMPORARY_NAME_MAX]; /* "": none */
};

/* All return 0 or a negative errno. With these bytes, read-only, not yet durable; released after a failure. */
int object_temporary_write(struct object_temporary *file, int directory_fd, const void *data, size_t size);
void object_temporary_release(struct object_temporary *file);
/* Give it the name PATH too; -EEXIST. */
int object_temporary_link(const struct object_temporary *file, const char *path);
/* Put it at PATH in place of what is there, whatever that is. */
int object_temporary_replace(const struct object_temporary *file, const char *path);

/* Put these bytes, which hash to HASH; as object_put(). */
int object_put_hashed(struct store *store, const void *data, size_t size, const struct hash128 *hash, struct error *err);
/* Does it wait in the batch? */
bool object_is_pending(struct store *store, const struct hash128 *hash);

/* Write it into the log, and where object_take_healed() finds it. */
void object_note_healed(struct store *store, const char *damage);
/* It had been there. */
void object_note_missing(struct store *store, const struct hash128 *hash);

/* Is R, of an attempt to read an object, what damage is found by? */
static inline bool object_is_damage(int r)
{
	return r == -EBADMSG || r == -EIO || r == -EUCLEAN || r == -ENOTDIR;
}

/*
 * Make the damaged file PATH in OBJECTS_FD, which should have these bytes, have them, in place: whoever has it open or mapped sees them,
 * too. Written, and durable, is what differs, on the disk or in the page cache; no byte that is right is touched. -EOPNOTSUPP: it is no
 * file of its own (no regular file, or one that has other names, with which it may be something else by now); else a negative errno.
 * After a crash: it may still be damaged, less than before.
 */
int object_mend(int objects_fd, const char *path, const void *data, size_t size);

#endif
