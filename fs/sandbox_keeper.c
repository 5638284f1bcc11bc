/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/sandbox_internal.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"

#define SEAL_TRIES 100u
#define SEAL_INTERVAL_MS 10

struct keeper {
	struct sandbox *sandbox;
	const struct sandbox_job *job;
	int channel;
	pid_t command;
	bool attached; /* the overlay is the topmost mount at the directory, in a namespace of our own */
	bool alone; /* the caller has let go, or is dead */
};

/* ---- the namespace ---- */

static int attach(struct keeper *keeper, struct error *err)
{
	const struct sandbox_job *job = keeper->job;

	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, errno, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		if (errno != EINVAL)
			return error_errno(err, errno, "keep the namespace's mounts private");
		return error_set(err, -EINVAL,
			"the root directory is no mount point, as in a chroot(1), and what the command sees cannot be kept private: bind the new root onto itself before, with 'mount --bind ROOT ROOT'");
	}
	/* Else the namespace would hold the filesystem, and its daemon, while others take it off. */
	if (job->mounted && umount2(job->directory, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return error_errno(err, errno, "take the mount off '%s' in the namespace", job->directory);
	if (move_mount(keeper->sandbox->mount_fd, "", AT_FDCWD, job->directory, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, errno, "attach the overlay at '%s'", job->directory);
	keeper->attached = true;
	if (job->working_directory && chdir(job->working_directory) < 0)
		return error_errno(err, errno, "the working directory '%s' is not in the base: start from another one",
			job->working_directory);
	return 0;
}

static void detach(const struct keeper *keeper)
{
	if (keeper->attached)
		umount2(keeper->job->directory, MNT_DETACH | UMOUNT_NOFOLLOW);
	close(keeper->sandbox->mount_fd);
}

static int make_read_only(int mount_fd)
{
	cleanup_close int fd = fspick(mount_fd, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);

	if (fd < 0 || fsconfig(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
		fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return -errno;
	return 0;
}

/* Nobody writes to the layer any more, or -EBUSY. A file of a process that was killed may be closed a little later. */
static int seal(const struct keeper *keeper, struct error *err)
{
	const struct timespec interval = { .tv_nsec = SEAL_INTERVAL_MS * 1000000l };
	int r = make_read_only(keeper->sandbox->mount_fd);

	for (unsigned i = 0; r == -EBUSY && i < SEAL_TRIES; i++) {
		nanosleep(&interval, NULL);
		r = make_read_only(keeper->sandbox->mount_fd);
	}
	if (r == -EBUSY)
		return error_set(err, r,
			"a process that the command did not start still has a file below '%s' open from it: no patch is made",
			keeper->job->directory);
	return r < 0 ? error_errno(err, -r, "make the overlay at '%s' read-only", keeper->job->directory) : 0;
}

/* ---- the command ---- */

/* Only what a forked child may do; the caller had one thread. */
static _Noreturn void become_command(const struct sandbox_job *job, pid_t keeper, int errno_fd)
{
	int problem = 0;

	/* Who kills the keeper does not mean the command to go on writing to nowhere. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || sigprocmask(SIG_SETMASK, &job->signals, NULL) < 0)
		problem = errno;
	else if (getppid() != keeper)
		problem = ECHILD;
	if (problem == 0) {
		execvp(job->command[0], job->command);
		problem = errno;
	}
	io_write(errno_fd, &problem, sizeof problem);
	_exit(127);
}

static int start_command(struct keeper *keeper, struct sandbox_result *result, struct error *err)
{
	const pid_t self = getpid();
	int ends[2], problem;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	keeper->command = fork();
	if (keeper->command == 0)
		become_command(keeper->job, self, ends[1]);
	close(ends[1]);
	/* execve(2) closes the other end. */
	if (keeper->command > 0 && io_read(ends[0], &problem, sizeof problem) == sizeof problem)
		result->exec_errno = problem;
	close(ends[0]);
	return keeper->command < 0 ? error_errno(err, errno, "fork") : 0;
}

/* Reap what has ended, strays too. True: the command has. */
static bool reap(const struct keeper *keeper, struct sandbox_result *result)
{
	bool ended = false;
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != keeper->command)
			continue;
		result->wait_status = status;
		ended = true;
	}
	return ended;
}

static void hear(struct keeper *keeper)
{
	struct sandbox_order order;
	ssize_t n = recv(keeper->channel, &order, sizeof order, MSG_DONTWAIT);

	if (n == sizeof order) {
		kill(keeper->command, order.signal);
	} else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		keeper->alone = true;
		kill(keeper->command, SIGKILL);
	}
}

static int await_command(struct keeper *keeper, int child_fd, struct sandbox_result *result, struct error *err)
{
	struct pollfd fds[] = { { .fd = child_fd, .events = POLLIN },
		{ .fd = keeper->channel, .events = POLLIN } };

	while (!reap(keeper, result)) {
		struct signalfd_siginfo info;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return error_errno(err, errno, "wait for the command");
		if (fds[0].revents)
			(void)!read(child_fd, &info, sizeof info);
		if (fds[1].revents)
			hear(keeper);
		if (keeper->alone)
			fds[1].fd = -1;
	}
	return 0;
}

/* ---- what it leaves behind ---- */

/* The parent of PID, from /proc/PID/stat: "PID (NAME) STATE PARENT …", and NAME may hold anything. */
static pid_t parent_of(const char *pid)
{
	char path[64], text[512];
	cleanup_close int fd = -EBADF;
	const char *after;
	ssize_t n;
	int parent;

	snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : io_read(fd, text, sizeof text - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	after = strrchr(text, ')');
	return after && sscanf(after, ") %*c %d", &parent) == 1 ? parent : -1;
}

static void kill_children(void)
{
	cleanup_closedir DIR *proc = opendir("/proc");
	struct dirent *entry;
	int pid;

	while (proc && (entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]) && sscanf(entry->d_name, "%d", &pid) == 1 &&
			parent_of(entry->d_name) == getpid())
			kill(pid, SIGKILL);
}

/*
 * Each child that dies leaves its own children to us, so in the end none is left. Nobody else reaps ours,
 * hence none of the ids is another process's meanwhile.
 */
static unsigned kill_strays(void)
{
	unsigned killed = 0;
	int status;

	for (;;) {
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0) {
			kill_children();
			pid = waitpid(-1, &status, 0);
		}
		if (pid < 0 && errno != EINTR)
			return killed;
		if (pid > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			killed++;
	}
}

/* ---- its life ---- */

static int run_command(struct keeper *keeper, struct sandbox_result *result, struct error *err)
{
	cleanup_close int child_fd = -EBADF;
	sigset_t child;
	int r;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	child_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (child_fd < 0)
		return error_errno(err, errno, "signalfd");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return error_errno(err, errno, "adopt processes");
	r = attach(keeper, err);
	if (r == 0)
		r = start_command(keeper, result, err);
	if (r == 0)
		r = await_command(keeper, child_fd, result, err);
	result->killed = kill_strays();
	if (r == 0 && sandbox_succeeded(result))
		r = seal(keeper, err);
	return r;
}

_Noreturn void sandbox_keep(struct sandbox *sandbox, const struct sandbox_job *job, int channel)
{
	struct keeper keeper = { .sandbox = sandbox, .job = job, .channel = channel };
	struct sandbox_report report = { .code = 0 };
	struct error err = ERROR_INIT;
	struct sandbox_order order;
	ssize_t n;

	/* As the caller may have been told to ignore it, and then nobody could be waited for. */
	signal(SIGCHLD, SIG_DFL);
	report.code = run_command(&keeper, &report.result, &err);
	memcpy(report.message, err.message, sizeof report.message);
	detach(&keeper);
	send(channel, &report, sizeof report, MSG_NOSIGNAL);
	do
		n = keeper.alone ? 0 : recv(channel, &order, sizeof order, 0);
	while (n > 0 || (n < 0 && errno == EINTR));
	sandbox_remove_directory(sandbox);
	_exit(0);
}
