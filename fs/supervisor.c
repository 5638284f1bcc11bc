/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"

#define DELAY_MIN_MS 10
#define DELAY_MAX_MS 1000
#define TAKE_IN_MS 10 /* how long what the worker sends may wait in its socket */

struct supervisor {
	const struct supervisor_config *config;
	struct worker_state *state;
	sigset_t before; /* the signal mask that it was called with */
	int signal_fd;
	pid_t pid, worker, watcher;
	bool ready;	  /* a worker has served */
	bool serves;	  /* this one does */
	int stopping;	  /* the signal that it is to end with, for each worker that there will be; 0: none */
	unsigned crashes; /* in a row */
	unsigned killed;  /* in a row, by SIGKILL before they served */
	uint64_t crashed_ns;
	int status;
};

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
	if (!supervisor->state->detached) {
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
	/* What is sent to it before it takes signals waits. */
	exit(config->work(config->arg, first));
}

static int start_worker(struct supervisor *supervisor)
{
	pid_t pid;

	supervisor->state->workers++;
	pid = fork();
	if (pid == 0)
		be_worker(supervisor, supervisor->state->workers == 1);
	supervisor->serves = false;
	supervisor->worker = pid;
	if (pid > 0 && supervisor->stopping)
		kill(pid, supervisor->stopping);
	return pid < 0 ? -errno : 0;
}

static void take_in(struct supervisor *supervisor)
{
	struct keeper_report report = { .ready = false };

	keeper_take_in(supervisor->config->keeper, &report);
	if (!report.ready)
		return;
	supervisor->serves = report.code == 0;
	if (!supervisor->ready)
		supervisor->config->ready(supervisor->config->arg, report.code, &report.err);
	else if (report.code == 0)
		log_message(LOG_NOTICE, "another worker serves, %.1f ms after the last one ended",
			(double)(clock_monotonic_ns() - supervisor->state->ended_ns) / 1e6);
	else
		log_message(LOG_ERR, "a worker could not begin to serve: %s", report.err.message);
	supervisor->ready = true;
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

/* true: it is over. */
static bool worker_ended(struct supervisor *supervisor, int status)
{
	struct error err = ERROR_INIT;
	int delay;

	take_in(supervisor);
	if (WIFEXITED(status)) {
		supervisor->status = WEXITSTATUS(status);
		if (!supervisor->ready) {
			error_set(&err, -EIO, "the daemon ended before its mount answered");
			supervisor->config->ready(supervisor->config->arg, err.code, &err);
		}
		if (supervisor->status == 0 || !supervisor->ready || supervisor->state->workers == 1)
			return true;
	}
	if (!supervisor->ready) {
		error_set(&err, -EIO, "the daemon was killed before its mount answered");
		supervisor->config->ready(supervisor->config->arg, err.code, &err);
		supervisor->config->give_up(supervisor->config->arg);
		supervisor->status = 1;
		return true;
	}
	delay = judge(supervisor, end_of(supervisor, status));
	while (delay >= 0) {
		nanosleep(&(struct timespec){ .tv_sec = delay / 1000, .tv_nsec = delay % 1000 * 1000000L }, NULL);
		if (start_worker(supervisor) == 0)
			return false;
		log_message(LOG_ERR, "no worker can be started: %s", error_text(errno));
		delay = judge(supervisor, END_NOT_BEGUN);
	}
	give_up(supervisor);
	return true;
}

/* Whoever has ended. true: it is over. */
static bool reap(struct supervisor *supervisor)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == supervisor->watcher && WIFSIGNALED(status))
			start_watcher(supervisor);
		else if (pid == supervisor->watcher)
			log_message(LOG_WARNING, "nobody watches the daemon any more: were it killed, its mount would stay, dead");
		else if (pid == supervisor->worker && worker_ended(supervisor, status))
			return true;
	}
	return false;
}

static void loop(struct supervisor *supervisor)
{
	struct pollfd fds[2] = { { supervisor->signal_fd, POLLIN, 0 }, { keeper_fd(supervisor->config->keeper), POLLIN, 0 } };
	struct signalfd_siginfo signal;
	bool taken = false; /* just now: what else is sent may wait */

	for (;;) {
		if (poll(fds, taken ? 1 : 2, taken ? TAKE_IN_MS : -1) < 0)
			continue;
		taken = !taken && fds[1].revents;
		if (taken)
			take_in(supervisor);
		if (!(fds[0].revents & POLLIN) || read(supervisor->signal_fd, &signal, sizeof signal) != sizeof signal)
			continue;
		if (signal.ssi_signo == SIGCHLD && reap(supervisor))
			return;
		if (signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT) {
			supervisor->stopping = (int)signal.ssi_signo;
			kill(supervisor->worker, supervisor->stopping);
		}
	}
}

int supervisor_run(const struct supervisor_config *config)
{
	struct supervisor supervisor = { .config = config, .state = worker_state_of(config->shared), .signal_fd = -EBADF, .pid = getpid(),
		.watcher = -1, .status = 1 };
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
	supervisor.state->detached = 1;
	stop_watcher(&supervisor);
	if (supervisor.signal_fd >= 0)
		close(supervisor.signal_fd);
	sigprocmask(SIG_SETMASK, &supervisor.before, NULL);
	return supervisor.status;
}
