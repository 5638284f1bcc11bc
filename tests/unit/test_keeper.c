/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/resident.h"
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/keeper.h"

static ino_t inode_of(int fd)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

static void take_in(struct keeper *keeper)
{
	struct keeper_report report = KEEPER_REPORT_INIT;

	keeper_take_in(keeper, &report);
	cr_assert_not(report.ready);
}

static void add_key(void *arg, uint64_t key, int fd)
{
	*(uint64_t *)arg += key;
}

/* What a process has handed over is there when it is gone, also what was not looked at until then. */
Test(keeper, outlives_who_hands_over)
{
	enum { COUNT = 100 };
	struct keeper *keeper = keeper_new();
	size_t before = open_descriptors();
	uint64_t sum = 0;
	int status;
	pid_t child;

	cr_assert(keeper);
	child = fork();
	if (child == 0) {
		keeper_be_worker(keeper);
		for (uint64_t key = 1; key <= COUNT; key++) {
			int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

			if (keeper_hold(keeper, key, fd) < 0)
				_exit(1);
			close(fd);
		}
		for (uint64_t key = 2; key <= COUNT; key += 2)
			keeper_drop(keeper, key);
		keeper_drop(keeper, 1000);
		_exit(0);
	}
	/* More than the socket holds is taken in meanwhile. */
	while (waitpid(child, &status, WNOHANG) == 0)
		take_in(keeper);
	take_in(keeper);
	cr_assert_eq(status, 0);
	cr_assert_eq(keeper_count(keeper), COUNT / 2);
	cr_assert_eq(open_descriptors(), before + COUNT / 2);
	for (uint64_t key = 1; key <= COUNT; key++)
		cr_assert_eq(keeper_kept(keeper, key) >= 0, key % 2 == 1);
	keeper_each(keeper, add_key, &sum);
	cr_assert_eq(sum, COUNT / 2 * COUNT / 2);
	keeper_free(keeper);
	cr_assert_eq(open_descriptors(), before - 2);
}

/* Several of one key are counted. */
Test(keeper, several_of_one_key)
{
	struct keeper *keeper = keeper_new();
	int one = open("/dev/null", O_RDONLY | O_CLOEXEC), two = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	cr_assert_eq(keeper_hold(keeper, KEEP_BASE, one), 0);
	cr_assert_eq(keeper_hold(keeper, 5, two), 0);
	cr_assert_eq(keeper_hold(keeper, 5, two), 0);
	take_in(keeper);
	cr_assert_eq(keeper_count(keeper), 3);
	cr_assert_eq(inode_of(keeper_kept(keeper, KEEP_BASE)), inode_of(one));
	cr_assert_eq(inode_of(keeper_kept(keeper, 5)), inode_of(two));
	cr_assert_eq(keeper_drop(keeper, 5), 0);
	take_in(keeper);
	cr_assert_geq(keeper_kept(keeper, 5), 0);
	cr_assert_eq(keeper_drop(keeper, 5), 0);
	take_in(keeper);
	cr_assert_eq(keeper_kept(keeper, 5), -EBADF);
	keeper_free(keeper);
	keeper_free(NULL);
}

Test(keeper, ready)
{
	struct keeper *keeper = keeper_new();
	struct keeper_report report = KEEPER_REPORT_INIT;
	struct error err = ERROR_INIT;

	error_set(&err, -EIO, "what went wrong");
	cr_assert_eq(keeper_ready(keeper, -EIO, &err), 0);
	keeper_take_in(keeper, &report);
	cr_assert(report.ready);
	cr_assert_eq(report.code, -EIO);
	cr_assert_str_eq(report.err.message, "what went wrong");
	keeper_free(keeper);
}

struct copies {
	uint64_t keys[8];
	size_t count;
	int result; /* of the next call */
};

static int add_copy(void *arg, uint64_t key, int fd)
{
	struct copies *copies = arg;

	cr_assert(fd >= 0);
	if (copies->result == 0)
		copies->keys[copies->count++] = key;
	return copies->result;
}

static int remove_copies(void *arg, uint64_t key, int fd)
{
	struct copies *copies = arg;
	size_t left = 0;

	if (copies->result != 0)
		return copies->result;
	for (size_t i = 0; i < copies->count; i++) {
		if (copies->keys[i] != key)
			copies->keys[left++] = copies->keys[i];
	}
	copies->count = left;
	return 0;
}

/* Somebody else has copies of what stays; what does not was never sent, and what he has no room for is sent later. */
Test(keeper, copies)
{
	struct keeper *keeper = keeper_new();
	struct copies copies = { .count = 0 };

	cr_assert_eq(keeper_put(keeper, 1, open("/dev/null", O_RDONLY | O_CLOEXEC)), 0);
	cr_assert_eq(keeper_put(keeper, 2, open("/dev/null", O_RDONLY | O_CLOEXEC)), 0);
	cr_assert(keeper_copy(keeper, add_copy, remove_copies, &copies), "what is new waits for the next round");
	cr_assert_eq(copies.count, 0);
	keeper_drop(keeper, 1);
	take_in(keeper);
	copies.result = -EAGAIN;
	cr_assert(keeper_copy(keeper, add_copy, remove_copies, &copies), "there was no room");
	copies.result = 0;
	cr_assert_not(keeper_copy(keeper, add_copy, remove_copies, &copies));
	cr_assert_eq(copies.count, 1);
	cr_assert_eq(copies.keys[0], 2);
	/* Two of one key: the end of one copy is that of both, and the other is sent again. */
	cr_assert_eq(keeper_put(keeper, 2, open("/dev/zero", O_RDONLY | O_CLOEXEC)), 0);
	keeper_is_copied(keeper);
	keeper_drop(keeper, 2);
	take_in(keeper);
	copies.result = -EAGAIN;
	cr_assert(keeper_copy(keeper, add_copy, remove_copies, &copies));
	cr_assert_eq(copies.count, 1);
	copies.result = 0;
	cr_assert_not(keeper_copy(keeper, add_copy, remove_copies, &copies));
	cr_assert_eq(copies.count, 1);
	keeper_drop(keeper, 2);
	take_in(keeper);
	cr_assert_not(keeper_copy(keeper, add_copy, remove_copies, &copies));
	cr_assert_eq(copies.count, 0);
	keeper_free(keeper);
}

/* Who had them before has had copies made: what goes before they were made again is removed all the same. */
Test(keeper, copies_of_another)
{
	struct keeper *keeper = keeper_new();
	struct copies copies = { .keys = { 1, 2 }, .count = 2 };

	cr_assert_eq(keeper_put(keeper, 1, open("/dev/null", O_RDONLY | O_CLOEXEC)), 0);
	cr_assert_eq(keeper_put(keeper, 2, open("/dev/null", O_RDONLY | O_CLOEXEC)), 0);
	keeper_may_be_copied(keeper);
	keeper_drop(keeper, 1);
	take_in(keeper);
	keeper_copy(keeper, add_copy, remove_copies, &copies);
	cr_assert_eq(copies.count, 1);
	cr_assert_eq(copies.keys[0], 2);
	keeper_free(keeper);
}
