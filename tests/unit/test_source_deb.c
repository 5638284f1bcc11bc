/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

#include "store/base/io.h"
#include "store/base/path.h"
#include "store/object.h"

/*
 * What the scripts have at hand: `make_deb NAME [OPTION…]` packs the tree pkg/NAME as NAME.deb;
 * `raw_deb NAME` packs data.tar as it lies there, for what dpkg-deb would not make; `image NAME`
 * makes a system image with merged /usr.
 */
static const char prelude[] =
	"make_deb() { local n=$1; shift; mkdir -p pkg/$n/DEBIAN;"
	"  printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@localhost>\\nDescription: d\\n' $n > pkg/$n/DEBIAN/control;"
	"  find pkg/$n -exec touch -h -d @1600000000 {} +;"
	"  dpkg-deb --build \"$@\" pkg/$n $n.deb > /dev/null; };"
	"raw_deb() { rm -f $1.deb; printf '2.0\\n' > debian-binary; echo p > control; tar cf control.tar control;"
	"  ar rc $1.deb debian-binary control.tar ${2:-data.tar}; };"
	"image() { mkdir -p $1/usr/lib/x $1/usr/share $1/etc $1/var/lib/dpkg/{info,updates,triggers}; ln -s usr/lib $1/lib;"
	"  : > $1/var/lib/dpkg/status; : > $1/var/lib/dpkg/available;"
	"  printf 'root:x:0:0::/:/bin/sh\\nwww-data:x:1033:1033::/:/bin/sh\\n' > $1/etc/passwd;"
	"  printf 'root:x:0:\\nwww-data:x:1034:\\n' > $1/etc/group; };";

static void script(const struct bench *bench, const char *text)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	strbuf_addf(&sb, "%s\n%s", prelude, text);
	bench_run(bench, strbuf_text(&sb));
}

static void note_left_out(void *arg, const char *path)
{
	strbuf_addf(arg, "%s\n", path);
}

/* source_deb() of PACKAGE for DIRECTORY in the bench's IMAGE. */
static int read_package(const struct bench *bench, const char *image, const char *directory,
	const char *package, struct changeset *set, struct strbuf *left_out, struct error *err)
{
	cleanup_close int basefd = -EBADF;
	char root[128], absolute[256], file[128];

	snprintf(root, sizeof root, "%s/%s", bench->dir.path, image);
	snprintf(absolute, sizeof absolute, "%s%s", root, directory);
	snprintf(file, sizeof file, "%s/%s", bench->dir.path, package);
	basefd = open(absolute, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert(basefd >= 0, "open '%s'", absolute);
	return source_deb(bench->store, root, absolute, basefd, file, set, left_out ? note_left_out : NULL,
		left_out, err);
}

static const char rich_package[] =
	"image image; mkdir -p pkg/p/lib/x/new pkg/p/usr/share/doc pkg/p/usr/lib/x; cd pkg/p;"
	"echo lib > lib/x/libz.so.1.2; ln -s libz.so.1.2 lib/x/libz.so; echo tool > usr/lib/x/tool; chmod 4755 usr/lib/x/tool;"
	"ln usr/lib/x/tool usr/lib/x/tool2; echo n > lib/x/new/file; chmod 750 lib/x/new; echo doc > usr/share/doc/readme;"
	"ln usr/share/doc/readme usr/lib/x/readme; cd ../..;";

static const char rich_changes[] =
	"l libz.so 0:0 'libz.so.1.2' @1600000000\n"
	"f libz.so.1.2 0644 0:0 'lib\n' @1600000000\n"
	"d new 0750 0:0 @1600000000\n"
	"f new/file 0644 0:0 'n\n' @1600000000\n"
	"f readme 0644 0:0 'doc\n' @1600000000\n"
	"f tool 4755 0:0 'tool\n' @1600000000\n"
	"f tool2 4755 0:0 'tool\n' @1600000000\n";

Test(source_deb, reads_every_compression)
{
	static const char *const forms[] = { "-Znone", "-Zgzip", "-Zxz", "-Zzstd" };

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		bench_auto bench = bench_make();
		cleanup_changeset struct changeset set = CHANGESET_INIT;
		cleanup_strbuf struct strbuf text = STRBUF_INIT, left_out = STRBUF_INIT;

		strbuf_addf(&text, "%smake_deb p --root-owner-group %s", rich_package, forms[i]);
		script(&bench, strbuf_text(&text));
		must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, &left_out, &err));
		expect_changes(&bench, &set, rich_changes);
		/* Not the directories above, and in the order of the package. */
		cr_assert_str_eq(strbuf_text(&left_out), "/usr/share/doc/readme\n", "%s: %s", forms[i],
			strbuf_text(&left_out));
	}
}

