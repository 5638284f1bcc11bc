/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/healer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/worker_state.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"
#include "store/base/thread.h"
#include "store/component.h"
#include "store/journal.h"
#include "store/object.h"
#include "store/patch.h"
#include "store/target.h"

#define GATHER_MS 200	/* what is found shortly after goes into the same entry */
#define RETRY_MS 1000	/* the store's lock is tried for again after so long */
#define NOTED_MAX 8u	/* objects that an entry names */
#define ACTION_HEALED "healed"
/* An attempt that failed, and took longer than this, is not made again by a reader for so many times as long as it took. */
#define REST_AFTER_NS 100000000ull
#define REST_FACTOR 10u
#define REST_MAX_NS (HEALER_LOG_SECONDS * 1000000000ull)

/* An object that could not be healed. */
struct lost {
	struct hash128 hash;
	uint64_t logged_ns;
	uint64_t rests_until_ns; /* clock_monotonic_ns() */
	char problem[256];
};

/* Those who wait for the store meanwhile, for the same object, need not look at it as well. */
struct attempt {
	struct hash128 hash;
	uint64_t began_ns, took_ns; /* 0: none was made */
	int result;
	struct error problem;
};

struct healer {
	const char *store_path, *name;
	struct worker_state *state;
	struct session *_Atomic session; /* borrowed; set before the thread starts; NULL until then */
	pthread_t thread;
	bool running;

	pthread_mutex_t store_lock; /* guards the next, and is held while it heals; before LOCK */
	struct store *store;	    /* NULL before the first use */
	struct attempt last;

	struct store *journal_store; /* the thread's own */

	pthread_mutex_t lock; /* guards all below; nothing is called under it */
	pthread_cond_t told;
	bool stop;
	struct hash128 *changed; /* owned; objects that were healed, of which no descriptor is to be kept */
	size_t changed_count, changed_alloc;
	unsigned noted; /* objects that are to go into the journal */
	struct strbuf notes; /* what they were, NOTED_MAX of them at most */
	struct lost lost[HEALER_LOST_MAX];
	size_t lost_count;
};

struct healer *healer_new(const char *store_path, const char *name, struct worker_state *state)
{
	struct healer *healer = calloc(1, sizeof *healer);
	pthread_condattr_t monotonic;

	if (!healer)
		return NULL;
	healer->store_path = store_path;
	healer->name = name;
	healer->state = state;
	pthread_mutex_init(&healer->store_lock, NULL);
	pthread_mutex_init(&healer->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&healer->told, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return healer;
}

void healer_free(struct healer *healer)
{
	if (!healer)
		return;
	store_freep(&healer->store);
	store_freep(&healer->journal_store);
	free(healer->changed);
	strbuf_release(&healer->notes);
	pthread_cond_destroy(&healer->told);
	pthread_mutex_destroy(&healer->lock);
	pthread_mutex_destroy(&healer->store_lock);
	free(healer);
}

/* ---- what is told; the lock is held ---- */

static void note(struct healer *healer, unsigned count, const char *text, const char *cause)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	healer->state->healed_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	healer->state->healed += count;
	if (healer->noted < NOTED_MAX)
		strbuf_addf(&healer->notes, "%s%s%s%s", healer->notes.len ? "; " : "", text, ", found ", cause);
	healer->noted += count;
	pthread_cond_signal(&healer->told);
}

static void changed(struct healer *healer, const struct hash128 *hash)
{
	if (healer->changed_count == healer->changed_alloc) {
		size_t alloc = healer->changed_alloc ? healer->changed_alloc * 2 : 16;
		struct hash128 *grown = reallocarray(healer->changed, alloc, sizeof *grown);

		/* A reader finds a descriptor that is of the damaged file himself, in cached mode. */
		if (!grown)
			return;
		healer->changed = grown;
		healer->changed_alloc = alloc;
	}
	healer->changed[healer->changed_count++] = *hash;
	pthread_cond_signal(&healer->told);
}

static struct lost *lost_find(struct healer *healer, const struct hash128 *hash)
{
	for (size_t i = 0; i < healer->lost_count; i++)
		if (hash128_equal(&healer->lost[i].hash, hash))
			return &healer->lost[i];
	return NULL;
}

