/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_WORKER_STATE_H
#define VENEER_FS_WORKER_STATE_H

/*
 * What a worker leaves to the next one besides nodes (region SHARED_STATE, see fs/shared.h for how it is written): the mount, what INIT
 * settled, what is served, and the requests that it was working on (fs/mailbox.h).
 */

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "fs/io_choice.h"
#include "fs/mailbox.h"
#include "fs/notifier.h"
#include "fs/shared.h"
#include "fs/state_format.h"
#include "store/base/hash.h"
#include "store/component.h"

#define WORKER_INIT_MAX 512u
#define WORKER_INIT_REPLY_MAX 128u
#define WORKER_PROGRAM_MAX 64u
#define WORKER_NOTIFY_MAX 108u
#define WORKER_WHAT_MAX 256u
#define WORKER_ENDED_MAX 65536u

struct worker_state {
	/* The first supervisor's, before there is a worker: */
	char format[STATE_FORMAT_MAX]; /* stays the first, whatever comes: it is where every program looks for it */
	char component[COMPONENT_NAME_MAX + 1];
	char program[WORKER_PROGRAM_MAX]; /* its version, for people; of the one that serves now */
	struct {
		int32_t io, write, on_failure; /* enums of fs/mount_options.h */
		uint32_t watch, foreground, verbose;
		uint64_t scrub;
	} options;
	char notify[WORKER_NOTIFY_MAX]; /* the socket of the service manager (fs/service.h); "": none */
	uint32_t resumed;     /* the last supervisor was killed, which the journal does not say yet */
	/* The supervisor's: */
	atomic_int supervisor; /* the process that answers for the mount; 0: nobody any more. Only he changes it, or his third process once he is dead */
	uint64_t workers;     /* that were started, this one included */
	uint32_t crashed;     /* the last one ended by a signal that says that it was wrong (SIGSEGV, SIGABRT, …) */
	uint64_t ended_ns;    /* CLOCK_MONOTONIC, when the last one ended; 0: none has */
	/* The worker's: */
	uint32_t mounting;    /* DIRECTORY is set, and it may be mounted over by now */
	uint32_t mounted;     /* DEVICE is set, too */
	dev_t device;	      /* of the mount */
	char directory[PATH_MAX];
	uint32_t detached;    /* the mount was taken off: nobody listens any more */
	uint32_t init_length; /* of INIT, as the kernel sent it; set when it is complete */
	uint8_t init[WORKER_INIT_MAX];
	uint32_t init_reply_length; /* of what it was answered; set when that is complete */
	uint8_t init_reply[WORKER_INIT_REPLY_MAX];
	struct io_choice_kept io;
	/* fs/healer.h: objects that were made again since the mount, and when the last one was, in microseconds since the epoch. */
	uint64_t healed;
	int64_t healed_us;
	/* fs/scrub.h: the last object that was looked at in this round, when that began (CLOCK_BOOTTIME, s; 0: none has), whether it has ended,
	 * and when the last one did that went through all, in microseconds since the epoch. */
	struct hash128 scrub_place;
	uint64_t scrub_began;
	uint32_t scrub_done;
	int64_t scrubbed_us;
	/* The transition that was asked for last, which moves the ref from FROM to TO; ID (its request's) is set when the rest is. */
	struct {
		uint64_t id;
		struct oid from, to;
		char what[WORKER_WHAT_MAX]; /* for people */
	} asked;
	uint32_t told;	      /* the kernel knows SERVED; else it may know something of BEFORE, too */
	struct oid served, before;
	int64_t served_since_us; /* microseconds since the epoch */
	/* Entries of the view of ENDED_OF that have ended (view_end()): index + 1 each; more than there is room for are not known. */
	struct oid ended_of;
	atomic_uint ended_count;
	atomic_uint ended[WORKER_ENDED_MAX];
	struct notifier_kept notices;
	struct mailbox mailboxes[MAILBOXES];
};
_Static_assert(sizeof(struct worker_state) <= 1 << 26, "it fits its region");

/* From now on it is entries of COMMIT's view that end; none has. */
static inline void worker_state_none_ended(struct worker_state *state, const struct oid *commit)
{
	unsigned count = atomic_load(&state->ended_count);

	state->ended_of = (struct oid){ { 0 } };
	atomic_store(&state->ended_count, 0);
	/* A request may just now be noting what ended of the view before: it is found by who notes all anew. */
	for (unsigned i = 0; i < count && i < WORKER_ENDED_MAX; i++)
		atomic_store_explicit(&state->ended[i], 0, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	state->ended_of = *commit;
}

/* Entry INDEX of what is served has ended. */
static inline void worker_state_ended(struct worker_state *state, uint32_t index)
{
	unsigned i = atomic_fetch_add(&state->ended_count, 1);

	if (i < WORKER_ENDED_MAX)
		atomic_store_explicit(&state->ended[i], index + 1, memory_order_relaxed);
}

/*
 * This process is the one that writes here, once that has returned, and until it ends: whoever was it before is gone, with all his
 * threads, or lingers (fs/stuck.h). A lock of fcntl(2), which belongs to the process and is let go of by the kernel after its memory. 0 or a negative errno.
 */
int worker_state_own(const struct shared *shared);
/* Who that is now; 0: nobody. */
pid_t worker_state_owner(const struct shared *shared);

static inline struct worker_state *worker_state_of(const struct shared *shared)
{
	return shared->at[SHARED_STATE];
}

#endif