/* Of the image, not of this machine; and what the administrator has overridden stays so. */
Test(source_deb, owners_are_those_of_the_image)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;

	script(&bench,
		"image image; mkdir -p t/lib/x; cd t/lib/x; echo f > named; echo f > unknown; echo f > overridden; ln -s f link;"
		"touch -h -d @5 *; cd ../../..; tar cf data.tar --owner=www-data:33 --group=www-data:33 -C t ./lib/x/named ./lib/x/link ./lib/x/overridden;"
		"tar rf data.tar --owner=stranger:77 --group=strangers:78 -C t ./lib/x/unknown; raw_deb p;"
		"echo 'root www-data 2750 /lib/x/overridden' > image/var/lib/dpkg/statoverride");
	must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, NULL, &err));
	expect_changes(&bench, &set,
		"l link 1033:1034 'f' @5\n"
		"f named 0644 1033:1034 'f\n' @5\n"
		"f overridden 2750 0:1034 'f\n' @5\n"
		"f unknown 0644 77:78 'f\n' @5\n");
}

/* dpkg itself is the judge: base and new package unpacked by it, and the difference between the two. */
Test(source_deb, agrees_with_dpkg)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset by_us = CHANGESET_INIT, by_dpkg = CHANGESET_INIT;
	cleanup_strbuf struct strbuf wanted = STRBUF_INIT;
	cleanup_close int old = -EBADF, new = -EBADF;

	script(&bench,
		"image image; cp /etc/passwd /etc/group image/etc; mkdir -p pkg/{a,b}/{lib,usr/lib}/x/{keep,other} pkg/{a,b}/usr/share;"
		"for p in a b; do (cd pkg/$p; echo same > lib/x/same; echo $p > lib/x/differs; echo $p > usr/lib/x/keep/in;"
		"  ln -s $p usr/lib/x/link; ln -s same lib/x/still; echo $p > usr/share/outside; echo s > lib/x/suid;"
		"  echo o > lib/x/owned; chown 33:33 lib/x/owned; chown -h 33:33 usr/lib/x/link; ln lib/x/differs usr/lib/x/other/hard;"
		"  echo set > lib/x/overridden); done;"
		"chmod 755 pkg/a/lib/x/suid; chmod 4755 pkg/b/lib/x/suid; chown 33:0 pkg/b/lib/x/same;"
		"(cd pkg/b/lib/x; ln -s target became; mkfifo fifo; mkdir -p deep/er; echo d > deep/er/file; mkdir overdir;"
		"  ln -s keep dirlink; echo f > fromlink); echo f > pkg/a/lib/x/became; ln -s same pkg/a/lib/x/fromlink;"
		"mkdir pkg/a/lib/x/dirlink; echo x > pkg/a/lib/x/overdir;"
		"echo 'www-data root 2750 /lib/x/overridden' > image/var/lib/dpkg/statoverride;"
		"make_deb a; rm -rf pkg/a/DEBIAN; sed -i s/x/x/ pkg/b/lib/x/suid; chmod 4755 pkg/b/lib/x/suid;"
		"make_deb b; sed 's/^Package: b/Package: a/' -i pkg/b/DEBIAN/control; dpkg-deb --build pkg/b b.deb > /dev/null;"
		"dpkg --root=$PWD/image --force-all --unpack a.deb > log 2>&1 || { cat log; exit 1; };"
		"cp -a image image2; dpkg --root=$PWD/image2 --force-all --unpack b.deb > log 2>&1 || { cat log; exit 1; };");
	old = bench_open(&bench, "image/usr/lib/x");
	new = bench_open(&bench, "image2/usr/lib/x");
	must_pass(source_directory(bench.store, old, new, &by_dpkg, &err));
	must_pass(read_package(&bench, "image", "/usr/lib/x", "b.deb", &by_us, NULL, &err));
	/* A new directory's own time is that of its unpacking. */
	for (size_t i = 0; i < by_dpkg.count; i++)
		by_dpkg.changes[i].ignore_mtime = by_dpkg.changes[i].kind == CHANGE_DIRECTORY;
	for (size_t i = 0; i < by_us.count; i++)
		by_us.changes[i].ignore_mtime = by_us.changes[i].kind == CHANGE_DIRECTORY;
	describe(&bench, &by_dpkg, &wanted);
	cr_assert(by_dpkg.count > 10, "dpkg changed only:\n%s", strbuf_text(&wanted));
	expect_changes(&bench, &by_us, strbuf_text(&wanted));
}

