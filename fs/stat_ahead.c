/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/stat_ahead.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/thread.h"

struct stat_ahead {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t given;
	pthread_t thread;
	bool started, ending, busy;
	unsigned rest; /* so many directories more are left alone */
	unsigned long long count;
	/* What is to be looked at, or is being. */
	struct fdref directory; /* both owned while busy */
	struct stat_names names;
};

struct stat_ahead *stat_ahead_new(void)
{
	struct stat_ahead *ahead = calloc(1, sizeof *ahead);

	if (!ahead)
		return NULL;
	pthread_mutex_init(&ahead->lock, NULL);
	pthread_cond_init(&ahead->given, NULL);
	return ahead;
}

void stat_ahead_free(struct stat_ahead *ahead)
{
	if (!ahead)
		return;
	pthread_mutex_lock(&ahead->lock);
	ahead->ending = true;
	pthread_cond_signal(&ahead->given);
	pthread_mutex_unlock(&ahead->lock);
	if (ahead->started)
		pthread_join(ahead->thread, NULL);
	pthread_cond_destroy(&ahead->given);
	pthread_mutex_destroy(&ahead->lock);
	free(ahead);
}

static bool is_ending(struct stat_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->ending;
}

/* The mean time of one look, in ns. A name that is gone is no matter. */
static uint64_t look_at_all(struct stat_ahead *ahead, int directory, const struct stat_names *names)
{
	uint64_t start = clock_monotonic_ns();
	size_t i;

	for (i = names->from; i < names->to && !is_ending(ahead); i++) {
		struct stat st;

		if (fstatat(directory, names->name(names->owner, i), &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
	}
	return (clock_monotonic_ns() - start) / (i > names->from ? i - names->from : 1);
}

static void *run(void *arg)
{
	struct stat_ahead *ahead = arg;

	pthread_mutex_lock(&ahead->lock);
	while (!ahead->ending) {
		struct stat_names names = ahead->names;
		struct fdref directory = ahead->directory;
		uint64_t mean;

		if (!ahead->busy) {
			pthread_cond_wait(&ahead->given, &ahead->lock);
			continue;
		}
		pthread_mutex_unlock(&ahead->lock);
		mean = look_at_all(ahead, directory.fd, &names);
		pthread_mutex_lock(&ahead->lock);
		ahead->count += names.to - names.from;
		ahead->rest = mean < STAT_WARM_NS ? STAT_REST_DIRECTORIES : 0;
		ahead->busy = false;
		pthread_mutex_unlock(&ahead->lock);
		names.release(names.owner);
		fdref_release(&directory);
		pthread_mutex_lock(&ahead->lock);
	}
	if (ahead->busy) {
		ahead->names.release(ahead->names.owner);
		fdref_release(&ahead->directory);
	}
	pthread_mutex_unlock(&ahead->lock);
	return NULL;
}

static bool start(struct stat_ahead *ahead)
{
	if (!ahead->started)
		ahead->started = thread_start(&ahead->thread, run, ahead) == 0;
	return ahead->started;
}

/* true: they are the thread's now. */
static bool accept_names(struct stat_ahead *ahead, struct fdref *directory, const struct stat_names *names)
{
	SCOPED_LOCK(&ahead->lock);

	if (ahead->rest > 0) {
		ahead->rest--;
		return false;
	}
	if (ahead->busy || ahead->ending || !start(ahead))
		return false;
	ahead->directory = *directory;
	ahead->names = *names;
	ahead->busy = true;
	pthread_cond_signal(&ahead->given);
	return true;
}

void stat_ahead_give(struct stat_ahead *ahead, struct fdref *directory, const struct stat_names *names)
{
	bool taken = ahead && names->to - names->from >= STAT_AHEAD_MIN && accept_names(ahead, directory, names);

	if (!taken) {
		fdref_release(directory);
		names->release(names->owner);
	}
	*directory = (struct fdref)FDREF_INIT;
}

unsigned long long stat_ahead_count(struct stat_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->count;
}
