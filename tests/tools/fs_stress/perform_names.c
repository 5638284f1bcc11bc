/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on names and directories. */
#include "stress.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"

#define NUMBER(i) (operation->number[i])
#define LISTED_MAX 2000
#define WALK_NAMES 40

PERFORM(mkdir)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	mode_t old = umask((mode_t)NUMBER(1));

	result_set(ret, mkdirat(at, path, (mode_t)NUMBER(0)));
	umask(old);
}

PERFORM(rmdir)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);

	result_set(ret, unlinkat(at, path, AT_REMOVEDIR));
}

PERFORM(mknod)
{
	static const mode_t types[] = { S_IFIFO, S_IFSOCK, S_IFCHR, S_IFREG };
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	mode_t old = umask((mode_t)NUMBER(2));

	/* A device that gives zeros, whoever opens it. */
	result_set(ret, mknodat(at, path, types[NUMBER(0) % 4] | (mode_t)NUMBER(1), NUMBER(0) % 4 == 2 ? makedev(1, 5) : 0));
	if (ret->value == 0)
		note_path(side, at, path, NOTE_PIPE_WRITTEN, false);
	umask(old);
}

PERFORM(symlink)
{
	static const char *const targets[] = { "a", "b", "c/d", "./e", ".", "a/b/c", "nowhere", NULL };
	char path[REAL_PATH_ROOM], longest[1001];
	int at = path_resolve(side, operation->path[0], path);
	const char *target = targets[NUMBER(0) % 8];

	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	result_set(ret, symlinkat(target ? target : longest, at, path));
}

PERFORM(readlink)
{
	char path[REAL_PATH_ROOM], target[2000];
	int at = path_resolve(side, operation->path[0], path);

	result_set(ret, readlinkat(at, path, target, sizeof target));
	if (ret->value > 0)
		snprintf(ret->text, TEXT_ROOM, "%.*s", (int)ret->value, target);
}

PERFORM(link)
{
	char from[REAL_PATH_ROOM], to[REAL_PATH_ROOM];
	int from_at = path_resolve(side, operation->path[0], from), to_at = path_resolve(side, operation->path[1], to);

	result_set(ret, linkat(from_at, from, to_at, to, NUMBER(0) ? AT_SYMLINK_FOLLOW : 0));
}

PERFORM(relink)
{
	char path[REAL_PATH_ROOM], link[64];
	int at = path_resolve(side, operation->path[0], path);

	if (side_slot(side, NUMBER(0)) < 0) {
		result_set(ret, 0);
		return;
	}
	snprintf(link, sizeof link, "/proc/self/fd/%d", side_slot(side, NUMBER(0)));
	result_set(ret, linkat(AT_FDCWD, link, at, path, AT_SYMLINK_FOLLOW));
}

PERFORM(unlink)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);

	result_set(ret, unlinkat(at, path, 0));
}

PERFORM(rename)
{
	char from[REAL_PATH_ROOM], to[REAL_PATH_ROOM];
	int from_at = path_resolve(side, operation->path[0], from), to_at = path_resolve(side, operation->path[1], to);

	result_set(ret, renameat2(from_at, from, to_at, to, (unsigned)NUMBER(0)));
}

PERFORM(truncate)
{
	char path[REAL_PATH_ROOM], whole[REAL_PATH_ROOM + 64];
	int at = path_resolve(side, operation->path[0], path);

	/* There is no truncateat(2). */
	if (at != AT_FDCWD && fchdir(at) < 0) {
		result_set(ret, -1);
		return;
	}
	snprintf(whole, sizeof whole, "%s", path);
	result_set(ret, truncate(whole, NUMBER(0)));
}

/* ---- what is said of a file ---- */

static int follow_flag(int64_t follow)
{
	return follow ? 0 : AT_SYMLINK_NOFOLLOW;
}

PERFORM(chmod)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);

	result_set(ret, fchmodat(at, path, (mode_t)NUMBER(0), 0));
}

PERFORM(chown)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);

	result_set(ret, fchownat(at, path, (uid_t)NUMBER(0), (gid_t)NUMBER(1), follow_flag(NUMBER(2))));
}

