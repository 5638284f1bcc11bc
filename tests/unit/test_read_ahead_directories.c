/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

#include "fs/read_ahead_directories.h"
#include "fs/readdir.h"

#define DIRECTORIES 20u
#define FILES 10u

/* What is looked at: files are named by their directories, "00007-3". */
static struct {
	atomic_uint looks[DIRECTORIES];
	atomic_uint all;
	atomic_uint cost_us; /* of one, as if it had to be read from a disk; 0: it is said at once that there is none */
} seen;

/* In place of the C library's, for the module as well. */
int fstatat(int directory, const char *name, struct stat *ret, int flags)
{
	unsigned number = 0;

	if (strchr(name, '-')) {
		number = (unsigned)strtoul(name, NULL, 10);
		atomic_fetch_add(&seen.looks[number % DIRECTORIES], 1);
		atomic_fetch_add(&seen.all, 1);
		if (!atomic_load(&seen.cost_us)) {
			errno = ENOENT;
			return -1;
		}
		usleep(atomic_load(&seen.cost_us));
	}
	if (syscall(SYS_newfstatat, directory, name, ret, flags) < 0)
		return -1;
	/* As if something was mounted there. */
	if (strcmp(name, "mounted") == 0)
		ret->st_dev++;
	return 0;
}

struct tree {
	struct temporary_directory dir;
	int fd;
	struct read_ahead *ahead;
	atomic_uint opened;
	atomic_bool held; /* opening waits for as long as this is set */
	char listed[DIRECTORIES][8]; /* the directories, as the mount lists them */
};

static int open_directory(void *arg, uint64_t id, struct fdref *ret)
{
	struct tree *tree = arg;

	atomic_fetch_add(&tree->opened, 1);
	while (atomic_load(&tree->held))
		usleep(100);
	fdref_alone(dup(tree->fd), ret);
	return id == 0 ? -ESTALE : 0;
}

static int compare_offsets(const void *a, const void *b)
{
	uint64_t left = readdir_offset(a, strlen(a)), right = readdir_offset(b, strlen(b));

	return left < right ? -1 : left > right;
}

static void make_file(int directory, const char *name)
{
	cleanup_close int fd = openat(directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		cr_assert_fail("make '%s'", name);
}

static void tree_make(struct tree *tree, unsigned cost_us)
{
	tree->dir = temporary_directory_make();
	tree->fd = open(tree->dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	atomic_store(&seen.cost_us, cost_us);
	for (unsigned i = 0; i < DIRECTORIES; i++) {
		snprintf(tree->listed[i], sizeof tree->listed[i], "%05u", i);
		cr_assert_eq(mkdirat(tree->fd, tree->listed[i], 0755), 0);
		for (unsigned k = 0; k < FILES; k++) {
			char name[24];

			snprintf(name, sizeof name, "%05u/%05u-%u", i, i, k);
			make_file(tree->fd, name);
		}
	}
	qsort(tree->listed, DIRECTORIES, sizeof tree->listed[0], compare_offsets);
	tree->ahead = read_ahead_new(&read_ahead_directories, open_directory, tree);
	cr_assert(tree->ahead && tree->fd >= 0);
}

static void tree_remove(struct tree *tree)
{
	read_ahead_free(tree->ahead);
	close(tree->fd);
	temporary_directory_remove(&tree->dir);
}
#define tree_auto __attribute__((cleanup(tree_remove))) struct tree

static unsigned looks_in(const char *name)
{
	return atomic_load(&seen.looks[strtoul(name, NULL, 10)]);
}

/* The directories FROM…TO-1 of the listing, and no others, were looked at whole. */
static void await_looks(const struct tree *tree, unsigned from, unsigned to)
{
	while (atomic_load(&seen.all) < (to - from) * FILES)
		usleep(100);
	usleep(20000);
	for (unsigned i = 0; i < DIRECTORIES; i++)
		cr_assert_eq(looks_in(tree->listed[i]), i >= from && i < to ? FILES : 0, "directory %u of the listing", i);
}

Test(read_ahead_directories, who_begins_with_the_first, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };

	tree_make(&tree, 20);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	await_looks(&tree, 1, 1 + READ_AHEAD_WALK);
	/* One more ahead for each one that is listed. */
	read_ahead_tell(tree.ahead, 7, tree.listed[1]);
	await_looks(&tree, 1, 2 + READ_AHEAD_WALK);
}

/* One directory of many that is listed, by someone who did not list what it is in: nothing is done for it; nor for another. */
Test(read_ahead_directories, one_alone_and_another, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };

	tree_make(&tree, 20);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	read_ahead_begin(tree.ahead, 8);
	usleep(20000);
	cr_assert_eq(atomic_load(&tree.opened), 0);
	/* Begun, but not with the first. */
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[10]);
	while (atomic_load(&tree.opened) < 1)
		usleep(100);
	usleep(20000);
	cr_assert_eq(atomic_load(&seen.all), 0);
	read_ahead_tell(tree.ahead, 7, tree.listed[11]);
	await_looks(&tree, 12, 12 + READ_AHEAD_WALK);
}

