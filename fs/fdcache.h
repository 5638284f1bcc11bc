/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_FDCACHE_H
#define VENEER_FS_FDCACHE_H

/*
 * A bounded set of open file descriptors of nodes, the least recently used of which is closed first.
 * Nodes hold none themselves: RLIMIT_NOFILE can be small and hard, and a tree large.
 *
 * An fd that was got is counted until fdcache_put(), and is never closed meanwhile. Pinned fds (of
 * files whose last name is gone) stay until their node is forgotten. A file that has another name, which we do not
 * know, needs none: the filesystem's own handle of it is kept instead (node_keep_handle()).
 * Threads: any; one lock, held for no system call but close(2), the duplication of a pinned fd, and the word to its keeper that it is gone.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fd_kind {
	FD_PATH,  /* O_PATH: directories to look up in */
	FD_READ,  /* O_RDONLY */
	FD_WRITE, /* O_RDWR; with O_APPEND where the file can only be appended to */
};

struct fdcache;
struct fdcache *fdcache_new(size_t capacity); /* NULL: out of memory */
void fdcache_free(struct fdcache *cache);

/* A counted fd with a handle to give it back by; fd is -EBADF where nothing is held. */
struct fdref {
	struct fdcache *cache;
	uint32_t entry;
	int fd;
};
#define FDREF_INIT { NULL, 0, -EBADF }

/* true: *RET holds the fd of node ID. */
bool fdcache_get(struct fdcache *cache, uint64_t id, enum fd_kind kind, struct fdref *ret);
/* Hand FD over (it is closed here in the end, also on failure); *RET holds it, or one that was there before. */
void fdcache_add(struct fdcache *cache, uint64_t id, enum fd_kind kind, int fd, struct fdref *ret);
/* *RET holds FD (handed over), which no cache knows. */
void fdref_alone(int fd, struct fdref *ret);
void fdref_release(struct fdref *ref);
#define cleanup_fdref __attribute__((cleanup(fdref_release)))

/*
 * Whoever keeps a copy of pinned fds, so that they outlive this process (fs/keeper.h): told of each before it is relied on, and when it
 * is closed. Not at fdcache_free(). Set before threads start.
 */
struct keeper;
void fdcache_set_keeper(struct fdcache *cache, struct keeper *keeper);
/* FD (handed over) was kept for node ID already. 0 or -ENOMEM (FD is closed). */
int fdcache_adopt(struct fdcache *cache, uint64_t id, int fd);

/*
 * Keep FD (handed over; O_PATH) for node ID until fdcache_unpin() or fdcache_forget(). 0 or -ENOMEM (FD is closed).
 * Several for one node are counted: they are of the same file.
 */
int fdcache_pin(struct fdcache *cache, uint64_t id, int fd);
/* Close one of them. */
void fdcache_unpin(struct fdcache *cache, uint64_t id);
/* A duplicate of a pinned fd of ID, the caller's to close; -EBADF: none is pinned; or -EMFILE. */
int fdcache_pinned(struct fdcache *cache, uint64_t id);
/* Close all of them: it has a name again. */
void fdcache_unpin_all(struct fdcache *cache, uint64_t id);
/* The next who asks for a descriptor of KIND of node ID gets a new one; who has one keeps it. */
void fdcache_drop(struct fdcache *cache, uint64_t id, enum fd_kind kind);
/* Everything of ID goes (once it is not in use). */
void fdcache_forget(struct fdcache *cache, uint64_t id);
/* Descriptors held now, pinned ones included. */
size_t fdcache_open_count(struct fdcache *cache);

#endif
