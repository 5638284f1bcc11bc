/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_STORE_H
#define VENEER_STORE_STORE_H

/*
 * A store on disk: /var/lib/veneer, 0700.
 *
 *     git/      bare repository            objects/  served bytes, by XXH3-128
 *     cache/    can be rebuilt             run/      control sockets of mounted components
 *     lock      one writer at a time
 *     reserve/  room for taking a patch off while the disk is full (store/reserve.h)
 *
 * Calling sequence: store_init() once; store_open(); for anything that writes, store_lock() first and
 * hold it to the end of the command.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/blobmap.h"
#include "store/fingerprint.h"
#include "store/git/repo.h"

#define STORE_DEFAULT_PATH "/var/lib/veneer"
#define STORE_LOCK_TIMEOUT_MS 60000

struct object_batch;

/* A commit, and all that it is a function of (store/stack_compose.c). */
struct composition {
	struct strbuf inputs;
	struct oid commit;
};

struct store {
	char *path;	/* owned, absolute and canonical */
	int fd;		/* the directory */
	int objects_fd; /* objects/ */
	uint64_t objects_unsynced[4]; /* a bit for each directory in it that object_sync_all() has to fsync */
	struct object_batch *object_batch; /* objects without a name yet; NULL: no batch is open */
	/* Objects that were made again, and what is said of them; for object_take_healed(). */
	unsigned healed_count, missing_count;
	struct strbuf healed, missing;
	int cache_fd;	/* cache/ */
	int run_fd;	/* run/ */
	struct repo *repo; /* NULL before store_open_repository() */
	struct blobmap *blobs; /* which object a blob is */
	struct fingerprints *fingerprints; /* which blob a file of a base is */
	struct composition compositions[4]; /* the last ones that were made */
	unsigned next_composition;
};

/*
 * Make a store at PATH (parents too). A store that is there already: 0, and *RET_EXISTED is true; one that
 * was half made is completed. -ENOTEMPTY: something else is in that directory; -EACCES: not ours or open to others.
 */
int store_init(const char *path, bool *ret_existed, struct error *err);
/* -ENOENT: none there ("run veneer init"); -EACCES: not ours or open to others. */
int store_open(const char *path, struct store **ret, struct error *err);
/*
 * In two steps, for who may not need the second, which loads libgit2: the directories, with repo and blobs
 * NULL, enough for store_lock() and for asking a daemon; then the repository (nothing, where it is open).
 */
int store_open_directories(const char *path, struct store **ret, struct error *err);
int store_open_repository(struct store *store, struct error *err);
/*
 * For who looks for damage: whoever it belongs to and whatever its mode, and without making what is missing, whose descriptor is then
 * -EBADF. -ENOENT: there is nothing like a store.
 */
int store_open_damaged(const char *path, struct store **ret, struct error *err);
void store_free(struct store *store);
/*
 * An fd for store_unlock(); see lock_acquire(). Where whoever had it before did not come to give it back, or the machine has been started since,
 * the store is put in order first (store/recover.h). Closed in any other way, the next one looks.
 * Threads: uses the store's path and directory alone.
 */
int store_lock(struct store *store, int timeout_ms, struct error *err);
void store_unlock(int fd); /* negative: nothing */
/* Somebody who worked with the lock has ended in the middle of it: the next one is to look. */
void store_lock_doubt(int fd);
void store_doubt(struct store *store); /* the same, by whoever does not have the descriptor */
static inline void store_unlockp(int *fd)
{
	store_unlock(*fd);
}
#define cleanup_store_lock __attribute__((cleanup(store_unlockp)))
/* Is FD, which another process passed, this store's lock, held? 0 or -EACCES. */
int store_lock_confirm(struct store *store, int fd, struct error *err);

static inline void store_freep(struct store **store)
{
	if (*store)
		store_free(*store);
}
#define cleanup_store __attribute__((cleanup(store_freep)))

#endif
