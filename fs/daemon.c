/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "fs/healer.h"
#include "fs/mounts.h"
#include "fs/passthrough.h"
#include "fs/reconcile.h"
#include "fs/scrub.h"
#include "store/base/cleanup.h"
#include "store/base/log.h"
#include "store/base/path.h"
#include "store/journal.h"
#include "store/object.h"

#define THREADS_MIN 4u
#define THREADS_MAX 12u /* MAILBOXES less some, for when all threads wait (fs/healer.h) */
#define FDS_MIN 16u
#define FDS_MAX 1024u
#define CONTROL_WAIT_MS 10000 /* for a daemon that is about to let go, or to mount */
#define CONTROL_POLL_MS 10
#define SETTLE_WAIT_MS 10000 /* for the store's lock */

#define FILESYSTEM_OVERLAY 0x794c7630
#define FILESYSTEM_FUSE 0x65735546

static void daemon_release(struct daemon *daemon)
{
	control_server_stop(daemon->control);
	ref_watch_stop(daemon->watch);
	reconciler_stop(daemon->reconciler);
	base_watch_stop(daemon->base_watch);
	scrub_stop(daemon->scrub);
	healer_stop(daemon->healer);
	switcher_free(daemon->switcher);
	session_free(daemon->session);
	base_watch_free(daemon->base_watch);
	overlay_free(daemon->overlay);
	healer_free(daemon->healer);
	reconciler_free(daemon->reconciler);
	view_unref(daemon->view);
	if (daemon->base_fd >= 0)
		close(daemon->base_fd);
	if (daemon->component && daemon->control_lock >= 0)
		control_unlock(daemon->store->run_fd, daemon->component->name, daemon->control_lock);
	component_freep(&daemon->component);
	store_freep(&daemon->store);
	if (daemon->signal_fd >= 0)
		close(daemon->signal_fd);
}

/* ---- before the mount: everything that can be refused ---- */

/* The next worker has FD, too. */
static int keep(struct daemon *daemon, uint64_t key, int fd, struct error *err)
{
	int r = keeper_hold(daemon->keeper, key, fd);

	return r < 0 ? error_errno(err, -r, "keep a descriptor for the next worker") : 0;
}

static int check_not_mounted(struct daemon *daemon, struct error *err)
{
	const struct component *component = daemon->component;
	bool ours;
	int r = mounts_find(component->directory, &ours, err);

	if (r < 0)
		return r;
	if (ours)
		return error_set(err, -EEXIST,
			"component '%s' is already mounted on '%s'; take it off with 'veneer umount %s'",
			component->name, component->directory, component->name);
	return 0;
}

/*
 * The right to serve this component, against a second mount and against a command that switches what is not mounted. A
 * daemon whose mount was taken off behind its back still has it, and is told.
 */
static int lock_control(struct daemon *daemon, struct error *err)
{
	const char *name = daemon->component->name;
	int r = -ETIMEDOUT;

	for (int waited = 0; r == -ETIMEDOUT && waited <= CONTROL_WAIT_MS; waited += CONTROL_POLL_MS) {
		cleanup_control struct control *control = NULL;

		r = check_not_mounted(daemon, err);
		if (r < 0)
			return r;
		r = control_lock(daemon->store->run_fd, name, 0, err);
		if (r != -ETIMEDOUT)
			break;
		if (control_open(daemon->store, name, &control, NULL) == 0)
			control_simple(control, "detach", NULL, NULL);
		nanosleep(&(struct timespec){ .tv_nsec = CONTROL_POLL_MS * 1000000L }, NULL);
	}
	daemon->control_lock = r;
	if (r >= 0)
		r = keep(daemon, KEEP_LOCK, r, err);
	return r < 0 ? error_prefix(err, r, "mount component '%s'", name) : check_not_mounted(daemon, err);
}

