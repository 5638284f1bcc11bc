/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fs/notifier.h"

enum { IDS = 100 };

/* How often each was told; while HELD, the telling of each waits. */
struct told {
	atomic_uint count[IDS], begun;
	atomic_bool held;
};

static int tell(void *arg, uint64_t id)
{
	struct told *told = arg;

	atomic_fetch_add(&told->begun, 1);
	while (atomic_load(&told->held))
		usleep(1000);
	atomic_fetch_add(&told->count[id], 1);
	return -ENOENT;
}

static void await(atomic_uint *value, unsigned least)
{
	for (int i = 0; i < 10000 && atomic_load(value) < least; i++)
		usleep(1000);
	cr_assert_geq(atomic_load(value), least);
}

Test(notifier, all_are_told_and_none_is_waited_for)
{
	struct told told = { .held = true };
	struct notifier *notifier;

	cr_assert_eq(notifier_new(tell, &told, NULL, &notifier), 0);
	cr_assert_eq(notifier_add(notifier, 0), 0);
	await(&told.begun, 1);
	/* It is in the midst of one: the others are taken at once, neighbours that are equal as one. */
	for (uint64_t id = 1; id < IDS; id++) {
		cr_assert_eq(notifier_add(notifier, id), 0);
		cr_assert_eq(notifier_add(notifier, id), 0);
	}
	atomic_store(&told.held, false);
	for (size_t id = 0; id < IDS; id++)
		await(&told.count[id], 1);
	/* And again: it may be new. */
	cr_assert_eq(notifier_add(notifier, 7), 0);
	await(&told.count[7], 2);
	notifier_free(notifier);
	for (size_t id = 0; id < IDS; id++)
		cr_assert_eq(atomic_load(&told.count[id]), 1 + (id == 7), "%zu", id);
	notifier_free(NULL);
}

static void *release_soon(void *arg)
{
	usleep(50000);
	atomic_store((atomic_bool *)arg, false);
	return NULL;
}

Test(notifier, the_end_waits_for_the_notice_that_is_sent)
{
	struct told told = { .held = true };
	struct notifier *notifier;
	pthread_t thread;

	cr_assert_eq(notifier_new(tell, &told, NULL, &notifier), 0);
	cr_assert_eq(notifier_add(notifier, 1), 0);
	await(&told.begun, 1);
	cr_assert_eq(notifier_add(notifier, 2), 0);
	cr_assert_eq(pthread_create(&thread, NULL, release_soon, &told.held), 0);
	notifier_free(notifier);
	pthread_join(thread, NULL);
	cr_assert_eq(atomic_load(&told.count[1]), 1);
	cr_assert_eq(atomic_load(&told.count[2]), 0, "dropped");
}

/* What was not told, or was being told, when a worker was killed is told by the next one; and more than there is room for is known to be lost. */
Test(notifier, what_was_not_told_is_told_by_the_next)
{
	static struct notifier_kept kept;
	struct told told = { .held = true };
	struct notifier *killed, *next;

	cr_assert_eq(notifier_new(tell, &told, &kept, &killed), 0);
	cr_assert_eq(notifier_add(killed, 5), 0);
	await(&told.begun, 1);
	for (uint64_t id = 10; id < 20; id++)
		cr_assert_eq(notifier_add(killed, id), 0);
	/* As if it were: it is left where it is, and its memory is what another process finds. */
	struct notifier_kept found = kept;
	struct told after = { .held = false };

	cr_assert_eq(notifier_new(tell, &after, &found, &next), 0);
	await(&after.count[5], 1);
	for (size_t id = 10; id < 20; id++)
		await(&after.count[id], 1);
	notifier_free(next);
	for (size_t i = 0; i < NOTIFIER_KEPT; i++)
		cr_assert_eq(found.ids[i], 0, "%zu", i);
	cr_assert_eq(found.lost, 0);
	for (uint64_t i = 0; i < NOTIFIER_KEPT; i++)
		cr_assert_eq(notifier_add(killed, 20 + i % 2), 0);
	cr_assert_eq(kept.lost, 1);
	atomic_store(&told.held, false);
	notifier_free(killed);
}