/* Of a path that is diverted every package's file goes elsewhere, but for the one that diverts it. */
Test(source_deb, diversions_agree_with_dpkg)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset by_us = CHANGESET_INIT, by_dpkg = CHANGESET_INIT;
	cleanup_strbuf struct strbuf wanted = STRBUF_INIT, left_out = STRBUF_INIT;
	cleanup_close int old = -EBADF, new = -EBADF;

	script(&bench,
		"image image; cp /etc/passwd /etc/group image/etc; mkdir -p pkg/p/usr/lib/x/sub; cd pkg/p/usr/lib/x;"
		"for f in other own local plain linked outside sub/deep; do echo $f > $f; done; ln linked hard; ln -s plain link;"
		"ln -s plain links; cd ../../../../..; make_deb p;"
		"d() { printf '/usr/lib/x/%s\\n%s\\n%s\\n' \"$@\" >> image/var/lib/dpkg/diversions; };"
		"d other /usr/lib/x/other.distrib q; d own /usr/lib/x/own.distrib p; d local /usr/lib/x/sub/local :;"
		"d linked /usr/lib/x/linked.distrib q; d link /usr/lib/x/link.distrib q; d outside /usr/share/outside q;"
		"d hard /usr/lib/x/hard.distrib q; mkdir image/usr/lib/x/sub; cp -a image image2;"
		"dpkg --root=$PWD/image2 --force-all --unpack p.deb > log 2>&1 || { cat log; exit 1; };"
		"test -f image2/usr/share/outside; test -f image2/usr/lib/x/other.distrib");
	old = bench_open(&bench, "image/usr/lib/x");
	new = bench_open(&bench, "image2/usr/lib/x");
	must_pass(source_directory(bench.store, old, new, &by_dpkg, &err));
	must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &by_us, &left_out, &err));
	for (size_t i = 0; i < by_dpkg.count; i++)
		by_dpkg.changes[i].ignore_mtime = by_dpkg.changes[i].kind == CHANGE_DIRECTORY;
	for (size_t i = 0; i < by_us.count; i++)
		by_us.changes[i].ignore_mtime = by_us.changes[i].kind == CHANGE_DIRECTORY;
	describe(&bench, &by_dpkg, &wanted);
	expect_changes(&bench, &by_us, strbuf_text(&wanted));
	cr_assert_str_eq(strbuf_text(&left_out), "/usr/share/outside\n");
}

