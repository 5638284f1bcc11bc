/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>

struct range {
	parallel_fn fn;
	void *arg;
	size_t from, to;
	int code;
	struct error err;
	pthread_t thread;
	bool started;
};

static unsigned processors(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);

	return count < 1 ? 1 : (unsigned)count;
}

static void *work(void *arg)
{
	struct range *range = arg;

	range->code = range->fn(range->arg, range->from, range->to, &range->err);
	return NULL;
}

int parallel_run(size_t count, size_t piece_min, parallel_fn fn, void *arg, struct error *err)
{
	struct range ranges[PARALLEL_MAX];
	size_t pieces = processors();
	sigset_t all, old;
	int r = 0;

	if (pieces > PARALLEL_MAX)
		pieces = PARALLEL_MAX;
	if (pieces > count / piece_min)
		pieces = count / piece_min;
	if (pieces < 2)
		return count ? fn(arg, 0, count, err) : 0;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (size_t i = pieces; i-- > 0;) {
		ranges[i] = (struct range){ .fn = fn, .arg = arg, .from = count * i / pieces, .to = count * (i + 1) / pieces };
		ranges[i].started = i > 0 && pthread_create(&ranges[i].thread, NULL, work, &ranges[i]) == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	for (size_t i = 0; i < pieces; i++) {
		if (ranges[i].started)
			pthread_join(ranges[i].thread, NULL);
		else
			work(&ranges[i]);
		if (ranges[i].code < 0 && r == 0)
			r = error_set(err, ranges[i].code, "%s", ranges[i].err.message);
	}
	return r;
}
