/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fs/stat_ahead.h"

struct list {
	atomic_uint asked, released;
	unsigned cost_us; /* of one name, as if it had to be read from a disk */
};

static const char *name_at(void *owner, size_t index)
{
	struct list *list = owner;

	atomic_fetch_add(&list->asked, 1);
	if (list->cost_us)
		usleep(list->cost_us);
	return index % 2 ? "." : "absent";
}

static void list_release(void *owner)
{
	atomic_fetch_add(&((struct list *)owner)->released, 1);
}

static void give(struct stat_ahead *ahead, struct fdcache *cache, struct list *list, size_t from, size_t to)
{
	const struct stat_names names = { list, list_release, name_at, from, to };
	struct fdref directory = FDREF_INIT;
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	fdcache_add(cache, 1, FD_PATH, fd, &directory);
	stat_ahead_give(ahead, &directory, &names);
	cr_assert_lt(directory.fd, 0, "it was taken over");
}

/* Each list that was given is let go of once, looked at or not. */
static void await_released(struct list *list, unsigned wanted)
{
	while (atomic_load(&list->released) < wanted)
		usleep(100);
	cr_assert_eq(atomic_load(&list->released), wanted);
}

static void await_count(struct stat_ahead *ahead, unsigned long long wanted)
{
	while (stat_ahead_count(ahead) < wanted)
		usleep(100);
	cr_assert_eq(stat_ahead_count(ahead), wanted);
}

Test(stat_ahead, looks_at_what_it_is_given, .timeout = 60)
{
	struct stat_ahead *ahead = stat_ahead_new();
	struct fdcache *cache = fdcache_new(4);
	struct list list = { .cost_us = 20 };

	give(ahead, cache, &list, 10, 10 + STAT_AHEAD_MIN);
	await_released(&list, 1);
	await_count(ahead, STAT_AHEAD_MIN);
	cr_assert_eq(atomic_load(&list.asked), STAT_AHEAD_MIN);
	/* They were slow to come: so may the next be. */
	give(ahead, cache, &list, 0, 100);
	await_released(&list, 2);
	await_count(ahead, STAT_AHEAD_MIN + 100);
	stat_ahead_free(ahead);
	fdcache_free(cache);
}

Test(stat_ahead, few_names_and_no_thread, .timeout = 60)
{
	struct stat_ahead *ahead = stat_ahead_new();
	struct fdcache *cache = fdcache_new(4);
	struct list list = { .cost_us = 0 };

	give(ahead, cache, &list, 0, STAT_AHEAD_MIN - 1);
	give(NULL, cache, &list, 0, 1000);
	cr_assert_eq(atomic_load(&list.released), 2);
	cr_assert_eq(atomic_load(&list.asked), 0);
	stat_ahead_free(ahead);
	fdcache_free(cache);
}

/* Who gives while it is at work goes on without it; and it ends in the middle of its work. */
Test(stat_ahead, never_waits, .timeout = 60)
{
	struct stat_ahead *ahead = stat_ahead_new();
	struct fdcache *cache = fdcache_new(4);
	struct list slow = { .cost_us = 1000 }, other = { .cost_us = 0 };

	give(ahead, cache, &slow, 0, 1000000);
	while (!atomic_load(&slow.asked))
		usleep(100);
	give(ahead, cache, &other, 0, 1000);
	cr_assert_eq(atomic_load(&other.released), 1);
	cr_assert_eq(atomic_load(&other.asked), 0);
	stat_ahead_free(ahead);
	cr_assert_eq(atomic_load(&slow.released), 1);
	cr_assert_lt(atomic_load(&slow.asked), 100000u);
	fdcache_free(cache);
}

/* Where attributes are in memory it is of no use, and rests. */
Test(stat_ahead, rests_where_all_is_warm, .timeout = 60)
{
	struct stat_ahead *ahead = stat_ahead_new();
	struct fdcache *cache = fdcache_new(4);
	struct list list = { .cost_us = 0 };
	unsigned given = 0, asked;

	do { /* until one is not looked at; a busy machine may make the first look cold */
		asked = atomic_load(&list.asked);
		give(ahead, cache, &list, 0, 1000);
		await_released(&list, ++given);
	} while (atomic_load(&list.asked) != asked);
	for (unsigned i = 1; i < STAT_REST_DIRECTORIES; i++) {
		give(ahead, cache, &list, 0, 1000);
		await_released(&list, ++given);
	}
	cr_assert_eq(atomic_load(&list.asked), asked, "it was to rest");
	give(ahead, cache, &list, 0, 1000);
	await_released(&list, ++given);
	while (atomic_load(&list.asked) == asked)
		usleep(100);
	stat_ahead_free(ahead);
	fdcache_free(cache);
}