static void lost_remove(struct healer *healer, const struct hash128 *hash)
{
	struct lost *lost = lost_find(healer, hash);

	if (lost)
		*lost = healer->lost[--healer->lost_count];
}

/* true: it is to be said in the log. */
static bool lost_add(struct healer *healer, const struct hash128 *hash, const char *problem, uint64_t took_ns)
{
	const uint64_t now = clock_monotonic_ns();
	struct lost *lost = lost_find(healer, hash);

	if (!lost && healer->lost_count == HEALER_LOST_MAX)
		return false;
	if (!lost) {
		lost = &healer->lost[healer->lost_count++];
		*lost = (struct lost){ .hash = *hash };
	}
	snprintf(lost->problem, sizeof lost->problem, "%.*s", (int)sizeof lost->problem - 1, problem);
	if (took_ns > REST_AFTER_NS)
		lost->rests_until_ns = now + (took_ns < REST_MAX_NS / REST_FACTOR ? took_ns * REST_FACTOR : REST_MAX_NS);
	if (lost->logged_ns && now - lost->logged_ns < HEALER_LOG_SECONDS * 1000000000ull)
		return false;
	lost->logged_ns = now;
	return true;
}

/* ---- who finds damage ---- */

/* As object_heal(), by this healer's store; *RET_NS: how long it took. */
static int heal(struct healer *healer, const struct hash128 *hash, const struct oid *blob, uint64_t size, uint64_t *ret_ns,
	struct error *damage, struct error *err)
{
	const uint64_t asked = clock_monotonic_ns();
	SCOPED_LOCK(&healer->store_lock);
	struct attempt *last = &healer->last;

	if (!last->began_ns || last->began_ns < asked || !hash128_equal(&last->hash, hash)) {
		*last = (struct attempt){ .hash = *hash, .began_ns = clock_monotonic_ns(), .problem = ERROR_INIT };
		last->result = healer->store ? 0 : store_open(healer->store_path, &healer->store, &last->problem);
		if (last->result == 0)
			last->result = object_heal(healer->store, blob, hash, size, damage, &last->problem);
		last->took_ns = clock_monotonic_ns() - last->began_ns;
	}
	*ret_ns = last->took_ns;
	return last->result < 0 ? error_set(err, last->result, "%s", last->problem.message) : 0;
}

int healer_heal(struct healer *healer, const struct hash128 *hash, const struct oid *blob, uint64_t size, const char *cause)
{
	struct error damage = ERROR_INIT, err = ERROR_INIT;
	uint64_t took_ns;
	int r = heal(healer, hash, blob, size, &took_ns, &damage, &err);
	bool say;

	if (r < 0) {
		{
			SCOPED_LOCK(&healer->lock);

			say = lost_add(healer, hash, err.message, took_ns);
		}
		if (say)
			log_message(LOG_ALERT, "component '%s': %s; who reads it gets an error (found %s)", healer->name, err.message, cause);
		return r;
	}
	if (!damage.code) {
		healer_is_whole(healer, hash);
		return 0;
	}
	log_message(LOG_WARNING, "component '%s': %s; it was made again from git (found %s)", healer->name, damage.message, cause);
	SCOPED_LOCK(&healer->lock);
	lost_remove(healer, hash);
	note(healer, 1, damage.message, cause);
	changed(healer, hash);
	return 1;
}

/* It was tried a moment ago, in vain, and takes long: who reads it over and over may not keep others from being served. */
static bool rests(struct healer *healer, const struct hash128 *hash)
{
	SCOPED_LOCK(&healer->lock);
	const struct lost *lost = lost_find(healer, hash);

	return lost && lost->rests_until_ns > clock_monotonic_ns();
}

int healer_heal_for_reader(void *arg, const struct hash128 *hash, const struct oid *blob, uint64_t size)
{
	struct session *session = ((struct healer *)arg)->session;
	int r;

	if (rests(arg, hash))
		return -EIO;
	if (session)
		session_wait_begin(session);
	r = healer_heal(arg, hash, blob, size, "by a reader");
	if (session)
		session_wait_end(session);
	return r;
}

