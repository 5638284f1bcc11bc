/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/ref_watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/log.h"

#define FALLBACK_MS 1000	/* inotify is not told of everything: a network filesystem, a directory that is replaced */
#define JOURNAL_RETRY_MS 20	/* the store's lock is another's */
#define REFUSED_RETRY_MAX 64	/* wakes of the fallback between two tries of a commit that was refused */
#define LAST_WAIT_MS 5000	/* for the store's lock, at the end */

/* An entry that is still to be written. */
struct pending {
	struct pending *next;
	struct follow_report report;
	bool refused;
	bool complained; /* that it cannot be written was said */
};

struct ref_watch {
	struct switcher *switcher;
	int inotify; /* -EBADF: there is none, and the fallback must do */
	int stop_fd;
	pthread_t thread;
	bool running;
	bool incomplete; /* the journal may lack the last switch: a worker before was killed */
	bool stuck;	 /* what is to be written could not be */
	struct pending *first, **last; /* the thread's own */
	unsigned refused_wait, refused_count;
};

/* ---- the journal ---- */

static void remember(struct ref_watch *watch, const struct follow_report *report, bool refused)
{
	struct pending *pending = calloc(1, sizeof *pending);

	if (!pending) {
		log_message(LOG_ERR, "component '%s': no journal entry for a switch: out of memory",
			switcher_name(watch->switcher));
		return;
	}
	pending->report = *report;
	pending->refused = refused;
	*watch->last = pending;
	watch->last = &pending->next;
}

static void complain(struct ref_watch *watch, struct pending *pending, const char *problem)
{
	if (!pending->complained)
		log_message(LOG_ERR, "component '%s': no journal entry for a switch yet: %s", switcher_name(watch->switcher), problem);
	pending->complained = true;
}

/* false: it is to be tried again. */
static bool write_entry(struct ref_watch *watch, struct pending *pending)
{
	struct error err = ERROR_INIT;
	struct journal_entry entry = {
		.action = (char *)(pending->refused ? "refused" : "switched"),
		.labels = (char *)"",
		.reason = (char *)(pending->refused ? pending->report.reason : "the ref was moved"),
	};

	/* Others have written since: behind theirs it would be a lie, and without it theirs begins where it ended. */
	if (pending->complained && !switcher_ref_is(watch->switcher, &pending->report.to)) {
		log_message(LOG_WARNING, "component '%s': what could not be written to the journal is past, and left out", switcher_name(watch->switcher));
		return true;
	}
	if (switcher_journal(watch->switcher, &pending->report, &entry, &err) == 0)
		return true;
	complain(watch, pending, err.message);
	return false;
}

static bool is_written(const struct ref_watch *watch)
{
	return !watch->first && !watch->incomplete;
}

/*
 * Write what is pending, once the lock is to be had. A command that moves the ref holds it until it has written its own entry. What
 * cannot be written (the disk is full) stays.
 */
static void write_pending(struct ref_watch *watch, int wait_ms)
{
	struct error err = ERROR_INIT;
	cleanup_store_lock int lock = -EBADF;

	if (is_written(watch))
		return;
	lock = store_lock(switcher_store(watch->switcher), wait_ms, &err);
	watch->stuck = lock < 0 && lock != -ETIMEDOUT;
	if (watch->first && watch->stuck)
		complain(watch, watch->first, err.message);
	if (lock < 0)
		return;
	while (watch->first) {
		struct pending *pending = watch->first;

		if (!write_entry(watch, pending))
			break;
		watch->first = pending->next;
		free(pending);
	}
	if (!watch->first)
		watch->last = &watch->first;
	if (!watch->first && watch->incomplete && switcher_complete_journal(watch->switcher, &err) == 0)
		watch->incomplete = false;
	watch->stuck = !is_written(watch);
}

static void forget_pending(struct ref_watch *watch)
{
	while (watch->first) {
		struct pending *pending = watch->first;

		log_message(LOG_ERR, "component '%s': a switch is not in the journal", switcher_name(watch->switcher));
		watch->first = pending->next;
		free(pending);
	}
}

/* ---- following ---- */