static int open_base_directory(struct daemon *daemon, struct error *err)
{
	const struct component *component = daemon->component;
	struct stat st;

	if (path_is_beneath(daemon->store->path, component->directory))
		return error_set(err, -ELOOP,
			"the store '%s' lies inside the directory '%s' that would be mounted over; move the store and name it with --store",
			daemon->store->path, component->directory);
	daemon->base_fd = open(component->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (daemon->base_fd < 0)
		return error_errno(err, errno, "component '%s': open its directory '%s'", component->name,
			component->directory);
	if (fstat(daemon->base_fd, &st) < 0)
		return error_errno(err, errno, "stat '%s'", component->directory);
	return keep(daemon, KEEP_BASE, daemon->base_fd, err);
}

/* What the worker before has left: it is under the mount by now. */
static int inherit(struct daemon *daemon, struct error *err)
{
	daemon->base_fd = keeper_kept(daemon->keeper, KEEP_BASE);
	daemon->control_lock = keeper_kept(daemon->keeper, KEEP_LOCK);
	daemon->mounted = daemon->state->mounted && !daemon->state->detached;
	daemon->device = daemon->state->device;
	return daemon->base_fd < 0 ? error_set(err, -EBADF, "component '%s': its directory was not kept", daemon->component->name) : 0;
}

/*
 * While nothing was mounted the base may have moved: what does not fit it any more is taken off before it is served. Where that
 * cannot be done, load_first_view() refuses to serve it.
 */
static int settle_base(struct daemon *daemon, struct error *err)
{
	cleanup_reconcile_report struct reconcile_report report = RECONCILE_REPORT_INIT;
	cleanup_target struct target target = TARGET_INIT;
	struct component *component = daemon->component, *settled = NULL;
	struct error problem = ERROR_INIT;
	int r;

	target.store = daemon->store;
	target.store_borrowed = true;
	target.lock_fd = store_lock(daemon->store, SETTLE_WAIT_MS, &problem);
	r = target.lock_fd < 0 ? target.lock_fd : target_load(&target, component->name, &problem);
	if (r == 0)
		r = reconcile(&target, daemon->base_fd, NULL, "found at the mount", NULL, NULL, &report, &problem);
	if (r < 0)
		log_message(LOG_ERR, "component '%s': what is active could not be compared with the base: %s", component->name, problem.message);
	daemon->held = report.outcome == RECONCILE_HELD;
	daemon->unsettled = r < 0;
	if (report.outcome != RECONCILE_SWITCHED)
		return 0;
	log_message(LOG_NOTICE, "component '%s': taken off: %s", component->name, report.text);
	r = component_load(daemon->store, component->name, &settled, err);
	if (r < 0)
		return r;
	component_free(component);
	daemon->component = settled;
	return 0;
}

/* What is served first: the active commit, else (it cannot be served) the bare base, said in the log and in status. */
static int load_first_view(struct daemon *daemon, struct error *err)
{
	const struct component *component = daemon->component;
	struct error problem = ERROR_INIT;
	struct policy policy;
	int r = policy_load(daemon->store, component->name, &policy, err);

	if (r < 0)
		return r;
	r = view_load_of(daemon->store, component->name, &component->active, &daemon->view, &problem);
	if (r == 0)
		r = view_complete(daemon->view, daemon->store, daemon->base_fd, &problem);
	if (r == 0)
		r = reconcile_check(daemon->view, daemon->store, daemon->base_fd, policy.base_change, NULL, &problem);
	if (r == 0)
		return 0;
	if (r == -ESTALE && policy.base_change == BASE_CHANGE_FAIL)
		return error_set(err, r, "component '%s': its policy is to fail where the base has changed: %s", component->name, problem.message);
	view_unref(daemon->view);
	daemon->view = NULL;
	log_message(LOG_ERR, "component '%s': %s; the bare base is served", component->name, problem.message);
	r = view_load(daemon->store, &component->base, &daemon->view, err);
	if (r == 0)
		r = view_complete(daemon->view, daemon->store, daemon->base_fd, err);
	return r;
}

/* What the worker before has served, what has ended of it included, and what cannot be read any more. It waits for nobody. */
static int load_served_view(struct daemon *daemon, struct error *err)
{
	struct worker_state *state = daemon->state;
	const struct oid *commit = oid_is_zero(&state->served) ? &daemon->component->active : &state->served;
	/* Killed in the middle of a switch, what had ended of the other view says nothing of this one. */
	unsigned ended = oid_equal(&state->ended_of, commit) ? atomic_load(&state->ended_count) : 0;
	int r = view_load_served(daemon->store, daemon->name, commit, &daemon->view, err);

	if (r == 0)
		r = view_complete(daemon->view, daemon->store, daemon->base_fd, err);
	for (unsigned i = 0; r == 0 && i < ended && i < WORKER_ENDED_MAX; i++) {
		if (state->ended[i] && state->ended[i] <= view_count(daemon->view))
			view_end(daemon->view, state->ended[i] - 1);
	}
	return r;
}

static unsigned stack_depth_of(int fd, unsigned least)
{
	struct statfs st;

	if (fstatfs(fd, &st) == 0 && (st.f_type == FILESYSTEM_OVERLAY || st.f_type == FILESYSTEM_FUSE))
		return 2;
	return least;
}

static size_t fd_budget(void)
{
	struct rlimit limit;
	size_t budget = FDS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < budget)
		budget = limit.rlim_cur / 4;
	return budget < FDS_MIN ? FDS_MIN : budget;
}

