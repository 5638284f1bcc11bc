/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/fault/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store/base/cleanup.h"

#define ON_FILE(call, length_at) { #call, SYS_##call, .fd = 0, NO_PATHS, .length = length_at, .regular = true, .allocates = true }
#define ON_FD(call, room) { #call, SYS_##call, .fd = 0, NO_PATHS, .length = NO_ARGUMENT, .allocates = room }
#define ON_NAME(call, at, name, room) { #call, SYS_##call, .fd = NO_ARGUMENT, .directory = at, .path = name, ONE_PATH, .length = NO_ARGUMENT, .allocates = room }
#define MAKES(call, at, name) { #call, SYS_##call, .fd = NO_ARGUMENT, .directory = at, .path = name, ONE_PATH, .length = NO_ARGUMENT, .allocates = true, .makes = true }
#define REMOVES(call, at, name) { #call, SYS_##call, .fd = NO_ARGUMENT, .directory = at, .path = name, ONE_PATH, .length = NO_ARGUMENT, .removes = true }
#define ON_NAMES(call, at, name, at2, name2, room) { #call, SYS_##call, .fd = NO_ARGUMENT, .directory = at, .path = name, .directory2 = at2, .path2 = name2, \
	.flags = NO_ARGUMENT, .length = NO_ARGUMENT, .allocates = room }
#define OPENS(call, at, name, how) { #call, SYS_##call, .fd = NO_ARGUMENT, .directory = at, .path = name, .directory2 = NO_ARGUMENT, .path2 = NO_ARGUMENT, \
	.flags = how, .length = NO_ARGUMENT, .allocates = true }
#define NO_PATHS .directory = NO_ARGUMENT, .path = NO_ARGUMENT, ONE_PATH
#define ONE_PATH .directory2 = NO_ARGUMENT, .path2 = NO_ARGUMENT, .flags = NO_ARGUMENT
#define HERE AT_WORKING_DIRECTORY

static const struct call calls[] = {
	ON_FILE(write, 2), ON_FILE(pwrite64, 2), ON_FILE(writev, NO_ARGUMENT), ON_FILE(pwritev, NO_ARGUMENT), ON_FILE(pwritev2, NO_ARGUMENT),
	ON_FILE(sendfile, 3), ON_FILE(fallocate, NO_ARGUMENT),
	{ "copy_file_range", SYS_copy_file_range, .fd = 2, NO_PATHS, .length = 4, .regular = true, .allocates = true },
	{ "splice", SYS_splice, .fd = 2, NO_PATHS, .length = 4, .regular = true, .allocates = true },
	ON_FD(fsync, false), ON_FD(fdatasync, false), ON_FD(syncfs, false), ON_FD(sync_file_range, false), ON_FD(ftruncate, false),
	ON_FD(fchmod, false), ON_FD(fchown, false), ON_FD(fsetxattr, true), ON_FD(fremovexattr, false),
	OPENS(openat, 0, 1, 2), OPENS(openat2, 0, 1, 2),
	MAKES(mkdirat, 0, 1), MAKES(mknodat, 0, 1), MAKES(symlinkat, 1, 2), REMOVES(unlinkat, 0, 1),
	ON_NAME(fchmodat, 0, 1, false), ON_NAME(fchownat, 0, 1, false), ON_NAME(utimensat, 0, 1, false), ON_NAME(truncate, HERE, 0, false),
	ON_NAME(setxattr, HERE, 0, true), ON_NAME(lsetxattr, HERE, 0, true), ON_NAME(removexattr, HERE, 0, false),
	ON_NAME(lremovexattr, HERE, 0, false),
	ON_NAMES(linkat, 0, 1, 2, 3, true), ON_NAMES(renameat2, 0, 1, 2, 3, false),
#ifdef SYS_renameat
	ON_NAMES(renameat, 0, 1, 2, 3, false),
#endif
#ifdef SYS_open /* and all those that have a younger form, which newer architectures have alone */
	OPENS(open, HERE, 0, 1), ON_NAME(creat, HERE, 0, true),
	MAKES(mkdir, HERE, 0), MAKES(mknod, HERE, 0), MAKES(symlink, HERE, 1), REMOVES(unlink, HERE, 0),
	REMOVES(rmdir, HERE, 0), ON_NAME(chmod, HERE, 0, false), ON_NAME(chown, HERE, 0, false), ON_NAME(lchown, HERE, 0, false),
	ON_NAME(utime, HERE, 0, false), ON_NAME(utimes, HERE, 0, false), ON_NAME(futimesat, 0, 1, false),
	ON_NAMES(link, HERE, 0, HERE, 1, true), ON_NAMES(rename, HERE, 0, HERE, 1, false),
#endif
};

const struct call *call_find(int64_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].number == number)
			return &calls[i];
	return NULL;
}

size_t call_numbers(const int **ret)
{
	static int numbers[ARRAY_SIZE(calls)];

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		numbers[i] = calls[i].number;
	*ret = numbers;
	return ARRAY_SIZE(calls);
}

/* ---- another process's memory and descriptors ---- */

/* Up to SIZE bytes, of which some may lie in a page that is not there: as many as there are. */
static ssize_t memory_read(pid_t thread, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = { buffer, size }, remote = { (void *)(uintptr_t)address, size };

	return process_vm_readv(thread, &local, 1, &remote, 1, 0);
}

