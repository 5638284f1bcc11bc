/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/switch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <time.h>

#include "fs/invalidate.h"
#include "store/base/cleanup.h"
#include "store/base/log.h"
#include "store/journal.h"

#define DRAIN_TIMEOUT_MS 10000
#define WATCH_FALLBACK_MS 1000 /* inotify misses what it cannot watch: a directory that is replaced */
#define HEALTH_BYTES 512

struct switcher {
	struct store *store;
	char *name;
	char ref[REF_NAME_MAX];
	int base_fd;
	struct session *session;

	pthread_mutex_t lock; /* guards all below; held through a whole switch */
	struct oid served;
	struct view *prepared; /* NULL: none */
	struct oid refused;    /* zero: none */
	struct switch_report last;
	char health[HEALTH_BYTES];

	pthread_t watcher;
	bool watching;
	int stop_fd;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int switcher_new(struct store *store, const struct component *component, int base_fd, struct session *session,
	struct view *first, struct switcher **ret, struct error *err)
{
	struct switcher *switcher = calloc(1, sizeof *switcher);

	if (!switcher)
		return error_errno(err, ENOMEM, "component '%s'", component->name);
	pthread_mutex_init(&switcher->lock, NULL);
	switcher->store = store;
	switcher->name = strdup(component->name);
	switcher->base_fd = base_fd;
	switcher->session = session;
	switcher->served = *view_commit(first);
	switcher->stop_fd = eventfd(0, EFD_CLOEXEC);
	snprintf(switcher->health, sizeof switcher->health, "ok");
	component_ref(component->name, "active", switcher->ref);
	if (!switcher->name || switcher->stop_fd < 0) {
		switcher_free(switcher);
		return error_errno(err, ENOMEM, "component '%s'", component->name);
	}
	*ret = switcher;
	return 0;
}

void switcher_free(struct switcher *switcher)
{
	if (!switcher)
		return;
	switcher_unwatch(switcher);
	view_unref(switcher->prepared);
	if (switcher->stop_fd >= 0)
		close(switcher->stop_fd);
	pthread_mutex_destroy(&switcher->lock);
	free(switcher->name);
	free(switcher);
}

static int make_view(struct switcher *switcher, const struct oid *commit, struct view **ret, struct error *err)
{
	cleanup_view struct view *view = NULL;
	int r = view_load(switcher->store, commit, &view, err);

	if (r == 0)
		r = view_complete(view, switcher->store, switcher->base_fd, err);
	if (r == 0)
		*ret = TAKE_PTR(view);
	return r;
}

static int prepare_locked(struct switcher *switcher, const struct oid *commit, struct error *err)
{
	char hex[OID_HEX_LENGTH + 1];
	struct view *view = NULL;
	int r;

	if (switcher->prepared && oid_equal(view_commit(switcher->prepared), commit))
		return 0;
	r = make_view(switcher, commit, &view, err);
	if (r < 0) {
		oid_to_hex(commit, hex);
		return error_prefix(err, r, "commit '%.12s' cannot be served", hex);
	}
	view_unref(switcher->prepared);
	switcher->prepared = view;
	return 0;
}

int switcher_prepare(struct switcher *switcher, const struct oid *commit, uint64_t *ret_paths, struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	cleanup_view struct view *served = NULL;
	int r;

	*ret_paths = 0;
	if (oid_equal(&switcher->served, commit))
		return 0;
	r = prepare_locked(switcher, commit, err);
	if (r < 0)
		return r;
	served = overlay_view(switcher->session->overlay);
	r = view_diff_count(served, switcher->prepared, ret_paths);
	return r < 0 ? error_errno(err, -r, "component '%s'", switcher->name) : 0;
}

static int switch_locked(struct switcher *switcher, const struct oid *commit, struct error *err)
{
	struct overlay *overlay = switcher->session->overlay;
	cleanup_view struct view *view = NULL;
	cleanup_view struct view *old = NULL;
	uint64_t start = now_ns();
	int r = prepare_locked(switcher, commit, err);

	if (r < 0)
		return r;
	view = TAKE_PTR(switcher->prepared);
	old = overlay_publish(overlay, view);
	switcher->served = *commit;
	switcher->refused = (struct oid){ { 0 } };
	snprintf(switcher->health, sizeof switcher->health, "ok");
	switcher->last.published_ns = now_ns() - start;
	/* Answers that were made with the old view must be with the kernel before it is told to forget them. */
	while (!overlay_drain(overlay, DRAIN_TIMEOUT_MS))
		log_message(LOG_WARNING, "component '%s': a request takes longer than %d s; the switch waits for it",
			switcher->name, DRAIN_TIMEOUT_MS / 1000);
	r = invalidate_difference(switcher->session, switcher->base_fd, old, view, &switcher->last.paths);
	if (r < 0)
		log_message(LOG_ERR, "component '%s': the kernel was not told all of a switch, and may go on showing what was there before: %s",
			switcher->name, error_text(-r));
	switcher->last.total_ns = now_ns() - start;
	return 0;
}

int switcher_switch(struct switcher *switcher, const struct oid *commit, struct switch_report *ret,
	struct error *err)
{
	SCOPED_LOCK(&switcher->lock);
	int r = 0;

