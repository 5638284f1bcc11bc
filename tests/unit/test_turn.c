/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fs/turn.h"

#define READERS 4
#define ROUNDS 2000

struct place {
	struct turn turn;
	atomic_uint waiting, most; /* who wait for requests at once; the most there were in a burst */
	atomic_uint rounds;
	atomic_bool end, only_forgets;
};

/* As a session's thread: every eighth request is no FORGET. */
static void *reader(void *arg)
{
	struct place *place = arg;
	bool mine = false;

	for (unsigned i = 0; !atomic_load(&place->end); i++) {
		unsigned now, most;

		turn_take(&place->turn, &mine);
		now = atomic_fetch_add(&place->waiting, 1) + 1;
		most = atomic_load(&place->most);
		while (now > most && !atomic_compare_exchange_weak(&place->most, &most, now))
			;
		usleep(20);
		atomic_fetch_sub(&place->waiting, 1);
		if (!atomic_load(&place->only_forgets) && i % 8 == 0)
			turn_give(&place->turn, &mine);
		atomic_fetch_add(&place->rounds, 1);
	}
	turn_give(&place->turn, &mine);
	return NULL;
}

static void start(struct place *place, pthread_t threads[READERS])
{
	place->turn = (struct turn)TURN_INIT;
	for (int i = 0; i < READERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, reader, place), 0);
}

static void finish(struct place *place, const pthread_t threads[READERS])
{
	atomic_store(&place->end, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	cr_expect_not(place->turn.taken, "who ends gives the turn back");
}

static void await_rounds(struct place *place, unsigned more)
{
	unsigned wanted = atomic_load(&place->rounds) + more;

	while ((int)(wanted - atomic_load(&place->rounds)) > 0)
		usleep(100);
}

Test(turn, all_wait_between_bursts, .timeout = 60)
{
	struct place place = { .rounds = 0 };
	pthread_t threads[READERS];

	start(&place, threads);
	while (atomic_load(&place.most) < READERS)
		usleep(100);
	finish(&place, threads);
}

Test(turn, one_waits_in_a_burst, .timeout = 60)
{
	struct place place = { .rounds = 0 };
	pthread_t threads[READERS];

	start(&place, threads);
	for (int burst = 0; burst < 20; burst++) {
		turn_begin(&place.turn);
		await_rounds(&place, READERS * 2); /* who waited before is through */
		atomic_store(&place.most, 0);
		await_rounds(&place, ROUNDS / 20);
		cr_assert_eq(atomic_load(&place.most), 1, "burst %d: %u wait at once", burst, atomic_load(&place.most));
		turn_end(&place.turn);
		atomic_store(&place.most, 0);
		while (atomic_load(&place.most) < READERS)
			usleep(100);
	}
	finish(&place, threads);
}

/* Through FORGETs alone one thread keeps the turn; nobody is left behind when the burst ends. */
Test(turn, kept_through_forgets, .timeout = 60)
{
	struct place place = { .only_forgets = true };
	pthread_t threads[READERS];

	start(&place, threads);
	turn_begin(&place.turn);
	await_rounds(&place, READERS * 2);
	await_rounds(&place, 200);
	cr_expect(place.turn.taken);
	turn_end(&place.turn);
	atomic_store(&place.most, 0);
	while (atomic_load(&place.most) < READERS)
		usleep(100);
	finish(&place, threads);
}
