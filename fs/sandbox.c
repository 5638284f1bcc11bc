/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/mounts.h"
#include "fs/sandbox_internal.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"

#define XATTR_NAMES_MAX 65536
#define XATTR_VALUE_MAX 65536
#define STATVFS_NOSYMFOLLOW 0x2000u /* Linux 5.10; headers of older libraries lack it */

/* ---- the layer's own directory ---- */

/* Marks of an overlay that the base may lie on are not ours to copy. */
static bool is_copied(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) != 0;
}

static int copy_attribute(const char *from, int to, const char *name, char *value)
{
	ssize_t size = getxattr(from, name, value, XATTR_VALUE_MAX);

	if (size < 0)
		return errno == ENODATA ? 0 : -errno;
	return fsetxattr(to, name, value, (size_t)size, 0) < 0 ? -errno : 0;
}

static int copy_attributes(int basefd, int to, struct error *err)
{
	cleanup_free char *names = malloc(XATTR_NAMES_MAX), *value = malloc(XATTR_VALUE_MAX);
	char from[64];
	ssize_t size;

	if (!names || !value)
		return error_errno(err, ENOMEM, "the directory's attributes");
	snprintf(from, sizeof from, "/proc/self/fd/%d", basefd);
	size = listxattr(from, names, XATTR_NAMES_MAX);
	if (size < 0 && errno == EOPNOTSUPP)
		return 0;
	if (size < 0)
		return error_errno(err, errno, "read the directory's attributes");
	for (const char *name = names; name < names + size; name += strlen(name) + 1) {
		int r = is_copied(name) ? copy_attribute(from, to, name, value) : 0;

		if (r < 0)
			return error_errno(err, -r, "copy the directory's attribute '%s' to the store's filesystem",
				name);
	}
	return 0;
}

/* Of the root of an overlay, the kernel shows what the upper directory has. */
static int dress_upper(int basefd, int upperfd, struct error *err)
{
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstat(basefd, &st) < 0)
		return error_errno(err, errno, "the component's directory");
	if (fchown(upperfd, st.st_uid, st.st_gid) < 0 || fchmod(upperfd, st.st_mode & 07777) < 0)
		return error_errno(err, errno, "owner and mode of the upper layer");
	r = copy_attributes(basefd, upperfd, err);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (r == 0 && futimens(upperfd, times) < 0)
		r = error_errno(err, errno, "times of the upper layer");
	return r;
}

/* ---- the overlay ---- */

/* What is forbidden on the base's mount stays so. Read-only is no hindrance: nothing is written there. */
static unsigned mount_attributes(int basefd)
{
	static const struct {
		unsigned long here;
		unsigned there;
	} flags[] = {
		{ ST_NOSUID, MOUNT_ATTR_NOSUID },
		{ ST_NODEV, MOUNT_ATTR_NODEV },
		{ ST_NOEXEC, MOUNT_ATTR_NOEXEC },
		{ STATVFS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
	};
	struct statvfs st;
	unsigned attributes = 0;

	if (fstatvfs(basefd, &st) < 0)
		return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		attributes |= st.f_flag & flags[i].here ? flags[i].there : 0;
	return attributes;
}

static int set_directory(int fsfd, const char *key, int fd)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return fsconfig(fsfd, FSCONFIG_SET_STRING, key, path, 0) < 0 ? -errno : 0;
}

