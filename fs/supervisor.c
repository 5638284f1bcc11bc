/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/handover.h"
#include "fs/mount_options.h"
#include "fs/service.h"
#include "fs/stuck.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"

#define DELAY_MIN_MS 10
#define DELAY_MAX_MS 1000
#define OPEN_THREAD O_EXCL /* PIDFD_THREAD, Linux 6.9 */
#define END_MS 20	   /* that a killed worker has to end, before it is seen whether it lingers */
#define END_POLL_MS 2
#define LOOK_MS 1000	   /* how often it is looked at whether a worker lingers, where nothing says that it does */
#define SAY_WHY_MS 500 /* for another program that has refused, before it is ended */
#define TAKE_IN_MS 10 /* how long what the worker sends may wait in its socket */

struct supervisor {
	const struct supervisor_config *config;
	struct worker_state *state;
	sigset_t before; /* the signal mask that it was called with */
	struct service *service; /* owned; NULL: nobody manages this service */
	int signal_fd;
	pid_t pid, worker, watcher;
	int worker_fd; /* readable when the worker's first thread has ended; -EBADF: the kernel cannot say so */
	bool ready;	  /* a worker has served */
	bool over;	  /* nothing is left to do */
	bool serves;	  /* this one does */
	int stopping;	  /* the signal that it is to end with, for each worker that there will be; 0: none */
	unsigned crashes; /* in a row */
	unsigned killed;  /* in a row, by SIGKILL before they served */
	uint64_t crashed_ns;
	int status;
};

/* Is the mount this supervisor's, and its third process's? */
static bool is_ours(const struct supervisor *supervisor)
{
	return atomic_load(&supervisor->state->supervisor) == supervisor->pid;
}

/* From now on it is nobody's. false: it was not ours. */
static bool disown(const struct supervisor *supervisor)
{
	int ours = supervisor->pid;

	return atomic_compare_exchange_strong(&supervisor->state->supervisor, &ours, 0);
}

/* Is the mount to be left as it is, whatever happens? */
static bool stays(const struct supervisor *supervisor)
{
	return supervisor->state->mounted && supervisor->state->options.on_failure == FAILURE_CLOSED;
}

static void sleep_ms(int ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

/* ---- the third process ---- */

/* What is inherited is let go of: a connection that somebody has open is not ended. */
static __attribute__((noreturn)) void watch(struct supervisor *supervisor, int supervisor_fd)
{
	struct pollfd fd = { supervisor_fd, POLLIN, 0 };

	prctl(PR_SET_NAME, "veneer-watcher");
	signal(SIGPIPE, SIG_IGN);
	if (dup2(supervisor_fd, STDERR_FILENO + 1) < 0)
		_exit(1);
	fd.fd = STDERR_FILENO + 1;
	/* With /dev/fuse open it would keep a dead connection alive. */
	if (close_range((unsigned)STDERR_FILENO + 2, ~0u, 0) < 0)
		_exit(1);
	log_open("veneer", supervisor->config->foreground, LOG_NOTICE);
	for (int i = STDIN_FILENO; i <= STDERR_FILENO && !supervisor->config->foreground; i++)
		close(i);
	while (poll(&fd, 1, -1) < 0 && errno == EINTR)
		;
	/* Whoever the service manager starts instead may go on with the mount. */
	if (is_ours(supervisor) && supervisor->state->notify[0])
		sleep_ms(SERVICE_GRACE_MS);
	/* A mount that is to stay, dead, waits for that for longer. */
	if ((stays(supervisor) ? is_ours(supervisor) : disown(supervisor)) && !supervisor->state->detached) {
		log_message(LOG_ALERT, "the daemon was killed");
		supervisor->config->give_up(supervisor->config->arg);
	}
	_exit(0);
}

static void start_watcher(struct supervisor *supervisor)
{
	cleanup_close int self = pidfd_open(supervisor->pid, 0);
	pid_t pid = self < 0 ? -1 : fork();

	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &supervisor->before, NULL);
		watch(supervisor, self);
	}
	supervisor->watcher = pid;
	if (pid < 0)
		log_message(LOG_WARNING, "nobody watches the daemon: %s; were it killed, its mount would stay, dead", error_text(errno));
}

