/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

/* Times are fixed where they are looked at: the base 1000, a changed copy 2000, plain git's commits 1600000000. */
#define OLD "touch -hd @1000 "
#define NEW "touch -hd @2000 "

/* ---- what a patch makes of the base ---- */

static const char kinds_base[] =
	"mkdir dir gone; echo -n one >file; echo -n in >dir/in; echo -n x >gone/x; echo -n y >gone/y; "
	"ln -s file link; mkfifo pipe; " OLD "file dir/in gone/x gone/y link pipe; " OLD "dir gone";

struct kind_row {
	const char *script, *wanted;
};

static void expect_kind(const struct kind_row *row)
{
	scene_auto scene = scene_make(kinds_base);
	struct oid commit = scene_patch(&scene, "a", row->script);

	expect_view(&scene, &commit, row->wanted);
}

Test(view, kinds)
{
	static const struct kind_row rows[] = {
		/* Content, modes, owners. */
		{ "echo -n two >file; " NEW "file", "f file 100644 0:0 @2000 'two'\n" },
		{ "echo -n two >file; chown 3:4 file; chmod 4755 file; " NEW "file", "f file 104755 3:4 @2000 'two'\n" },
		{ "chmod 600 file", "f file 100600 0:0 @1000 'one'\n" },
		{ ": >empty; " NEW "empty", "f empty 100644 0:0 @2000 ''\n" },
		{ "setfattr -n user.a -v b file", "f file 100644 0:0 @1000 +user.a 'one'\n" },
		{ "ln -sfn elsewhere link; " NEW "link", "l link 120777 0:0 @2000 -> elsewhere\n" },
		{ "chmod 700 dir", "d dir 40700 0:0\n" },
		/* New. */
		{ "mkdir new; " NEW "new", "d new 40755 0:0 @2000\n" },
		{ "mkdir -p new/a; echo -n f >new/a/f; " NEW "new/a/f new/a new",
			"d new 40755 0:0 @2000\nd new/a 40755 0:0 @2000\nf new/a/f 100644 0:0 @2000 'f'\n" },
		{ "echo -n n >dir/new; " NEW "dir/new", "t dir\nf dir/new 100644 0:0 @2000 'n'\n" },
		{ "mkfifo -m 622 fifo; " NEW "fifo", "s fifo 10622 0:0 @2000\n" },
		{ "mknod -m 600 null c 1 3; " NEW "null", "s null 20600 0:0 @2000\n" },
		/* Gone. */
		{ "rm file", "- file\n" },
		{ "rm link pipe", "- link\n- pipe\n" },
		{ "rm gone/x", "t gone\n- gone/x\n" },
		{ "rm -r gone", "- gone\n" },
		/* Type changes, in every direction. */
		{ "rm file; ln -s t file; " NEW "file", "l file 120777 0:0 @2000 -> t\n" },
		{ "rm file; mkdir file; " NEW "file", "d file 40755 0:0 @2000\n" },
		{ "rm file; mkdir file; echo -n f >file/f; " NEW "file/f file",
			"d file 40755 0:0 @2000\nf file/f 100644 0:0 @2000 'f'\n" },
		{ "rm file; mkfifo file; " NEW "file", "s file 10644 0:0 @2000\n" },
		{ "rm link; echo -n f >link; " NEW "link", "f link 100644 0:0 @2000 'f'\n" },
		{ "rm link; mkdir link; echo -n f >link/f; " NEW "link/f link",
			"d link 40755 0:0 @2000\nf link/f 100644 0:0 @2000 'f'\n" },
		{ "rm link; mkfifo link; " NEW "link", "s link 10644 0:0 @2000\n" },
		{ "rm -r gone; echo -n f >gone; " NEW "gone", "f gone 100644 0:0 @2000 'f'\n" },
		{ "rm -r gone; ln -s t gone; " NEW "gone", "l gone 120777 0:0 @2000 -> t\n" },
		{ "rm -r gone; mkfifo gone; " NEW "gone", "s gone 10644 0:0 @2000\n" },
		{ "rm pipe; echo -n f >pipe; " NEW "pipe", "f pipe 100644 0:0 @2000 'f'\n" },
		{ "rm pipe; ln -s t pipe; " NEW "pipe", "l pipe 120777 0:0 @2000 -> t\n" },
		{ "rm pipe; mkdir pipe; echo -n f >pipe/f; " NEW "pipe/f pipe",
			"d pipe 40755 0:0 @2000\nf pipe/f 100644 0:0 @2000 'f'\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		expect_kind(&rows[i]);
}

Test(view, base_has_only_its_root)
{
	scene_auto scene = scene_make(kinds_base);
	cleanup_view struct view *view = scene_view(&scene, &scene.component->base);

	cr_assert_eq(view_count(view), 1);
	cr_assert_eq(view_at(view, 0)->kind, VIEW_THROUGH);
	cr_assert_eq(view_at(view, 0)->parent, VIEW_NONE);
	cr_assert(oid_equal(view_base(view), &scene.component->base));
}

/* ---- plain git ---- */

Test(view, plain_git)
{
	static const char base[] = "mkdir dir; echo -n one >tool; echo -n in >dir/in; ln -s tool link; chown 3:4 tool; "
				   "chmod 4755 tool; setfattr -n user.a -v b tool; " OLD "tool dir/in link dir";
	/* Recorded by a first patch, so that a checkout of the base has them. */
	static const char touch_all[] = "echo -n 1 >tool; rm -r dir; ln -sfn x link";
	static const struct kind_row rows[] = {
		{ "echo -n two >tool", "f tool 104755 3:4 @1600000000 +user.a 'two'\n" },
		{ "echo -n two >new", "f new 100644 0:0 @1600000000 'two'\n" },
		{ "echo -n two >new; chmod +x new", "f new 100755 0:0 @1600000000 'two'\n" },
		{ "chmod +x dir/in", "t dir\nf dir/in 100755 0:0 @1000 'in'\n" },
		{ "chmod -x tool", "f tool 104644 3:4 @1000 +user.a 'one'\n" },
		{ "rm tool", "- tool\n" },
		{ "rm link; echo -n f >link", "f link 100644 0:0 @1600000000 'f'\n" },
		{ "rm tool; ln -s t tool", "l tool 120777 3:4 @1600000000 -> t\n" },
		{ "rm tool; mkdir tool; echo -n f >tool/f", "d tool 40755 0:0 @1600000000\nf tool/f 100644 0:0 @1600000000 'f'\n" },
		{ "mkdir -p n/m; echo -n f >n/m/f",
			"d n 40755 0:0 @1600000000\nd n/m 40755 0:0 @1600000000\nf n/m/f 100644 0:0 @1600000000 'f'\n" },
		/* Without the metadata that says it is a directory, and with it. */
		{ "git rm -qr dir .veneer/meta/dir", "- dir\n" },
		{ "git rm -qr dir", "t dir\n- dir/in\n" },
		{ "git rm -qr .veneer/meta/dir/.veneer; echo -n f >f", "t dir\nf f 100644 0:0 @1600000000 'f'\n" },
		/* Metadata that says nothing of what is there. */
		{ "mkdir -p .veneer/meta/no; echo 'mode 0644' >.veneer/meta/no/such; echo -n f >f", "f f 100644 0:0 @1600000000 'f'\n" },
		{ "git rm -q .veneer/meta/tool; echo -n f >f", "f f 100644 0:0 @1600000000 'f'\n" },
		{ "echo 'mode 0700' >.veneer/meta/tool", "f tool 100700 3:4 @1000 +user.a 'one'\n" },
		{ "mkdir .veneer/meta/sub; echo 'type directory' >.veneer/meta/sub/.veneer", "d sub 40755 0:0 @1600000000\n" },
		{ "printf 'type directory\\nmode 01777\\n' >.veneer/meta/sub", "d sub 41777 0:0 @1600000000\n" },
		{ "printf 'type char 1:3\\nmode 0666\\n' >.veneer/meta/dev", "s dev 20666 0:0 @1600000000\n" },
		{ "printf 'type directory\\nmode 0700\\n' >.veneer/meta/.veneer", "d  40700\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make(base);
		struct oid commit;

		scene_patch(&scene, "a", touch_all);
		commit = scene_commit(&scene, "refs/veneer/app/base", rows[i].script);
		expect_view(&scene, &commit, rows[i].wanted);
		/* As a patch, and composed with another, it serves the same. */
		if (strncmp(rows[i].wanted, "d  ", 3) == 0)
			continue;
		scene_adopt(&scene, &commit, "b");
		commit = scene_compose(&scene, "b");
		expect_view(&scene, &commit, rows[i].wanted);
	}
}

/* ---- hostile trees ---- */

/* A commit on the base of the tree that SCRIPT prints: entry MODE NAME ID, put (a blob), tree, meta NAME (in `.veneer`). */
static struct oid hostile_commit(struct scene *scene, const char *script)
{
	char text[8192];
	struct oid commit;

	snprintf(text, sizeof text,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=M GIT_AUTHOR_EMAIL=m@x GIT_COMMITTER_NAME=M GIT_COMMITTER_EMAIL=m@x "
		"GIT_DIR=$PWD/store/git; "
		"entry() { printf '%%s %%s\\0' \"$1\" \"$2\"; printf \"$(echo -n $3 | sed 's/../\\\\x&/g')\"; }; "
		"tree() { git hash-object -t tree --literally -w --stdin; }; "
		"put() { git hash-object -w --stdin; }; "
		"meta() { local m=$(put); m=$(entry 100644 $1 $m | tree); m=$(entry 40000 meta $m | tree); entry 40000 .veneer $m; }; "
		"f=$(echo -n f | put); missing=0123456789012345678901234567890123456789; "
		"top=$( { %s\n } | tree); "
		"git update-ref refs/heads/plain $(git commit-tree -m x -p refs/veneer/app/base $top)",
		script);
	bench_run(&scene->bench, text);
	must_pass(repo_resolve(scene->bench.store->repo, "refs/heads/plain", &commit, &err));
	return commit;
}

Test(view, hostile, .timeout = 280)
{
	static const struct {
		const char *script, *word;
	} rows[] = {
		{ "entry 100644 .. $f", "'..'" },
		{ "entry 40000 .. $(entry 100644 x $f | tree)", "'..'" },
		{ "entry 100644 . $f", "'.'" },
		{ "entry 100644 .git $f", ".git" },
		{ "entry 40000 .GIT $(entry 100644 x $f | tree)", ".GIT" },
		{ "entry 40000 d $(entry 40000 .veneer $(entry 100644 x $f | tree) | tree)", "d/.veneer" },
		{ "entry 100644 /etc/passwd $f", "slash" },
		{ "entry 100644 '' $f", "empty" },
		{ "entry 100644 $(printf 'n%.0s' $(seq 5000)) $f", "longer than 255 bytes" },
		{ "entry 160000 sub $f", "submodule" },
		{ "entry 100644 file $missing", "blob '0123456789012345678901234567890123456789' of 'file' is missing" },
		{ "entry 120000 link $missing", "of 'link' is missing" },
		{ "entry 40000 dir $missing", "dir" },
		{ "entry 100644 file $(printf '' | tree)", "file" },
		{ "entry 40000 dir $f", "dir" },
		/* Symlinks: an ancestor, and what is no target. */
		{ "l=$(echo -n /etc | put); entry 120000 x $l; entry 40000 x $(entry 100644 passwd $f | tree)", "'x'" },
		{ "entry 120000 x $(printf '' | put)", "empty target" },
		{ "entry 120000 x $(printf 'a\\0b' | put)", "NUL" },
		{ "entry 120000 x $(printf 'n%.0s' $(seq 4096) | put)", "longer than 4095" },
		{ "entry 100644 x $f; entry 100644 x $(echo g | put)", "two entries" },
		/* Metadata. */
		{ "entry 100644 .veneer $f", "'.veneer' is not a directory" },
		{ "entry 40000 .veneer $(entry 40000 other $(entry 100644 x $f | tree) | tree)", ".veneer/other" },
		{ "entry 40000 .veneer $(entry 100644 meta $f | tree)", "only the directory 'meta'" },
		{ "entry 40000 .veneer $(entry 40000 meta $(entry 100644 .. $f | tree) | tree)", "'..'" },
		{ "entry 40000 .veneer $(entry 40000 meta $(entry 120000 l $f | tree) | tree)", "symlink" },
		{ "entry 40000 .veneer $(entry 40000 meta $(entry 100644 m $missing | tree) | tree); entry 100644 m $f", "is missing" },
		{ "m=$(echo 'type fifo' | put); m=$(entry 40000 x $(entry 100644 y $m | tree) | tree); "
		  "entry 40000 .veneer $(entry 40000 meta $m | tree); entry 100644 x $f", "below it" },
		{ "m=$( (entry 40000 a $(entry 100644 b $f | tree); entry 100644 a/b $f) | tree); "
		  "entry 40000 .veneer $(entry 40000 meta $m | tree)", "'a/b'" },
		{ "head -c 104857600 /dev/zero | meta file; entry 100644 file $f", "metadata blob" },
		{ "head -c 1000 /dev/urandom | meta file; entry 100644 file $f", "metadata of 'file'" },
		{ "echo 'mode 99' | meta file; entry 100644 file $f", "metadata of 'file'" },
		{ "echo 'type directory' | meta file; entry 100644 file $f", "'type'" },
		{ "echo 'type fifo' | meta d; entry 40000 d $(entry 100644 x $f | tree)", "'d'" },
		{ "echo \"object xxh3-128:$(printf '0%.0s' $(seq 32)) 77\" | meta file; entry 100644 file $f", "77" },
		{ "m=$(entry 100644 .veneer $(echo 'type fifo' | put) | tree); m=$(entry 40000 d $m | tree); "
		  "entry 40000 .veneer $(entry 40000 meta $m | tree)", "its place" },
		/* Depth: just too much; far too much below. */
		{ "t=$(entry 100644 x $f | tree); for i in $(seq 256); do t=$(entry 40000 d $t | tree); done; entry 40000 d $t", "deeper" },
	};
	scene_auto scene = scene_make("echo -n one >known");
	struct oid zero = { { 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct oid commit = hostile_commit(&scene, rows[i].script);
		cleanup_commit struct commit facts = { 0 };
		struct error why = ERROR_INIT;
		struct view *view = NULL;
		int r = view_load(scene.bench.store, &commit, &view, &why);

		cr_expect_eq(r, -EBADMSG, "%s: %d: %s", rows[i].script, r, why.message);
		cr_expect(strstr(why.message, rows[i].word), "%s: no '%s' in: %s", rows[i].script, rows[i].word,
			why.message);
		cr_expect_null(view);
		view_unref(r == 0 ? view : NULL);
		must_pass(repo_commit_read(scene.bench.store->repo, &commit, &facts, &err));
		cr_expect_eq(view_check(scene.bench.store, &zero, &facts.tree, NULL), -EBADMSG, "%s", rows[i].script);
	}
}

/* Trees 100,000 deep (they come as one pack): in content, and below .veneer/meta. */
Test(view, hostile_depth, .timeout = 300)
{
	scene_auto scene = scene_make(": >known");
	struct store *store = scene.bench.store;
	struct oid commit;
	char text[2048];

	snprintf(text, sizeof text,
		"export GIT_DIR=$PWD/store/git; f=$(echo -n f | git hash-object -w --stdin); "
		"perl -MDigest::SHA=sha1 -MCompress::Zlib -e '"
		"my ($id, $mode, $pack) = (pack(\"H*\", $ARGV[0]), \"100644\", pack(\"a4NN\", \"PACK\", 2, 100000)); "
		"for (1..100000) { my $tree = \"$mode d\\0$id\"; my $size = length $tree; "
		"$id = sha1(\"tree $size\\0$tree\"); $mode = \"40000\"; "
		"$pack .= chr(0xa0 | ($size & 15)) . chr($size >> 4) . \"\\x78\\x01\\x01\" . pack(\"vv\", $size, ~$size & 65535) "
		". $tree . pack(\"N\", adler32($tree)) } " /* stored, not deflated: a hundred thousand times */
		"print STDERR unpack(\"H*\", $id); print $pack, sha1($pack)' $f 2>deep | git index-pack --stdin >pack");
	bench_run(&scene.bench, text);
	commit = hostile_commit(&scene, "entry 40000 d $(cat deep)");
	must_fail(-EBADMSG, "deeper", view_load(store, &commit, &(struct view *){ NULL }, &err));
	commit = hostile_commit(&scene, "entry 40000 .veneer $(entry 40000 meta $(entry 40000 d $(cat deep) | tree) | tree)");
	must_fail(-EBADMSG, "deeper", view_load(store, &commit, &(struct view *){ NULL }, &err));
}

Test(view, commit_without_base)
{
	scene_auto scene = scene_make(": >known");
	struct view *view = NULL;
	struct oid commit;

	bench_run(&scene.bench,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$PWD/store/git; "
		"git -c user.name=M -c user.email=m@x commit-tree -m x $(git mktree </dev/null) >id; "
		"git update-ref refs/heads/plain $(cat id)");
	must_pass(repo_resolve(scene.bench.store->repo, "refs/heads/plain", &commit, &err));
	must_fail(-EBADMSG, "no base", view_load(scene.bench.store, &commit, &view, &err));
}

/* What another component's base is the ground of is not ours to serve. */
Test(view, of_another_component)
{
	scene_auto scene = scene_make("echo 1 >x");
	struct component_spec spec = { .name = "other" };
	struct oid own = scene_patch(&scene, "a", "echo 2 >x"), foreign;
	cleanup_view struct view *view = NULL;

	bench_run(&scene.bench, "mkdir elsewhere; echo 1 >elsewhere/y");
	spec.directory = path_in(scene.bench.dir, "elsewhere");
	must_pass(component_add(scene.bench.store, &spec, NULL, NULL, &err));
	must_pass(repo_ref_read(scene.bench.store->repo, "refs/veneer/other/base", &foreign, &err));
	must_fail(-EINVAL, "component 'other'", view_load_of(scene.bench.store, "app", &foreign, &view, &err));
	foreign = scene_commit(&scene, "refs/veneer/other/base", "echo 2 >y");
	must_fail(-EINVAL, "component 'other'", view_load_of(scene.bench.store, "app", &foreign, &view, &err));
	must_pass(view_load_of(scene.bench.store, "app", &own, &view, &err));
}

/* ---- the base on disk ---- */

static struct view *load(struct scene *scene, const struct oid *commit)
{
	struct view *view;

	must_pass(view_load(scene->bench.store, commit, &view, &err));
	return view;
}

Test(view, symlinks_of_the_base)
{
	scene_auto scene = scene_make("mkdir lib; : >lib/x; ln -s lib lib64");
	struct oid commit = scene_commit(&scene, "refs/veneer/app/base", "mkdir lib64; echo -n f >lib64/f");
	cleanup_view struct view *through = load(&scene, &commit);
	cleanup_view struct view *directory = NULL;

	must_fail(-EBADMSG, "symlink 'lib64'", view_complete(through, scene.bench.store, scene.basefd, &err));
	commit = scene_commit(&scene, "refs/veneer/app/base",
		"mkdir -p .veneer/meta lib64; echo 'type directory' >.veneer/meta/lib64; echo -n f >lib64/f");
	directory = load(&scene, &commit);
	must_fail(-EBADMSG, "symlink 'lib64'", view_complete(directory, scene.bench.store, scene.basefd, &err));
	/* A patch that knows of the symlink replaces it. */
	commit = scene_patch(&scene, "a", "rm lib64; mkdir lib64; echo -n f >lib64/f; " NEW "lib64/f lib64");
	expect_view(&scene, &commit, "d lib64 40755 0:0 @2000\nf lib64/f 100644 0:0 @2000 'f'\n");
}

/* What the base commit does not know, the base's own files say. */
Test(view, inheritance)
{
	scene_auto scene = scene_make("mkdir d; echo -n one >tool; chown 3:4 tool; chmod 4711 tool; "
				      "setfattr -n user.a -v b tool; " OLD "tool; ln -s tool link; : >d/gone");
	struct oid commit = scene_commit(&scene, "refs/veneer/app/base",
		"echo -n two >tool; echo -n f >link; mkdir d e; echo -n g >d/g; echo -n h >e/h");

	expect_view(&scene, &commit,
		"t d\nf d/g 100644 0:0 @1600000000 'g'\n"
		"d e 40755 0:0 @1600000000\nf e/h 100644 0:0 @1600000000 'h'\n"
		"f link 100644 0:0 @1600000000 'f'\n"
		"f tool 104711 3:4 @1600000000 +user.a 'two'\n");
}

/* A directory that is gone from the base, and whose files the patch deletes, does not come back. */
Test(view, deletions_in_a_directory_that_is_gone)
{
	scene_auto scene = scene_make("mkdir d; : >d/x; : >d/y");
	struct oid commit = scene_patch(&scene, "a", "rm d/x");

	expect_view(&scene, &commit, "t d\n- d/x\n");
	bench_run(&scene.bench, "rm -r base/d");
	expect_view(&scene, &commit, "t d\n- d/x\n");
}

Test(view, wrong_object_claim)
{
	scene_auto scene = scene_make(": >known");
	struct oid commit = hostile_commit(&scene,
		"echo \"object xxh3-128:$(printf '0%.0s' $(seq 32)) 1\" | meta file; entry 100644 file $f");
	cleanup_view struct view *view = load(&scene, &commit);

	must_fail(-EBADMSG, "'file'", view_complete(view, scene.bench.store, scene.basefd, &err));
}

/* ---- what the base has ---- */

static void expect_found(const struct scene *scene, const struct view *view, const char *path)
{
	uint32_t index = view_lookup(view, path);
	const struct view_found *found = view_found_at(view, index);
	struct stat st;

	cr_assert_neq(index, VIEW_NONE, "%s", path);
	cr_assert_not_null(found);
	if (fstatat(scene->basefd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		cr_expect_eq(found->type, 0, "'%s' is not in the base", path);
		return;
	}
	cr_expect_eq(found->type, st.st_mode & S_IFMT, "%s", path);
	cr_expect_eq(found->device, st.st_dev, "%s", path);
	cr_expect_eq(found->inode, st.st_ino, "%s", path);
	cr_expect_eq(found->links, st.st_nlink, "%s", path);
}

Test(view, found_in_the_base)
{
	scene_auto scene = scene_make("mkdir -p d/sub; echo x >d/sub/x; ln d/sub/x y; ln -s y l; echo gone >gone");
	struct oid commit = scene_patch(&scene, "a", "echo 2 >d/sub/x; rm y l; echo 1 >l; mkdir new; echo n >new/n; rm gone");
	cleanup_view struct view *view = load(&scene, &commit);
	static const char *const paths[] = { "d", "d/sub", "d/sub/x", "y", "l", "gone", "new", "new/n" };

	cr_assert_null(view_found_at(view, 0), "nothing is found before it is looked for");
	must_pass(view_complete(view, scene.bench.store, scene.basefd, &err));
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		expect_found(&scene, view, paths[i]);
	bench_run(&scene.bench, "mv base/d base/e; mkdir -p base/d/sub base/new; rm base/gone; echo >base/new/n; ln base/new/n base/m");
	must_pass(view_look_again(view, scene.basefd, &err));
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		expect_found(&scene, view, paths[i]);
}

/* Behind a symlink of the base nothing is looked for: it may lead anywhere, and hang. */
Test(view, nothing_found_behind_symlinks)
{
	scene_auto scene = scene_make("mkdir to; echo x >to/x; ln -s to link; ln -s /proc/1/root/nowhere far");
	struct oid commit = scene_patch(&scene, "a", "rm link far; mkdir link far; echo 2 >link/x; echo 2 >far/x");
	cleanup_view struct view *view = scene_view(&scene, &commit);

	cr_expect_eq(view_found_at(view, view_lookup(view, "link"))->type, S_IFLNK);
	cr_expect_eq(view_found_at(view, view_lookup(view, "link/x"))->type, 0);
	cr_expect_eq(view_found_at(view, view_lookup(view, "far/x"))->type, 0);
}

/* So many that threads share the work. */
Test(view, many_found_in_the_base)
{
	scene_auto scene = scene_make("for d in $(seq 40); do mkdir $d; for f in $(seq 20); do echo $f >$d/$f; done; done");
	struct oid commit = scene_patch(&scene, "a", "for d in $(seq 40); do for f in $(seq 20); do echo new >$d/$f; done; done");
	cleanup_view struct view *view = scene_view(&scene, &commit);

	cr_assert_eq(view_count(view), 841);
	for (uint32_t i = 1; i < view_count(view); i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;

		view_path(view, i, &path);
		expect_found(&scene, view, strbuf_text(&path));
	}
	must_fail(-EBADF, "in the base", view_look_again(view, -EBADF, &err));
	cr_expect_null(view_found_at(view, 0), "what is not known is not told");
}

Test(view, copies)
{
	scene_auto scene = scene_make("echo -n one >tool; chmod 4711 tool; setfattr -n user.a -v b tool; " OLD "tool");
	struct oid commit = scene_commit(&scene, "refs/veneer/app/base", "echo -n two >tool");
	struct view *view = load(&scene, &commit), *first, *second;
	const struct view_entry *a, *b;

	cr_assert_eq(view_copy(view, &first), 0);
	cr_assert_eq(view_copy(view, &second), 0);
	must_pass(view_complete(first, scene.bench.store, scene.basefd, &err));
	cr_expect_null(view_found_at(view, 0), "the one that was copied stays as it is");
	/* Each inherits what the base has when it is completed. */
	bench_run(&scene.bench, "chmod 600 base/tool; setfattr -n user.c -v d base/tool");
	must_pass(view_complete(second, scene.bench.store, scene.basefd, &err));
	view_unref(view);
	a = view_at(first, view_lookup(first, "tool"));
	b = view_at(second, view_lookup(second, "tool"));
	cr_expect_eq(a->mode, S_IFREG | 04711);
	cr_expect_eq(b->mode, S_IFREG | 0600);
	cr_expect_eq(a->xattr_count, 1);
	cr_expect_eq(b->xattr_count, 2);
	cr_expect(oid_equal(view_commit(first), &commit) && oid_equal(view_commit(second), &commit));
	view_unref(first);
	cr_expect_str_eq(b->name, "tool");
	view_unref(second);
}

/* ---- looking up ---- */

Test(view, lookup)
{
	scene_auto scene = scene_make("mkdir d; : >d/k");
	struct oid commit = scene_patch(&scene, "a", "for i in a ab abc a.b b B 'c d' é; do echo -n $i >d/\"$i\"; echo -n $i >\"$i\"; done");
	static const char *const present[] = { "a", "ab", "abc", "a.b", "b", "B", "c d", "é", "d", "d/a", "d/ab", "d/é" };
	static const char *const absent[] = { "", "x", "A", "abcd", "d/k", "d/x", "a/b", "d/a/x" };
	cleanup_view struct view *view = scene_view(&scene, &commit);

	for (size_t i = 0; i < ARRAY_SIZE(present); i++) {
		cleanup_strbuf struct strbuf path = STRBUF_INIT;
		uint32_t index = view_lookup(view, present[i]);

		cr_assert_neq(index, VIEW_NONE, "'%s'", present[i]);
		view_path(view, index, &path);
		cr_expect_str_eq(strbuf_text(&path), present[i]);
	}
	cr_expect_eq(view_lookup(view, ""), 0);
	for (size_t i = 1; i < ARRAY_SIZE(absent); i++)
		cr_expect_eq(view_lookup(view, absent[i]), VIEW_NONE, "'%s'", absent[i]);
	for (uint32_t i = 0; i < view_count(view); i++) {
		const struct view_entry *entry = view_at(view, i);

		cr_expect(i == 0 || entry->parent < i, "breadth-first");
		for (uint32_t j = 1; j < entry->child_count; j++)
			cr_expect_lt(strcmp(view_at(view, entry->first_child + j - 1)->name,
					     view_at(view, entry->first_child + j)->name), 0);
	}
	cr_expect_gt(view_bytes(view), view_count(view) * sizeof(struct view_entry));
}

/* Loading and completing the same commit again gives the same identities; another path or time another. */
Test(view, identity)
{
	scene_auto scene = scene_make("echo -n one >f; " OLD "f");
	struct oid a = scene_patch(&scene, "a", "echo -n two >f; cp f g; mkdir d; " NEW "f g d");
	struct oid b = scene_patch(&scene, "b", "echo -n two >f; touch -d @3000 f; mkdir d; chmod 700 d");
	cleanup_view struct view *first = scene_view(&scene, &a), *again = scene_view(&scene, &a);
	cleanup_view struct view *other = scene_view(&scene, &b);
	const struct view_entry *f = view_at(first, view_lookup(first, "f"));

	cr_expect(hash128_equal(&f->identity, &view_at(again, view_lookup(again, "f"))->identity));
	cr_expect_not(hash128_equal(&f->identity, &view_at(first, view_lookup(first, "g"))->identity));
	cr_expect_not(hash128_equal(&f->identity, &view_at(other, view_lookup(other, "f"))->identity));
	cr_expect(hash128_equal(&view_at(first, view_lookup(first, "d"))->identity,
		&view_at(other, view_lookup(other, "d"))->identity));
}

/* ---- differences ---- */

static int add_path(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	strbuf_addf(arg, "%s%s%s ", old_index != VIEW_NONE ? "<" : "", new_index != VIEW_NONE ? ">" : "", path);
	return 0;
}

static void expect_diff(const struct view *old, const struct view *new, const char *wanted, const char *script)
{
	cleanup_strbuf struct strbuf is = STRBUF_INIT;

	strbuf_addstr(&is, "");
	must_pass((err.code = view_diff(old, new, add_path, &is)));
	cr_expect_str_eq(strbuf_text(&is), wanted, "%s: is '%s', wanted '%s'", script, strbuf_text(&is), wanted);
}

Test(view, diff)
{
	/* Against the patch "f changed, d/in changed, gone deleted, n made": '<' it has an entry, '>' the other. */
	static const struct kind_row rows[] = {
		{ "echo -n 2 >f; echo -n 2 >d/in; rm -r gone; mkdir n; echo -n 2 >n/x; " NEW "f d/in n/x n", "" },
		{ "echo -n 3 >f; echo -n 2 >d/in; rm -r gone; mkdir n; echo -n 2 >n/x; " NEW "f d/in n/x n", "<>f " },
		{ "echo -n 2 >f; echo -n 2 >d/in; rm -r gone; mkdir n; echo -n 2 >n/x; chmod 600 f; " NEW "f d/in n/x n", "<>f " },
		{ "echo -n 2 >f; rm -r gone; mkdir n; echo -n 2 >n/x; " NEW "f n/x n", "<d/in " },
		{ "echo -n 2 >f; echo -n 2 >d/in; mkdir n; echo -n 2 >n/x; " NEW "f d/in n/x n", "<gone " },
		{ "echo -n 2 >f; echo -n 2 >d/in; rm gone/y; mkdir n; echo -n 2 >n/x; " NEW "f d/in n/x n", "<>gone >gone/y " },
		{ "echo -n 2 >f; echo -n 2 >d/in; rm -r gone; echo -n 2 >n; " NEW "f d/in n", "<>n <n/x " },
		{ "echo -n 2 >f; echo -n 2 >d/in; rm -r gone; mkdir n; echo -n 2 >n/x; chmod 700 n; " NEW "f d/in n/x n", "<>n " },
		{ "echo -n 2 >f; echo -n 2 >d/in; rm -r gone; " NEW "f d/in", "<n <n/x " },
		{ "echo -n 2 >f; rm -r d gone; mkdir n; echo -n 2 >n/x; " NEW "f n/x n", "<>d <d/in " },
		{ "echo -n 2 >g; " NEW "g", "<d/in <f >g <gone <n <n/x " },
	};
	scene_auto scene = scene_make("mkdir d gone; : >f; : >d/in; : >gone/x; : >gone/y; " OLD "f d/in gone/x gone/y");
	struct oid commit = scene_patch(&scene, "first", rows[0].script);
	cleanup_view struct view *first = scene_view(&scene, &commit);

	expect_diff(NULL, NULL, "", "nothing");
	expect_diff(NULL, first, ">d/in >f >gone >n >n/x ", "against the base");
	expect_diff(first, NULL, "<d/in <f <gone <n <n/x ", "to the base");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_view struct view *view = NULL;

		commit = scene_patch(&scene, NULL, rows[i].script);
		view = scene_view(&scene, &commit);
		expect_diff(first, view, rows[i].wanted, rows[i].script);
	}
}

static int stop(void *arg, const char *path, uint32_t old_index, uint32_t new_index)
{
	++*(int *)arg;
	return -ECANCELED;
}

Test(view, diff_stops)
{
	scene_auto scene = scene_make("true");
	struct oid commit = scene_patch(&scene, "a", ": >a; : >b");
	cleanup_view struct view *view = scene_view(&scene, &commit);
	int calls = 0;

	cr_expect_eq(view_diff(NULL, view, stop, &calls), -ECANCELED);
	cr_expect_eq(calls, 1);
}

/* What the base has shown at a path, a view that is published later shows there too, where it has the same. */
Test(view, what_has_ended_is_carried_over)
{
	scene_auto scene = scene_make("echo 1 >a; echo 1 >b; echo 1 >d");
	struct oid one = scene_patch(&scene, "one", "echo 2 >a; echo 2 >b; echo 2 >c; rm d; mkdir e; echo 2 >e/f");
	struct oid other = scene_patch(&scene, "other", "echo 3 >a; echo 2 >b; echo 3 >c; echo 3 >d");
	cleanup_view struct view *from = scene_view(&scene, &one);
	cleanup_view struct view *same = scene_view(&scene, &one);
	cleanup_view struct view *again = scene_view(&scene, &one);
	cleanup_view struct view *another = scene_view(&scene, &other);
	static const char *const paths[] = { "a", "b", "c", "d", "e/f" };
	cleanup_free unsigned *settled = NULL;
	bool any;

	cr_assert_eq(view_carry_ended(from, same, NULL, &any), 0);
	cr_expect(!any && !view_any_ended(same));
	view_end(from, view_lookup(from, "a"));
	settled = view_ended_now(from);
	cr_assert(settled);
	for (size_t i = 1; i < ARRAY_SIZE(paths); i++)
		view_end(from, view_lookup(from, paths[i]));
	cr_assert_eq(view_carry_ended(from, same, NULL, &any), 0);
	cr_expect(any);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		cr_expect(view_is_ended(same, view_lookup(same, paths[i])), "%s", paths[i]);
	/* But for what had ended before, and is settled. */
	cr_assert_eq(view_carry_ended(from, again, settled, &any), 0);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		cr_expect_eq(view_is_ended(again, view_lookup(again, paths[i])), i > 0, "%s", paths[i]);
	/* What ends once more is not settled. */
	view_end(from, view_lookup(from, "a"));
	cr_assert_eq(view_carry_ended(from, again, settled, &any), 0);
	cr_expect(any && view_is_ended(again, view_lookup(again, "a")));
	/* A view that has something else there has something new to show. */
	cr_assert_eq(view_carry_ended(from, another, NULL, &any), 0);
	cr_expect(!view_is_ended(another, view_lookup(another, "a")));
	cr_expect(view_is_ended(another, view_lookup(another, "b")));
	cr_expect(!view_is_ended(another, view_lookup(another, "c")));
	cr_expect(!view_is_ended(another, view_lookup(another, "d")));
	/* Twice is once. */
	cr_assert_eq(view_carry_ended(from, same, NULL, &any), 0);
	cr_expect(!any);
}

Test(view, references)
{
	scene_auto scene = scene_make("true");
	struct view *view = scene_view(&scene, &scene.component->base);

	cr_assert_eq(view_ref(view), view);
	view_unref(view);
	cr_expect_eq(view_count(view), 1);
	view_unref(view);
	view_unref(NULL);
}