static void choose_times(int64_t which, struct timespec times[2])
{
	static const long seconds[] = { 1000000000, 1000000001, 1050000000 };

	times[0] = times[1] = (struct timespec){ seconds[which % 3], which * 123456789 % 1000000000 };
	if (which == 1)
		times[0].tv_nsec = UTIME_OMIT;
	else if (which == 2)
		times[1].tv_nsec = UTIME_OMIT;
	else if (which == 3)
		times[0].tv_nsec = times[1].tv_nsec = UTIME_NOW;
	else if (which == 4)
		times[0].tv_nsec = UTIME_NOW;
}

PERFORM(utimens)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	struct timespec times[2];

	choose_times(NUMBER(0), times);
	result_set(ret, utimensat(at, path, NUMBER(0) == 5 ? NULL : times, follow_flag(NUMBER(1))));
	if (ret->value == 0 && NUMBER(0) != 2) /* which leaves the time alone that is compared */
		note_path(side, at, path, NOTE_PIPE_WRITTEN, false);
}

PERFORM(futimens)
{
	struct timespec times[2];

	choose_times(NUMBER(1), times);
	result_set(ret, futimens(side_slot(side, NUMBER(0)), NUMBER(1) == 5 ? NULL : times));
	if (ret->value == 0 && NUMBER(1) != 2)
		note_fd(side, side_slot(side, NUMBER(0)), NOTE_PIPE_WRITTEN, false);
}

PERFORM(stat)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	struct stat st;

	result_set(ret, fstatat(at, path, &st, follow_flag(NUMBER(0))));
	if (NUMBER(0))
		note_path(side, at, path, NOTE_ACL_UNASKED, false);
	if (ret->value == 0)
		describe_stat(&st, ret->text);
}

PERFORM(access)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);

	result_set(ret, faccessat(at, path, (int)NUMBER(0), AT_EACCESS));
}

/* ---- extended attributes ---- */

static const char *const xattr_names[] = { "user.a", "user.b", "trusted.a", "trusted.bb", "user.", "security.capability" };
#define XATTR_NAMES 6

/* What makes a value of SIZE bytes; of capabilities only such as they are may be set. */
static size_t make_value(const char *name, size_t size, uint64_t pattern)
{
	static const unsigned char net_raw[20] = { 1, 0, 0, 2, 0, 0x20 }; /* VFS_CAP_REVISION_2, effective */

	fill_pattern(data_buffer, size, pattern);
	if (strcmp(name, "security.capability") != 0 || size == 0)
		return size;
	memcpy(data_buffer, net_raw, sizeof net_raw);
	return sizeof net_raw;
}

/* A path for the calls that know no directory: what is beneath the working directory, which is set. */
static int xattr_path(const struct side *side, const struct operation *operation, char path[REAL_PATH_ROOM])
{
	int at = path_resolve(side, operation->path[0], path);

	return at == AT_FDCWD ? 0 : fchdir(at);
}

PERFORM(setxattr)
{
	char path[REAL_PATH_ROOM];
	const char *name = xattr_names[NUMBER(0) % XATTR_NAMES];
	size_t size = make_value(name, (size_t)NUMBER(1), (uint64_t)NUMBER(1));

	if (xattr_path(side, operation, path) < 0)
		result_set(ret, -1);
	else if (NUMBER(3))
		result_set(ret, setxattr(path, name, data_buffer, size, (int)NUMBER(2)));
	else
		result_set(ret, lsetxattr(path, name, data_buffer, size, (int)NUMBER(2)));
}

PERFORM(fsetxattr)
{
	const char *name = xattr_names[NUMBER(1) % XATTR_NAMES];
	size_t size = make_value(name, (size_t)NUMBER(2), (uint64_t)NUMBER(2));

	result_set(ret, fsetxattr(side_slot(side, NUMBER(0)), name, data_buffer, size, (int)NUMBER(3)));
}

static void describe_value(struct result *ret)
{
	if (ret->value > 0)
		snprintf(ret->text, TEXT_ROOM, "value %016" PRIx64, hash64_of(data_buffer, (size_t)ret->value));
}

