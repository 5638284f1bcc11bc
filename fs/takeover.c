/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fs/bare.h"
#include "fs/cgroup.h"
#include "fs/control.h"
#include "fs/daemon_internal.h"
#include "fs/handover.h"
#include "fs/mounts.h"
#include "fs/service.h"
#include "fs/stuck.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"

#define LOCK_WAIT_MS 60000 /* for a command that changes something */
#define ENDING_WAIT_MS 400 /* for the worker of a supervisor that was killed: less than SERVICE_GRACE_MS */
#define ENDING_POLL_MS 10

/* What goes on with the mount, besides what every daemon has. */
struct takeover {
	struct daemon daemon; /* the first: callbacks get a pointer to it */
	int channel;
	int lock; /* the store's: no command is answered by a worker that ends */
};

/* ---- from a running daemon ---- */

/*
 * The daemon is given the other end of CHANNEL, through its worker, which compares the formats. The answer may be lost with the worker: what comes
 * by the channel counts.
 */
static int ask(struct store *store, const char *name, int *ret_channel, struct error *err)
{
	struct json_object *request = json_object_new_object();
	cleanup_control struct control *control = NULL;
	int ends[2], r = control_open(store, name, &control, err);

	if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		r = error_errno(err, errno, "ask the daemon of component '%s'", name);
	if (r < 0) {
		json_object_put(request);
		return r;
	}
	json_object_object_add(request, "operation", json_object_new_string("takeover"));
	json_object_object_add(request, "format", json_object_new_string(state_format()));
	r = control_call(control, request, ends[1], NULL, err);
	json_object_put(request);
	close(ends[1]);
	if (r < 0 && r != -ECONNRESET) {
		close(ends[0]);
		return r;
	}
	*ret_channel = ends[0];
	return 0;
}

static int check_state(const struct worker_state *state, const char *name, struct error *err)
{
	if (memchr(state->format, '\0', sizeof state->format) == NULL || strcmp(state->format, state_format()) != 0)
		return error_set(err, -EPROTO, "its tables are not as this program has them");
	if (strncmp(state->component, name, sizeof state->component) != 0)
		return error_set(err, -EPROTO, "they are of component '%.*s'", (int)sizeof state->component, state->component);
	if (state->detached || !state->mounted)
		return error_set(err, -ENODEV, "nothing is mounted any more");
	return 0;
}

/* Were it to be taken off, it is here that it would have to be. */
static int check_mount(const struct worker_state *state, struct error *err)
{
	bool there, topmost;
	int r = mounts_find_device(state->directory, state->device, &there, &topmost, err);

	if (r == 0 && !there)
		r = error_set(err, -EXDEV, "this process does not see its mount on '%s': run this where it was mounted", state->directory);
	return r < 0 ? r : bare_check(err);
}

/* Whoever has started this program waits for its descriptors' end; what is said goes where it went before. */
static void log_there(int log_fd, const struct mount_options *options)
{
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = log_fd;

	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(fd == STDERR_FILENO && log >= 0 ? log : null, fd);
	log_open("veneer", options->foreground, options->verbose ? LOG_INFO : LOG_NOTICE);
}

static int receive(struct takeover *takeover, struct mount_options *ret_options, struct error *err)
{
	struct daemon *daemon = &takeover->daemon;
	int log_fd = -EBADF, r = handover_receive(takeover->channel, &daemon->shared, &log_fd, err);

	if (r < 0)
		return r;
	daemon->state = worker_state_of(daemon->shared);
	daemon->keeper = keeper_new();
	r = daemon->keeper ? check_state(daemon->state, daemon->name, err) : error_errno(err, ENOMEM, "go on with what it keeps");
	if (r == 0)
		r = check_mount(daemon->state, err);
	if (r < 0) {
		handover_refuse(takeover->channel, err);
		if (log_fd >= 0)
			close(log_fd);
		return r;
	}
	*ret_options = daemon_options(daemon->state);
	/* While somebody serves: what is closed by that may be a file of the mount. */
	log_there(log_fd, ret_options);
	cgroup_join(atomic_load(&daemon->state->supervisor));
	r = handover_accept(takeover->channel, err);
	if (r == 0)
		r = handover_take(takeover->channel, daemon->keeper, err);
	/* The next worker may want it. */
	store_unlock(TAKE_FD(takeover->lock));
	/* By the service manager. */
	keeper_may_be_copied(daemon->keeper);
	return r;
}

