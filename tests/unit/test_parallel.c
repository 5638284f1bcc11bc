/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

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