static void stop_watcher(struct supervisor *supervisor)
{
	if (supervisor->watcher <= 0)
		return;
	kill(supervisor->watcher, SIGKILL);
	waitpid(supervisor->watcher, NULL, 0);
	supervisor->watcher = -1;
}

/* ---- the worker ---- */

static __attribute__((noreturn)) void be_worker(struct supervisor *supervisor, bool first)
{
	const struct supervisor_config *config = supervisor->config;

	/* Without the supervisor nobody would replace it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != supervisor->pid)
		_exit(1);
	close(supervisor->signal_fd);
	keeper_be_worker(config->keeper);
	if (worker_state_own(config->shared) < 0)
		_exit(1);
	/* What is sent to it before it takes signals waits. */
	exit(config->work(config->arg, first));
}

static int start_worker(struct supervisor *supervisor)
{
	pid_t pid;

	cleanup_closep(&supervisor->worker_fd);
	supervisor->worker_fd = -EBADF;
	supervisor->state->workers++;
	pid = fork();
	if (pid == 0)
		be_worker(supervisor, supervisor->state->workers == 1);
	supervisor->serves = false;
	supervisor->worker = pid;
	if (pid > 0)
		supervisor->worker_fd = pidfd_open(pid, OPEN_THREAD);
	if (supervisor->worker_fd < 0)
		supervisor->worker_fd = -EBADF;
	if (pid > 0 && supervisor->stopping)
		kill(pid, supervisor->stopping);
	return pid < 0 ? -errno : 0;
}

static void say_ready(struct supervisor *supervisor, int code, const struct error *err)
{
	supervisor->ready = true;
	if (!supervisor->config->ready(supervisor->config->arg, code, err))
		supervisor->over = true;
	else if (code == 0)
		service_ready(supervisor->service, supervisor->pid);
}

/* What the worker has to say of itself. */
static void hear(struct supervisor *supervisor, const struct keeper_report *report)
{
	if (!report->ready)
		return;
	supervisor->serves = report->code == 0;
	if (report->code == 0 && supervisor->state->ended_ns)
		log_message(LOG_NOTICE, "another worker serves, %.1f ms after the last one ended",
			(double)(clock_monotonic_ns() - supervisor->state->ended_ns) / 1e6);
	if (!supervisor->ready)
		say_ready(supervisor, report->code, &report->err);
	else if (report->code < 0)
		log_message(LOG_ERR, "a worker could not begin to serve: %s", report->err.message);
}

enum end { END_KILLED, END_CRASHED, END_NOT_BEGUN };

/* How a worker ended that was not to end. */
static enum end end_of(const struct supervisor *supervisor, int status)
{
	if (WIFEXITED(status)) {
		log_message(LOG_ERR, "the worker (process %d) ended with status %d", (int)supervisor->worker, WEXITSTATUS(status));
		return END_NOT_BEGUN;
	}
	log_message(LOG_WARNING, "the worker (process %d) was ended by signal %d (%s)", (int)supervisor->worker, WTERMSIG(status),
		strsignal(WTERMSIG(status)));
	return WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT ? END_KILLED : END_CRASHED;
}

/* How long the next worker is to wait, in milliseconds, after that END of one; -1: there shall be no other. */
static int judge(struct supervisor *supervisor, enum end end)
{
	uint64_t now = clock_monotonic_ns();
	int delay = DELAY_MIN_MS;

	supervisor->state->crashed = end == END_CRASHED;
	supervisor->state->ended_ns = now;
	supervisor->killed = supervisor->serves ? 0 : supervisor->killed + 1;
	if (end == END_KILLED && supervisor->killed < SUPERVISOR_KILLED_MAX)
		return 0;
	if (now - supervisor->crashed_ns > SUPERVISOR_CALM_MS * 1000000ull)
		supervisor->crashes = 0;
	supervisor->crashed_ns = now;
	if (++supervisor->crashes > SUPERVISOR_CRASHES_MAX)
		return -1;
	for (unsigned i = 2; i < supervisor->crashes && delay < DELAY_MAX_MS; i++)
		delay *= 2;
	return supervisor->crashes == 1 ? 0 : delay;
}