PERFORM(getxattr)
{
	char path[REAL_PATH_ROOM];
	const char *name = xattr_names[NUMBER(0) % XATTR_NAMES];
	size_t room = NUMBER(1) ? 5000 : NUMBER(0) % 2 ? 64 : 0; /* 0: how much is it? */

	if (xattr_path(side, operation, path) < 0)
		result_set(ret, -1);
	else
		result_set(ret, NUMBER(1) ? getxattr(path, name, data_buffer, room) : lgetxattr(path, name, data_buffer, room));
	if (room)
		describe_value(ret);
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

PERFORM(listxattr)
{
	char path[REAL_PATH_ROOM], *names[32];
	size_t count = 0, used = 0;

	if (xattr_path(side, operation, path) < 0)
		result_set(ret, -1);
	else
		result_set(ret, NUMBER(0) ? listxattr(path, data_buffer, 5000) : llistxattr(path, data_buffer, 5000));
	for (ssize_t at = 0; at < ret->value && count < ARRAY_SIZE(names); at += (ssize_t)strlen(data_buffer + at) + 1)
		names[count++] = data_buffer + at;
	qsort(names, count, sizeof names[0], compare_strings);
	for (size_t i = 0; i < count && used < TEXT_ROOM; i++)
		used += (size_t)snprintf(ret->text + used, TEXT_ROOM - used, "%s ", names[i]);
}

PERFORM(removexattr)
{
	char path[REAL_PATH_ROOM];
	const char *name = xattr_names[NUMBER(0) % XATTR_NAMES];

	if (xattr_path(side, operation, path) < 0)
		result_set(ret, -1);
	else
		result_set(ret, NUMBER(1) ? removexattr(path, name) : lremovexattr(path, name));
}

/* ---- access control lists: as the attributes that they are, so that nothing is added on the way ---- */

struct acl_entry {
	uint16_t tag, permissions;
	uint32_t id;
};
struct acl {
	uint32_t version;
	struct acl_entry entries[6];
};
static const char *const acl_names[] = { "system.posix_acl_access", "system.posix_acl_default" };

/* Which of six: the sixth is none that can be. */
static size_t choose_acl(int64_t which, struct acl *ret)
{
	static const uint16_t sets[6][6] = {
		{ 7, 7, 5, 7, 7, 5 }, { 6, 0, 4, 6, 4, 0 }, { 7, 4, 7, 0, 5, 5 }, { 4, 6, 0, 2, 7, 7 }, { 7, 7, 7, 7, 7, 7 },
		{ 9, 7, 7, 7, 7, 7 } };
	const uint16_t *set = sets[which % 6];

	*ret = (struct acl){ 2, { { 0x01, set[0], (uint32_t)-1 }, { 0x02, set[1], 1001 }, { 0x04, set[2], (uint32_t)-1 },
		{ 0x08, set[3], which % 2 ? 2000 : 1002 }, { 0x10, set[4], (uint32_t)-1 }, { 0x20, set[5], (uint32_t)-1 } } };
	if (which % 6 != 4)
		return sizeof *ret;
	/* The shortest: what a mode says. */
	ret->entries[1] = ret->entries[2];
	ret->entries[2] = ret->entries[5];
	return sizeof *ret - 3 * sizeof ret->entries[0];
}

PERFORM(setacl)
{
	char path[REAL_PATH_ROOM];
	struct acl acl;
	size_t size = choose_acl(NUMBER(1), &acl);

	if (xattr_path(side, operation, path) < 0)
		result_set(ret, -1);
	else if (NUMBER(1) == 3)
		result_set(ret, removexattr(path, acl_names[NUMBER(0) % 2]));
	else
		result_set(ret, setxattr(path, acl_names[NUMBER(0) % 2], &acl, size, 0));
	/* Through FUSE the kernel takes the mode that this has made when it is next asked for; see "acl mode" in declared.c. */
	if (ret->value == 0)
		note_path(side, AT_FDCWD, path, NOTE_ACL_UNASKED, true);
}

PERFORM(getacl)
{
	char path[REAL_PATH_ROOM];

	if (xattr_path(side, operation, path) < 0)
		result_set(ret, -1);
	else
		result_set(ret, getxattr(path, acl_names[NUMBER(0) % 2], data_buffer, 5000));
	describe_value(ret);
}

/* ---- directories ---- */

PERFORM(opendir)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path), fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int *slot = &side->directories[NUMBER(0) % DIRECTORIES];

	result_set(ret, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
}

PERFORM(closedir)
{
	int *slot = &side->directories[NUMBER(0) % DIRECTORIES];

	result_set(ret, close(*slot));
	*slot = -1;
}