void healer_note(struct healer *healer, unsigned count, const char *text, const char *cause)
{
	SCOPED_LOCK(&healer->lock);

	note(healer, count, text, cause);
}

void healer_forget(struct healer *healer, const struct hash128 *hash)
{
	SCOPED_LOCK(&healer->lock);

	lost_remove(healer, hash);
	changed(healer, hash);
}

void healer_is_whole(struct healer *healer, const struct hash128 *hash)
{
	SCOPED_LOCK(&healer->lock);

	lost_remove(healer, hash);
}

/* ---- the thread: descriptors ---- */

/*
 * Of each file that has one of COUNT objects, the descriptor that may be of the damaged one is let go of. Pages of the mount need not be:
 * what went there through us was right, and what did not is not kept there.
 */
static void forget_objects(struct healer *healer, const struct hash128 *hashes, size_t count)
{
	struct overlay *overlay = healer->session->overlay;
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	struct node_met met;
	uint32_t slot = 0;

	while (node_walk(overlay_nodes(overlay), &slot, &met, &path) > 0) {
		cleanup_node_info struct node_info info = NODE_INFO_INIT;

		if (!met.patched || node_get(overlay_nodes(overlay), met.id, &info) < 0 || !info.content)
			continue;
		for (size_t i = 0; i < count; i++) {
			if (info.content->kind == VIEW_FILE && hash128_equal(&info.content->object, &hashes[i]))
				fdcache_drop(overlay_fds(overlay), met.id, FD_READ);
		}
	}
}

/* ---- the thread: the journal ---- */

static int write_entry(struct healer *healer, const char *reason, struct error *err)
{
	cleanup_target struct target target = TARGET_INIT;
	cleanup_free char *labels = NULL;
	struct journal_entry entry = { .action = (char *)ACTION_HEALED, .reason = (char *)reason };
	int r = healer->journal_store ? 0 : store_open(healer->store_path, &healer->journal_store, err);

	if (r < 0)
		return r;
	/* So that no switch comes between what is active and what is said of it. */
	target.lock_fd = store_lock(healer->journal_store, 0, err);
	if (target.lock_fd < 0)
		return target.lock_fd;
	target.store = healer->journal_store;
	target.store_borrowed = true;
	r = target_load(&target, healer->name, err);
	if (r < 0)
		return r;
	labels = target_labels(&target, &target.stack, " ");
	entry.from = entry.to = target.component->active;
	entry.labels = labels;
	return journal_append(healer->journal_store, healer->name, &entry, err);
}

/* What there is to do, handed over. */
struct work {
	struct hash128 *changed; /* owned */
	size_t changed_count;
	unsigned noted;
	struct strbuf notes;
	bool stop;
};

static void work_release(struct work *work)
{
	free(work->changed);
	strbuf_release(&work->notes);
}

/* false: the store is somebody else's just now. */
static bool write_down(struct healer *healer, const struct work *work)
{
	cleanup_strbuf struct strbuf reason = STRBUF_INIT;
	struct error err = ERROR_INIT;
	int r;

	strbuf_addstr(&reason, strbuf_text(&work->notes));
	if (work->noted > NOTED_MAX)
		strbuf_addf(&reason, "; %u objects in all", work->noted);
	r = write_entry(healer, strbuf_text(&reason), &err);
	if (r < 0 && r != -ETIMEDOUT)
		log_message(LOG_ERR, "component '%s': that objects were healed could not be written to the journal: %s", healer->name, err.message);
	return r != -ETIMEDOUT;
}

static void wait_ms(struct healer *healer, long ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (!healer->stop && pthread_cond_timedwait(&healer->told, &healer->lock, &until) == 0)
		;
}