/* No worker begins to serve, or none lasts. */
static void give_up(struct supervisor *supervisor)
{
	log_message(LOG_ALERT, "%u workers have failed in a row: there is no other", supervisor->crashes);
	supervisor->config->give_up(supervisor->config->arg);
	supervisor->status = 1;
}

/* After a while, and as often as it takes. It is over where none can be. */
static void start_another(struct supervisor *supervisor, int delay)
{
	while (delay >= 0) {
		sleep_ms(delay);
		if (start_worker(supervisor) == 0)
			return;
		log_message(LOG_ERR, "no worker can be started: %s", error_text(errno));
		delay = judge(supervisor, END_NOT_BEGUN);
	}
	give_up(supervisor);
	supervisor->over = true;
}

/* The first one, before it served. */
static void never_served(struct supervisor *supervisor, int status)
{
	struct error err = ERROR_INIT;

	error_set(&err, -EIO, "the daemon %s before its mount answered", WIFEXITED(status) ? "ended" : "was killed");
	say_ready(supervisor, err.code, &err);
	if (!WIFEXITED(status) && is_ours(supervisor))
		supervisor->config->give_up(supervisor->config->arg);
	supervisor->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	supervisor->over = true;
}

/* The last that a worker has sent. Another program that waits sees that its channel is closed. */
static void take_in_rest(struct supervisor *supervisor)
{
	struct keeper_report report = KEEPER_REPORT_INIT;

	keeper_take_in(supervisor->config->keeper, &report);
	hear(supervisor, &report);
	if (report.successor >= 0)
		close(report.successor);
}

static void worker_ended(struct supervisor *supervisor, int status)
{
	take_in_rest(supervisor);
	if (!supervisor->ready) {
		never_served(supervisor, status);
		return;
	}
	if (WIFEXITED(status)) {
		supervisor->status = WEXITSTATUS(status);
		supervisor->over |= supervisor->status == 0 || supervisor->state->workers == 1;
	}
	if (!supervisor->over)
		start_another(supervisor, judge(supervisor, end_of(supervisor, status)));
}

/* Whoever has ended. */
static void reap(struct supervisor *supervisor)
{
	int status;
	pid_t pid;

	while (!supervisor->over && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == supervisor->watcher && WIFSIGNALED(status))
			start_watcher(supervisor);
		else if (pid == supervisor->watcher)
			log_message(LOG_WARNING, "nobody watches the daemon any more: were it killed, its mount would stay, dead");
		else if (pid == supervisor->worker)
			worker_ended(supervisor, status);
	}
}

/*
 * The worker was killed, and cannot end before another one answers what the kernel waits for on its behalf (fs/stuck.h). It is let go
 * of, and reaped when it ends.
 */
static void leave_lingering(struct supervisor *supervisor)
{
	take_in_rest(supervisor);
	if (!supervisor->ready)
		return; /* the first one, whose mount does not answer yet: its end is waited for */
	log_message(LOG_WARNING, "the worker (process %d) was killed while the kernel holds one of its threads", (int)supervisor->worker);
	supervisor->worker = -1;
	start_another(supervisor, judge(supervisor, END_KILLED));
}

/* Its first thread has ended: the others follow at once, or it lingers. */
static void await_end(struct supervisor *supervisor)
{
	const pid_t ending = supervisor->worker;

	for (int waited = 0; waited < END_MS; waited += END_POLL_MS) {
		struct pollfd signals = { supervisor->signal_fd, POLLIN, 0 };

		reap(supervisor);
		if (supervisor->over || supervisor->worker != ending)
			return;
		poll(&signals, 1, END_POLL_MS); /* SIGCHLD says so */
	}
	if (process_lingers(ending))
		leave_lingering(supervisor);
}

