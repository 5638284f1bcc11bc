/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/control.h"
#include "fs/daemon.h"
#include "fs/mounts.h"
#include "fs/takeover.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/log.h"


#define FIRST_FD (STDERR_FILENO + 1)

/* ---- mount ---- */

struct foreground {
	int code;
	struct error err;
};

static void foreground_ready(void *arg, int code, const struct error *err)
{
	struct foreground *foreground = arg;

	foreground->code = code;
	foreground->err = *err;
	if (code == 0)
		log_message(LOG_NOTICE, "mounted; serving in the foreground");
}

/* The daemon's last word to the command that waits for it: the whole error, or one with code 0. */
static void report_ready(void *arg, int code, const struct error *err)
{
	int *pipe_fd = arg;
	struct error report = *err;

	report.code = code;
	io_write(*pipe_fd, &report, sizeof report);
	close(*pipe_fd);
	*pipe_fd = -EBADF;
}

/* What becomes a daemon. OPTIONS NULL: it goes on with what another one serves. */
struct start {
	const char *store_path, *name;
	const struct mount_options *options;
};

static __attribute__((noreturn)) void run_child(const struct start *start, int pipe_fd)
{
	int r;

	setsid();
	/* What the caller's shell had open would stay open as long as the mount: files of an older mount, say. */
	if (dup2(pipe_fd, FIRST_FD) < 0 || fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0 ||
		close_range(FIRST_FD + 1, ~0u, 0) < 0 || chdir("/") < 0)
		_exit(1);
	pipe_fd = FIRST_FD;
	if (start->options) {
		log_open("veneer", 0, start->options->verbose ? LOG_INFO : LOG_NOTICE);
		r = daemon_run(start->store_path, start->name, start->options, report_ready, &pipe_fd);
	} else {
		r = daemon_take_over(start->store_path, start->name, report_ready, &pipe_fd);
	}
	exit(r);
}

static int start_child(const struct start *start, struct error *err)
{
	cleanup_close int from_child = -EBADF;
	struct error report;
	int ends[2], status;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, errno, "start the daemon of component '%s'", start->name);
	from_child = ends[0];
	child = fork();
	if (child < 0) {
		close(ends[1]);
		return error_errno(err, errno, "start the daemon of component '%s'", start->name);
	}
	if (child == 0) {
		close(TAKE_FD(from_child));
		run_child(start, ends[1]);
	}
	close(ends[1]);
	if (io_read(from_child, &report, sizeof report) != sizeof report) {
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		return error_set(err, -EIO, "the daemon of component '%s' ended before its mount answered", start->name);
	}
	if (report.code < 0) {
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		report.message[sizeof report.message - 1] = '\0';
		return error_set(err, report.code, "%s", report.message);
	}
	return 0;
}

int mount_start(const char *store_path, const char *name, const struct mount_options *options,
	struct error *err)
{
	struct foreground foreground = { 0, ERROR_INIT };
	int r;

	if (!options->foreground)
		return start_child(&(struct start){ store_path, name, options }, err);
	log_open("veneer", 1, options->verbose ? LOG_INFO : LOG_NOTICE);
	r = daemon_run(store_path, name, options, foreground_ready, &foreground);
	if (foreground.code < 0)
		return error_set(err, foreground.code, "%s", foreground.err.message);
	return r != 0 ? error_set(err, -EIO, "the daemon of component '%s' has failed; see the log", name) : 0;
}

int mount_take_over(const char *store_path, const char *name, struct error *err)
{
	return start_child(&(struct start){ store_path, name, NULL }, err);
}

bool mount_resumes(void)
{
	const char *pid = getenv("LISTEN_PID");

	return pid && atoi(pid) == getpid();
}

/* ---- umount ---- */

int mount_stop(struct store *store, const struct component *component, bool *ret_lazy, struct error *err)
{
	cleanup_control struct control *control = NULL;
	bool ours, lazy = false;
	int r = mounts_find(component->directory, &ours, err);

	if (r < 0)
		return r;
	if (!ours)
		return error_set(err, -ENOENT, "component '%s' is not mounted on '%s'", component->name,
			component->directory);
	if (geteuid() != 0)
		return error_set(err, -EPERM, "unmounting needs root: run 'veneer umount %s' as root", component->name);
	/* A daemon that is dead, or busy, does not keep its mount. */
	if (control_open(store, component->name, &control, NULL) < 0)
		control = NULL;
	if (umount2(component->directory, UMOUNT_NOFOLLOW) < 0) {
		if (errno != EBUSY && errno != ENOTCONN)
			return error_errno(err, errno, "unmount '%s'", component->directory);
		if (umount2(component->directory, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
			return error_errno(err, errno, "unmount '%s'", component->directory);
		lazy = true;
	}
	if (control && control_simple(control, "detach", NULL, NULL) < 0)
		log_message(LOG_INFO, "the daemon of component '%s' has gone already", component->name);
	*ret_lazy = lazy;
	return 0;
}