/* It is begun again, after others were: what was said in the walk before is said once more. */
Test(read_ahead_directories, walked_again, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };

	tree_make(&tree, 20);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	await_looks(&tree, 1, 1 + READ_AHEAD_WALK);
	for (unsigned i = 0; i < DIRECTORIES; i++)
		atomic_store(&seen.looks[i], 0);
	atomic_store(&seen.all, 0);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	await_looks(&tree, 1, 1 + READ_AHEAD_WALK);
}

/* What the reader has passed while the thread was at work is not looked at; and what it was told of meanwhile is not forgotten. */
Test(read_ahead_directories, the_reader_is_faster, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF, .held = true };

	tree_make(&tree, 20);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	while (atomic_load(&tree.opened) < 1)
		usleep(100);
	for (unsigned i = 1; i < 9; i++)
		read_ahead_tell(tree.ahead, 7, tree.listed[i]);
	read_ahead_begin(tree.ahead, 8);
	read_ahead_tell(tree.ahead, 8, tree.listed[0]);
	cr_assert_eq(atomic_load(&tree.opened), 1);
	atomic_store(&tree.held, false);
	/* In 7 as in 8: they are the same directory here. */
	while (looks_in(tree.listed[4]) < FILES || looks_in(tree.listed[12]) < FILES)
		usleep(100);
	usleep(20000);
	for (unsigned i = 0; i < DIRECTORIES; i++)
		cr_assert_eq(looks_in(tree.listed[i]), (i >= 1 && i < 5) || (i >= 9 && i < 13) ? FILES : 0, "directory %u of the listing", i);
}

/* Walks all directories, as many times as it takes until none is looked at. */
static void walk_until_it_rests(struct tree *tree)
{
	unsigned all;

	do {
		all = atomic_load(&seen.all);
		read_ahead_begin(tree->ahead, 7);
		for (unsigned i = 0; i < DIRECTORIES; i++) {
			read_ahead_tell(tree->ahead, 7, tree->listed[i]);
			usleep(1000);
		}
	} while (atomic_load(&seen.all) != all);
}

Test(read_ahead_directories, rests_where_all_is_in_memory, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };
	unsigned all;

	tree_make(&tree, 0);
	walk_until_it_rests(&tree);
	cr_assert_eq(read_ahead_count(tree.ahead), 0);
	all = atomic_load(&seen.all);
	for (unsigned walk = 0; atomic_load(&seen.all) == all; walk++) {
		cr_assert_lt(walk, READ_AHEAD_WALK_REST, "it rests for ever");
		read_ahead_begin(tree.ahead, 7);
		for (unsigned i = 0; i < DIRECTORIES; i++) {
			read_ahead_tell(tree.ahead, 7, tree.listed[i]);
			usleep(1000);
		}
	}
}

/* Where they are not, it never does. */
Test(read_ahead_directories, goes_on_where_they_are_not, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };
	unsigned all = 0;

	tree_make(&tree, 20);
	for (unsigned walk = 0; walk < 3; walk++) {
		read_ahead_begin(tree.ahead, 7);
		for (unsigned i = 0; i < DIRECTORIES - 1; i++) {
			read_ahead_tell(tree.ahead, 7, tree.listed[i]);
			usleep(5000);
		}
		cr_assert_gt(atomic_load(&seen.all), all + READ_AHEAD_WALK_WARM * FILES, "walk %u", walk);
		all = atomic_load(&seen.all);
	}
	cr_assert_gt(read_ahead_count(tree.ahead), 0);
}

struct bring_row {
	const char *name;
	unsigned opened, full;
};