static int configure(int fsfd, int basefd, int upperfd, int workfd, bool is_volatile)
{
	static const char *const options[][2] = { { "redirect_dir", "on" }, { "metacopy", "off" },
		{ "index", "off" } };
	int r = set_directory(fsfd, "lowerdir", basefd);

	if (r == 0)
		r = set_directory(fsfd, "upperdir", upperfd);
	if (r == 0)
		r = set_directory(fsfd, "workdir", workfd);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(options); i++)
		if (fsconfig(fsfd, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) < 0)
			r = -errno;
	if (r == 0 && is_volatile && fsconfig(fsfd, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
		r = -errno;
	if (r == 0 && fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = -errno;
	return r;
}

/* What the kernel has to say about it, "e overlay: …": its first line, without the letter. */
static void kernel_words(int fsfd, char *text, size_t size)
{
	ssize_t n = read(fsfd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (n > 2 && text[1] == ' ')
		memmove(text, text + 2, strlen(text + 2) + 1);
}

static int open_overlay(int basefd, int upperfd, int workfd, bool is_volatile, struct error *err)
{
	cleanup_close int fsfd = fsopen("overlay", FSOPEN_CLOEXEC);
	char words[256];
	int r, fd;

	if (fsfd < 0 && errno == EPERM)
		return error_set(err, -EPERM, "only root may record: a mount namespace has to be made");
	if (fsfd < 0)
		return error_errno(err, errno, "no overlayfs in this kernel");
	r = configure(fsfd, basefd, upperfd, workfd, is_volatile);
	if (r < 0) {
		kernel_words(fsfd, words, sizeof words);
		return error_errno(err, -r, "overlayfs cannot be laid over the directory, with the changes in the store (%s): give a changed copy of it to 'veneer create --from'",
			*words ? words : "the kernel's log says why");
	}
	fd = fsmount(fsfd, FSMOUNT_CLOEXEC, mount_attributes(basefd));
	return fd < 0 ? error_errno(err, errno, "mount an overlayfs") : fd;
}

int sandbox_prepare(struct store *store, const struct component *component, int basefd, struct sandbox *sandbox,
	struct error *err)
{
	cleanup_close int workfd = -EBADF;
	cleanup_free char *beneath = NULL;
	struct error first = ERROR_INIT;
	int r = mounts_find_beneath(component->directory, &beneath, err);

	if (r == 0 && beneath)
		r = error_set(err, -EBUSY,
			"a mount at '%s' lies beneath the component's directory, and what is in it could not be recorded: take it off first",
			beneath);
	if (r == 0)
		r = sandbox_make_directory(store, sandbox, err);
	if (r == 0)
		r = dress_upper(basefd, sandbox->upper_fd, err);
	if (r < 0)
		return r;
	workfd = openat(sandbox->directory_fd, "work", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (workfd < 0)
		return error_errno(err, errno, "directory '%s/run/%s/work'", store->path, sandbox->name);
	sandbox->mount_fd = open_overlay(basefd, sandbox->upper_fd, workfd, true, &first);
	/* `volatile` came with Linux 5.10. */
	if (sandbox->mount_fd == -EINVAL)
		sandbox->mount_fd = open_overlay(basefd, sandbox->upper_fd, workfd, false, &first);
	if (sandbox->mount_fd < 0)
		return error_set(err, sandbox->mount_fd, "component '%s': %s", component->name, first.message);
	return 0;
}

/* ---- the keeper, seen from here ---- */

static int start_keeper(struct sandbox *sandbox, const struct sandbox_job *job, struct error *err)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "socket");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		sandbox_keep(sandbox, job, pair[1]);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return error_errno(err, errno, "fork");
	}
	sandbox->keeper = pid;
	sandbox->channel = pair[0];
	/* The mount belongs to the keeper: nothing may hold it when that is done. */
	cleanup_closep(&sandbox->mount_fd);
	sandbox->mount_fd = -EBADF;
	return 0;
}

/* What a person's key sent, the terminal sent to the command as well. */
static void pass_on(const struct sandbox *sandbox, int signal_fd)
{
	struct signalfd_siginfo info;
	struct sandbox_order order;

	if (read(signal_fd, &info, sizeof info) != sizeof info || info.ssi_code == SI_KERNEL)
		return;
	order.signal = (int)info.ssi_signo;
	send(sandbox->channel, &order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int await_report(const struct sandbox *sandbox, int signal_fd, struct sandbox_result *ret, struct error *err)
{
	struct pollfd fds[] = { { .fd = sandbox->channel, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN } };
	struct sandbox_report report;
	ssize_t n;

	do {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return error_errno(err, errno, "wait for the command");
		if (fds[1].revents)
			pass_on(sandbox, signal_fd);
	} while (!fds[0].revents);
	do
		n = recv(sandbox->channel, &report, sizeof report, 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof report)
		return error_set(err, -ECHILD, "the process that keeps the command was killed");
	if (report.code < 0) {
		report.message[sizeof report.message - 1] = '\0';
		return error_set(err, report.code, "%s", report.message);
	}
	*ret = report.result;
	return 0;
}

static int run_job(struct sandbox *sandbox, const struct sandbox_job *job, const sigset_t *watched,
	struct sandbox_result *ret, struct error *err)
{
	cleanup_close int signal_fd = signalfd(-1, watched, SFD_CLOEXEC | SFD_NONBLOCK);
	int r;

	if (signal_fd < 0)
		return error_errno(err, errno, "signalfd");
	r = start_keeper(sandbox, job, err);
	return r < 0 ? r : await_report(sandbox, signal_fd, ret, err);
}

int sandbox_run(struct sandbox *sandbox, const struct component *component, const char *const *command,
	struct sandbox_result *ret, struct error *err)
{
	cleanup_free char *working_directory = getcwd(NULL, 0);
	struct sandbox_job job = { .directory = component->directory, .command = (char *const *)command };
	sigset_t watched;
	int r = mounts_find(component->directory, &job.mounted, err);

	if (r < 0)
		return r;
	if (working_directory && path_is_beneath(working_directory, component->directory))
		job.working_directory = working_directory;
	sigemptyset(&watched);
	sigaddset(&watched, SIGINT);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGHUP);
	sigaddset(&watched, SIGQUIT);
	if (sigprocmask(SIG_BLOCK, &watched, &job.signals) < 0)
		return error_errno(err, errno, "signals");
	r = run_job(sandbox, &job, &watched, ret, err);
	/* From now on a signal ends us as it would anybody: the keeper removes what we leave. */
	sigprocmask(SIG_SETMASK, &job.signals, NULL);
	return r;
}

void sandbox_release(struct sandbox *sandbox)
{
	cleanup_closep(&sandbox->mount_fd);
	cleanup_closep(&sandbox->upper_fd);
	/* The keeper takes this for the order to clean up. */
	cleanup_closep(&sandbox->channel);
	while (sandbox->keeper > 0 && waitpid(sandbox->keeper, NULL, 0) < 0 && errno == EINTR)
		;
	sandbox_remove_directory(sandbox);
	cleanup_closep(&sandbox->directory_fd);
	cleanup_closep(&sandbox->run_fd);
	*sandbox = (struct sandbox)SANDBOX_INIT;
}

/* ---- results ---- */

bool sandbox_succeeded(const struct sandbox_result *result)
{
	return result->exec_errno == 0 && WIFEXITED(result->wait_status) && WEXITSTATUS(result->wait_status) == 0;
}

int sandbox_exit_status(const struct sandbox_result *result)
{
	if (result->exec_errno != 0)
		return result->exec_errno == ENOENT ? 127 : 126;
	if (WIFSIGNALED(result->wait_status))
		return 128 + WTERMSIG(result->wait_status);
	return WEXITSTATUS(result->wait_status);
}