/* Of what is served, and was damaged or gone. */
static void note_healed(struct daemon *daemon)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	unsigned count = object_take_healed(daemon->store, true, &text);

	if (count)
		healer_note(daemon->healer, count, strbuf_text(&text), daemon->first ? "at the mount" : "when a worker was replaced");
}

static int journal_restart(struct daemon *daemon, const char *reason)
{
	struct journal_entry entry = { .from = daemon->component->active, .to = daemon->component->active, .action = (char *)"restarted",
		.reason = (char *)reason };
	struct error err = ERROR_INIT;
	int r = journal_append(daemon->store, daemon->name, &entry, &err);

	if (r < 0)
		log_message(LOG_ERR, "component '%s': that its daemon was killed could not be written to the journal: %s", daemon->name, err.message);
	return r;
}

/* The socket of a daemon that was killed is still there: the journal says so. */
static void note_restart(struct daemon *daemon)
{
	cleanup_free char *socket = NULL;

	if (asprintf(&socket, "%s.sock", daemon->name) < 0) {
		socket = NULL;
		return;
	}
	if (faccessat(daemon->store->run_fd, socket, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	log_message(LOG_WARNING, "component '%s': its last daemon was killed", daemon->name);
	if (journal_restart(daemon, "the daemon was killed; until this mount the bare directory showed, or a dead mount") == 0)
		unlinkat(daemon->store->run_fd, socket, 0); /* said once, also if this mount is refused */
}

static int prepare(struct daemon *daemon, struct error *err)
{
	const char *name = daemon->name;
	struct overlay_config config = { .deny_write = daemon->options->write == WRITE_DENY };
	int r;

	if (geteuid() != 0)
		return error_set(err, -EPERM, "mounting needs root: run 'veneer mount %s' as root", name);
	r = store_open(daemon->store_path, &daemon->store, err);
	if (r == 0)
		r = component_load(daemon->store, name, &daemon->component, err);
	if (r == 0 && !daemon->first)
		r = inherit(daemon, err);
	if (r == 0 && daemon->first)
		r = lock_control(daemon, err);
	/* A foreground daemon may have been started from within the directory: it must not hold it. */
	if (r == 0 && chdir("/") < 0)
		r = error_errno(err, errno, "change to '/'");
	if (r == 0 && daemon->first)
		r = open_base_directory(daemon, err);
	if (r < 0)
		return r;
	daemon->healer = healer_new(daemon->store->path, name, daemon->state);
	if (!daemon->healer)
		return error_errno(err, ENOMEM, "component '%s'", name);
	if (daemon->first)
		note_restart(daemon);
	/* A worker that goes on serves what the kernel knows, at once; what else is to be done is the reconciler's. */
	if (daemon->first)
		r = settle_base(daemon, err);
	if (r == 0)
		r = daemon->first ? load_first_view(daemon, err) : load_served_view(daemon, err);
	if (r < 0)
		return r;
	note_healed(daemon);
	daemon->reconciler = reconciler_new();
	if (!daemon->reconciler)
		return error_errno(err, ENOMEM, "component '%s'", name);
	config.event = reconciler_tell;
	config.event_arg = daemon->reconciler;
	config.shared = daemon->shared;
	config.keeper = daemon->keeper;
	config.base_fd = daemon->base_fd;
	config.objects_fd = daemon->store->objects_fd;
	config.fd_capacity = fd_budget();
	config.heal = healer_heal_for_reader;
	config.heal_arg = daemon->healer;
	r = overlay_new(&config, daemon->view, &daemon->overlay);
	if (r < 0)
		return error_errno(err, -r, "component '%s'", name);
	r = daemon->options->watch ? base_watch_new(daemon->overlay, &daemon->base_watch, err) : 0;
	return r < 0 ? error_prefix(err, r, "component '%s'", name) : 0;
}

/* ---- the mount ---- */

/* Is passthrough to be had? The kernel said so in INIT, and lets us register a file of the store, and one of the base. */
static int try_passthrough(struct daemon *daemon, struct error *err)
{
	struct session *session = daemon->session;
	cleanup_close int file = -EBADF;
	cleanup_close int sample = -EBADF;
	int r;

	if (!session->passthrough)
		return error_set(err, -EOPNOTSUPP,
			"this kernel has no FUSE passthrough (Linux 6.9 and later have it): use --io cached or --io auto");
	file = openat(daemon->store->fd, "lock", O_RDWR | O_CLOEXEC | O_CREAT, 0600);
	if (file < 0)
		return error_errno(err, errno, "open 'lock' in '%s'", daemon->store->path);
	r = passthrough_try(session, file);
	if (r < 0)
		return error_set(err, -EOPNOTSUPP,
			"the kernel does not let this process use FUSE passthrough (%s; CAP_SYS_ADMIN is needed): use --io cached or --io auto",
			error_text(-r));
	sample = passthrough_sample(daemon->base_fd);
	r = sample < 0 ? 0 : passthrough_try(session, sample);
	if (r < 0)
		return error_set(err, -EOPNOTSUPP,
			"the files of '%s' cannot be passed through (%s; overlays lie at most two deep): use --io cached or --io auto",
			daemon->component->directory, error_text(-r));
	return 0;
}

static bool can_pass_through(void *arg)
{
	return try_passthrough(arg, NULL) == 0;
}

/* By what the base holds: cached, or an eye on what is opened. */
static void choose_by_evidence(struct daemon *daemon)
{
	struct io_choice *choice = &daemon->session->choice;
	char reason[IO_REASON_MAX];
	struct io_survey survey;

	if (!daemon->session->passthrough) {
		io_choice_settle(choice, IO_CACHED, daemon->stacked ?
			"the base lies on an overlay: passthrough would leave no room for another one on top" :
			"this kernel has no passthrough");
		return;
	}
	io_survey_base(daemon->base_fd, &survey);
	if (io_survey_decide(&survey, reason))
		io_choice_watch(choice, reason, can_pass_through, daemon);
	else
		io_choice_settle(choice, IO_CACHED, reason);
}

static int choose_io(struct daemon *daemon, struct error *err)
{
	struct io_choice *choice = &daemon->session->choice;
	int r = 0;

	if (daemon->options->io == IO_PASSTHROUGH)
		r = try_passthrough(daemon, err);
	if (daemon->options->io == IO_AUTO)
		choose_by_evidence(daemon);
	else
		io_choice_settle(choice, daemon->options->io, "asked for");
	return r;
}

static unsigned thread_count(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = processors > 0 ? (unsigned)processors * 2 : THREADS_MIN;

	return threads < THREADS_MIN ? THREADS_MIN : threads > THREADS_MAX ? THREADS_MAX : threads;
}

static int start_session(struct daemon *daemon, struct error *err)
{
	struct session_config config = { .overlay = daemon->overlay, .watch = daemon->base_watch, .verbose = daemon->options->verbose,
		.state = daemon->state, .healer = daemon->healer };
	cleanup_close int device_fd = daemon->first ? daemon_open_device(err) : keeper_kept(daemon->keeper, KEEP_DEVICE);
	bool chosen;
	int r = 0;

	if (device_fd < 0)
		return daemon->first ? device_fd : error_set(err, -EBADF, "the connection to the kernel was not kept");
	if (daemon->first)
		r = keep(daemon, KEEP_DEVICE, device_fd, err);
	if (r < 0)
		return r;
	config.stack_depth = stack_depth_of(daemon->store->objects_fd, stack_depth_of(daemon->base_fd, 1));
	daemon->stacked = config.stack_depth > 1;
	config.passthrough = daemon->options->io == IO_PASSTHROUGH || (daemon->options->io == IO_AUTO && !daemon->stacked);
	/* The mount names the fd by its number, which libfuse keeps. */
	config.device_fd = device_fd;
	r = session_new(&config, &daemon->session, err);
	TAKE_FD(device_fd);
	if (r < 0)
		return r;
	/* Before what is left over is answered: as it would have been. */
	chosen = io_choice_keep(&daemon->session->choice, &daemon->state->io);
	if (daemon->first)
		r = daemon_mount_over(daemon, config.device_fd, err);
	if (r == 0)
		r = session_start(daemon->session, thread_count(), err);
	if (r == 0 && daemon->first)
		r = daemon_mount_answers(daemon, err);
	if (r == 0 && !chosen)
		r = choose_io(daemon, err);
	return r;
}

/* The base was changed, around the mount or through it. */
static void base_changed(void *arg, struct refresh_change *changes, size_t count)
{
	struct daemon *daemon = arg;
	struct error err = ERROR_INIT;
	struct refresh_counts counts;
	int r;

	if (changes) {
		r = switcher_changed(daemon->switcher, changes, count, &err);
	} else {
		log_message(LOG_INFO, "component '%s': more was changed at once than could be noted: all is asked for anew",
			daemon->component->name);
		r = switcher_refresh(daemon->switcher, NULL, &counts, &err);
	}
	if (r < 0)
		log_message(LOG_ERR, "a change around the mount may not be seen: %s", err.message);
}

static int start_base_watch(struct daemon *daemon, struct error *err)
{
	int r = daemon->base_watch ? base_watch_start(daemon->base_watch, base_changed, daemon) : 0;

	return r < 0 ? error_errno(err, -r, "start the thread that watches '%s'", daemon->component->directory) : 0;
}

static int start_control(struct daemon *daemon, struct error *err)
{
	struct control_server_config config = { .run_fd = daemon->store->run_fd, .directory = daemon->component->directory,
		.device = daemon->device, .name = daemon->component->name, .session = daemon->session, .base_fd = daemon->base_fd,
		.write = write_mode_name(daemon->options->write) };
	struct error problem = ERROR_INIT;
	struct refresh_counts counts;
	int r;

	/* The mount was taken off while files are open in it: they are served, and nothing else is ours any more. */
	if (daemon->control_lock < 0 || daemon->state->detached) {
		daemon->mounted = false;
		return 0;
	}
	/* Nobody waits for this: it serves already. */
	if (daemon->state->resumed && journal_restart(daemon, "the supervisor was killed; the service manager has started another, which goes on") == 0)
		daemon->state->resumed = 0;
	r = switcher_new(daemon->store, daemon->component, daemon->base_fd, daemon->session, daemon->view, &daemon->switcher, err);
	if (r < 0)
		return r;
	/* Before anybody else switches, or is told that there is nothing to switch. */
	switcher_catch_up(daemon->switcher);
	r = ref_watch_start(daemon->switcher, !daemon->first, &daemon->watch, err);
	if (r == 0)
		r = reconciler_start(daemon->reconciler, daemon->switcher, err);
	if (r == 0)
		r = start_base_watch(daemon, err);
	if (r == 0)
		r = healer_start(daemon->healer, daemon->session, err);
	if (r == 0)
		r = scrub_start(daemon->options->scrub, daemon->store->objects_fd, daemon->session, daemon->healer, daemon->state,
			&daemon->scrub, err);
	if (r < 0)
		return r;
	if (daemon->unsettled)
		switcher_is_unsettled(daemon->switcher);
	/* Then status says so, too. */
	if (daemon->held)
		overlay_tell_unseen(daemon->overlay, "found at the mount");
	/* More was stale than the worker before could note. */
	if (daemon->state->notices.lost && switcher_refresh(daemon->switcher, NULL, &counts, &problem) < 0)
		log_message(LOG_WARNING, "component '%s': what is shown of some files may be old: %s", daemon->name, problem.message);
	daemon->state->notices.lost = 0;
	/* What the worker before was told, and did not come to. */
	if (!daemon->first)
		overlay_tell_unseen(daemon->overlay, "found when a worker was replaced");
	config.keeper = daemon->keeper;
	config.switcher = daemon->switcher;
	config.healer = daemon->healer;
	config.scrub = daemon->scrub;
	config.lock_fd = TAKE_FD(daemon->control_lock);
	return control_server_start(&config, &daemon->control, err);
}

/* ---- while it lives ---- */

static void stop_listening(struct daemon *daemon)
{
	control_server_stop(daemon->control);
	daemon->control = NULL;
	ref_watch_stop(daemon->watch);
	daemon->watch = NULL;
	base_watch_stop(daemon->base_watch);
	scrub_stop(daemon->scrub);
	daemon->scrub = NULL;
	healer_stop(daemon->healer);
}

/* Until the connection has ended. A signal takes the mount off; open files keep the connection alive. */
static void serve(struct daemon *daemon)
{
	for (;;) {
		struct pollfd fds[3] = {
			{ daemon->session->done_fd, POLLIN, 0 },
			{ daemon->signal_fd, POLLIN, 0 },
			{ daemon->control ? control_server_detach_fd(daemon->control) : -1, POLLIN, 0 },
		};
		struct signalfd_siginfo signal;

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents)
			break;
		if (fds[2].revents) {
			/* Who was told of it has noted it in the state. */
			daemon->mounted = false;
			stop_listening(daemon);
		}
		if (fds[1].revents && read(daemon->signal_fd, &signal, sizeof signal) == sizeof signal &&
			signal.ssi_signo != SIGHUP && daemon_unmount(daemon)) {
			daemon->state->detached = 1;
			stop_listening(daemon);
		}
	}
}

static int take_signals(struct daemon *daemon, struct error *err)
{
	sigset_t signals;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	daemon->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	return daemon->signal_fd < 0 ? error_errno(err, errno, "take over the signals") : 0;
}

/* Nothing of the command's terminal or pipes is kept: whoever reads them waits for their end. */
static void leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

/* The life of a worker, the first or one that goes on. */
static int work(void *arg, bool first)
{
	struct daemon *daemon = arg;
	struct error err = ERROR_INIT;
	int r;

	daemon->first = first;
	r = take_signals(daemon, &err);
	if (r == 0)
		r = prepare(daemon, &err);
	if (r == 0)
		r = start_session(daemon, &err);
	if (r == 0)
		r = start_control(daemon, &err);
	if (r < 0 && first)
		daemon_unmount(daemon);
	if (r == 0 && !daemon->options->foreground)
		leave_terminal();
	keeper_ready(daemon->keeper, r, &err);
	if (r == 0) {
		serve(daemon);
	} else if (daemon->detached) {
		/* A start that failed while somebody had found the mount already: the process ends, and with it what he holds. */
		control_server_stop(daemon->control);
		control_unlock(daemon->store->run_fd, daemon->name, daemon->control_lock);
		return 1;
	} else if (!first) {
		return 1; /* the mount is another worker's */
	}
	if (daemon->session)
		session_wait(daemon->session);
	daemon_release(daemon);
	return r < 0;
}

void daemon_say_ready(struct daemon *daemon, int code, const struct error *err)
{
	if (code == 0 && !daemon->options->foreground)
		leave_terminal();
	daemon->ready(daemon->ready_arg, code, err);
}

static bool say_ready(void *arg, int code, const struct error *err)
{
	daemon_say_ready(arg, code, err);
	return true;
}

static void give_up(void *arg)
{
	daemon_give_up(arg);
}

int daemon_supervise(struct daemon *daemon, bool inherited, daemon_report_fn report)
{
	const struct supervisor_config config = { .shared = daemon->shared, .keeper = daemon->keeper, .inherited = inherited,
		.foreground = daemon->options->foreground, .work = work, .ready = report, .give_up = give_up, .arg = daemon };

	return supervisor_run(&config);
}

/* ---- the supervisor ---- */

void daemon_raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_message(LOG_WARNING, "no more than %llu descriptors: %s", (unsigned long long)limit.rlim_cur, error_text(errno));
}

