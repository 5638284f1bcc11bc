/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/reconciler.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/log.h"
#include "store/base/path.h"
#include "store/base/thread.h"

#define COMMAND_NAME_MAX 64
#define RETRY_MS 1000 /* after a failure */
#define STAT_BYTES_MAX 1024

/* The first change since the thread has looked last, of which it is known who made it: it is the one that the journal names. */
struct seen {
	bool any;
	unsigned long long started; /* the process: a later one of its number is another */
	enum overlay_event event;
	char path[PATH_LENGTH_MAX + 1];
	char command[COMMAND_NAME_MAX];
	pid_t pid;
	uid_t uid;
};

struct reconciler {
	struct switcher *switcher;
	pthread_t thread;
	bool running; /* the thread was started */
	int64_t problem_logged_ms; /* the thread's own; 0: the last look was good */

	pthread_mutex_t lock; /* guards all below; nothing is called under it */
	pthread_cond_t told;
	bool stop;
	struct seen seen;
	bool refused;
	char refused_path[PATH_LENGTH_MAX + 1];
};

struct reconciler *reconciler_new(void)
{
	struct reconciler *reconciler = calloc(1, sizeof *reconciler);
	pthread_condattr_t monotonic;

	if (!reconciler)
		return NULL;
	pthread_mutex_init(&reconciler->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&reconciler->told, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return reconciler;
}

void reconciler_free(struct reconciler *reconciler)
{
	if (!reconciler)
		return;
	pthread_cond_destroy(&reconciler->told);
	pthread_mutex_destroy(&reconciler->lock);
	free(reconciler);
}

/* ---- who tells ---- */

/* As ps(1) names it. Read while he waits for his answer: he may be gone a moment later. */
static void read_command(pid_t pid, char ret[COMMAND_NAME_MAX])
{
	char path[64];
	cleanup_close int fd = -EBADF;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : io_read(fd, ret, COMMAND_NAME_MAX - 1);
	ret[n < 0 ? 0 : n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* When process PID was started, in ticks since the boot (proc(5), the 22nd field of stat); 0: not known. */
static unsigned long long read_start(pid_t pid)
{
	unsigned long long started = 0;
	char path[64], text[STAT_BYTES_MAX];
	cleanup_close int fd = -EBADF;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : io_read(fd, text, sizeof text - 1);
	if (n < 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')'); /* the name may hold anything */
	if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &started) != 1)
		return 0;
	return started;
}

static bool is_known(enum overlay_event event)
{
	return event == OVERLAY_REPLACED || event == OVERLAY_REMOVED;
}

void reconciler_tell(void *arg, enum overlay_event event, const char *path, pid_t pid, uid_t uid)
{
	struct reconciler *reconciler = arg;
	unsigned long long started = 0;
	char command[COMMAND_NAME_MAX] = "";

	if (pid > 0 && is_known(event)) {
		read_command(pid, command);
		started = read_start(pid);
	}
	SCOPED_LOCK(&reconciler->lock);
	if (event == OVERLAY_REFUSED) {
		if (!reconciler->refused)
			snprintf(reconciler->refused_path, sizeof reconciler->refused_path, "%s", path);
		reconciler->refused = true;
	} else if (!reconciler->seen.any || (is_known(event) && !is_known(reconciler->seen.event))) {
		reconciler->seen.any = true;
		reconciler->seen.started = started;
		reconciler->seen.event = event;
		reconciler->seen.pid = pid;
		reconciler->seen.uid = uid;
		snprintf(reconciler->seen.path, sizeof reconciler->seen.path, "%s", path);
		memcpy(reconciler->seen.command, command, sizeof command);
	}
	pthread_cond_signal(&reconciler->told);
}

/* ---- the thread ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void describe(const struct seen *seen, struct strbuf *cause)
{
	const char *verb = seen->event == OVERLAY_REMOVED ? "removed" : seen->event == OVERLAY_WRITTEN ? "written" : "replaced";

	if (seen->event == OVERLAY_UNSEEN)
		strbuf_addstr(cause, seen->path);
	else if (*seen->command)
		strbuf_addf(cause, "%s, process %d, %s '%s'", seen->command, (int)seen->pid, verb, seen->path);
	else
		strbuf_addf(cause, "'%s' was %s", seen->path, verb);
}

/* Who did it: by what /proc says of him, else by what was seen when he asked. */
static void find_actor(const struct seen *seen, struct journal_actor *ret)
{
	if (seen->pid > 0 && seen->started && read_start(seen->pid) == seen->started &&
		journal_actor_of(seen->pid, seen->uid, ret, NULL) == 0) {
		/* One that has ended, and is not waited for yet, has no command line. */
		if (ret->command && *ret->command)
			return;
		journal_actor_release(ret);
	}
	*ret = (struct journal_actor){ .uid = seen->uid, .login_uid = UINT32_MAX, .pid = seen->pid };
	ret->command = *seen->command ? strdup(seen->command) : NULL;
}

/* What goes on failing is tried once a second, and said less often. */
static void log_problem(struct reconciler *reconciler, const char *problem)
{
	const int64_t now = now_ms();

	if (reconciler->problem_logged_ms && now - reconciler->problem_logged_ms < RECONCILER_LOG_SECONDS * 1000)
		return;
	reconciler->problem_logged_ms = now;
	log_message(LOG_ERR, "component '%s': the base has changed, and what is served could not be compared with it: %s",
		switcher_name(reconciler->switcher), problem);
}

/* false: it has to be tried again. */
static bool look(struct reconciler *reconciler, const struct seen *seen, int lock_ms)
{
	struct store *store = switcher_store(reconciler->switcher);
	cleanup_strbuf struct strbuf cause = STRBUF_INIT;
	struct journal_actor actor = { 0 };
	struct error err = ERROR_INIT;
	cleanup_store_lock int lock = store_lock(store, lock_ms, &err);
	int r;

	if (lock < 0) {
		/* Another command at work is waited for; that there is no lock to be had is said. */
		if (lock != -ETIMEDOUT)
			log_problem(reconciler, err.message);
		return false;
	}
	describe(seen, &cause);
	find_actor(seen, &actor);
	r = switcher_reconcile(reconciler->switcher, strbuf_text(&cause), &actor, &err);
	journal_actor_release(&actor);
	if (r < 0)
		log_problem(reconciler, err.message);
	else
		reconciler->problem_logged_ms = 0;
	return r == 0;
}

static void log_refused(struct reconciler *reconciler, const char *path)
{
	const char *name = switcher_name(reconciler->switcher);
	cleanup_strbuf struct strbuf labels = STRBUF_INIT;

	switcher_labels_at(reconciler->switcher, path, &labels);
	log_message(LOG_WARNING, "component '%s': '%s' is patched (%s) and cannot be written in place: revert it first, with 'veneer revert %s %s'",
		name, path, strbuf_text(&labels), name, strbuf_text(&labels));
}

/* What has been told since; true: go on. LOGGED_MS: when a refusal was logged last. RETRY: something is still to be done. */
static bool await(struct reconciler *reconciler, bool retry, int64_t logged_ms, struct seen *ret_seen, char *ret_refused)
{
	SCOPED_LOCK(&reconciler->lock);

	*ret_refused = '\0';
	if (retry && !reconciler->stop) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += RETRY_MS / 1000;
		pthread_cond_timedwait(&reconciler->told, &reconciler->lock, &until);
	}
	while (!retry && !reconciler->stop && !reconciler->seen.any && !reconciler->refused)
		pthread_cond_wait(&reconciler->told, &reconciler->lock);
	if (reconciler->seen.any && !retry)
		*ret_seen = reconciler->seen;
	reconciler->seen.any = false;
	if (reconciler->refused && now_ms() - logged_ms >= RECONCILER_LOG_SECONDS * 1000)
		memcpy(ret_refused, reconciler->refused_path, strlen(reconciler->refused_path) + 1);
	reconciler->refused = false;
	return !reconciler->stop;
}

