/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/notifier.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fs/shared.h"
#include "store/base/cleanup.h"
#include "store/base/thread.h"

struct notice {
	uint64_t id;
	uint32_t slot; /* where it is kept; NOTIFIER_KEPT: nowhere */
};

struct notifier {
	notifier_fn tell;
	void *arg;
	struct notifier_kept *kept;
	pthread_t thread;

	pthread_mutex_t lock; /* guards all below; nothing is called under it */
	pthread_cond_t changed;
	struct notice *notices; /* owned; in no order */
	size_t count, alloc;
	bool stop;
};

/* false: the end. */
static bool take(struct notifier *notifier, struct notice *ret)
{
	SCOPED_LOCK(&notifier->lock);

	while (!notifier->count && !notifier->stop)
		pthread_cond_wait(&notifier->changed, &notifier->lock);
	if (notifier->stop)
		return false;
	*ret = notifier->notices[--notifier->count];
	return true;
}

static void let_go(struct notifier *notifier, const struct notice *notice)
{
	SCOPED_LOCK(&notifier->lock);

	if (notice->slot < NOTIFIER_KEPT)
		SHARED_PUBLISH(notifier->kept->ids[notice->slot], 0);
}

static void *run(void *arg)
{
	struct notifier *notifier = arg;
	struct notice notice;

	while (take(notifier, &notice)) {
		notifier->tell(notifier->arg, notice.id);
		let_go(notifier, &notice);
	}
	return NULL;
}

static void destroy(struct notifier *notifier)
{
	pthread_cond_destroy(&notifier->changed);
	pthread_mutex_destroy(&notifier->lock);
	free(notifier->notices);
	free(notifier);
}

/* A place for ID, with the lock held. */
static uint32_t keep(struct notifier *notifier, uint64_t id)
{
	if (!notifier->kept)
		return NOTIFIER_KEPT;
	for (uint32_t slot = 0; slot < NOTIFIER_KEPT; slot++) {
		if (notifier->kept->ids[slot])
			continue;
		SHARED_PUBLISH(notifier->kept->ids[slot], id);
		return slot;
	}
	notifier->kept->lost = 1;
	return NOTIFIER_KEPT;
}

/* With the lock held. */
static int add(struct notifier *notifier, uint64_t id, uint32_t slot)
{
	if (notifier->count == notifier->alloc) {
		size_t alloc = notifier->alloc ? notifier->alloc * 2 : 16;
		struct notice *grown = realloc(notifier->notices, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		notifier->notices = grown;
		notifier->alloc = alloc;
	}
	notifier->notices[notifier->count++] = (struct notice){ id, slot };
	pthread_cond_signal(&notifier->changed);
	return 0;
}

/* What a worker that was killed did not come to. */
static int add_kept(struct notifier *notifier)
{
	SCOPED_LOCK(&notifier->lock);
	int r = 0;

	for (uint32_t slot = 0; notifier->kept && slot < NOTIFIER_KEPT && r == 0; slot++) {
		if (notifier->kept->ids[slot])
			r = add(notifier, notifier->kept->ids[slot], slot);
	}
	return r;
}

int notifier_new(notifier_fn tell, void *arg, struct notifier_kept *kept, struct notifier **ret)
{
	struct notifier *notifier = calloc(1, sizeof *notifier);
	int r;

	if (!notifier)
		return -ENOMEM;
	notifier->tell = tell;
	notifier->arg = arg;
	notifier->kept = kept;
	pthread_mutex_init(&notifier->lock, NULL);
	pthread_cond_init(&notifier->changed, NULL);
	r = add_kept(notifier);
	if (r == 0)
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
	if (notifier->count && notifier->notices[notifier->count - 1].id == id)
		return 0;
	return add(notifier, id, keep(notifier, id));
}
