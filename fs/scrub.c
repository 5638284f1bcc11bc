/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/scrub.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fs/worker_state.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/thread.h"
#include "store/object.h"

/* ioprio_set(2), of which the C library has no declaration. */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_IDLE (3 << 13)
#define STOP_MS 20

struct scrub {
	uint64_t rate;
	int objects_fd;
	struct session *session;
	struct healer *healer;
	struct worker_state *state;
	pthread_t thread;
	/* The thread's own: what was read since when, to keep the rate. */
	uint64_t bytes, since_ns;

	pthread_mutex_t lock; /* guards the rest; nothing is called under it */
	pthread_cond_t told;
	bool stop;
	bool asked; /* for a round now */
	bool fast;  /* this round */
};

/* ---- what there is to read ---- */

void scrub_list_release(struct scrub_list *list)
{
	free(list->objects);
	*list = (struct scrub_list)SCRUB_LIST_INIT;
}

static int compare_objects(const void *a, const void *b)
{
	return memcmp(&((const struct scrub_object *)a)->hash, &((const struct scrub_object *)b)->hash, sizeof(struct hash128));
}

int scrub_list_make(const struct view *view, struct scrub_list *ret)
{
	size_t entries = view ? view_count(view) : 0, count = 0, kept = 0;
	struct scrub_object *objects = calloc(entries + 1, sizeof *objects);

	if (!objects)
		return -ENOMEM;
	for (uint32_t i = 0; i < entries; i++) {
		const struct view_entry *entry = view_at(view, i);

		if (entry->kind == VIEW_FILE)
			objects[count++] = (struct scrub_object){ entry->object, entry->blob, entry->size };
	}
	qsort(objects, count, sizeof *objects, compare_objects);
	for (size_t i = 0; i < count; i++)
		if (!kept || compare_objects(&objects[kept - 1], &objects[i]) != 0)
			objects[kept++] = objects[i];
	*ret = (struct scrub_list){ objects, kept };
	return 0;
}

const struct scrub_object *scrub_list_after(const struct scrub_list *list, const struct hash128 *place)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(&list->objects[middle].hash, place, sizeof *place) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < list->count ? &list->objects[low] : NULL;
}

uint64_t scrub_wait_ms(uint64_t bytes, uint64_t elapsed_ns, uint64_t rate)
{
	uint64_t due_ms = bytes / rate * 1000 + bytes % rate * 1000 / rate, elapsed_ms = elapsed_ns / 1000000;

	return due_ms > elapsed_ms ? due_ms - elapsed_ms : 0;
}

/* ---- the thread ---- */

static uint64_t boot_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec;
}

/* Idle, or as any other thread: while it may hold a lock that a request waits for. */
static void be_idle(bool idle)
{
	const struct sched_param param = { .sched_priority = 0 };

	/* Where the kernel knows neither it reads slowly all the same. */
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, idle ? IOPRIO_CLASS_IDLE : 0);
	sched_setscheduler(0, idle ? SCHED_IDLE : SCHED_OTHER, &param);
}

/* Wait for so long, or until it is to stop or to begin anew; then false. */
static bool wait_ms(struct scrub *scrub, uint64_t ms)
{
	struct timespec until;
	SCOPED_LOCK(&scrub->lock);

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (!scrub->stop && !scrub->asked && ms && pthread_cond_timedwait(&scrub->told, &scrub->lock, &until) == 0)
		;
	return !scrub->stop && !scrub->asked;
}

static bool is_fast(struct scrub *scrub)
{
	SCOPED_LOCK(&scrub->lock);

	return scrub->fast;
}

/* After each piece: not faster than is allowed. */
static int pause_after(void *arg, size_t bytes)
{
	struct scrub *scrub = arg;
	uint64_t ms;

	scrub->bytes += bytes;
	ms = is_fast(scrub) || !scrub->rate ? 0 : scrub_wait_ms(scrub->bytes, clock_monotonic_ns() - scrub->since_ns, scrub->rate);
	return wait_ms(scrub, ms) ? 0 : -EINTR;
}

/* false: it was stopped before it had read it all. */
static bool look_at(struct scrub *scrub, const struct scrub_object *object)
{
	int r;

	scrub->bytes = 0;
	scrub->since_ns = clock_monotonic_ns();
	be_idle(true);
	r = object_verify_disk(scrub->objects_fd, &object->hash, object->size, pause_after, scrub, NULL);
	be_idle(false);
	if (r == -EINTR)
		return false;
	if (r == 0)
		healer_is_whole(scrub->healer, &object->hash);
	else if (r != -ENOMEM && r != -EMFILE && r != -ENFILE)
		healer_heal(scrub->healer, &object->hash, &object->blob, object->size, "by the scrub");
	return wait_ms(scrub, 0);
}

