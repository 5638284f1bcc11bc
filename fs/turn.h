/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_TURN_H
#define VENEER_FS_TURN_H

/*
 * Who reads requests while the kernel is told of a switch. Each name that it forgets comes back as a FORGET, and wakes a thread
 * that waits for requests: a thousand wake-ups, which cost more than the notices. So for that time one thread at a time waits. It
 * keeps its turn through FORGETs, which pile up meanwhile and are then read many at a time; with any other request it
 * gives the turn on before it works on it, so that no request ever waits for another.
 *
 * Calling sequence: each thread turn_take(), receive, and turn_give() unless it was a FORGET, in which case its next turn_take()
 * keeps the turn. The one who tells: turn_begin(), the notices, turn_end(). Between bursts all this is one atomic load.
 *
 * Threads: any number take; one at a time begins. Who waits in the kernel already when a burst begins takes part from his next
 * request on.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct turn {
	atomic_bool burst;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t free;
	bool taken;
};
#define TURN_INIT { .lock = PTHREAD_MUTEX_INITIALIZER, .free = PTHREAD_COND_INITIALIZER }

/* MINE: this thread has the turn. */
void turn_take(struct turn *turn, bool *mine);
void turn_give(struct turn *turn, bool *mine);
void turn_begin(struct turn *turn);
void turn_end(struct turn *turn);

#endif
