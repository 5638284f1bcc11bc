/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

/* SCRIPT makes `old` and `new`; the difference as text. */
static const struct row {
	const char *name, *script, *wanted;
} rows[] = {
	{ "equal", "echo a > old/a; mkdir old/d; ln -s x old/l; mkfifo old/p; mknod old/n c 1 3; cp -a old/. new",
		"" },
	{ "mtime alone", "echo a > old/a; mkdir old/d; cp -a old/. new; touch -d @5 new/a new/d", "" },
	{ "content of equal size and time", "echo a > old/a; echo b > new/a; touch -d @5 old/a new/a",
		"f a 0644 0:0 'b\n'\n" },
	{ "content of another size", "echo a > old/a; echo ab > new/a", "f a 0644 0:0 'ab\n'\n" },
	{ "emptied", "echo a > old/a; : > new/a", "f a 0644 0:0 ''\n" },
	{ "mode", "echo a > old/a; cp -a old/. new; chmod 4755 new/a", "f a 4755 0:0 'a\n'\n" },
	{ "owner", "echo a > old/a; cp -a old/. new; chown 1:2 new/a", "f a 0644 1:2 'a\n'\n" },
	{ "attribute", "echo a > old/a; cp -a old/. new; setfattr -n user.x -v 1 new/a",
		"f a 0644 0:0 'a\n' +user.x\n" },
	{ "attribute taken off", "echo a > old/a; setfattr -n user.x -v 1 old/a; echo a > new/a",
		"f a 0644 0:0 'a\n'\n" },
	{ "the same inode", "echo a > old/a; ln old/a new/a", "" },
	{ "symlink target", "ln -s x old/l; ln -s y new/l", "l l 0:0 'y'\n" },
	{ "symlink owner", "ln -s x old/l; ln -s x new/l; chown -h 7 new/l", "l l 7:0 'x'\n" },
	{ "device number", "mknod old/n c 1 3; mknod new/n c 1 5", "s n 0644 0:0\n" },
	{ "new directory", "mkdir -p new/d/e; echo a > new/d/e/f; chmod 700 new/d",
		"d d 0700 0:0\nd d/e 0755 0:0\nf d/e/f 0644 0:0 'a\n'\n" },
	{ "vanished directory is one deletion", "mkdir -p old/d/e; echo a > old/d/e/f; echo b > old/g; cp old/g new",
		"- d\n" },
	{ "vanished file", "echo a > old/a; echo b > old/b; cp old/b new", "- a\n" },
	{ "directory's mode, not its time", "mkdir old/d new/d; touch -d @5 new/d; chmod 2775 new/d",
		"d d 2775 0:0\n" },
	{ "inside a directory", "mkdir old/d; echo a > old/d/a; cp -a old/. new; echo b >> new/d/a; echo c > new/d/c",
		"f d/a 0644 0:0 'a\nb\n'\nf d/c 0644 0:0 'c\n'\n" },
	{ "file to directory", "echo a > old/x; mkdir new/x; echo b > new/x/y", "d x 0755 0:0\nf x/y 0644 0:0 'b\n'\n" },
	{ "directory to file", "mkdir old/x; echo b > old/x/y; echo a > new/x", "f x 0644 0:0 'a\n'\n" },
	{ "file to symlink", "echo a > old/x; ln -s t new/x", "l x 0:0 't'\n" },
	{ "symlink to file", "ln -s t old/x; echo a > new/x", "f x 0644 0:0 'a\n'\n" },
	{ "symlink to directory", "ln -s t old/x; mkdir new/x; : > new/x/f", "d x 0755 0:0\nf x/f 0644 0:0 ''\n" },
	{ "directory to symlink", "mkdir old/x; : > old/x/f; ln -s t new/x", "l x 0:0 't'\n" },
	{ "file to fifo", "echo a > old/x; mkfifo new/x", "s x 0644 0:0\n" },
	{ "fifo to device", "mkfifo old/x; mknod new/x b 7 0", "s x 0644 0:0\n" },
	{ "neighbours in order", "touch old/a- old/a.b new/ab; mkdir new/a old/aa; touch new/a/b",
		"d a 0755 0:0\nf a/b 0644 0:0 ''\n- a-\n- a.b\n- aa\nf ab 0644 0:0 ''\n" },
	{ "what no commit can hold, unchanged", "mkdir old/.git; echo a > old/.git/x; cp -a old/. new", "" },
};

Test(source_directory, differences)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bench_auto bench = bench_make();
		cleanup_changeset struct changeset set = CHANGESET_INIT;
		cleanup_strbuf struct strbuf is = STRBUF_INIT;
		cleanup_close int old = -EBADF, new = -EBADF;

		bench_run(&bench, "mkdir old new; touch -d @1 old new");
		bench_run(&bench, rows[i].script);
		old = bench_open(&bench, "old");
		new = bench_open(&bench, "new");
		must_pass(source_directory(bench.store, old, new, &set, &err));
		describe(&bench, &set, &is);
		cr_assert_str_eq(strbuf_text(&is), rows[i].wanted, "row '%s': is:\n%swanted:\n%s",
			rows[i].name, strbuf_text(&is), rows[i].wanted);
	}
}

Test(source_directory, a_directory_that_stays_keeps_its_own_time)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_close int old = -EBADF, new = -EBADF;

	bench_run(&bench, "mkdir -p old/d new/d new/e; chmod 700 new/d");
	old = bench_open(&bench, "old");
	new = bench_open(&bench, "new");
	must_pass(source_directory(bench.store, old, new, &set, &err));
	expect_changes(&bench, &set, "d d 0700 0:0\nd e 0755 0:0\n");
	cr_assert(!(set.changes[0].meta.present & META_MTIME));
	cr_assert(set.changes[1].meta.present & META_MTIME);
}

Test(source_directory, refuses_what_no_commit_can_hold)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_close int old = -EBADF, new = -EBADF;

	bench_run(&bench, "mkdir -p old new/.git; echo x > new/.git/config");
	old = bench_open(&bench, "old");
	new = bench_open(&bench, "new");
	must_fail(-EINVAL, ".git", source_directory(bench.store, old, new, &set, &err));
}

Test(source_directory, refuses_what_is_too_deep)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_close int old = -EBADF, new = -EBADF;

	bench_run(&bench, "mkdir old new; cd new; for i in $(seq 300); do mkdir d; cd d; done");
	old = bench_open(&bench, "old");
	new = bench_open(&bench, "new");
	must_fail(-EINVAL, "nested deeper", source_directory(bench.store, old, new, &set, &err));
}
