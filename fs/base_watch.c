/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/base_watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/log.h"
#include "store/base/thread.h"

#define EVENTS_BYTES 65536
#define CHANGES_MAX (EVENTS_BYTES / sizeof(struct inotify_event))
#define IDLE_MS 1000	   /* directories that were forgotten are watched no longer than that */
#define REST_MAX_MS 100	   /* a batch is followed by as long a rest as it took, up to that: events gather, and half a processor is free */
#define BUCKETS_MIN 64u

#define NAME_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define CONTENT_EVENTS (IN_MODIFY | IN_CLOSE_WRITE)
#define WATCHED_EVENTS (NAME_EVENTS | CONTENT_EVENTS | IN_ATTRIB | IN_EXCL_UNLINK)

struct watched {
	struct watched *next_of_wd, *next_of_id; /* in the chains of their buckets */
	int wd;
	uint64_t id; /* 0: it was forgotten, and the watch has to go */
};

struct base_watch {
	struct overlay *overlay;
	int inotify, stop_fd;
	base_watch_fn tell;
	void *arg;
	pthread_t thread;
	bool running;
	char *events;			/* owned; EVENTS_BYTES, the thread's own */
	struct refresh_change *changes; /* owned; CHANGES_MAX, the thread's own */
	atomic_bool full;    /* no room for another watch: set and cleared under the lock, read without */
	atomic_bool limited; /* a directory was not watched for that */

	/* Guards the rest. Taken under the node table's lock, and held through inotify_add_watch() and inotify_rm_watch(), which wait for nobody. */
	pthread_mutex_t lock;
	struct watched **by_wd, **by_id; /* owned; bucket_count of each */
	size_t bucket_count, count, forgotten;
};

/* ---- which watch is which directory; the lock is held ---- */

static struct watched **wd_bucket(const struct base_watch *watch, int wd)
{
	return &watch->by_wd[(unsigned)wd & (watch->bucket_count - 1)];
}

static struct watched **id_bucket(const struct base_watch *watch, uint64_t id)
{
	uint64_t mixed = id * 0x9e3779b97f4a7c15ull;

	return &watch->by_id[(mixed >> 32) & (watch->bucket_count - 1)];
}

static struct watched *find_wd(const struct base_watch *watch, int wd)
{
	struct watched *at = *wd_bucket(watch, wd);

	while (at && at->wd != wd)
		at = at->next_of_wd;
	return at;
}

static void link_id(struct base_watch *watch, struct watched *watched)
{
	struct watched **bucket = id_bucket(watch, watched->id);

	watched->next_of_id = *bucket;
	*bucket = watched;
}

static void unlink_id(struct base_watch *watch, struct watched *watched)
{
	struct watched **link = id_bucket(watch, watched->id);

	while (*link != watched)
		link = &(*link)->next_of_id;
	*link = watched->next_of_id;
}

static int grow(struct base_watch *watch)
{
	struct watched **old = watch->by_wd;
	size_t old_count = watch->bucket_count, count = old_count ? old_count * 2 : BUCKETS_MIN;
	struct watched **by_wd = calloc(count, sizeof *by_wd), **by_id = calloc(count, sizeof *by_id);

	if (!by_wd || !by_id) {
		free(by_wd);
		free(by_id);
		return -ENOMEM;
	}
	free(watch->by_id);
	watch->by_wd = by_wd;
	watch->by_id = by_id;
	watch->bucket_count = count;
	for (size_t i = 0; i < old_count; i++) {
		for (struct watched *at = old[i], *next; at; at = next) {
			struct watched **bucket = wd_bucket(watch, at->wd);

			next = at->next_of_wd;
			at->next_of_wd = *bucket;
			*bucket = at;
			if (at->id)
				link_id(watch, at);
		}
	}
	free(old);
	return 0;
}

/* WD is directory ID: a new watch, or the one that its inode had when it was known by another id. */
static int insert(struct base_watch *watch, int wd, uint64_t id)
{
	struct watched *watched = watch->count ? find_wd(watch, wd) : NULL;

	if (watched && watched->id == id)
		return 0;
	if (watched && watched->id)
		unlink_id(watch, watched);
	else if (watched)
		watch->forgotten--;
	if (!watched) {
		if (watch->count == watch->bucket_count && grow(watch) < 0)
			return -ENOMEM;
		watched = calloc(1, sizeof *watched);
		if (!watched)
			return -ENOMEM;
		watched->wd = wd;
		watched->next_of_wd = *wd_bucket(watch, wd);
		*wd_bucket(watch, wd) = watched;
		watch->count++;
	}
	watched->id = id;
	link_id(watch, watched);
	return 0;
}

