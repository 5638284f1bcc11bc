/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SHARED_H
#define VENEER_FS_SHARED_H

/*
 * Memory that outlives a worker (fs/supervisor.h): what the kernel knows must be known to the next one. A few regions of fixed size, each
 * a file in memory (memfd_create(2)), reserved as address space and taking memory page by page as it is used.
 *
 * A worker may be killed between any two stores. So whatever lies here is either one fact in one store, or becomes visible by one
 * store when it is complete, or can be made anew from such facts; nothing here is a pointer, a lock or a count of references.
 * SHARED_PUBLISH() keeps the compiler from moving that store: the processor keeps a killed process's stores in order.
 */

#include <stdatomic.h>
#include <stddef.h>

enum shared_region {
	SHARED_NODES,	/* fs/node.h */
	SHARED_NAMES,	/* fs/arena.h: names, contents and handles of nodes */
	SHARED_ALIASES, /* fs/aliases.h */
	SHARED_STATE,	/* fs/worker_state.h */
	SHARED_REGIONS,
};

#define SHARED_PUBLISH(place, value)                                                                                                       \
	do {                                                                                                                               \
		atomic_signal_fence(memory_order_seq_cst);                                                                                 \
		*(volatile __typeof__(place) *)&(place) = (value);                                                                         \
		atomic_signal_fence(memory_order_seq_cst);                                                                                 \
	} while (0)

struct shared {
	int fds[SHARED_REGIONS]; /* owned */
	void *at[SHARED_REGIONS];
};

/* All regions, empty (all zeros). NULL: out of memory, address space or descriptors. */
struct shared *shared_new(void);
/*
 * Those that another process has made: FDS, its descriptors of them, become the result's; on failure they are closed. -EPROTO: they are not such
 * regions.
 */
int shared_adopt(const int fds[SHARED_REGIONS], struct shared **ret);
void shared_free(struct shared *shared); /* NULL is fine */
size_t shared_size(enum shared_region region);
/* Bytes FROM … FROM + LENGTH - 1 of REGION (whole pages within) are zeros again, and take no memory. */
void shared_discard(struct shared *shared, enum shared_region region, size_t from, size_t length);

#endif