	if (!oid_equal(&switcher->served, commit))
		r = switch_locked(switcher, commit, err);
	if (r == 0)
		*ret = switcher->last;
	return r;
}

void switcher_state(struct switcher *switcher, struct oid *ret_commit, char *health, size_t health_size)
{
	SCOPED_LOCK(&switcher->lock);

	*ret_commit = switcher->served;
	snprintf(health, health_size, "%s", switcher->health);
}

/* ---- the ref, moved by whomever ---- */

/* Is the newest entry of the journal about this commit? Then whoever moved the ref has written it. */
static int tip_is_about(void *arg, const struct journal_entry *entry, struct error *err)
{
	return oid_equal(&entry->to, arg) ? 1 : 2;
}

static void write_journal(struct switcher *switcher, const char *action, const struct oid *from,
	const struct oid *to, const char *reason)
{
	struct error err = ERROR_INIT;
	struct journal_entry entry = { .from = *from, .to = *to, .action = (char *)action, .labels = (char *)"",
		.reason = (char *)reason };
	cleanup_close int lock = -EBADF;
	int r;

	/* A command that moves the ref holds the lock until it has written its own entry. */
	lock = store_lock(switcher->store, STORE_LOCK_TIMEOUT_MS, &err);
	r = lock < 0 ? lock : 0;
	if (r == 0) {
		SCOPED_LOCK(&switcher->lock);

		if (journal_each(switcher->store, switcher->name, 1, tip_is_about, (void *)to, NULL) == 1)
			return;
		r = journal_append(switcher->store, switcher->name, &entry, &err);
	}
	if (r < 0)
		log_message(LOG_ERR, "component '%s': no journal entry for a switch: %s", switcher->name, err.message);
}


/* Serve what the ref names now, if that is not so already. */
static void follow_ref(struct switcher *switcher)
{
	struct error err = ERROR_INIT;
	struct oid commit, from;
	char hex[OID_HEX_LENGTH + 1];
	int r;

	{
		SCOPED_LOCK(&switcher->lock);

		r = repo_ref_read(switcher->store->repo, switcher->ref, &commit, &err);
		if (r < 0 || oid_equal(&commit, &switcher->served) || oid_equal(&commit, &switcher->refused))
			return;
		from = switcher->served;
		r = switch_locked(switcher, &commit, &err);
		if (r < 0) {
			switcher->refused = commit;
			snprintf(switcher->health, sizeof switcher->health, "refused: %.*s", HEALTH_BYTES - 16,
				err.message);
		}
	}
	oid_to_hex(&commit, hex);
	if (r < 0) {
		log_message(LOG_ERR, "component '%s': %s; the last good state goes on being served", switcher->name,
			err.message);
		write_journal(switcher, "refused", &from, &commit, err.message);
	} else {
		log_message(LOG_NOTICE, "component '%s': now serving %.12s, as its ref says", switcher->name, hex);
		write_journal(switcher, "switched", &from, &commit, "the ref was moved");
	}
}

static void *watch(void *arg)
{
	struct switcher *switcher = arg;
	cleanup_close int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	cleanup_free char *path = NULL;
	char events[4096];

	/* A ref is replaced by rename: seen in its directory. Packed ones: in git/ itself. */
	if (inotify >= 0 && asprintf(&path, "%s/git/refs/veneer/%s", switcher->store->path, switcher->name) > 0) {
		inotify_add_watch(inotify, path, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE);
		path[strlen(path) - strlen(switcher->name) - strlen("/refs/veneer")] = '\0';
		inotify_add_watch(inotify, path, IN_MOVED_TO);
	}
	for (;;) {
		struct pollfd fds[2] = { { switcher->stop_fd, POLLIN, 0 }, { inotify, POLLIN, 0 } };

		poll(fds, 2, WATCH_FALLBACK_MS);
		if (fds[0].revents)
			return NULL;
		while (inotify >= 0 && read(inotify, events, sizeof events) > 0)
			;
		follow_ref(switcher);
	}
}

int switcher_watch(struct switcher *switcher, struct error *err)
{
	int r = pthread_create(&switcher->watcher, NULL, watch, switcher);

	if (r != 0)
		return error_errno(err, r, "start a thread that watches '%s'", switcher->ref);
	switcher->watching = true;
	return 0;
}

void switcher_unwatch(struct switcher *switcher)
{
	uint64_t one = 1;

	if (!switcher->watching)
		return;
	while (write(switcher->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
		;
	pthread_join(switcher->watcher, NULL);
	switcher->watching = false;
}