static bool memory_read_text(pid_t thread, uint64_t address, char text[PATH_MAX])
{
	size_t used = 0;

	while (address && used < PATH_MAX) {
		size_t part = 256 - (address + used) % 256; /* never across the end of a page */
		ssize_t n = memory_read(thread, address + used, text + used, part < PATH_MAX - used ? part : PATH_MAX - used);

		if (n <= 0)
			return false;
		if (memchr(text + used, '\0', (size_t)n))
			return true;
		used += (size_t)n;
	}
	return false;
}

static bool link_read(const char *link, char target[CALL_PATH_MAX])
{
	ssize_t n = readlink(link, target, CALL_PATH_MAX - 1);

	target[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

static bool descriptor_path(pid_t thread, int fd, char path[CALL_PATH_MAX])
{
	char link[64];

	if (fd == AT_FDCWD)
		snprintf(link, sizeof link, "/proc/%d/cwd", (int)thread);
	else
		snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)thread, fd);
	return link_read(link, path);
}

static bool descriptor_is_regular(pid_t thread, int fd)
{
	struct stat st;
	char link[64];

	snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)thread, fd);
	return stat(link, &st) == 0 && S_ISREG(st.st_mode);
}

/* Without "//", "/./", "/../" and a "/" at the end, in place. By the names alone: a symlink before a ".." is not looked at. */
static void path_tidy(char *path)
{
	char *to = path;

	for (char *from = path; *from;) {
		size_t length;

		from += strspn(from, "/");
		length = strcspn(from, "/");
		if (length == 2 && strncmp(from, "..", 2) == 0) {
			while (to > path && *--to != '/')
				;
		} else if (length > 0 && !(length == 1 && *from == '.')) {
			*to++ = '/';
			memmove(to, from, length);
			to += length;
		}
		from += length;
	}
	*to = '\0';
}

static bool name_path(pid_t thread, const uint64_t arguments[CALL_ARGUMENTS], int directory, int path, char ret[CALL_PATH_MAX])
{
	char name[PATH_MAX];
	size_t length;

	if (path == NO_ARGUMENT || !memory_read_text(thread, arguments[path], name))
		return false;
	if (name[0] == '/') {
		strcpy(ret, name); /* twice as large */
	} else {
		if (!descriptor_path(thread, directory >= 0 ? (int)arguments[directory] : AT_FDCWD, ret))
			return false;
		length = strlen(ret);
		if (*name && length + strlen(name) + 2 <= CALL_PATH_MAX)
			sprintf(ret + length, "/%s", name);
	}
	path_tidy(ret);
	return true;
}

static bool is_beneath(const char *path, const char *root)
{
	size_t length = strlen(root);

	return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static uint64_t open_flags(pid_t thread, const struct call *call, const uint64_t arguments[CALL_ARGUMENTS])
{
	uint64_t flags = arguments[call->flags];

	if (call->number == SYS_openat2 && memory_read(thread, arguments[call->flags], &flags, sizeof flags) != sizeof flags)
		return 0;
	return flags;
}

static bool open_makes(pid_t thread, const struct call *call, const uint64_t arguments[CALL_ARGUMENTS])
{
	uint64_t flags = open_flags(thread, call, arguments);

	return (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;
}

static bool open_truncates(pid_t thread, const struct call *call, const uint64_t arguments[CALL_ARGUMENTS])
{
	return open_flags(thread, call, arguments) & O_TRUNC;
}

/* It will find that what it would make is there already. */
static bool changes_nothing(pid_t thread, const struct call *call, const uint64_t arguments[CALL_ARGUMENTS], const struct durable_call *durable)
{
	struct stat st;

	if (call->flags != NO_ARGUMENT)
		return !durable->makes && !open_truncates(thread, call, arguments);
	if (call->path2 != NO_ARGUMENT && call->allocates) /* a link */
		return lstat(durable->path2, &st) == 0;
	if (call->makes)
		return !durable->makes;
	return call->removes && durable->makes;
}

bool call_examine(pid_t thread, const char *root, int64_t number, const uint64_t arguments[CALL_ARGUMENTS], struct durable_call *ret)
{
	const struct call *call = call_find(number);
	struct stat st;

	*ret->path = *ret->path2 = '\0';
	ret->call = call;
	ret->makes = false;
	if (!call || (call->flags != NO_ARGUMENT && !open_makes(thread, call, arguments)))
		return false;
	if (call->fd != NO_ARGUMENT)
		return descriptor_path(thread, (int)arguments[call->fd], ret->path) && is_beneath(ret->path, root) &&
			(!call->regular || descriptor_is_regular(thread, (int)arguments[call->fd]));
	name_path(thread, arguments, call->directory, call->path, ret->path);
	name_path(thread, arguments, call->directory2, call->path2, ret->path2);
	ret->makes = lstat(ret->path, &st) < 0 || (call->flags != NO_ARGUMENT && S_ISDIR(st.st_mode)); /* an open of a directory: O_TMPFILE */
	if (!is_beneath(ret->path, root) && !is_beneath(ret->path2, root))
		return false;
	return !changes_nothing(thread, call, arguments, ret);
}

bool call_needs_room(const struct durable_call *durable)
{
	return durable->call->allocates && (durable->call->flags == NO_ARGUMENT || durable->makes);
}