Test(source_deb, what_is_the_same_to_the_letter_is_no_change)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT, after = CHANGESET_INIT;

	script(&bench, rich_package);
	script(&bench, "make_deb p --root-owner-group; dpkg-deb -x p.deb unpacked; cp -a unpacked/usr/. unpacked/lib image/usr;"
		       "cp -a unpacked/lib/. image/usr/lib");
	must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, NULL, &err));
	expect_changes(&bench, &set, "");
	script(&bench, "touch -d @1600000001 image/usr/lib/x/tool; touch -h -d @1 image/usr/lib/x/libz.so;"
		       "chmod 600 image/usr/lib/x/new/file; chmod 700 image/usr/lib/x/new; rm image/usr/lib/x/readme");
	must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &after, NULL, &err));
	expect_changes(&bench, &after,
		"l libz.so 0:0 'libz.so.1.2' @1600000000\n"
		"f new/file 0644 0:0 'n\n' @1600000000\n"
		"f readme 0644 0:0 'doc\n' @1600000000\n"
		"f tool 4755 0:0 'tool\n' @1600000000\n"
		"f tool2 4755 0:0 'tool\n' @1600000000\n");
}

/* A path may come by more than once, in one package or in several, and the last copy is the one that stands. */
Test(source_deb, the_last_copy_stands)
{
	static const char *const same[] = {
		"echo same > x; chmod 644 x", "echo same > y; chmod 644 y; ln y x", "ln -s same x", "mkfifo x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		for (int packages = 1; packages <= 2; packages++) {
			bench_auto bench = bench_make();
			cleanup_changeset struct changeset set = CHANGESET_INIT;
			char text[2048];

			snprintf(text, sizeof text,
				"image image; mkdir -p old/lib/x new/lib/x; (cd old/lib/x; %s; touch -h -d @5 *); "
				"(cd new/lib/x; echo other > x; echo more > z; touch -d @6 x z); cp -a old/lib/x/* image/usr/lib/x; "
				"tar cf data.tar -C new ./lib/x/x ./lib/x/z; %s tar rf data.tar -C old ./lib/x; raw_deb p",
				same[i], packages == 2 ? "raw_deb first; rm data.tar;" : "");
			script(&bench, text);
			if (packages == 2)
				must_pass(read_package(&bench, "image", "/usr/lib/x", "first.deb", &set, NULL, &err));
			must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, NULL, &err));
			expect_changes(&bench, &set, "f z 0644 0:0 'more\n' @6\n");
		}
	}
}

Test(source_deb, capabilities_of_the_base_stay)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;

	script(&bench, "image image; mkdir -p pkg/p/lib/x; echo new > pkg/p/lib/x/ping; echo new > pkg/p/lib/x/plain;"
		       "make_deb p --root-owner-group; cd image/usr/lib/x; echo old > ping; echo old > plain;"
		       "setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 ping;"
		       "setfattr -n user.note -v gone ping; setfattr -n user.note -v gone plain");
	must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, NULL, &err));
	expect_changes(&bench, &set,
		"f ping 0644 0:0 'new\n' @1600000000 +security.capability\n"
		"f plain 0644 0:0 'new\n' @1600000000\n");
	cr_assert(set.changes[1].meta.present & META_XATTRS);
}

/* The package brings the symlink through which another of its paths leads. */
Test(source_deb, resolves_through_the_packages_own_symlinks)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_strbuf struct strbuf left_out = STRBUF_INIT;

	script(&bench, "image image; mkdir -p t/opt t/opt2; ln -s /usr/lib/x t/opt/way; tar cf data.tar --owner=0 --group=0 -C t ./opt/way;"
		       "rm t/opt/way; mkdir t/opt/way; echo f > t/opt/way/f; touch -d @5 t/opt/way/f;"
		       "tar rf data.tar --owner=0 --group=0 -C t ./opt/way/f; raw_deb p");
	must_pass(read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, &left_out, &err));
	expect_changes(&bench, &set, "f f 0644 0:0 'f\n' @5\n");
	cr_assert_str_eq(strbuf_text(&left_out), "/opt/way\n");
}

