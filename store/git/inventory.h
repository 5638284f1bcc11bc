/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_INVENTORY_H
#define VENEER_GIT_INVENTORY_H

/*
 * Every copy of every object that a repository has on disk, packed and loose, and what else lies about among them. An object may
 * have several copies, of which one is damaged; who reads through libgit2 gets the first one that it comes to, packs before loose ones.
 *
 * Calling sequence: inventory_load(); then anything. It is a picture of that moment: what is written later is not in it, and
 * what is removed later cannot be read.
 *
 * Error handling: a pack that cannot be used is no failure: it is listed with what is wrong with it.
 *
 * Threads: any number, once it is loaded.
 */

#include <stdbool.h>

#include "store/git/oid_set.h"
#include "store/git/pack_file.h"
#include "store/git/raw_object.h"

#define INVENTORY_PACKS_MAX 100000u

struct inventory_pack {
	char stem[PACK_STEM_MAX]; /* "pack-…" */
	struct pack_file *file; /* owned; NULL: it cannot be used */
	char *problem; /* owned; why not */
	bool unreadable; /* its index is what is wrong, and FILE was read without it */
	bool kept; /* somebody has said that it stays (.keep), or it is of a kind that is not ours to touch */
	uint64_t size; /* bytes, those of the index included */
	int64_t changed_s; /* mtime of the pack */
	size_t first; /* number of its first copy */
};

/* What is no object and no part of a pack. */
struct inventory_stray {
	char *path; /* owned; below objects/ */
	uint64_t size;
	int64_t changed_s;
	bool leftover; /* of a writer that was cut short; else nobody knows what it is */
};

struct inventory_loose {
	uint64_t size;
	int64_t changed_s;
};

struct inventory {
	char *path; /* owned; of the repository */
	int objects_fd, pack_fd; /* pack_fd -EBADF: there is no objects/pack */
	struct inventory_pack *packs; /* owned */
	size_t pack_count;
	struct oid_set loose;
	struct inventory_loose *loose_facts; /* owned; for each of LOOSE */
	struct inventory_stray *strays; /* owned */
	size_t stray_count, stray_alloc;
	size_t copies; /* those of the packs, in their order, then the loose ones */
};

/* SCAN: packs whose index cannot be used are read without it (pack_file_scan()), which takes longer. */
int inventory_load(const char *path, bool scan, struct inventory **ret, struct error *err);
void inventory_free(struct inventory *inventory); /* NULL is fine */
static inline void inventory_freep(struct inventory **inventory)
{
	inventory_free(*inventory);
}
#define cleanup_inventory __attribute__((cleanup(inventory_freep)))

struct inventory_copy {
	struct oid oid;
	const struct inventory_pack *pack; /* NULL: it is loose */
	uint32_t number; /* in the pack */
};
struct inventory_copy inventory_copy_at(const struct inventory *inventory, size_t copy);
/* Where it lies, for people: "pack/pack-….pack" or "ab/cdef…", appended to SB. */
void inventory_copy_place(const struct inventory *inventory, size_t copy, struct strbuf *sb);

bool inventory_has(const struct inventory *inventory, const struct oid *oid);
/* One copy, its id checked: -EBADMSG where it is damaged; -EIO; -E2BIG beyond LIMIT; -ENOMEM. No message. */
int inventory_read_copy(const struct inventory *inventory, size_t copy, uint64_t limit, struct raw_object *ret);
/* The first copy that is whole. -ENOENT: there is none at all; -EBADMSG: each is damaged; -E2BIG; -ENOMEM. */
int inventory_read(const struct inventory *inventory, const struct oid *oid, uint64_t limit, struct raw_object *ret);
/*
 * STRAY, a leftover, is removed; *RET false: it is what it was not any more (whoever wrote meanwhile has found it, and made the other half of it), and stays.
 */
int inventory_remove_leftover(const struct inventory *inventory, const struct inventory_stray *stray, bool *ret, struct error *err);
/* The numbers of the copies of OID, at most MAX of them; how many there are. */
size_t inventory_find(const struct inventory *inventory, const struct oid *oid, size_t *copies, size_t max);

#endif
