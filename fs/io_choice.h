/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_IO_CHOICE_H
#define VENEER_FS_IO_CHOICE_H

/*
 * Which of the two ways to serve data a mount takes (docs/decisions/io-auto.md), and why.
 *
 * `--io auto` decides by what the component holds, then by how it is used: where a bounded look at the base finds most
 * bytes in small files, it is cached from the start. Else it watches: the first opens are answered, with the page cache in use,
 * and counted; then it is passthrough where the files that are opened are large on average, else cached, for the
 * rest of the mount's life. Watching costs those opens a round trip each, nothing after.
 *
 * Threads: all functions from any thread, io_choice_init() first.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/mount_options.h"

#define IO_REASON_MAX 160u
#define IO_LARGE_BYTES (1u << 20)      /* a file that is large, in the base */
#define IO_LARGE_PERCENT 50u	       /* of the bytes seen in the base lie in such: watch */
#define IO_WATCHED_OPENS 64u
#define IO_LARGE_MEAN_BYTES (4u << 20) /* of the files opened: passthrough */

/* A choice that is made, where it outlives the process. */
struct io_choice_kept {
	uint32_t made; /* the others are set */
	int32_t mode;
	char reason[IO_REASON_MAX];
};

struct io_choice {
	_Atomic int mode; /* enum io_mode; IO_AUTO: it watches */
	pthread_mutex_t lock; /* guards what follows */
	uint64_t opens, bytes;
	char reason[IO_REASON_MAX];
	struct io_choice_kept *kept; /* borrowed; NULL: it is forgotten */
	/* Can files be passed through here? Called once, when opens speak for it. */
	bool (*possible)(void *arg);
	void *arg;
};

void io_choice_init(struct io_choice *choice);
/* What is chosen is written to KEPT (borrowed), or taken from there if it was made. true: it was. */
bool io_choice_keep(struct io_choice *choice, struct io_choice_kept *kept);
/* From now on MODE, cached or passthrough. REASON is for status. */
void io_choice_settle(struct io_choice *choice, enum io_mode mode, const char *reason);
/* Watch, and ask POSSIBLE(ARG) before it is passthrough. REASON: why it is worth watching. */
void io_choice_watch(struct io_choice *choice, const char *reason, bool (*possible)(void *arg), void *arg);
static inline enum io_mode io_choice_mode(const struct io_choice *choice)
{
	return (enum io_mode)atomic_load_explicit(&choice->mode, memory_order_acquire);
}
/* A file of SIZE bytes is opened, and the choice watches. */
void io_choice_see(struct io_choice *choice, uint64_t size);
/* Why, for people; while it watches also how far it is. */
void io_choice_reason(struct io_choice *choice, char reason[IO_REASON_MAX]);

/* What a look at a directory found. */
struct io_survey {
	uint64_t files, bytes, large_bytes;
};
/* Some thousand names beneath BASE_FD, breadth first, for some milliseconds at most. */
void io_survey_base(int base_fd, struct io_survey *ret);
/* Would passthrough be worth watching for? In REASON what was seen. */
bool io_survey_decide(const struct io_survey *survey, char reason[IO_REASON_MAX]);

#endif
