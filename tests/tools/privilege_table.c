/* SPDX-License-Identifier: Apache-2.0 */

/*
 * privilege_table DIR: what is left of set-id bits and of security.capability after each way to change a file, by each kind of
 * caller. Makes one file a row in the directory DIR and prints the row: what was done, by whom, to what; the errno;
 * as whom the file then runs ("-": it cannot run); its mode, asked for twice; whether it has the attribute.
 *
 * privilege_table --change WAY FILE: one of those changes, by whoever runs this.
 *
 * The file is this program itself, which is how it can be run: who runs it is what the kernel believes the mode to be, without asking.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define USER 1001
#define FILE_GROUP 1002 /* of each file */
#define OTHER_GROUP 1003
#define NOBODY 65534
#define PAGE 4096
#define PATH_ROOM 4096

static const char capability[20] = { 0x01, 0x00, 0x00, 0x02, 0x00, 0x04 }; /* cap_net_bind_service=ep, revision 2 */

/* ---- ways to change a file; each returns 0 or an errno ---- */

static int result(long r)
{
	return r < 0 ? errno : 0;
}

static int open_and_write(const char *path, int flags, off_t at, size_t size)
{
	_Alignas(PAGE) static const char page[PAGE];
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | flags);

	if (fd < 0)
		return errno;
	return result(pwrite(fd, page, size, at));
}

static int do_write(const char *path, off_t size)
{
	return open_and_write(path, 0, size, 10);
}

static int do_write_direct(const char *path, off_t size)
{
	return open_and_write(path, O_DIRECT, size, PAGE);
}

static int do_write_twice(const char *path, off_t size)
{
	int r = open_and_write(path, 0, size, 10);

	return r ? r : open_and_write(path, 0, size + 10, 10);
}

static int do_open_truncate(const char *path, off_t size)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);

	(void)size;
	return fd < 0 ? errno : 0;
}

static int do_truncate(const char *path, off_t size)
{
	return result(truncate(path, size + 1));
}

static int do_ftruncate(const char *path, off_t size)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? errno : result(ftruncate(fd, size + 1));
}

static int do_fallocate(const char *path, off_t size)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? errno : result(fallocate(fd, 0, size, PAGE));
}

static int do_copy(const char *path, off_t size)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	off_t from = 0;

	return fd < 0 ? errno : result(copy_file_range(fd, &from, fd, &size, PAGE, 0));
}

static int do_map(const char *path, off_t size)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	char *page;
	int r;

	if (fd < 0)
		return errno;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, size - PAGE);
	if (page == MAP_FAILED)
		return errno;
	page[PAGE - 1] = 1;
	r = result(msync(page, PAGE, MS_SYNC));
	munmap(page, PAGE);
	return r;
}

static int do_chown_group(const char *path, off_t size)
{
	(void)size;
	return result(chown(path, (uid_t)-1, getegid()));
}

static int do_chown_nothing(const char *path, off_t size)
{
	(void)size;
	return result(chown(path, (uid_t)-1, (gid_t)-1));
}

static int do_chmod(const char *path, off_t size)
{
	(void)size;
	return result(chmod(path, 06775));
}

static const struct way {
	const char *name;
	int (*change)(const char *path, off_t size);
	bool owner; /* only the file's owner may */
} ways[] = {
	{ "write", do_write, false },
	{ "write-direct", do_write_direct, false },
	{ "write-twice", do_write_twice, false },
	{ "open-truncate", do_open_truncate, false },
	{ "truncate", do_truncate, false },
	{ "ftruncate", do_ftruncate, false },
	{ "fallocate", do_fallocate, false },
	{ "copy_file_range", do_copy, false },
	{ "map", do_map, false },
	{ "chown-group", do_chown_group, true },
	{ "chown-nothing", do_chown_nothing, true },
	{ "chmod", do_chmod, true },
};

/* ---- who changes it ---- */

static const struct caller {
	const char *name;
	uid_t uid;
	gid_t gid, supplementary;
	bool no_fsetid;
} callers[] = {
	{ "root", 0, 0, 0, false },
	{ "root-without-fsetid", 0, 0, 0, true },
	{ "stranger", USER, OTHER_GROUP, OTHER_GROUP, false },
	{ "member", USER, FILE_GROUP, FILE_GROUP, false },
	{ "supplementary-member", USER, OTHER_GROUP, FILE_GROUP, false },
};

static void must(long r, const char *what, const char *path)
{
	if (r >= 0)
		return;
	fprintf(stderr, "privilege_table: %s %s: %s\n", what, path, strerror(errno));
	_exit(1);
}

