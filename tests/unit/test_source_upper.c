/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

/* SCRIPT makes `base` and `upper`; the changes as text. `mark NAME VALUE FILE` sets an overlayfs attribute. */
static const char prelude[] = "mkdir base upper; mark() { setfattr -n trusted.overlay.$1 -v $2 $3; };";

static const struct row {
	const char *name, *script, *wanted;
} rows[] = {
	{ "nothing", "echo a > base/a", "" },
	{ "new and changed", "echo a > base/a; echo b > upper/a; echo c > upper/c; ln -s t upper/l",
		"f a 0644 0:0 'b\n'\nf c 0644 0:0 'c\n'\nl l 0:0 't'\n" },
	{ "copied up unchanged", "echo a > base/a; echo a > upper/a; mkdir base/d upper/d; touch -d @5 upper/a upper/d", "" },
	{ "mode alone", "echo a > base/a; echo a > upper/a; chmod 4755 upper/a", "f a 4755 0:0 'a\n'\n" },
	{ "whiteout by device", "echo a > base/a; mknod upper/a c 0 0", "- a\n" },
	{ "whiteout by attribute", "echo a > base/a; : > upper/a; mark whiteout y upper/a", "- a\n" },
	{ "whiteout by user attribute", "echo a > base/a; : > upper/a; setfattr -n user.overlay.whiteout -v y upper/a", "- a\n" },
	{ "whiteout of nothing", "mknod upper/a c 0 0", "" },
	{ "whiteout of a directory", "mkdir -p base/d/e; : > base/d/f; mknod upper/d c 0 0", "- d\n" },
	{ "another device is none", "mknod upper/n c 1 3", "s n 0644 0:0\n" },
	{ "inside a directory", "mkdir -p base/d upper/d; echo a > base/d/a; echo b > base/d/b; echo x > upper/d/a; mknod upper/d/b c 0 0",
		"f d/a 0644 0:0 'x\n'\n- d/b\n" },
	{ "directory's metadata", "mkdir base/d upper/d; : > base/d/f; chmod 700 upper/d", "d d 0700 0:0\n" },
	{ "opaque", "mkdir -p base/d/sub upper/d; for f in a b sub/c; do echo $f > base/d/$f; done; echo a > upper/d/a; echo n > upper/d/n;"
		"mark opaque y upper/d", "- d/b\nf d/n 0644 0:0 'n\n'\n- d/sub\n" },
	{ "opaque by user attribute", "mkdir base/d upper/d; : > base/d/f; setfattr -n user.overlay.opaque -v y upper/d", "- d/f\n" },
	{ "opaque x is not opaque", "mkdir base/d upper/d; : > base/d/f; : > base/d/g; mark opaque x upper/d; : > upper/d/g;"
		"mark whiteout y upper/d/g", "- d/g\n" },
	{ "opaque, and a directory in it", "mkdir -p base/d/e upper/d/e; echo 1 > base/d/e/one; echo 2 > base/d/e/two; echo 1 > upper/d/e/one;"
		"mark opaque y upper/d", "- d/e/two\n" },
	{ "file to directory", "echo a > base/x; mkdir upper/x; echo y > upper/x/y", "d x 0755 0:0\nf x/y 0644 0:0 'y\n'\n" },
	{ "directory to file", "mkdir base/x; : > base/x/y; echo a > upper/x", "f x 0644 0:0 'a\n'\n" },
	{ "the layer's own attributes stay out", "mkdir upper/d; echo a > upper/a; mark origin y upper/a; mark impure y upper/d;"
		"setfattr -n user.x -v 1 upper/a", "f a 0644 0:0 'a\n' +user.x\nd d 0755 0:0\n" },
	{ "renamed beside itself", "mkdir -p base/d/e upper/new; echo 1 > base/d/one; echo 2 > base/d/e/two; mknod upper/d c 0 0;"
		"mark redirect d upper/new", "- d\nd new 0755 0:0\nd new/e 0755 0:0\nf new/e/two 0644 0:0 '2\n'\nf new/one 0644 0:0 '1\n'\n" },
	{ "renamed to elsewhere, changed inside",
		"mkdir -p base/a/d base/b upper/a upper/b/d2; for f in 1 2 3; do echo $f > base/a/d/$f; done; mknod upper/a/d c 0 0;"
		"mark redirect /a/d upper/b/d2; echo x > upper/b/d2/1; mknod upper/b/d2/2 c 0 0",
		"- a/d\nd b/d2 0755 0:0\nf b/d2/1 0644 0:0 'x\n'\nf b/d2/3 0644 0:0 '3\n'\n" },
	{ "renamed over another directory", "mkdir base/d base/e upper/e; echo 1 > base/d/one; echo 2 > base/e/two; mknod upper/d c 0 0;"
		"mark redirect d upper/e", "- d\nf e/one 0644 0:0 '1\n'\n- e/two\n" },
	{ "renamed inside a renamed directory", "mkdir -p base/d/e upper/n/m; echo 1 > base/d/e/one; echo 2 > base/d/two; mknod upper/d c 0 0;"
		"mark redirect d upper/n; mark redirect e upper/n/m; mknod upper/n/e c 0 0",
		"- d\nd n 0755 0:0\nd n/m 0755 0:0\nf n/m/one 0644 0:0 '1\n'\nf n/two 0644 0:0 '2\n'\n" },
	{ "a redirect to nothing", "mkdir upper/n; mark redirect gone upper/n; echo x > upper/n/x", "d n 0755 0:0\nf n/x 0644 0:0 'x\n'\n" },
	{ "metadata copied up alone", "echo data > base/a; truncate -s 5 upper/a; mark metacopy y upper/a; chmod 640 upper/a",
		"f a 0640 0:0 'data\n'\n" },
	{ "metadata copied up, the same", "echo data > base/a; truncate -s 5 upper/a; mark metacopy y upper/a", "" },
	{ "metadata copied up and renamed", "echo data > base/a; truncate -s 5 upper/b; mark metacopy y upper/b; mark redirect a upper/b;"
		"mknod upper/a c 0 0; chmod 600 upper/b", "- a\nf b 0600 0:0 'data\n'\n" },
};