static bool say_taken(void *arg, int code, const struct error *err)
{
	struct takeover *takeover = arg;
	struct daemon *daemon = &takeover->daemon;
	struct error problem = *err;

	if (code < 0)
		handover_refuse(takeover->channel, err);
	else
		code = handover_serves(takeover->channel, &problem);
	/* Killed right after it had given the mount away, it could not say so. */
	if (atomic_load(&daemon->state->supervisor) == getpid())
		code = 0;
	if (code == 0)
		snprintf(daemon->state->program, sizeof daemon->state->program, "%s", VENEER_VERSION);
	daemon_say_ready(daemon, code, &problem);
	close(takeover->channel);
	takeover->channel = -EBADF;
	return code == 0;
}

int daemon_take_over(const char *store_path, const char *name, daemon_ready_fn ready, void *arg)
{
	struct takeover takeover = { .daemon = DAEMON_INIT, .channel = -EBADF, .lock = -EBADF };
	struct daemon *daemon = &takeover.daemon;
	struct mount_options options = { .io = IO_AUTO };
	cleanup_store struct store *store = NULL;
	struct error err = ERROR_INIT;
	int r;

	daemon->store_path = store_path;
	daemon->name = name;
	daemon->options = &options;
	daemon->ready = ready;
	daemon->ready_arg = arg;
	daemon_raise_fd_limit();
	r = store_open_directories(store_path, &store, &err);
	if (r == 0)
		r = takeover.lock = store_lock(store, LOCK_WAIT_MS, &err);
	if (r >= 0)
		r = ask(store, name, &takeover.channel, &err);
	store_freep(&store);
	store = NULL;
	if (r == 0)
		r = receive(&takeover, &options, &err);
	if (r == 0) {
		r = daemon_supervise(daemon, true, say_taken);
	} else {
		if (r != -ENOENT)
			error_prefix(&err, r, "component '%s' goes on being served by the daemon that it had", name);
		ready(arg, r, &err);
		r = 1;
	}
	if (takeover.channel >= 0)
		close(takeover.channel);
	store_unlock(takeover.lock);
	keeper_free(daemon->keeper);
	shared_free(daemon->shared);
	return r;
}

/* ---- from the service manager ---- */

/* Beginning anew: when the third process of the last daemon has taken its mount off. */
static void begin_anew(struct daemon *daemon, const struct error *why)
{
	const int wait_ms = 2 * SERVICE_GRACE_MS;

	log_message(LOG_WARNING, "component '%s': what the service manager has kept of its last daemon is not gone on with: %s", daemon->name,
		why->message);
	keeper_free(daemon->keeper);
	shared_free(daemon->shared);
	daemon->keeper = NULL;
	daemon->shared = NULL;
	service_disclaim();
	nanosleep(&(struct timespec){ .tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L }, NULL);
}

/* Of process BEFORE, or one that has its number now: its worker would have ended with it. */
static int check_ended(const struct daemon *daemon, pid_t before, struct error *err)
{
	for (int waited = 0; waited <= ENDING_WAIT_MS; waited += ENDING_POLL_MS) {
		pid_t owner = worker_state_owner(daemon->shared);

		if (kill(before, 0) < 0 || owner == 0 || process_lingers(owner))
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = ENDING_POLL_MS * 1000000L }, NULL);
	}
	return error_set(err, -EBUSY, "component '%s' is served by process %d, of which the service manager does not know", daemon->name, (int)before);
}

int daemon_resume(struct daemon *daemon, bool *ret, struct error *err)
{
	int r = service_adopt(&daemon->shared, &daemon->keeper, err), before;

	*ret = r > 0;
	if (r < 0)
		begin_anew(daemon, err);
	if (r <= 0)
		return 0;
	daemon->state = worker_state_of(daemon->shared);
	before = atomic_load(&daemon->state->supervisor);
	r = check_state(daemon->state, daemon->name, err);
	if (r == 0)
		r = check_mount(daemon->state, err);
	if (r == 0 && before != 0 && check_ended(daemon, before, err) < 0)
		return -EBUSY;
	/* Its third process, if that still waits, leaves the mount alone from here on. */
	if (r == 0 && (before == 0 || !atomic_compare_exchange_strong(&daemon->state->supervisor, &before, getpid())))
		r = error_set(err, -ENODEV, "its mount was taken off");
	if (r == 0) {
		daemon->state->crashed = 0;
		daemon->state->resumed = 1;
		daemon->state->ended_ns = clock_monotonic_ns();
		daemon_note_manager(daemon->state);
		log_message(LOG_WARNING, "component '%s': process %d, which served it, was killed; this one goes on", daemon->name, before);
		return 0;
	}
	*ret = false;
	begin_anew(daemon, err);
	return 0;
}