Test(source_deb, a_component_that_is_the_whole_image)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;

	script(&bench, "image image; mkdir -p pkg/p/lib; echo f > pkg/p/lib/f; make_deb p --root-owner-group");
	must_pass(read_package(&bench, "image", "", "p.deb", &set, NULL, &err));
	expect_changes(&bench, &set, "f usr/lib/f 0644 0:0 'f\n' @1600000000\n");
}

/* ---- refused ---- */

static const struct refused_row {
	const char *name, *script;
	int code;
	const char *word;
} refused_rows[] = {
	{ "empty", ": > p.deb", -EINVAL, "is not a Debian package" },
	{ "garbage", "head -c 100000 /dev/urandom > p.deb", -EINVAL, "is not a Debian package" },
	{ "text", "echo 'hello, this is no package at all, is it' > p.deb", -EINVAL, "is not a Debian package" },
	{ "a tar archive", "tar cf p.deb image", -EINVAL, "is not a Debian package" },
	{ "another ar archive", "echo x > x; ar rc p.deb x", -EINVAL, "'debian-binary'" },
	{ "an empty ar archive", "ar rc p.deb", -EINVAL, "is not a Debian package" },
	{ "a directory", "mkdir p.deb", -EINVAL, "not a regular file" },
	{ "a fifo", "mkfifo p.deb", -EINVAL, "not a regular file" },
	{ "missing", ":", -ENOENT, "p.deb" },
	{ "version 3", "tar cf data.tar image; raw_deb p; printf '3.0\\n' > debian-binary; ar r p.deb debian-binary", -EINVAL,
		"version 2" },
	{ "without data", "raw_deb p control.tar", -EINVAL, "no member 'data.tar'" },
	{ "unknown compression", "echo x > data.tar.rar; raw_deb p data.tar.rar", -EINVAL, "'data.tar.rar'" },
	{ "data is no tar", "head -c 5000 /dev/urandom > data.tar; raw_deb p", -EINVAL, "damaged" },
	{ "data is not what it is called", "tar cf data.tar image; gzip data.tar; mv data.tar.gz data.tar.xz; raw_deb p data.tar.xz",
		-EINVAL, "damaged" },
	{ "a way out", "mkdir -p a/b; echo x > x; tar cPf data.tar -C a/b ../../x; raw_deb p", -EINVAL, "'..'" },
	{ "a link to the way out", "echo x > x; ln x y; tar cPf data.tar --transform='s,^x$,../x,RSh' x y; raw_deb p", -EINVAL,
		"'..'" },
	{ "hard link to nothing", "mkdir -p t/lib/x; cd t; echo x > lib/x/a; ln lib/x/a lib/x/b; tar cf ../data.tar ./lib/x/a ./lib/x/b;"
		"cd ..; tar --delete -f data.tar ./lib/x/a; raw_deb p", -EINVAL, "hard link to 'lib/x/a'" },
	{ "a name that no commit can hold", "mkdir -p t/lib/x/.git; echo x > t/lib/x/.git/config; tar cf data.tar -C t ./lib; raw_deb p",
		-EINVAL, ".git" },
	{ "a file over a directory", "mkdir -p image/usr/lib/x/d t/lib/x; echo x > t/lib/x/d; tar cf data.tar -C t ./lib/x/d; raw_deb p",
		-EISDIR, "'d' is a directory" },
	{ "symlinks without end", "mkdir -p t; ln -s two t/one; ln -s one t/two; tar cf data.tar -C t ./one ./two; mkdir u; mkdir u/one;"
		"echo x > u/one/f; tar rf data.tar -C u ./one/f; raw_deb p", -ELOOP, "'/one'" },
	{ "nothing below the component", "mkdir -p t/usr/share/x; echo x > t/usr/share/x/f; tar cf data.tar -C t ./usr; raw_deb p",
		-ENOENT, "nothing of '" },
	{ "only a directory of the component", "mkdir -p t/lib/x/y; tar cf data.tar -C t ./lib; raw_deb p", -ENOENT, "nothing of '" },
	{ "an empty package", "tar cf data.tar -T /dev/null; raw_deb p", -ENOENT, "nothing of '" },
};

