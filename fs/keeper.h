/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_KEEPER_H
#define VENEER_FS_KEEPER_H

/*
 * Descriptors that outlive the worker: it hands a copy to the supervisor, who hands all to the next worker by fork(2). What is in the
 * socket between them is kept as well, so the supervisor need not look at once.
 *
 * Threads: any number of the worker hand over and take back. A packet that does not fit waits for the supervisor, who waits for nobody.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/error.h"

/* Keys: node ids (fs/node.h) of pinned files, and those. */
#define KEEP_DEVICE (1ull << 63 | 1)  /* /dev/fuse */
#define KEEP_BASE (1ull << 63 | 2)    /* the base directory, O_PATH */
#define KEEP_LOCK (1ull << 63 | 3)    /* the right to serve the component */
#define KEEP_LISTEN (1ull << 63 | 4)  /* the control socket */
#define KEEP_IS_NODE(key) (!((key) >> 63))

struct keeper;

/* ---- the worker ---- */

/* A copy of FD (borrowed) is kept as KEY, besides those that are. 0 or a negative errno. */
int keeper_hold(struct keeper *keeper, uint64_t key, int fd);
/* One of KEY is not kept any more. */
int keeper_drop(struct keeper *keeper, uint64_t key);
/* The worker serves (CODE 0), or has ended before it did, with ERR. */
int keeper_ready(struct keeper *keeper, int code, const struct error *err);
/* CHANNEL (borrowed) is a socket on which another program waits to go on in the supervisor's place (fs/handover.h). */
int keeper_successor(struct keeper *keeper, int channel);
/* The fd of KEY that was kept before this worker began (the keeper's, -EBADF: none). */
int keeper_kept(const struct keeper *keeper, uint64_t key);
/* Calls FN for each. */
void keeper_each(const struct keeper *keeper, void (*fn)(void *arg, uint64_t key, int fd), void *arg);

/* ---- the supervisor ---- */

struct keeper *keeper_new(void); /* NULL: out of memory or descriptors */
void keeper_free(struct keeper *keeper); /* NULL is fine; all that is kept is closed */
/* Readable: there is something for keeper_take_in(). */
int keeper_fd(const struct keeper *keeper);
struct keeper_report {
	bool ready; /* the worker has said CODE and ERR */
	int code;
	struct error err;
	int successor; /* the channel of one, now the caller's; -EBADF: none came */
};
#define KEEPER_REPORT_INIT { .successor = -EBADF }
/* All that the worker has sent so far. */
void keeper_take_in(struct keeper *keeper, struct keeper_report *ret);
/* In the child of fork(2): the other end is this process's. */
void keeper_be_worker(struct keeper *keeper);
/* FD, which becomes the keeper's, is kept as KEY. -ENOMEM, -EMFILE: it is not, and closed. */
int keeper_put(struct keeper *keeper, uint64_t key, int fd);
size_t keeper_count(const struct keeper *keeper);
/*
 * Somebody else keeps copies, too (fs/service.h), of what was here at the last call already: ADD is called for each of which he has none, and REMOVE
 * for each that is gone since. What either does not return 0 for is asked again by the next call. true: so something was, or will be.
 */
typedef int (*keeper_copy_fn)(void *arg, uint64_t key, int fd);
bool keeper_copy(struct keeper *keeper, keeper_copy_fn add, keeper_copy_fn remove, void *arg);
/* Of all that is kept now there are copies already. */
void keeper_is_copied(struct keeper *keeper);
/* There may be: ADD is called for all as if there were none, and REMOVE also for what is gone before that. */
void keeper_may_be_copied(struct keeper *keeper);

#endif