/* ---- another program instead of this one ---- */

/* What it has to be ended by, if it comes to that; -EBADF: it cannot be told who it is. */
static int process_at(int channel, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	int fd;

	if (getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -EBADF;
	*ret_pid = peer.pid;
	fd = pidfd_open(peer.pid, 0);
	return fd < 0 ? -EBADF : fd;
}

/*
 * Nobody serves from here on, and what the worker has sent is taken in. -ENODEV: it has ended by itself, and with it everything. -EBUSY: it
 * cannot end.
 */
static int end_worker(struct supervisor *supervisor, struct error *err)
{
	int status = 0;

	/* One request that hangs would become a mount that does. */
	if (process_is_stuck(supervisor->worker))
		return error_set(err, -EBUSY, "the worker waits for a disk that does not answer, and could not be ended");
	kill(supervisor->worker, SIGKILL);
	for (int waited = 0; waitpid(supervisor->worker, &status, WNOHANG) == 0; waited += END_POLL_MS) {
		if (waited >= END_MS && process_lingers(supervisor->worker)) {
			status = SIGKILL;
			break;
		}
		sleep_ms(END_POLL_MS);
	}
	supervisor->worker = -1;
	if (WIFEXITED(status)) {
		supervisor->status = WEXITSTATUS(status);
		supervisor->over = true;
		return error_set(err, -ENODEV, "the mount was taken off meanwhile");
	}
	supervisor->state->crashed = 0;
	supervisor->state->ended_ns = clock_monotonic_ns();
	take_in_rest(supervisor);
	return 0;
}

/* What this process is to be ended with, were it to be read. */
static int signal_to_end_with(const struct supervisor *supervisor)
{
	struct pollfd fd = { supervisor->signal_fd, POLLIN, 0 };
	struct signalfd_siginfo signal;

	while (poll(&fd, 1, 0) > 0 && read(supervisor->signal_fd, &signal, sizeof signal) == sizeof signal)
		if (signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT)
			return (int)signal.ssi_signo;
	return 0;
}

/* It ended before the mount was its own: no third process of it has seen that. false: one has, and has taken the mount off. */
static bool take_back(const struct supervisor *supervisor, pid_t pid, int process)
{
	struct pollfd fd = { process, POLLIN, 0 };
	int theirs = pid;

	return poll(&fd, 1, 0) == 1 && atomic_compare_exchange_strong(&supervisor->state->supervisor, &theirs, supervisor->pid);
}

/* From that store on the mount is PID's. */
static int give_away(struct supervisor *supervisor, int channel, pid_t pid, int process, struct error *err)
{
	int r = end_worker(supervisor, err), signal;

	if (r == 0)
		r = handover_give(channel, supervisor->config->keeper, err);
	if (r == 0)
		r = handover_await(channel, err);
	if (r < 0)
		return r;
	atomic_store(&supervisor->state->supervisor, pid);
	if (take_back(supervisor, pid, process))
		return error_set(err, -EPIPE, "the other process has ended");
	log_message(LOG_NOTICE, "process %d serves from now on, and this one ends", (int)pid);
	if (handover_confirm(channel, err) < 0)
		log_message(LOG_ERR, "process %d, which serves now, was not told so: %s", (int)pid, err->message);
	service_main_process(supervisor->service, pid);
	signal = signal_to_end_with(supervisor);
	if (signal)
		pidfd_send_signal(process, signal, NULL, 0);
	supervisor->status = 0;
	supervisor->over = true;
	return 0;
}

static void hand_over(struct supervisor *supervisor, int fd)
{
	cleanup_close int channel = fd, process = -EBADF;
	struct pollfd ending = { .events = POLLIN };
	struct error err = ERROR_INIT;
	pid_t pid;
	int r;

	process = process_at(channel, &pid);
	if (process < 0)
		return;
	r = handover_offer(channel, pid, supervisor->config->shared, supervisor->config->foreground ? STDERR_FILENO : -EBADF, &err);
	if (r == 0)
		r = give_away(supervisor, channel, pid, process, &err);
	if (r == 0)
		return;
	log_message(LOG_WARNING, "process %d was to serve, and does not: %s", (int)pid, err.message);
	cleanup_closep(&channel);
	channel = -EBADF;
	if (supervisor->worker >= 0 || supervisor->over)
		return;
	/* If it has a worker, that ends with it, and ours waits for that (worker_state_own()). */
	start_another(supervisor, 0);
	ending.fd = process;
	if (poll(&ending, 1, SAY_WHY_MS) != 1)
		pidfd_send_signal(process, SIGKILL, NULL, 0);
}

static void take_in(struct supervisor *supervisor)
{
	struct keeper_report report = KEEPER_REPORT_INIT;

	keeper_take_in(supervisor->config->keeper, &report);
	hear(supervisor, &report);
	if (report.successor >= 0 && supervisor->serves && !supervisor->stopping && !supervisor->over)
		hand_over(supervisor, report.successor);
	else if (report.successor >= 0)
		close(report.successor);
}

static void loop(struct supervisor *supervisor)
{
	struct pollfd fds[3] = { { supervisor->signal_fd, POLLIN, 0 }, { -EBADF, POLLIN, 0 }, { keeper_fd(supervisor->config->keeper), POLLIN, 0 } };
	struct signalfd_siginfo signal;
	bool taken = false; /* just now: what else is sent may wait */

	while (!supervisor->over) {
		int wait_ms = taken ? TAKE_IN_MS : service_store(supervisor->service), ready;

		if (wait_ms < 0 || wait_ms > LOOK_MS)
			wait_ms = LOOK_MS;
		fds[1].fd = supervisor->worker_fd;
		ready = poll(fds, taken ? 2 : 3, wait_ms);
		if (ready < 0)
			continue;
		taken = !taken && fds[2].revents;
		if (taken)
			take_in(supervisor);
		if (fds[1].revents || (ready == 0 && supervisor->worker > 0 && process_lingers(supervisor->worker)))
			await_end(supervisor);
		if (!(fds[0].revents & POLLIN) || read(supervisor->signal_fd, &signal, sizeof signal) != sizeof signal)
			continue;
		if (signal.ssi_signo == SIGCHLD)
			reap(supervisor);
		if (signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT) {
			supervisor->stopping = (int)signal.ssi_signo;
			if (supervisor->worker > 0)
				kill(supervisor->worker, supervisor->stopping);
		}
	}
}

int supervisor_run(const struct supervisor_config *config)
{
	struct supervisor supervisor = { .config = config, .state = worker_state_of(config->shared), .signal_fd = -EBADF, .pid = getpid(),
		.watcher = -1, .worker_fd = -EBADF, .status = 1 };
	struct error err = ERROR_INIT;
	sigset_t signals;
	int r;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored by who has started us, children would end unseen */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &supervisor.before);
	supervisor.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	r = supervisor.signal_fd < 0 ? -errno : 0;
	supervisor.service = service_new(supervisor.state->notify, config->shared, config->keeper);
	if (!config->inherited)
		atomic_store(&supervisor.state->supervisor, supervisor.pid);
	if (r == 0) {
		start_watcher(&supervisor);
		r = start_worker(&supervisor);
	}
	if (r < 0) {
		error_errno(&err, -r, "start the daemon");
		config->ready(config->arg, r, &err);
	} else {
		loop(&supervisor);
	}
	if (disown(&supervisor))
		service_forget(supervisor.service);
	service_free(supervisor.service);
	stop_watcher(&supervisor);
	cleanup_closep(&supervisor.worker_fd);
	if (supervisor.signal_fd >= 0)
		close(supervisor.signal_fd);
	sigprocmask(SIG_SETMASK, &supervisor.before, NULL);
	return supervisor.status;
}