Test(source_deb, refuses_what_is_no_good)
{
	bench_auto bench = bench_make();

	for (size_t i = 0; i < ARRAY_SIZE(refused_rows); i++) {
		cleanup_changeset struct changeset set = CHANGESET_INIT;
		struct error err = ERROR_INIT;
		int r;

		script(&bench, "find . -mindepth 1 -maxdepth 1 ! -name store -exec rm -r {} +; image image");
		script(&bench, refused_rows[i].script);
		r = read_package(&bench, "image", "/usr/lib/x", "p.deb", &set, NULL, &err);
		cr_assert_eq(r, refused_rows[i].code, "row '%s': %d: %s", refused_rows[i].name, r, err.message);
		cr_assert(strstr(err.message, refused_rows[i].word), "row '%s': %s", refused_rows[i].name,
			err.message);
		cr_assert(strstr(err.message, "p.deb"), "row '%s': %s", refused_rows[i].name, err.message);
	}
}

static void write_package(const struct bench *bench, const char *name, const char *data, size_t len)
{
	cleanup_close int fd = open(path_in(bench->dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert(fd >= 0 && io_write(fd, data, len) == 0, "write '%s'", name);
}

/* Cut off at any length, a package is an error, and not one byte of it reaches the store. */
Test(source_deb, refuses_what_is_cut_off)
{
	static const char *const forms[] = { "-Znone", "-Zgzip", "-Zxz", "-Zzstd" };

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		bench_auto bench = bench_make();
		cleanup_strbuf struct strbuf text = STRBUF_INIT, whole = STRBUF_INIT;

		strbuf_addf(&text, "%smake_deb p --root-owner-group %s", rich_package, forms[i]);
		script(&bench, strbuf_text(&text));
		must_pass(io_read_file_at(AT_FDCWD, path_in(bench.dir, "p.deb"), 1 << 20, &whole, &err));
		/* The very last byte may be padding; the ones before it are tried one by one. */
		for (size_t len = 0; len + 1 < whole.len; len += whole.len - len > 40 ? 1 + whole.len / 160 : 1) {
			cleanup_changeset struct changeset set = CHANGESET_INIT;
			struct error problem = ERROR_INIT;
			int r;

			write_package(&bench, "cut.deb", whole.buf, len);
			r = read_package(&bench, "image", "/usr/lib/x", "cut.deb", &set, NULL, &problem);
			cr_assert_eq(r, -EINVAL, "%s cut at %zu of %zu: %d: %s", forms[i], len, whole.len, r,
				problem.message);
			cr_assert_eq(set.count, 0);
		}
		bench_run(&bench, "test -z \"$(find store/objects -type f)\"");
	}
}

/* Any one byte changed: an error or another content, never a crash. */
Test(source_deb, survives_changed_bytes)
{
	static const char *const forms[] = { "-Znone", "-Zxz" };

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		bench_auto bench = bench_make();
		cleanup_strbuf struct strbuf text = STRBUF_INIT, whole = STRBUF_INIT;

		strbuf_addf(&text, "%smake_deb p --root-owner-group %s", rich_package, forms[i]);
		script(&bench, strbuf_text(&text));
		must_pass(io_read_file_at(AT_FDCWD, path_in(bench.dir, "p.deb"), 1 << 20, &whole, &err));
		for (size_t at = 0; at < whole.len; at += 1 + whole.len / 400) {
			cleanup_changeset struct changeset set = CHANGESET_INIT;
			struct error problem = ERROR_INIT;
			int r;

			whole.buf[at] ^= 0x21;
			write_package(&bench, "bad.deb", whole.buf, whole.len);
			whole.buf[at] ^= 0x21;
			r = read_package(&bench, "image", "/usr/lib/x", "bad.deb", &set, NULL, &problem);
			cr_assert(r == 0 || problem.message[0], "%s at %zu", forms[i], at);
			for (size_t k = 0; r == 0 && k < set.count; k++)
				must_pass(path_check(set.changes[k].path, &err));
		}
	}
}