/*
 * The first change is looked at at once. Those that come soon after a look wait for one another, for a package manager goes from file to
 * file; and so does one that is only about to be written. Until then the base is seen wherever it was changed.
 */
static void await_quiet(struct reconciler *reconciler, int64_t looked_ms, enum overlay_event event)
{
	const int64_t now = now_ms();
	struct timespec until;
	SCOPED_LOCK(&reconciler->lock);

	if (event != OVERLAY_WRITTEN && now - looked_ms >= RECONCILER_BUSY_MS)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += RECONCILER_QUIET_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (!reconciler->stop && pthread_cond_timedwait(&reconciler->told, &reconciler->lock, &until) == 0)
		;
	/* What was told of meanwhile is looked at now. */
	reconciler->seen.any = false;
}

static void *run(void *arg)
{
	struct reconciler *reconciler = arg;
	int64_t logged_ms = -RECONCILER_LOG_SECONDS * 1000LL, looked_ms = -RECONCILER_BUSY_MS;
	char refused[PATH_LENGTH_MAX + 1];
	struct seen seen = { .any = false };
	bool go_on = true;

	while (go_on) {
		go_on = await(reconciler, seen.any, logged_ms, &seen, refused);
		if (*refused) {
			log_refused(reconciler, refused);
			logged_ms = now_ms();
		}
		if (seen.any) {
			await_quiet(reconciler, looked_ms, seen.event);
			seen.any = !look(reconciler, &seen, go_on ? RECONCILER_LOCK_MS : 0);
			looked_ms = now_ms();
		}
	}
	return NULL;
}

int reconciler_start(struct reconciler *reconciler, struct switcher *switcher, struct error *err)
{
	int r;

	reconciler->switcher = switcher;
	r = thread_start(&reconciler->thread, run, reconciler);
	reconciler->running = r == 0;
	return r < 0 ? error_errno(err, -r, "start the thread that follows the base of '%s'", switcher_name(switcher)) : 0;
}

void reconciler_stop(struct reconciler *reconciler)
{
	if (!reconciler || !reconciler->running)
		return;
	{
		SCOPED_LOCK(&reconciler->lock);

		reconciler->stop = true;
		pthread_cond_signal(&reconciler->told);
	}
	pthread_join(reconciler->thread, NULL);
	reconciler->running = false;
}