static void erase(struct base_watch *watch, struct watched *watched)
{
	struct watched **link = wd_bucket(watch, watched->wd);

	while (*link != watched)
		link = &(*link)->next_of_wd;
	*link = watched->next_of_wd;
	if (watched->id)
		unlink_id(watch, watched);
	else
		watch->forgotten--;
	watch->count--;
	free(watched);
}

/* ---- adding and removing ---- */

static void limit_reached(struct base_watch *watch, int error)
{
	atomic_store(&watch->full, true);
	if (atomic_exchange(&watch->limited, true))
		return;
	if (error == ENOSPC)
		log_message(LOG_WARNING, "%zu directories are watched, and no more can be: raise fs.inotify.max_user_watches; what is changed "
			"around the mount in others is seen after 'veneer refresh'", watch->count);
	else
		log_message(LOG_WARNING, "a directory cannot be watched: %s; what is changed in it around the mount is seen after 'veneer refresh'",
			error_text(error));
}

void base_watch_directory(struct base_watch *watch, uint64_t id)
{
	cleanup_fdref struct fdref directory = FDREF_INIT;
	struct node_table *nodes;
	char path[64];
	int wd;

	if (!watch || atomic_load_explicit(&watch->full, memory_order_relaxed))
		return;
	nodes = overlay_nodes(watch->overlay);
	if (node_is_watched(nodes, id) || overlay_base_directory(watch->overlay, id, &directory) < 0)
		return;
	snprintf(path, sizeof path, "/proc/self/fd/%d", directory.fd);
	{
		SCOPED_LOCK(&watch->lock);

		wd = inotify_add_watch(watch->inotify, path, WATCHED_EVENTS | IN_ONLYDIR);
		if (wd < 0) {
			limit_reached(watch, errno);
		} else if (insert(watch, wd, id) < 0) {
			limit_reached(watch, ENOMEM);
			wd = -ENOMEM;
		}
	}
	/* Another thread that does not see this yet watches it once more: that is the same watch. */
	if (wd >= 0)
		node_set_watched(nodes, id);
}

/* The node is gone. Under the table's lock. */
static void forget(void *arg, uint64_t id)
{
	struct base_watch *watch = arg;
	SCOPED_LOCK(&watch->lock);
	struct watched *at = watch->count ? *id_bucket(watch, id) : NULL;

	while (at && at->id != id)
		at = at->next_of_id;
	if (!at)
		return;
	unlink_id(watch, at);
	at->id = 0;
	watch->forgotten++;
}

static void remove_forgotten(struct base_watch *watch)
{
	SCOPED_LOCK(&watch->lock);

	for (size_t i = 0; i < watch->bucket_count && watch->forgotten; i++) {
		for (struct watched *at = watch->by_wd[i], *next; at; at = next) {
			next = at->next_of_wd;
			if (at->id)
				continue;
			inotify_rm_watch(watch->inotify, at->wd);
			erase(watch, at);
			atomic_store(&watch->full, false);
		}
	}
}

/* ---- events ---- */

/* 0: it means nothing to us. The directory is gone, or was forgotten: what is told of it means nothing either. */
static uint64_t directory_of(struct base_watch *watch, const struct inotify_event *event)
{
	SCOPED_LOCK(&watch->lock);
	struct watched *watched = watch->count ? find_wd(watch, event->wd) : NULL;
	uint64_t id = watched ? watched->id : 0;

	if (watched && event->mask & IN_IGNORED)
		erase(watch, watched);
	return id;
}

/* false: more was changed than was noted. */
static bool see_event(struct base_watch *watch, const struct inotify_event *event, size_t *count)
{
	uint64_t id = event->mask & IN_Q_OVERFLOW ? 0 : directory_of(watch, event);
	unsigned what = 0;

	if (event->mask & IN_Q_OVERFLOW)
		return false;
	what |= event->mask & NAME_EVENTS ? REFRESH_NAME : 0;
	what |= event->mask & CONTENT_EVENTS ? REFRESH_CONTENT : 0;
	what |= event->mask & IN_ATTRIB ? REFRESH_ATTRIBUTES : 0;
	if (id && what)
		watch->changes[(*count)++] = (struct refresh_change){ id, event->len ? event->name : NULL, what };
	return true;
}