void daemon_note_manager(struct worker_state *state)
{
	const char *notify = getenv("NOTIFY_SOCKET");
	size_t length = notify ? strlen(notify) : 0;

	state->notify[0] = '\0';
	if (length > 0 && length < sizeof state->notify)
		memcpy(state->notify, notify, length + 1);
}

static void note_options(struct worker_state *state, const struct mount_options *options)
{
	snprintf(state->format, sizeof state->format, "%s", state_format());
	snprintf(state->program, sizeof state->program, "%s", VENEER_VERSION);
	state->options.io = options->io;
	state->options.write = options->write;
	state->options.on_failure = options->on_failure;
	state->options.watch = options->watch;
	state->options.foreground = options->foreground;
	state->options.verbose = options->verbose;
	state->options.scrub = options->scrub;
	/* In the background it is nobody's main process, whatever is in the environment of whoever started it. */
	if (options->foreground)
		daemon_note_manager(state);
}

struct mount_options daemon_options(const struct worker_state *state)
{
	return (struct mount_options){ .io = (enum io_mode)state->options.io, .write = (enum write_mode)state->options.write,
		.on_failure = (enum failure_mode)state->options.on_failure, .watch = state->options.watch,
		.foreground = state->options.foreground, .verbose = state->options.verbose, .scrub = state->options.scrub };
}

