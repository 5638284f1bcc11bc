/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

#include "store/object.h"

static void add(struct changeset *set, const char *path, enum change_kind kind)
{
	struct change *change;

	must_pass(changeset_add(set, path, kind, &change, &err));
	change->ignore_mtime = true;
}

Test(changeset, sorts_as_trees_are_walked)
{
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	static const char *const in[] = { "b", "a.c", "a/z", "a", "a-b", "a/b/c", "a/b" };
	static const char *const out[] = { "a", "a/b", "a/b/c", "a/z", "a-b", "a.c", "b" };

	for (size_t i = 0; i < ARRAY_SIZE(in); i++)
		add(&set, in[i], CHANGE_DELETE);
	must_pass(changeset_sort(&set, &err));
	cr_assert_eq(set.count, ARRAY_SIZE(out));
	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		cr_assert_str_eq(set.changes[i].path, out[i], "row %zu", i);
}

Test(changeset, the_later_of_two_wins)
{
	cleanup_changeset struct changeset set = CHANGESET_INIT;

	for (int round = 0; round < 100; round++) {
		add(&set, "x", CHANGE_DELETE);
		add(&set, "y", round == 99 ? CHANGE_DIRECTORY : CHANGE_SPECIAL);
	}
	must_pass(changeset_sort(&set, &err));
	cr_assert_eq(set.count, 2);
	cr_assert_eq(set.changes[1].kind, CHANGE_DIRECTORY);
	add(&set, "x", CHANGE_SPECIAL);
	must_pass(changeset_sort(&set, &err));
	cr_assert_eq(set.count, 2);
	cr_assert_eq(set.changes[0].kind, CHANGE_SPECIAL);
}

Test(changeset, what_is_taken_back_is_gone)
{
	cleanup_changeset struct changeset set = CHANGESET_INIT;

	must_pass(changeset_cancel(&set, "alone", &err));
	must_pass(changeset_sort(&set, &err));
	cr_assert_eq(set.count, 0);
	add(&set, "x", CHANGE_DELETE);
	add(&set, "y", CHANGE_DELETE);
	must_pass(changeset_cancel(&set, "x", &err));
	must_pass(changeset_cancel(&set, "y", &err));
	must_pass(changeset_cancel(&set, "z", &err));
	add(&set, "y", CHANGE_SPECIAL);
	must_pass(changeset_sort(&set, &err));
	cr_assert_eq(set.count, 1);
	cr_assert_eq(set.changes[0].kind, CHANGE_SPECIAL);
	must_pass(changeset_cancel(&set, "y", &err));
	must_pass(changeset_sort(&set, &err));
	cr_assert_eq(set.count, 0);
}

Test(changeset, refuses_bad_paths)
{
	static const char *const rows[] = { "", "/a", "a//b", "a/", "..", "a/../b", ".", ".git/x", "x/.GIT",
		".veneer", "a/.veneer/b" };
	cleanup_changeset struct changeset set = CHANGESET_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = ERROR_INIT;
		struct change *change;

		cr_assert_eq(changeset_add(&set, rows[i], CHANGE_DELETE, &change, &err), -EINVAL, "'%s'",
			rows[i]);
		cr_assert(err.message[0], "'%s'", rows[i]);
	}
	cr_assert_eq(set.count, 0);
}

Test(changeset, reads_every_type_from_disk)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	static const char *const paths[] = { "d", "d/file", "d/link", "d/fifo", "d/null", "d/empty" };
	cleanup_close int fd = -EBADF;

	bench_run(&bench, "mkdir -p tree/d; cd tree/d; echo hello > file; chown 3:4 file; chmod 4711 file;"
			  "touch -d @1000.5 file; ln -s ../nowhere link; mkfifo -m 600 fifo; mknod null c 1 3;"
			  "setfattr -n user.note -v x file; : > empty");
	fd = bench_open(&bench, "tree");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		must_pass(changeset_add_from_disk(&set, bench.store, fd, paths[i], &err));
		set.changes[i].ignore_mtime = i != 1;
	}
	must_pass(changeset_sort(&set, &err));
	expect_changes(&bench, &set,
		"d d 0755 0:0\n"
		"f d/empty 0644 0:0 ''\n"
		"s d/fifo 0600 0:0\n"
		"f d/file 4711 3:4 'hello\n' @1000 +user.note\n"
		"l d/link 0:0 '../nowhere'\n"
		"s d/null 0644 0:0\n");
	cr_assert_eq(set.changes[3].meta.mtime.tv_nsec, 500000000);
	cr_assert_eq(set.changes[5].meta.type, S_IFCHR);
	cr_assert_eq(set.changes[5].meta.device_minor, 3);
	/* The object is there, and it is what was read. */
	cr_assert_eq(set.changes[3].meta.object_size, 6);
	must_pass(object_verify(bench.store->objects_fd, &set.changes[3].meta.object, 6, &err));
}

Test(changeset, never_follows_a_symlink)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_close int fd = -EBADF;

	bench_run(&bench, "mkdir tree secret; echo s > secret/file; ln -s ../secret tree/d");
	fd = bench_open(&bench, "tree");
	must_fail(-ELOOP, "d/file", changeset_add_from_disk(&set, bench.store, fd, "d/file", &err));
	must_fail(-ENOENT, "nothing", changeset_add_from_disk(&set, bench.store, fd, "nothing", &err));
	cr_assert_eq(set.count, 0);
}

/* A writer that never rests must be noticed, if not at the first reading then soon. */
Test(changeset, notices_a_file_that_changes_while_it_is_read)
{
	bench_auto bench = bench_make();
	struct error err = ERROR_INIT;
	cleanup_close int fd = -EBADF;
	pid_t writer;
	int r = 0;

	bench_run(&bench, "mkdir tree; head -c 8M /dev/zero > tree/busy");
	fd = bench_open(&bench, "tree");
	writer = fork();
	if (writer == 0) {
		int busy = openat(fd, "busy", O_WRONLY);

		for (unsigned i = 0;; i++)
			if (pwrite(busy, &i, sizeof i, (off_t)(i % 1024) * 4096) < 0)
				_exit(1);
	}
	cr_assert_gt(writer, 0);
	for (int i = 0; i < 20 && r == 0; i++) {
		cleanup_changeset struct changeset set = CHANGESET_INIT;

		r = changeset_add_from_disk(&set, bench.store, fd, "busy", &err);
	}
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	cr_assert_eq(r, -EAGAIN, "%s", err.message);
	cr_assert(strstr(err.message, "'busy' changes"), "%s", err.message);
}
