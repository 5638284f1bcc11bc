/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "fs/mounts.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/git/repo.h"

#define RETURN_TO "VENEER_RETURN_TO" /* environment: descriptors of mount namespace, root and working directory that it came from, and its version */
#define ARGUMENTS_BYTES_MAX (1u << 20)
#define ARGUMENTS_MAX 4096u

/* ---- what is mapped ---- */

static int is_at(void *arg, const char *path, dev_t device)
{
	return device == *(const dev_t *)arg;
}

int bare_check(struct error *err)
{
	cleanup_fclose FILE *maps = fopen("/proc/self/maps", "re");
	cleanup_free char *line = NULL;
	size_t alloc = 0;

	if (!maps)
		return error_errno(err, errno, "read '/proc/self/maps'");
	while (getline(&line, &alloc, maps) > 0) {
		unsigned major, minor;
		int path = 0;
		dev_t device;
		int r;

		/* proc_pid_maps(5): address, rights, offset, device, inode, path */
		if (sscanf(line, "%*s %*s %*s %x:%x %*s %n", &major, &minor, &path) != 2 || (major == 0 && minor == 0))
			continue;
		device = makedev(major, minor);
		r = mounts_each_ours(is_at, &device, err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		return error_set(err, -EDEADLK, "this program has '%s' mapped, which lies under a mount of veneer's: it would wait for itself",
			path ? line + path : "a file");
	}
	return ferror(maps) ? error_errno(err, EIO, "read '/proc/self/maps'") : 0;
}

/* ---- there ---- */

/* One of them, for the list is another one then. */
static int take_off(void *arg, const char *path, dev_t device)
{
	return umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) == 0;
}

static int leave_mounts(struct error *err)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, errno, "a mount namespace of its own");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return errno == EINVAL ? error_set(err, -EINVAL, "the root directory of this process is no mount point: run it outside of chroot(2)") :
					 error_errno(err, errno, "keep mounts to itself");
	do
		r = mounts_each_ours(take_off, NULL, err);
	while (r > 0);
	return r;
}

/* The arguments of this process, as it was started; both the caller's to free. */
static int read_arguments(struct strbuf *text, char ***ret, struct error *err)
{
	cleanup_close int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	cleanup_free char **arguments = calloc(ARGUMENTS_MAX + 1, sizeof *arguments);
	size_t count = 0;
	int r = fd < 0 ? -errno : io_read_all(fd, ARGUMENTS_BYTES_MAX, text);

	if (r < 0)
		return error_errno(err, -r, "read '/proc/self/cmdline'");
	if (!arguments)
		return error_errno(err, ENOMEM, "begin anew");
	for (size_t at = 0; at < text->len && count < ARGUMENTS_MAX; at += strlen(text->buf + at) + 1)
		arguments[count++] = text->buf + at;
	*ret = TAKE_PTR(arguments);
	return 0;
}

static int begin_anew(struct error *err)
{
	cleanup_close int namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
			  directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	cleanup_free char **arguments = NULL;
	char path[PATH_MAX], value[48 + sizeof VENEER_VERSION];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
	int r = length < 0 || namespace < 0 || root < 0 || directory < 0 ? error_errno(err, errno, "begin anew") : read_arguments(&text, &arguments, err);

	if (r == 0)
		r = leave_mounts(err);
	if (r < 0)
		return r;
	path[length] = '\0';
	snprintf(value, sizeof value, "%d %d %d " VENEER_VERSION, namespace, root, directory);
	if (fcntl(namespace, F_SETFD, 0) < 0 || fcntl(root, F_SETFD, 0) < 0 || fcntl(directory, F_SETFD, 0) < 0 ||
		setenv(RETURN_TO, value, 1) < 0)
		return error_errno(err, errno, "begin anew");
	execv(path, arguments);
	return error_errno(err, errno, "execute '%s' from the bare directories", path);
}

/* ---- and back ---- */

static int come_back(const char *value, struct error *err)
{
	int namespace = -EBADF, root = -EBADF, directory = -EBADF, end = 0, r = 0;

	if (sscanf(value, "%d %d %d %n", &namespace, &root, &directory, &end) != 3 || !end || ioctl(namespace, NS_GET_NSTYPE) != CLONE_NEWNS)
		return error_set(err, -EINVAL, "the variable %s of the environment is not this program's: unset it", RETURN_TO);
	/* What a patch serves in its place may be another one. */
	if (strcmp(value + end, VENEER_VERSION) != 0)
		r = error_set(err, -EPROTO, "the program beneath the mount is veneer %s, not %s: install that there first", VENEER_VERSION, value + end);
	unsetenv(RETURN_TO);
	if (r == 0 && (setns(namespace, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0 || fchdir(directory) < 0))
		r = error_errno(err, errno, "return to the mount namespace that it came from");
	close(namespace);
	close(root);
	close(directory);
	return r;
}

int bare_begin(struct error *err)
{
	const char *value = getenv(RETURN_TO);
	int r = repo_prepare(err); /* what will be mapped is */

	tzset(); /* and what gmtime_r(3) reads once was read */
	if (r < 0)
		return r;
	if (value) {
		r = come_back(value, err);
		return r < 0 ? r : bare_check(err);
	}
	r = bare_check(NULL);
	if (r != -EDEADLK)
		return r < 0 ? bare_check(err) : 0;
	return begin_anew(err);
}
