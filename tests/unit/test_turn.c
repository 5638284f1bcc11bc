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
	atomic_uint waiting, most;    /* who wait for requests at once; the most there were */
	atomic_uint holders, doubled; /* who have the turn; how often there were two of them */
	atomic_uint strangers;	      /* how often one waited without the turn who came after a burst had begun, and before it ended */
	atomic_uint rounds, bursts;   /* an odd number of BURSTS: one is on */
	atomic_bool end, only_forgets;
};

static void take(struct place *place, bool *mine)
{
	unsigned before = atomic_load(&place->bursts);
	bool had = *mine;

	turn_take(&place->turn, mine);
	if (*mine && !had && atomic_fetch_add(&place->holders, 1) > 0)
		atomic_fetch_add(&place->doubled, 1);
	if (!*mine && before % 2 && atomic_load(&place->bursts) == before)
		atomic_fetch_add(&place->strangers, 1);
}

static void give(struct place *place, bool *mine)
{
	if (*mine)
		atomic_fetch_sub(&place->holders, 1);
	turn_give(&place->turn, mine);
}

/* As a session's thread: every eighth request is no FORGET. */
static void *reader(void *arg)
{
	struct place *place = arg;
	bool mine = false;

	for (unsigned i = 0; !atomic_load(&place->end); i++) {
		unsigned now, most;

		take(place, &mine);
		now = atomic_fetch_add(&place->waiting, 1) + 1;
		most = atomic_load(&place->most);
		while (now > most && !atomic_compare_exchange_weak(&place->most, &most, now))
			;
		usleep(20);
		atomic_fetch_sub(&place->waiting, 1);
		if (!atomic_load(&place->only_forgets) && i % 8 == 0)
			give(place, &mine);
		atomic_fetch_add(&place->rounds, 1);
	}
	give(place, &mine);
	return NULL;
}

static void begin(struct place *place)
{
	turn_begin(&place->turn);
	atomic_fetch_add(&place->bursts, 1);
}

static void finish_burst(struct place *place)
{
	atomic_fetch_add(&place->bursts, 1);
	turn_end(&place->turn);
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
		begin(&place);
		await_rounds(&place, ROUNDS / 20);
		finish_burst(&place);
		atomic_store(&place.most, 0);
		while (atomic_load(&place.most) < READERS)
			usleep(100);
	}
	finish(&place, threads);
	cr_expect_eq(atomic_load(&place.doubled), 0, "two had the turn, %u times", atomic_load(&place.doubled));
	cr_expect_eq(atomic_load(&place.strangers), 0, "someone waited without the turn, %u times", atomic_load(&place.strangers));
}

/* Through FORGETs alone one thread keeps the turn; nobody is left behind when the burst ends. */
Test(turn, kept_through_forgets, .timeout = 60)
{
	struct place place = { .only_forgets = true };
	pthread_t threads[READERS];

	start(&place, threads);
	begin(&place);
	await_rounds(&place, READERS * 2);
	await_rounds(&place, 200);
	cr_expect(place.turn.taken);
	finish_burst(&place);
	atomic_store(&place.most, 0);
	while (atomic_load(&place.most) < READERS)
		usleep(100);
	finish(&place, threads);
}