static int begin(struct daemon *daemon, struct error *err)
{
	daemon->shared = shared_new();
	daemon->keeper = keeper_new();
	if (!daemon->shared || !daemon->keeper)
		return error_errno(err, ENOMEM, "start the daemon of component '%s'", daemon->name);
	daemon->state = worker_state_of(daemon->shared);
	snprintf(daemon->state->component, sizeof daemon->state->component, "%s", daemon->name);
	note_options(daemon->state, daemon->options);
	return 0;
}

int daemon_run(const char *store_path, const char *name, const struct mount_options *options,
	daemon_ready_fn ready, void *arg)
{
	struct daemon daemon = DAEMON_INIT;
	struct error err = ERROR_INIT;
	bool resumes = false;
	int r;

	daemon.options = options;
	daemon.store_path = store_path;
	daemon.name = name;
	daemon.ready = ready;
	daemon.ready_arg = arg;
	daemon_raise_fd_limit();
	tzset(); /* the first gmtime_r(3) would read the time zone, which may lie under the mount by then */
	r = daemon_resume(&daemon, &resumes, &err);
	if (r == 0 && !resumes)
		r = begin(&daemon, &err);
	if (r < 0)
		ready(arg, r, &err);
	r = r < 0 ? 1 : daemon_supervise(&daemon, resumes, say_ready);
	keeper_free(daemon.keeper);
	shared_free(daemon.shared);
	return r;
}
