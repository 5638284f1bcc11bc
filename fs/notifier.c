/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/notifier.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "store/base/cleanup.h"
#include "store/base/thread.h"

struct notifier {
	notifier_fn tell;
	void *arg;
	pthread_t thread;

	pthread_mutex_t lock; /* guards all below; nothing is called under it */
	pthread_cond_t changed;
	uint64_t *ids; /* owned; in no order */
	size_t count, alloc;
	bool stop;
};

/* false: the end. */
static bool take(struct notifier *notifier, uint64_t *ret)
{
	SCOPED_LOCK(&notifier->lock);

	while (!notifier->count && !notifier->stop)
		pthread_cond_wait(&notifier->changed, &notifier->lock);
	if (notifier->stop)
		return false;
	*ret = notifier->ids[--notifier->count];
	return true;
}

static void *run(void *arg)
{
	struct notifier *notifier = arg;
	uint64_t id;

	while (take(notifier, &id))
		notifier->tell(notifier->arg, id);
	return NULL;
}

static void destroy(struct notifier *notifier)
{
	pthread_cond_destroy(&notifier->changed);
	pthread_mutex_destroy(&notifier->lock);
	free(notifier->ids);
	free(notifier);
}

int notifier_new(notifier_fn tell, void *arg, struct notifier **ret)
{
	struct notifier *notifier = calloc(1, sizeof *notifier);
	int r;

	if (!notifier)
		return -ENOMEM;
	notifier->tell = tell;
	notifier->arg = arg;
	pthread_mutex_init(&notifier->lock, NULL);
	pthread_cond_init(&notifier->changed, NULL);
	r = thread_start(&notifier->thread, run, notifier);
	if (r < 0) {
		destroy(notifier);
		return r;
	}
	*ret = notifier;
	return 0;
}

void notifier_free(struct notifier *notifier)
{
	if (!notifier)
		return;
	{
		SCOPED_LOCK(&notifier->lock);

		notifier->stop = true;
		pthread_cond_signal(&notifier->changed);
	}
	pthread_join(notifier->thread, NULL);
	destroy(notifier);
}

int notifier_add(struct notifier *notifier, uint64_t id)
{
	SCOPED_LOCK(&notifier->lock);

	/* The requests for one file come one after another. */
	if (notifier->count && notifier->ids[notifier->count - 1] == id)
		return 0;
	if (notifier->count == notifier->alloc) {
		size_t alloc = notifier->alloc ? notifier->alloc * 2 : 16;
		uint64_t *grown = realloc(notifier->ids, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		notifier->ids = grown;
		notifier->alloc = alloc;
	}
	notifier->ids[notifier->count++] = id;
	pthread_cond_signal(&notifier->changed);
	return 0;
}