static void follow(struct ref_watch *watch)
{
	struct follow_report report = { 0 };
	const char *name = switcher_name(watch->switcher);
	char hex[OID_HEX_LENGTH + 1];

	switch (switcher_follow(watch->switcher, &report)) {
	case FOLLOW_NOTHING:
		return;
	case FOLLOW_REFUSED:
		log_message(LOG_ERR, "component '%s': %s; the last good state goes on being served", name,
			report.reason);
		remember(watch, &report, true);
		watch->refused_wait = watch->refused_count = 1;
		return;
	case FOLLOW_SWITCHED:
		oid_to_hex(&report.to, hex);
		log_message(LOG_NOTICE, "component '%s': now serving %.12s, as its ref says", name, hex);
		remember(watch, &report, false);
		return;
	}
}

/* A commit that was refused may be served once what it lacked is there: it is tried again, less and less often. */
static bool worth_a_try(struct ref_watch *watch)
{
	if (!switcher_refuses(watch->switcher))
		return true;
	if (--watch->refused_count > 0)
		return false;
	if (watch->refused_wait < REFUSED_RETRY_MAX)
		watch->refused_wait *= 2;
	watch->refused_count = watch->refused_wait;
	return true;
}

/*
 * A ref is replaced by rename, seen in its directory; packed ones in git/ itself. git removes a directory whose refs it has
 * packed and makes it again, which is seen in those above. Watching what is watched already changes nothing.
 */
static void add_watches(struct ref_watch *watch)
{
	static const char *const above[] = { "", "/refs", "/refs/veneer" };
	const char *store = switcher_store(watch->switcher)->path;
	cleanup_free char *path = NULL;

	if (watch->inotify < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(above); i++) {
		cleanup_free char *directory = NULL;

		if (asprintf(&directory, "%s/git%s", store, above[i]) < 0)
			directory = NULL;
		else
			inotify_add_watch(watch->inotify, directory, IN_MOVED_TO | IN_CREATE | IN_ONLYDIR);
	}
	if (asprintf(&path, "%s/git/refs/veneer/%s", store, switcher_name(watch->switcher)) < 0)
		path = NULL;
	else
		inotify_add_watch(watch->inotify, path, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR);
}

static void *run(void *arg)
{
	struct ref_watch *watch = arg;
	char events[4096];

	for (;;) {
		struct pollfd fds[2] = { { watch->stop_fd, POLLIN, 0 }, { watch->inotify, POLLIN, 0 } };
		int ready = poll(fds, 2, is_written(watch) || watch->stuck ? FALLBACK_MS : JOURNAL_RETRY_MS);

		if (fds[0].revents)
			break;
		while (fds[1].revents && read(watch->inotify, events, sizeof events) > 0)
			;
		add_watches(watch);
		if (ready > 0 || worth_a_try(watch))
			follow(watch);
		if (!watch->incomplete)
			watch->incomplete = switcher_journal_behind(watch->switcher);
		write_pending(watch, 0);
	}
	return NULL;
}

int ref_watch_start(struct switcher *switcher, bool after_kill, struct ref_watch **ret, struct error *err)
{
	struct ref_watch *watch = calloc(1, sizeof *watch);
	int r;

	if (!watch)
		return error_errno(err, ENOMEM, "watch the refs of '%s'", switcher_name(switcher));
	watch->switcher = switcher;
	watch->last = &watch->first;
	watch->incomplete = after_kill;
	watch->refused_wait = watch->refused_count = 1;
	watch->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	watch->stop_fd = eventfd(0, EFD_CLOEXEC);
	r = watch->stop_fd < 0 ? errno : 0;
	if (r == 0) {
		add_watches(watch);
		follow(watch);
		r = pthread_create(&watch->thread, NULL, run, watch);
	}
	watch->running = r == 0;
	if (r != 0) {
		ref_watch_stop(watch);
		return error_errno(err, r, "watch the refs of '%s'", switcher_name(switcher));
	}
	*ret = watch;
	return 0;
}

void ref_watch_stop(struct ref_watch *watch)
{
	uint64_t one = 1;

	if (!watch)
		return;
	if (watch->running) {
		while (write(watch->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
			;
		pthread_join(watch->thread, NULL);
	}
	write_pending(watch, LAST_WAIT_MS);
	forget_pending(watch);
	if (watch->stop_fd >= 0)
		close(watch->stop_fd);
	if (watch->inotify >= 0)
		close(watch->inotify);
	free(watch);
}
