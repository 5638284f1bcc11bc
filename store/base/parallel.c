/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/parallel.h"

#include <sched.h>
#include <stdbool.h>

#include "store/base/cleanup.h"
#include "store/base/thread.h"

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

/* How many threads are worth it for COUNT pieces of work. */
static size_t thread_count(size_t count)
{
	size_t threads = processors();

	if (threads > PARALLEL_MAX)
		threads = PARALLEL_MAX;
	return threads < count ? threads : count;
}

/* ---- ranges ---- */

static void *work(void *arg)
{
	struct range *range = arg;

	range->code = range->fn(range->arg, range->from, range->to, &range->err);
	return NULL;
}

int parallel_run(size_t count, size_t piece_min, parallel_fn fn, void *arg, struct error *err)
{
	struct range ranges[PARALLEL_MAX];
	size_t pieces = thread_count(count / piece_min);
	int r = 0;

	if (pieces < 2)
		return count ? fn(arg, 0, count, err) : 0;
	for (size_t i = pieces; i-- > 0;) {
		ranges[i] = (struct range){ .fn = fn, .arg = arg, .from = count * i / pieces, .to = count * (i + 1) / pieces };
		ranges[i].started = i > 0 && thread_start(&ranges[i].thread, work, &ranges[i]) == 0;
	}
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

/* ---- one item at a time ---- */

static void item_failed(struct parallel *parallel, size_t index, int code, const struct error *err)
{
	SCOPED_LOCK(&parallel->lock);
	if (parallel->err.code == 0 || index < parallel->failed) {
		parallel->failed = index;
		parallel->err = *err;
		parallel->err.code = code;
	}
}

/* A failure ends the taking for all: whatever comes before it has been taken, and is worked on to its end. */
static void *take_items(void *arg)
{
	struct error failure = ERROR_INIT;
	struct parallel *parallel = arg;
	size_t i;

	while ((i = atomic_fetch_add(&parallel->next, 1)) < parallel->count) {
		int code = parallel->fn(parallel->arg, i, &failure);

		if (code < 0) {
			item_failed(parallel, i, code, &failure);
			atomic_store(&parallel->next, parallel->count);
			break;
		}
	}
	return NULL;
}

void parallel_begin(struct parallel *ret, size_t count, parallel_item_fn fn, void *arg)
{
	size_t threads = thread_count(count);

	*ret = (struct parallel){ .fn = fn, .arg = arg, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER, .err = ERROR_INIT };
	if (threads < 2)
		return;
	while (ret->helper_count < threads - 1 &&
		thread_start(&ret->helpers[ret->helper_count], take_items, ret) == 0)
		ret->helper_count++;
}

void parallel_cancel(struct parallel *parallel)
{
	atomic_store(&parallel->next, parallel->count);
}

int parallel_end(struct parallel *parallel, struct error *err)
{
	take_items(parallel);
	while (parallel->helper_count > 0)
		pthread_join(parallel->helpers[--parallel->helper_count], NULL);
	pthread_mutex_destroy(&parallel->lock);
	return parallel->err.code < 0 ? error_set(err, parallel->err.code, "%s", parallel->err.message) : 0;
}