/* NOTES: those as well, some time after they came. */
static void await(struct healer *healer, bool retry, struct work *ret)
{
	SCOPED_LOCK(&healer->lock);

	if (retry)
		wait_ms(healer, RETRY_MS);
	while (!healer->stop && !healer->changed_count && !healer->noted)
		pthread_cond_wait(&healer->told, &healer->lock);
	if (healer->noted && !healer->changed_count)
		wait_ms(healer, GATHER_MS);
	*ret = (struct work){ .changed = healer->changed, .changed_count = healer->changed_count, .stop = healer->stop };
	healer->changed = NULL;
	healer->changed_count = healer->changed_alloc = 0;
	/* First the descriptors, then the journal. */
	if (ret->changed_count && !ret->stop)
		return;
	ret->noted = healer->noted;
	ret->notes = healer->notes;
	healer->noted = 0;
	healer->notes = (struct strbuf)STRBUF_INIT;
}

/* It is tried again, with what has come meanwhile. */
static void put_back(struct healer *healer, struct work *work)
{
	SCOPED_LOCK(&healer->lock);

	healer->noted += work->noted;
	if (healer->notes.len && work->noted < NOTED_MAX)
		strbuf_addf(&work->notes, "; %s", strbuf_text(&healer->notes));
	strbuf_release(&healer->notes);
	healer->notes = work->notes;
	work->notes = (struct strbuf)STRBUF_INIT;
}

static void *run(void *arg)
{
	struct healer *healer = arg;
	bool retry = false, stop = false;

	while (!stop) {
		CLEANUP(work_release) struct work work = { .notes = STRBUF_INIT };

		await(healer, retry, &work);
		stop = work.stop;
		retry = false;
		if (work.changed_count && !stop)
			forget_objects(healer, work.changed, work.changed_count);
		if (!work.noted)
			continue;
		retry = !write_down(healer, &work);
		if (retry && !stop)
			put_back(healer, &work);
	}
	return NULL;
}

int healer_start(struct healer *healer, struct session *session, struct error *err)
{
	int r;

	healer->session = session;
	r = thread_start(&healer->thread, run, healer);
	healer->running = r == 0;
	return r < 0 ? error_errno(err, -r, "start the thread that heals '%s'", healer->name) : 0;
}

void healer_stop(struct healer *healer)
{
	if (!healer || !healer->running)
		return;
	{
		SCOPED_LOCK(&healer->lock);

		healer->stop = true;
		pthread_cond_broadcast(&healer->told);
	}
	pthread_join(healer->thread, NULL);
	healer->running = false;
}

/* ---- what it looks like ---- */

/* Objects that nobody is served any more say nothing of the health. */
static void forget_unserved(struct healer *healer)
{
	cleanup_view struct view *view = healer->session ? overlay_view(healer->session->overlay) : NULL;
	SCOPED_LOCK(&healer->lock);

	for (size_t i = healer->lost_count; healer->session && i-- > 0;) {
		bool served = false;

		for (uint32_t index = 0; view && !served && index < view_count(view); index++)
			served = view_at(view, index)->kind == VIEW_FILE && hash128_equal(&view_at(view, index)->object, &healer->lost[i].hash);
		if (!served)
			healer->lost[i] = healer->lost[--healer->lost_count];
	}
}

bool healer_health(struct healer *healer, char *health, size_t size)
{
	char text[CLOCK_TEXT_MAX];

	forget_unserved(healer);
	SCOPED_LOCK(&healer->lock);
	if (healer->lost_count) {
		snprintf(health, size, "damaged: %s%s", healer->lost[0].problem, healer->lost_count > 1 ? " (and others)" : "");
		return true;
	}
	if (!healer->state->healed || time(NULL) - healer->state->healed_us / 1000000 > HEALER_SHOWN_SECONDS)
		return false;
	clock_format(healer->state->healed_us, text);
	snprintf(health, size, "healed: %llu damaged object%s made again from git, the last at %s: see 'veneer log %s', and look after the disk",
		(unsigned long long)healer->state->healed, healer->state->healed == 1 ? " was" : "s were", text, healer->name);
	return true;
}

void healer_add_state(struct healer *healer, struct json_object *row)
{
	char text[CLOCK_TEXT_MAX];
	SCOPED_LOCK(&healer->lock);

	json_object_object_add(row, "healed", json_object_new_int64((int64_t)healer->state->healed));
	if (healer->state->healed)
		clock_format(healer->state->healed_us, text);
	json_object_object_add(row, "healed_at", healer->state->healed ? json_object_new_string(text) : NULL);
}