struct dirent64_head {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

/* Does the listing say the inode number that the file has? (Of what is above the directory it need not.) */
static bool is_its_number(int directory, const struct dirent64_head *entry)
{
	struct stat st;

	if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
		return true;
	return fstatat(directory, entry->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino == entry->inode;
}

PERFORM(list)
{
	static char *names[LISTED_MAX];
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	cleanup_close int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t count = 0, used = 0, strange = 0;
	uint64_t hash = 0;
	ssize_t n;

	result_set(ret, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	while ((n = getdents64(fd, data_buffer, (size_t)NUMBER(0))) > 0) {
		for (ssize_t i = 0; i < n && count < LISTED_MAX;) {
			const struct dirent64_head *entry = (const void *)(data_buffer + i);

			strange += !is_its_number(fd, entry);
			if (asprintf(&names[count], "%s:%u", entry->name, entry->type) > 0)
				count++;
			i += entry->length;
		}
	}
	result_set(ret, n < 0 ? -1 : (int64_t)count);
	qsort(names, count, sizeof names[0], compare_strings);
	for (size_t i = 0; i < count; i++) {
		uint64_t both[2] = { hash, hash64_of(names[i], strlen(names[i])) };

		hash = hash64_of(both, sizeof both);
		if (used < 120)
			used += (size_t)snprintf(ret->text + used, TEXT_ROOM - used, "%.12s ", names[i]);
		free(names[i]);
	}
	snprintf(ret->text + used, TEXT_ROOM - used, "names %016" PRIx64 " strange numbers %zu", hash, strange);
}

/* NUMBERth of the names that a walk makes; to be found again by its number. */
static int walk_number(const char *name)
{
	return strlen(name) == 6 && memcmp(name, "walk", 4) == 0 ? (name[4] - '0') * 10 + name[5] - '0' : -1;
}

/* Reads on; each of the numbered names is counted. At most LIMIT entries. */
static void walk_read(DIR *dir, int limit, int seen[100])
{
	struct dirent *entry;

	while (limit-- > 0 && (entry = readdir(dir))) {
		int number = walk_number(entry->d_name);

		if (number >= 0 && number < 100)
			seen[number]++;
	}
}

static void walk_make(int directory, int number)
{
	char name[32];

	snprintf(name, sizeof name, "walk%02d", number);
	close(openat(directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void walk_remove(int directory, int number)
{
	char name[32];

	snprintf(name, sizeof name, "walk%02d", number);
	unlinkat(directory, name, 0);
}

/* Of the names that stay: the first BEHIND may be missing. How many were lost, and how many doubled? */
static void walk_judge(const int seen[100], const int before[100], struct result *ret, const char *when)
{
	size_t used = strlen(ret->text);
	int lost = 0, doubled = 0;

	for (int i = 0; i < WALK_NAMES; i++) {
		int count = seen[i] + (before ? before[i] : 0);

		if (i % 7 == 3)
			continue; /* removed, or renamed */
		lost += count == 0;
		doubled += count > 1;
	}
	snprintf(ret->text + used, TEXT_ROOM - used, "%s: lost %d doubled %d; ", when, lost, doubled);
}

/* While it is read names go, come and change: of those that stay none is lost or doubled. */
PERFORM(walk)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	cleanup_close int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int first[100] = { 0 }, behind[100] = { 0 }, again[100] = { 0 }, whole[100] = { 0 };
	cleanup_closedir DIR *dir = NULL;
	long position;

	for (int i = 0; fd >= 0 && i < WALK_NAMES; i++)
		walk_make(fd, i);
	if (fd >= 0)
		dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	result_set(ret, dir ? 0 : -1);
	if (!dir)
		return;
	walk_read(dir, (int)NUMBER(1), first);
	position = telldir(dir);
	walk_read(dir, 5, behind);
	for (int i = 3; i < WALK_NAMES; i += 7) {
		char from[32], to[32];

		snprintf(from, sizeof from, "walk%02d", i);
		snprintf(to, sizeof to, "walk%02d", i + 50);
		if (i % 2)
			unlinkat(fd, from, 0);
		else
			renameat(fd, from, fd, to);
		walk_make(fd, 60 + i % 30);
	}
	walk_read(dir, 1000, behind);
	walk_judge(behind, first, ret, "on");
	seekdir(dir, position);
	walk_read(dir, 1000, again);
	walk_judge(again, first, ret, "again");
	rewinddir(dir);
	walk_read(dir, 1000, whole);
	walk_judge(whole, NULL, ret, "whole");
	for (int i = 0; i < 100; i++)
		walk_remove(fd, i);
}

/* A chain of directories whose path is longer than any call takes; its end is worked in, and it is taken away again. */
PERFORM(deep)
{
	char path[REAL_PATH_ROOM], name[256];
	int at = path_resolve(side, operation->path[0], path), levels = (int)NUMBER(0), made = 0, errors = 0;
	cleanup_close int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int top = fd < 0 ? -EBADF : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct stat st;

	memset(name, 'd', 255);
	name[255] = '\0';
	while (fd >= 0 && made < levels && mkdirat(fd, name, 0777) == 0) {
		int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (next < 0)
			break;
		close(fd);
		fd = next;
		made++;
	}
	result_set(ret, fd < 0 ? -1 : made);
	if (!made)
		return;
	close(openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	errors += symlinkat("file", fd, "link") < 0;
	errors += linkat(fd, "file", fd, "hard", 0) < 0;
	errors += renameat(fd, "file", fd, "moved") < 0;
	errors += fstatat(fd, "hard", &st, 0) < 0 || st.st_nlink != 2;
	errors += unlinkat(fd, "hard", 0) < 0;
	errors += unlinkat(fd, "moved", 0) < 0;
	errors += unlinkat(fd, "link", 0) < 0;
	for (; made > 0; made--) {
		int up = made > 1 ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : fcntl(top, F_DUPFD_CLOEXEC, 0);

		close(fd);
		fd = up;
		errors += unlinkat(fd, name, AT_REMOVEDIR) < 0;
	}
	snprintf(ret->text, TEXT_ROOM, "errors %d", errors);
}

/* Many names made, linked, moved and removed in one directory. */
PERFORM(names)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	cleanup_close int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t used = 0;

	result_set(ret, fd < 0 ? -1 : 0);
	for (int i = 0; fd >= 0 && i < (int)NUMBER(0); i++) {
		char one[32], two[32];
		struct stat st;
		int r[6];

		snprintf(one, sizeof one, "names%d", i);
		snprintf(two, sizeof two, "other%d", i);
		r[0] = mknodat(fd, one, S_IFREG | 0640, 0);
		r[1] = linkat(fd, one, fd, two, 0);
		r[2] = renameat(fd, one, fd, two); /* of one file: nothing happens */
		r[3] = fstatat(fd, two, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (int)st.st_nlink : -1;
		r[4] = unlinkat(fd, one, 0);
		r[5] = unlinkat(fd, two, 0);
		if (used < TEXT_ROOM - 40)
			used += (size_t)snprintf(ret->text + used, TEXT_ROOM - used, "%d%d%d%d%d%d ", r[0], r[1], r[2], r[3], r[4], r[5]);
	}
}

/* What append-only and immutable files are kept by goes first. */
void clear_flags(int directory, const char *name)
{
	cleanup_close int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int flags = 0;

	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & (FS_APPEND_FL | FS_IMMUTABLE_FL)) {
		flags &= ~(FS_APPEND_FL | FS_IMMUTABLE_FL);
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

/* How many names could be removed, and how many could not. */
static void clear_below(int directory, const char *name, int counts[2])
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int fd;

	if (geteuid() == 0)
		clear_flags(directory, name);
	if (unlinkat(directory, name, 0) == 0) {
		counts[0]++;
		return;
	}
	fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			clear_below(fd, entry->d_name, counts);
	}
	counts[unlinkat(directory, name, AT_REMOVEDIR) < 0]++;
}

/* Takes away a whole tree: what is left stands in the way of all else. */
PERFORM(clear)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path), counts[2] = { 0, 0 };
	size_t length = strlen(operation->path[0]);

	/* Not a directory by another name than its own: what is patched may lie in it. */
	if (length < 3 || operation->path[0][length - 1] == '.')
		return;
	clear_below(at, path, counts);
	result_set(ret, counts[0]);
	snprintf(ret->text, TEXT_ROOM, "left %d", counts[1]);
}