static void become(const struct caller *caller)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	must(setgroups(1, &caller->supplementary), "become", caller->name);
	must(setresgid(caller->gid, caller->gid, caller->gid), "become", caller->name);
	must(setresuid(caller->uid, caller->uid, caller->uid), "become", caller->name);
	if (!caller->no_fsetid)
		return;
	must(syscall(SYS_capget, &header, data), "become", caller->name);
	data[0].effective &= ~(1u << CAP_FSETID);
	must(syscall(SYS_capset, &header, data), "become", caller->name);
}

/* ---- what is changed ---- */

static const struct kind {
	const char *name;
	mode_t mode;
	bool capable;
} kinds[] = {
	{ "plain", 0777, false },
	{ "suid", 04777, false },
	{ "sgid", 02777, false },
	{ "sgid-without-x", 02767, false },
	{ "both", 06777, false },
	{ "suid-and-sgid-without-x", 06767, false },
	{ "capability", 0777, true },
	{ "suid-and-capability", 04777, true },
	{ "sgid-without-x-and-capability", 02767, true },
};

static off_t make_file(const char *path, const struct kind *kind, uid_t owner)
{
	cleanup_close int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cleanup_free char *buffer = malloc(1 << 20);
	off_t size = 0;
	ssize_t n;

	must(from, "open", "/proc/self/exe");
	must(fd, "make", path);
	while ((n = read(from, buffer, 1 << 20)) > 0) {
		must(write(fd, buffer, (size_t)n), "write", path);
		size += n;
	}
	size = (size + 2 * PAGE) / PAGE * PAGE;
	must(ftruncate(fd, size), "truncate", path);
	must(fchown(fd, owner, FILE_GROUP), "chown", path);
	must(fchmod(fd, kind->mode), "chmod", path);
	if (kind->capable)
		must(fsetxattr(fd, "security.capability", capability, sizeof capability, 0), "setxattr", path);
	return size;
}

static int change_as(const struct way *way, const struct caller *caller, const char *path, off_t size)
{
	pid_t child = fork();
	int status;

	must(child, "fork for", path);
	if (child == 0) {
		become(caller);
		_exit(way->change(path, size));
	}
	must(waitpid(child, &status, 0), "wait for", path);
	return WEXITSTATUS(status);
}

/* As whom does the file run? Text of at most 40 bytes. */
static void run_file(const char *path, char ret_who[40])
{
	static const struct caller nobody = { "nobody", NOBODY, NOBODY, NOBODY, false };
	int ends[2];
	ssize_t n;
	pid_t child;

	must(pipe(ends), "pipe for", path);
	child = fork();
	must(child, "fork for", path);
	if (child == 0) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		become(&nobody);
		execl(path, path, "--who", (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	n = io_read(ends[0], ret_who, 39);
	ret_who[n > 0 ? n : 0] = '\0';
	if (n <= 0)
		strcpy(ret_who, "-");
	close(ends[0]);
	waitpid(child, NULL, 0);
}

static void table_row(const char *directory, const struct way *way, const struct caller *caller, const struct kind *kind)
{
	char name[256], path[PATH_ROOM], who[40];
	struct stat before = { 0 }, first = { 0 }, second = { 0 };
	off_t size;
	int r;

	snprintf(name, sizeof name, "%s.%s.%s", way->name, caller->name, kind->name);
	snprintf(path, sizeof path, "%s/%s", directory, name);
	size = make_file(path, kind, way->owner ? caller->uid : 0);
	/* What the kernel knows of the file, it has in memory. */
	must(stat(path, &before), "stat", path);
	getxattr(path, "security.capability", NULL, 0);
	r = change_as(way, caller, path, size);
	run_file(path, who);
	must(stat(path, &first), "stat", path);
	must(stat(path, &second), "stat", path);
	printf("%s: %s, runs as %s, %o, %o, %s\n", name, r ? strerror(r) : "done", who, first.st_mode & 07777u,
		second.st_mode & 07777u, getxattr(path, "security.capability", NULL, 0) > 0 ? "capable" : "not capable");
}

static int change(const char *name, const char *path)
{
	struct stat st;

	must(stat(path, &st), "stat", path);
	for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
		if (strcmp(ways[way].name, name) == 0)
			return ways[way].change(path, st.st_size);
	}
	fprintf(stderr, "privilege_table: no way '%s'\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--who") == 0) {
		char who[40];
		int n = snprintf(who, sizeof who, "%u:%u", geteuid(), getegid());

		/* No more than that: whatever else a run has loaded may say something at its end. */
		_exit(write(1, who, (size_t)n) != n);
	}
	if (argc == 4 && strcmp(argv[1], "--change") == 0)
		return change(argv[2], argv[3]);
	if (argc != 2) {
		fprintf(stderr, "usage: privilege_table DIR\n       privilege_table --change WAY FILE\n");
		return 2;
	}
	for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
		for (size_t caller = 0; caller < sizeof callers / sizeof *callers; caller++) {
			for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
				table_row(argv[1], &ways[way], &callers[caller], &kinds[kind]);
		}
	}
	return 0;
}