/* A round, or what is left of it. false: it was not gone through to its end. */
static bool go_round(struct scrub *scrub)
{
	cleanup_scrub_list struct scrub_list list = SCRUB_LIST_INIT;
	cleanup_view struct view *view = NULL;

	for (;;) {
		cleanup_view struct view *now = overlay_view(scrub->session->overlay);
		const struct scrub_object *object;

		if (now != view || !list.objects) {
			scrub_list_release(&list);
			if (scrub_list_make(now, &list) < 0)
				return false;
			view_unref(view);
			view = view_ref(now);
		}
		object = scrub_list_after(&list, &scrub->state->scrub_place);
		if (!object)
			return true;
		if (!look_at(scrub, object))
			return false;
		/* One that was torn by a kill is a place like any other. */
		scrub->state->scrub_place = object->hash;
	}
}

/* Until a round is due. false: it is to stop. */
static bool await_round(struct scrub *scrub)
{
	for (;;) {
		const uint64_t now = boot_seconds(), began = scrub->state->scrub_began;
		uint64_t due = !scrub->rate ? UINT64_MAX : began ? began + SCRUB_ROUND_SECONDS : 0;

		{
			SCOPED_LOCK(&scrub->lock);

			if (scrub->stop)
				return false;
			if (scrub->asked) {
				scrub->asked = false;
				scrub->fast = true;
				due = 0;
			}
		}
		if (due <= now)
			break;
		wait_ms(scrub, (due - now < SCRUB_ROUND_SECONDS ? due - now : SCRUB_ROUND_SECONDS) * 1000);
	}
	scrub->state->scrub_place = (struct hash128){ { 0 } };
	scrub->state->scrub_done = 0;
	SHARED_PUBLISH(scrub->state->scrub_began, boot_seconds());
	return true;
}

static void *run(void *arg)
{
	struct scrub *scrub = arg;
	/* The worker before was in the midst of one. */
	bool midst = scrub->rate && scrub->state->scrub_began && !scrub->state->scrub_done;

	while (midst || await_round(scrub)) {
		midst = false;
		if (!go_round(scrub))
			continue;
		SHARED_PUBLISH(scrub->state->scrub_done, 1);
		SCOPED_LOCK(&scrub->lock);
		scrub->fast = false;
		scrub->state->scrubbed_us = (int64_t)time(NULL) * 1000000;
	}
	return NULL;
}

int scrub_start(uint64_t rate, int objects_fd, struct session *session, struct healer *healer, struct worker_state *state,
	struct scrub **ret, struct error *err)
{
	struct scrub *scrub = calloc(1, sizeof *scrub);
	pthread_condattr_t monotonic;
	int r;

	if (!scrub)
		return error_errno(err, ENOMEM, "start the scrub");
	scrub->rate = rate;
	scrub->objects_fd = objects_fd;
	scrub->session = session;
	scrub->healer = healer;
	scrub->state = state;
	pthread_mutex_init(&scrub->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&scrub->told, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r = thread_start(&scrub->thread, run, scrub);
	if (r < 0) {
		pthread_cond_destroy(&scrub->told);
		pthread_mutex_destroy(&scrub->lock);
		free(scrub);
		return error_errno(err, -r, "start the scrub");
	}
	*ret = scrub;
	return 0;
}

void scrub_stop(struct scrub *scrub)
{
	const struct sched_param param = { .sched_priority = 0 };
	struct timespec until;

	if (!scrub)
		return;
	{
		SCOPED_LOCK(&scrub->lock);

		scrub->stop = true;
		pthread_cond_signal(&scrub->told);
	}
	/* Where the processors are busy an idle thread would take long to end. */
	do {
		pthread_setschedparam(scrub->thread, SCHED_OTHER, &param);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += until.tv_nsec >= 1000000000L - STOP_MS * 1000000L;
		until.tv_nsec = (until.tv_nsec + STOP_MS * 1000000L) % 1000000000L;
	} while (pthread_timedjoin_np(scrub->thread, NULL, &until) == ETIMEDOUT);
	pthread_cond_destroy(&scrub->told);
	pthread_mutex_destroy(&scrub->lock);
	free(scrub);
}

void scrub_now(struct scrub *scrub)
{
	SCOPED_LOCK(&scrub->lock);

	scrub->asked = true;
	pthread_cond_signal(&scrub->told);
}

void scrub_add_state(struct scrub *scrub, struct json_object *row)
{
	char text[CLOCK_TEXT_MAX];
	SCOPED_LOCK(&scrub->lock);

	json_object_object_add(row, "scrub", json_object_new_int64((int64_t)scrub->rate));
	clock_format(scrub->state->scrubbed_us, text);
	json_object_object_add(row, "scrubbed_at", scrub->state->scrubbed_us ? json_object_new_string(text) : NULL);
}