Test(source_upper, changes)
{
	bench_auto bench = bench_make();

	if (geteuid() != 0)
		cr_skip_test("devices and trusted attributes need root");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_changeset struct changeset set = CHANGESET_INIT;
		cleanup_strbuf struct strbuf script = STRBUF_INIT, is = STRBUF_INIT;
		cleanup_close int base = -EBADF, upper = -EBADF;

		strbuf_addf(&script, "rm -rf base upper; %s%s", prelude, rows[i].script);
		bench_run(&bench, strbuf_text(&script));
		base = bench_open(&bench, "base");
		upper = bench_open(&bench, "upper");
		must_pass(source_upper(bench.store, base, upper, &set, &err));
		describe(&bench, &set, &is);
		cr_assert_str_eq(strbuf_text(&is), rows[i].wanted, "row '%s': is:\n%swanted:\n%s",
			rows[i].name, strbuf_text(&is), rows[i].wanted);
	}
}

static const struct refused_row {
	const char *script, *word;
} refused_rows[] = {
	{ "mkdir upper/d; mark redirect /../x upper/d", "bad redirect" },
	{ "mkdir upper/d; mark redirect .. upper/d", "bad redirect" },
	{ "mkdir upper/d; mark redirect a/b upper/d", "bad redirect" },
	{ "truncate -s 5 upper/a; mark metacopy y upper/a", "without its content" },
	{ "mkdir base/a; truncate -s 5 upper/a; mark metacopy y upper/a", "without its content" },
	{ "ln -s /etc/passwd base/a; truncate -s 5 upper/a; mark metacopy y upper/a", "without its content" },
	{ "mkdir upper/.veneer", ".veneer" },
};

Test(source_upper, refuses_what_is_no_good)
{
	bench_auto bench = bench_make();

	if (geteuid() != 0)
		cr_skip_test("trusted attributes need root");
	for (size_t i = 0; i < ARRAY_SIZE(refused_rows); i++) {
		cleanup_changeset struct changeset set = CHANGESET_INIT;
		cleanup_strbuf struct strbuf script = STRBUF_INIT;
		cleanup_close int base = -EBADF, upper = -EBADF;

		strbuf_addf(&script, "rm -rf base upper; %s%s", prelude, refused_rows[i].script);
		bench_run(&bench, strbuf_text(&script));
		base = bench_open(&bench, "base");
		upper = bench_open(&bench, "upper");
		must_fail(-EINVAL, refused_rows[i].word, source_upper(bench.store, base, upper, &set, &err));
	}
}

/*
 * The kernel is the judge: a real overlay, written to; a copy of what it shows, compared with the base
 * by source_directory(), must be the same changes as its upper layer.
 */
static const char overlay_script[] =
	"mkdir -p base/d/deep base/ren/sub base/gone/x base/opq upper work merged; cd base; for f in d/a d/deep/b ren/1 ren/sub/2 gone/x/y opq/old"
	" plain meta link3 tochange todelete; do echo $f > $f; done; ln -s plain sym; cd ..;"
	"exec unshare -m bash -euc '"
	"mount -t overlay -o lowerdir=base,upperdir=upper,workdir=work,redirect_dir=on,metacopy=on,index=off none merged 2> mount.log || exit 77;"
	"cd merged; echo new > new; echo x >> tochange; rm todelete; rm -r gone; rm -r opq; mkdir opq; echo o > opq/o; chmod 4711 meta;"
	"mv ren renamed; echo 3 > renamed/sub/3; rm renamed/1; mv renamed/sub d/moved; mv plain d/plain2; rm sym; mkdir sym; touch d/a;"
	"chown 5:6 d/deep; ln -sfn other link3; mkfifo p; mkdir e; chmod 1777 e; setfattr -n user.x -v 1 new;"
	"cd ..; mkdir copy; cp -a merged/. copy; umount merged'";

Test(source_upper, agrees_with_the_kernel)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset by_layer = CHANGESET_INIT, by_copy = CHANGESET_INIT;
	cleanup_strbuf struct strbuf wanted = STRBUF_INIT;
	cleanup_close int base = -EBADF, upper = -EBADF, copy = -EBADF;
	int status;

	if (geteuid() != 0)
		cr_skip_test("mounting needs root");
	status = bench_try(&bench, overlay_script);
	if (status == 77)
		cr_skip_test("this kernel mounts no overlay here");
	cr_assert_eq(status, 0);
	base = bench_open(&bench, "base");
	upper = bench_open(&bench, "upper");
	copy = bench_open(&bench, "copy");
	must_pass(source_directory(bench.store, base, copy, &by_copy, &err));
	must_pass(source_upper(bench.store, base, upper, &by_layer, &err));
	describe(&bench, &by_copy, &wanted);
	cr_assert(by_copy.count > 15, "the overlay changed only:\n%s", strbuf_text(&wanted));
	expect_changes(&bench, &by_layer, strbuf_text(&wanted));
}
