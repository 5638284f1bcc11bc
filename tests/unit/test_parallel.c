/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"

#define COUNT 1003u

struct work {
	atomic_uint seen[COUNT];
	atomic_uint calls, unblocked;
	size_t fail_from; /* ranges that hold an item from here on fail */
	pthread_t caller;
};

static int see(void *arg, size_t from, size_t to, struct error *err)
{
	struct work *work = arg;
	sigset_t blocked;

	atomic_fetch_add(&work->calls, 1);
	for (size_t i = from; i < to; i++)
		atomic_fetch_add(&work->seen[i], 1);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	if (!pthread_equal(pthread_self(), work->caller) && !sigismember(&blocked, SIGTERM))
		atomic_fetch_add(&work->unblocked, 1);
	return to > work->fail_from ? error_set(err, -EIO, "item %zu failed", from > work->fail_from ? from : work->fail_from) : 0;
}

static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

Test(parallel, each_item_once)
{
	static const size_t counts[] = { 0, 1, 2, 9, 10, 19, 20, 21, 100, COUNT };

	for (size_t c = 0; c < ARRAY_SIZE(counts); c++) {
		struct work work = { .fail_from = SIZE_MAX, .caller = pthread_self() };
		size_t most = counts[c] / 10 ? counts[c] / 10 : counts[c] > 0;

		must_pass(parallel_run(counts[c], 10, see, &work, &err));
		for (size_t i = 0; i < COUNT; i++)
			cr_assert_eq(work.seen[i], i < counts[c], "%zu items: item %zu was seen %u times", counts[c], i, work.seen[i]);
		most = most < PARALLEL_MAX ? most : PARALLEL_MAX;
		cr_assert_leq(work.calls, most, "%zu items: %u ranges", counts[c], work.calls);
		cr_assert_eq(work.unblocked, 0, "a helper takes signals");
	}
}

Test(parallel, uses_the_processors)
{
	struct work work = { .fail_from = SIZE_MAX, .caller = pthread_self() };
	unsigned wanted = processors() < PARALLEL_MAX ? processors() : PARALLEL_MAX;

	must_pass(parallel_run(COUNT, 1, see, &work, &err));
	cr_assert_eq(work.calls, wanted, "%u ranges on %u processors", work.calls, processors());
}

Test(parallel, the_first_error_is_told)
{
	struct work work = { .fail_from = 0, .caller = pthread_self() };
	sigset_t before, after;

	pthread_sigmask(SIG_BLOCK, NULL, &before);
	must_fail(-EIO, "item 0 failed", parallel_run(COUNT, 1, see, &work, &err));
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	for (int signal = 1; signal < 32; signal++) /* the kernel fills in fewer bytes than a sigset_t has */
		cr_assert_eq(sigismember(&before, signal), sigismember(&after, signal), "signal %d is blocked as it was", signal);
	work.fail_from = COUNT - 1;
	must_fail(-EIO, "failed", parallel_run(COUNT, 1, see, &work, &err));
}

/* ---- one item at a time ---- */

struct items {
	atomic_uint seen[COUNT];
	atomic_uint helped, unblocked;
	bool fails[COUNT];
	size_t slow_from; /* items from here on take their time; 0: none */
	pthread_t caller;
};

static int take(void *arg, size_t index, struct error *err)
{
	struct items *items = arg;
	sigset_t blocked;

	atomic_fetch_add(&items->seen[index], 1);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	if (!pthread_equal(pthread_self(), items->caller)) {
		atomic_fetch_add(&items->helped, 1);
		if (!sigismember(&blocked, SIGTERM))
			atomic_fetch_add(&items->unblocked, 1);
	}
	/* The earlier of two that fail at about the same time is the slower one. */
	if (items->fails[index] && index % 2 == 0)
		usleep(20000);
	if (items->slow_from && index >= items->slow_from)
		usleep(200);
	return items->fails[index] ? error_set(err, -EIO, "item %zu failed", index) : 0;
}

Test(parallel, each_item_is_taken_once)
{
	static const size_t counts[] = { 0, 1, 2, 9, 100, COUNT };

	for (size_t c = 0; c < ARRAY_SIZE(counts); c++) {
		struct items items = { .caller = pthread_self() };
		struct parallel parallel;

		parallel_begin(&parallel, counts[c], take, &items);
		must_pass(parallel_end(&parallel, &err));
		for (size_t i = 0; i < COUNT; i++)
			cr_assert_eq(items.seen[i], i < counts[c], "%zu items: item %zu was seen %u times", counts[c], i, items.seen[i]);
	}
}

Test(parallel, helpers_work_while_the_caller_does_not)
{
	struct items items = { .caller = pthread_self() };
	struct parallel parallel;

	if (processors() < 2)
		return;
	parallel_begin(&parallel, COUNT, take, &items);
	for (unsigned i = 0; i < 1000 && items.helped < COUNT; i++)
		usleep(10000);
	cr_assert_eq(items.helped, COUNT, "%u items are done before the caller helps", items.helped);
	must_pass(parallel_end(&parallel, &err));
	cr_assert_eq(items.unblocked, 0, "a helper takes signals");
}

Test(parallel, the_first_item_that_fails_is_told)
{
	for (unsigned round = 0; round < 20; round++) {
		struct items items = { .fails = { [500] = true, [501] = true }, .caller = pthread_self() };
		struct parallel parallel;

		parallel_begin(&parallel, COUNT, take, &items);
		must_fail(-EIO, "item 500 failed", parallel_end(&parallel, &err));
		for (size_t i = 0; i < 500; i++)
			cr_assert_eq(items.seen[i], 1, "item %zu comes before the one that failed", i);
	}
}

Test(parallel, no_item_is_taken_after_a_failure)
{
	struct items items = { .fails = { [1] = true }, .slow_from = 2, .caller = pthread_self() };
	struct parallel parallel;

	parallel_begin(&parallel, COUNT, take, &items);
	must_fail(-EIO, "item 1 failed", parallel_end(&parallel, &err));
	cr_assert_eq(items.seen[COUNT - 1], 0, "all items are worked on");
}

Test(parallel, no_item_is_taken_once_it_is_cancelled)
{
	struct items items = { .slow_from = 1, .caller = pthread_self() };
	struct parallel parallel;

	parallel_begin(&parallel, COUNT, take, &items);
	parallel_cancel(&parallel);
	must_pass(parallel_end(&parallel, &err));
	cr_assert_eq(items.seen[COUNT - 1], 0, "all items are worked on");
}