/* What is no directory of the base is not opened, and what is gone is no matter. */
Test(read_ahead_directories, what_is_brought, .timeout = 60)
{
	static const struct bring_row rows[] = {
		{ "00003", 1, 1 }, { "empty", 1, 0 }, { "absent", 0, 0 }, { "link", 0, 0 },
		{ "out", 0, 0 },   { "file", 0, 0 },  { "pipe", 0, 0 },	 { "mounted", 0, 0 },
	};
	tree_auto tree = { .fd = -EBADF };
	cleanup_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char event[4096];

	tree_make(&tree, 20);
	cr_assert(mkdirat(tree.fd, "empty", 0755) == 0 && mkdirat(tree.fd, "mounted", 0755) == 0);
	cr_assert(symlinkat("00004", tree.fd, "link") == 0 && symlinkat("/", tree.fd, "out") == 0);
	make_file(tree.fd, "file");
	make_file(tree.fd, "mounted/00005-1");
	cr_assert_eq(mkfifoat(tree.fd, "pipe", 0644), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct read_ahead_found found = { 0, 0, 0 };
		char path[64];
		int wd;

		snprintf(path, sizeof path, "%s/%s", tree.dir.path, rows[i].name);
		wd = inotify_add_watch(watch, path, IN_OPEN);
		read_ahead_directories.bring(tree.ahead, tree.fd, rows[i].name, &found);
		cr_assert(found.opened == rows[i].opened && found.full == rows[i].full && found.cold == rows[i].full,
			"'%s': %u opened, %u full, %u cold", rows[i].name, found.opened, found.full, found.cold);
		cr_assert_eq(read(watch, event, sizeof event) > 0, rows[i].opened, "'%s'", rows[i].name);
		inotify_rm_watch(watch, wd);
		while (read(watch, event, sizeof event) > 0)
			;
	}
	cr_assert_eq(looks_in("00003"), FILES);
	cr_assert_eq(atomic_load(&seen.all), FILES);
}

/* Its time of last access stays as it is; and of a large directory not all is looked at. */
Test(read_ahead_directories, large_and_untouched, .timeout = 60)
{
	const struct timespec old[2] = { { 1000, 0 }, { 2000, 0 } };
	struct read_ahead_found found = { 0, 0, 0 };
	tree_auto tree = { .fd = -EBADF };
	struct stat st;

	tree_make(&tree, 0);
	for (unsigned i = 0; i < READ_AHEAD_ENTRIES + 100; i++) {
		char name[32];

		snprintf(name, sizeof name, "00001/00001-a%u", i);
		make_file(tree.fd, name);
	}
	cr_assert_eq(utimensat(tree.fd, "00001", old, 0), 0);
	read_ahead_directories.bring(tree.ahead, tree.fd, "00001", &found);
	cr_assert_eq(looks_in("00001"), READ_AHEAD_ENTRIES);
	cr_assert(found.full == 1 && found.cold == 0);
	cr_assert_eq(fstatat(tree.fd, "00001", &st, 0), 0);
	cr_assert_eq(st.st_atim.tv_sec, 1000);
}

Test(read_ahead_directories, ends_in_the_middle, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };

	tree_make(&tree, 100000);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	while (!atomic_load(&seen.all))
		usleep(100);
	read_ahead_free(tree.ahead);
	tree.ahead = NULL;
	cr_assert_lt(atomic_load(&seen.all), FILES);
}

/* Directories that are gone since: those that are there are read ahead all the same. */
Test(read_ahead_directories, some_are_gone, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };
	char command[80];

	tree_make(&tree, 20);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	await_looks(&tree, 1, 1 + READ_AHEAD_WALK);
	for (unsigned i = 5; i < 5 + READ_AHEAD_FAILURES - 1; i++) {
		snprintf(command, sizeof command, "rm -r %s/%s", tree.dir.path, tree.listed[i]);
		cr_assert_eq(system(command), 0);
	}
	for (unsigned i = 1; i < 8; i++) {
		read_ahead_tell(tree.ahead, 7, tree.listed[i]);
		usleep(1000);
	}
	while (looks_in(tree.listed[8]) < FILES || looks_in(tree.listed[11]) < FILES)
		usleep(100);
	cr_assert_leq(atomic_load(&tree.opened), 1 + 11, "it was listed once");
}

/* All are: it is let be until a rest is over. */
Test(read_ahead_directories, all_are_gone, .timeout = 60)
{
	tree_auto tree = { .fd = -EBADF };
	char command[80];

	tree_make(&tree, 20);
	snprintf(command, sizeof command, "rm -r %s/0*", tree.dir.path);
	read_ahead_begin(tree.ahead, 7);
	read_ahead_tell(tree.ahead, 7, tree.listed[0]);
	await_looks(&tree, 1, 1 + READ_AHEAD_WALK);
	cr_assert_eq(system(command), 0);
	for (unsigned i = 1; i < DIRECTORIES; i++) {
		read_ahead_tell(tree.ahead, 7, tree.listed[i]);
		usleep(1000);
	}
	cr_assert_leq(atomic_load(&tree.opened), 1 + READ_AHEAD_WALK + READ_AHEAD_FAILURES);
}