static void take_events(struct base_watch *watch)
{
	ssize_t n = read(watch->inotify, watch->events, EVENTS_BYTES);
	bool all = true;
	size_t count = 0;

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const struct inotify_event *)(watch->events + at);

		all &= see_event(watch, event, &count);
		at += (ssize_t)(sizeof *event + event->len);
	}
	if (!all)
		watch->tell(watch->arg, NULL, 0);
	else if (count)
		watch->tell(watch->arg, watch->changes, count);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void *run(void *arg)
{
	struct base_watch *watch = arg;
	int rest = 0;

	for (;;) {
		struct pollfd fds[2] = { { watch->stop_fd, POLLIN, 0 }, { watch->inotify, POLLIN, 0 } };
		int64_t start;

		if (rest && poll(fds, 1, rest) > 0)
			return NULL;
		poll(fds, 2, IDLE_MS);
		if (fds[0].revents)
			return NULL;
		start = now_ms();
		if (fds[1].revents)
			take_events(watch);
		rest = (int)(now_ms() - start < REST_MAX_MS ? now_ms() - start : REST_MAX_MS);
		remove_forgotten(watch);
	}
}

/* ---- life ---- */

int base_watch_new(struct overlay *overlay, struct base_watch **ret, struct error *err)
{
	struct base_watch *watch = calloc(1, sizeof *watch);

	if (!watch)
		return error_errno(err, ENOMEM, "watch the directory");
	watch->overlay = overlay;
	watch->stop_fd = -EBADF;
	pthread_mutex_init(&watch->lock, NULL);
	watch->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->inotify < 0) {
		int error = errno;

		base_watch_free(watch);
		return error == EMFILE ? error_set(err, -EMFILE,
			"watch the directory: fs.inotify.max_user_instances is reached: raise it, or mount without --watch") :
			error_errno(err, error, "watch the directory");
	}
	watch->stop_fd = eventfd(0, EFD_CLOEXEC);
	watch->events = malloc(EVENTS_BYTES);
	watch->changes = calloc(CHANGES_MAX, sizeof *watch->changes);
	if (watch->stop_fd < 0 || !watch->events || !watch->changes) {
		base_watch_free(watch);
		return error_errno(err, ENOMEM, "watch the directory");
	}
	overlay_on_forget(overlay, forget, watch);
	base_watch_directory(watch, NODE_ROOT);
	*ret = watch;
	return 0;
}

int base_watch_start(struct base_watch *watch, base_watch_fn tell, void *arg)
{
	int r;

	watch->tell = tell;
	watch->arg = arg;
	r = thread_start(&watch->thread, run, watch);
	watch->running = r == 0;
	return r;
}

void base_watch_stop(struct base_watch *watch)
{
	uint64_t one = 1;

	if (!watch || !watch->running)
		return;
	while (write(watch->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
		;
	pthread_join(watch->thread, NULL);
	watch->running = false;
}

void base_watch_free(struct base_watch *watch)
{
	if (!watch)
		return;
	base_watch_stop(watch);
	overlay_on_forget(watch->overlay, NULL, NULL);
	for (size_t i = 0; i < watch->bucket_count; i++) {
		for (struct watched *at = watch->by_wd[i], *next; at; at = next) {
			next = at->next_of_wd;
			free(at);
		}
	}
	free(watch->by_wd);
	free(watch->by_id);
	free(watch->events);
	free(watch->changes);
	if (watch->inotify >= 0)
		close(watch->inotify);
	if (watch->stop_fd >= 0)
		close(watch->stop_fd);
	pthread_mutex_destroy(&watch->lock);
	free(watch);
}

void base_watch_state(struct base_watch *watch, struct base_watch_state *ret)
{
	SCOPED_LOCK(&watch->lock);

	*ret = (struct base_watch_state){ watch->count - watch->forgotten, atomic_load(&watch->limited) };
}

void base_watch_all(struct base_watch *watch)
{
	cleanup_node_list struct node_list known = NODE_LIST_INIT;

	if (!watch)
		return;
	{
		SCOPED_LOCK(&watch->lock);

		atomic_store(&watch->full, false);
		atomic_store(&watch->limited, false);
	}
	if (node_list_names(overlay_nodes(watch->overlay), NULL, NULL, &known) < 0) {
		SCOPED_LOCK(&watch->lock);

		limit_reached(watch, ENOMEM);
	}
	for (size_t i = 0; i < known.count; i++) {
		if (S_ISDIR(known.names[i].type) && !known.names[i].patched)
			base_watch_directory(watch, known.names[i].id);
	}
}
