/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>
#include <sched.h>

#include "store/baseline.h"

#define META ".veneer/meta/"

/* ---- a tree as text: "MODE PATH 'content'"; of metadata "PATH type mode uid:gid" and its attributes ---- */

struct listing {
	const struct bench *bench;
	struct strbuf text;
};

static int list_one(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *outer)
{
	struct listing *listing = arg;
	cleanup_strbuf struct strbuf content = STRBUF_INIT;
	cleanup_meta struct meta meta = META_INIT;

	cr_assert(!old_entry);
	must_pass(repo_blob_read(listing->bench->store->repo, &new_entry->oid, 1 << 20, &content, &err));
	if (strncmp(path, META, strlen(META)) != 0) {
		strbuf_addf(&listing->text, "%06o %s '%s'\n", new_entry->mode, path, strbuf_text(&content));
		return 0;
	}
	must_pass(meta_parse(strbuf_text(&content), content.len, &meta, &err));
	cr_assert(!(meta.present & META_OBJECT), "'%s' names an object", path);
	cr_assert(meta.present & META_MTIME, "'%s' has no time", path);
	cr_assert(meta.present & META_XATTRS, "'%s' does not say its attributes", path);
	strbuf_addf(&listing->text, "%s %o %04o %u:%u", path + strlen(META), meta.type, meta.mode, meta.uid,
		meta.gid);
	for (size_t i = 0; i < meta.xattr_count; i++)
		strbuf_addf(&listing->text, " +%s", meta.xattrs[i].name);
	strbuf_addch(&listing->text, '\n');
	return 0;
}

static void expect_tree(const struct bench *bench, const struct oid *tree, const char *wanted)
{
	struct listing listing = { bench, STRBUF_INIT };

	strbuf_addstr(&listing.text, "");
	must_pass(repo_tree_compare(bench->store->repo, NULL, tree, NULL, true, list_one, &listing, &err));
	cr_assert_str_eq(strbuf_text(&listing.text), wanted, "is:\n%swanted:\n%s", strbuf_text(&listing.text),
		wanted);
	strbuf_release(&listing.text);
}

static void add(struct changeset *set, const char *path, enum change_kind kind)
{
	struct change *change;

	must_pass(changeset_add(set, path, kind, &change, &err));
}

static struct oid empty_tree(const struct bench *bench)
{
	struct oid tree;

	must_pass(repo_tree_empty(bench->store->repo, &tree, &err));
	return tree;
}

/* ---- full ---- */

struct progress {
	unsigned calls;
	uint64_t files, bytes;
};

static void note_progress(void *arg, uint64_t files, uint64_t bytes)
{
	struct progress *progress = arg;

	cr_assert(files >= progress->files && bytes >= progress->bytes);
	*progress = (struct progress){ progress->calls + 1, files, bytes };
}

Test(baseline, full_records_everything)
{
	bench_auto bench = bench_make();
	cleanup_close int fd = -EBADF;
	struct oid tree;

	bench_run(&bench,
		"mkdir -p base/d/empty base/.git base/.veneer; cd base; echo x > .git/config; echo x > .veneer/x;"
		"echo tool > d/tool; chown 1:2 d/tool; chmod 4755 d/tool; echo data > data; ln -s d/tool l;"
		"mkfifo p; mknod n b 7 1; setfattr -n user.x -v y data");
	fd = bench_open(&bench, "base");
	must_pass(baseline_full(bench.store, fd, NULL, NULL, &tree, &err));
	expect_tree(&bench, &tree,
		"d/.veneer 40000 0755 0:0\n"
		"d/empty/.veneer 40000 0755 0:0\n"
		"d/tool 0 4755 1:2\n"
		"data 0 0644 0:0 +user.x\n"
		"l 0 0777 0:0\n"
		"n 60000 0644 0:0\n"
		"p 10000 0644 0:0\n"
		"100755 d/tool 'tool\n'\n"
		"100644 data 'data\n'\n"
		"120000 l 'd/tool'\n");
	/* A patch made by plain git inherits from it: no object, so no object was made. */
	bench_run(&bench, "test -z \"$(find store/objects -type f)\"");
}

Test(baseline, full_tells_its_progress_and_is_deterministic)
{
	bench_auto bench = bench_make();
	struct progress progress = { 0 };
	cleanup_close int fd = -EBADF;
	struct oid tree, again;

	bench_run(&bench, "mkdir base; for i in $(seq 200); do echo $i > base/$i; done");
	fd = bench_open(&bench, "base");
	must_pass(baseline_full(bench.store, fd, note_progress, &progress, &tree, &err));
	cr_assert_eq(progress.files, 200);
	cr_assert_eq(progress.bytes, 692);
	cr_assert_eq(progress.calls, 4);
	must_pass(baseline_full(bench.store, fd, NULL, NULL, &again, &err));
	cr_assert(oid_equal(&tree, &again));
}

Test(baseline, full_of_an_empty_directory_is_the_empty_tree)
{
	bench_auto bench = bench_make();
	cleanup_close int fd = -EBADF;
	struct oid tree, empty = empty_tree(&bench);

	bench_run(&bench, "mkdir base");
	fd = bench_open(&bench, "base");
	must_pass(baseline_full(bench.store, fd, NULL, NULL, &tree, &err));
	cr_assert(oid_equal(&tree, &empty));
}

Test(baseline, full_refuses_what_is_too_deep)
{
	bench_auto bench = bench_make();
	cleanup_close int fd = -EBADF;
	struct oid tree;

	bench_run(&bench, "mkdir base; cd base; for i in $(seq 257); do mkdir d; cd d; done");
	fd = bench_open(&bench, "base");
	must_fail(-EINVAL, "nested deeper", baseline_full(bench.store, fd, NULL, NULL, &tree, &err));
}

/* Several times what is read at once, in directories and subdirectories, files without content and symlinks among them. */
static const char many_files[] =
	"mkdir -p base; cd base; for d in $(seq 25); do mkdir -p d$d/sub; for f in $(seq 20); do echo $d-$f > d$d/f$f; done;"
	"echo $d > d$d/sub/x; : > d$d/e; ln -s f$d d$d/l; done";

static void use_processors(int most)
{
	cpu_set_t all, some;

	cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&some);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&some) < most; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &some);
	cr_assert_eq(sched_setaffinity(0, sizeof some, &some), 0);
}

Test(baseline, full_of_many_files_is_the_same_tree_with_one_thread_and_with_several)
{
	bench_auto bench = bench_make();
	struct listing listing = { &bench, STRBUF_INIT };
	cleanup_close int fd = -EBADF;
	struct progress progress = { 0 };
	struct oid several, one;

	bench_run(&bench, many_files);
	fd = bench_open(&bench, "base");
	must_pass(baseline_full(bench.store, fd, note_progress, &progress, &several, &err));
	cr_assert_eq(progress.files, 25 * (20 + 5));
	use_processors(1);
	must_pass(baseline_full(bench.store, fd, NULL, NULL, &one, &err));
	cr_assert(oid_equal(&several, &one));
	must_pass(repo_tree_compare(bench.store->repo, NULL, &several, NULL, true, list_one, &listing, &err));
	cr_assert(strstr(strbuf_text(&listing.text), "100644 d7/f13 '7-13\n'\n"), "%s", strbuf_text(&listing.text));
	cr_assert(strstr(strbuf_text(&listing.text), "120000 d25/l 'f25'\n"));
	cr_assert(strstr(strbuf_text(&listing.text), "100644 d2/e ''\n"));
	strbuf_release(&listing.text);
}

static const struct failure_row {
	const char *name, *script, *named;
	int code;
} failure_rows[] = {
	{ "one too large in the middle", "cd base; truncate -s 5G d13/f7", "'d13/f7' is larger", -EFBIG },
	{ "two too large", "cd base; truncate -s 5G d9/f9; truncate -s 5G d13/f7", "'d13/f7' is larger", -EFBIG },
	{ "the last", "cd base; truncate -s 5G d9/sub/y", "'d9/sub/y' is larger", -EFBIG },
	{ "too large before too deep", "cd base; truncate -s 5G d13/f7; cd d14; for i in $(seq 257); do mkdir d; cd d; done",
		"'d13/f7' is larger", -EFBIG },
	{ "too large just before too long", "cd base; truncate -s 5G d13/f7; n=$(printf %0250d 0); mkdir d13/f8x; cd d13/f8x;"
		"for i in $(seq 17); do mkdir $n; cd $n; done", "'d13/f7' is larger", -EFBIG },
	{ "too long", "cd base; n=$(printf %0250d 0); mkdir d13/f8x; cd d13/f8x; for i in $(seq 17); do mkdir $n; cd $n; done",
		"longer than", -EINVAL },
	{ "too deep before too large", "cd base; truncate -s 5G d14/f7; cd d13; for i in $(seq 257); do mkdir d; cd d; done",
		"nested deeper", -EINVAL },
};

Test(baseline, full_names_the_first_path_that_fails_and_writes_nothing)
{
	for (size_t i = 0; i < ARRAY_SIZE(failure_rows); i++) {
		bench_auto bench = bench_make();
		cleanup_close int fd = -EBADF;
		struct error failure = ERROR_INIT;
		struct oid tree;
		int r;

		bench_run(&bench, many_files);
		bench_run(&bench, failure_rows[i].script);
		fd = bench_open(&bench, "base");
		r = baseline_full(bench.store, fd, NULL, NULL, &tree, &failure);
		cr_assert_eq(r, failure_rows[i].code, "row '%s': %d: %s", failure_rows[i].name, r, failure.message);
		cr_assert(strstr(failure.message, failure_rows[i].named), "row '%s': %s", failure_rows[i].name, failure.message);
		repo_batch_abort(bench.store->repo);
		bench_run(&bench, "test -z \"$(find store/git/objects -type f)\"");
	}
}

/* ---- touched ---- */

static const char touched_base[] =
	"mkdir -p base/d/e base/keep; cd base; echo f > f; echo g > g; ln -s f l; mkfifo p;"
	"echo 1 > d/one; echo 2 > d/e/two; echo k > keep/k";

static const struct touch_row {
	const char *name, *path;
	enum change_kind kind;
	const char *wanted;
} touch_rows[] = {
	{ "a file that changes", "f", CHANGE_FILE, "f 0 0644 0:0\n100644 f 'f\n'\n" },
	{ "a file that goes", "f", CHANGE_DELETE, "f 0 0644 0:0\n100644 f 'f\n'\n" },
	{ "a symlink", "l", CHANGE_SYMLINK, "l 0 0777 0:0\n120000 l 'f'\n" },
	{ "a special", "p", CHANGE_FILE, "p 10000 0644 0:0\n" },
	{ "a file that becomes a directory", "f", CHANGE_DIRECTORY, "f 0 0644 0:0\n100644 f 'f\n'\n" },
	{ "a new file", "new", CHANGE_FILE, "" },
	{ "a new file below a file", "f/x", CHANGE_FILE, "" },
	{ "a new file below a symlink", "l/x", CHANGE_FILE, "" },
	{ "a directory's metadata", "d", CHANGE_DIRECTORY, "d/.veneer 40000 0755 0:0\n" },
	{ "a directory that goes", "d", CHANGE_DELETE,
		"d/.veneer 40000 0755 0:0\nd/e/.veneer 40000 0755 0:0\nd/e/two 0 0644 0:0\nd/one 0 0644 0:0\n"
		"100644 d/e/two '2\n'\n100644 d/one '1\n'\n" },
	{ "a directory that becomes a file", "d/e", CHANGE_FILE,
		"d/e/.veneer 40000 0755 0:0\nd/e/two 0 0644 0:0\n100644 d/e/two '2\n'\n" },
};

Test(baseline, touch_records_what_is_touched)
{
	for (size_t i = 0; i < ARRAY_SIZE(touch_rows); i++) {
		bench_auto bench = bench_make();
		cleanup_changeset struct changeset set = CHANGESET_INIT;
		struct oid tree = empty_tree(&bench), grown;
		cleanup_close int fd = -EBADF;

		bench_run(&bench, touched_base);
		fd = bench_open(&bench, "base");
		add(&set, touch_rows[i].path, touch_rows[i].kind);
		must_pass(baseline_touch(bench.store, fd, &tree, &set, &grown, &err));
		expect_tree(&bench, &grown, touch_rows[i].wanted);
		cr_assert_eq(oid_equal(&tree, &grown), touch_rows[i].wanted[0] == '\0', "row '%s'",
			touch_rows[i].name);
	}
}

Test(baseline, touch_leaves_what_is_recorded)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset first = CHANGESET_INIT, second = CHANGESET_INIT;
	struct oid tree = empty_tree(&bench), one, two, same;
	cleanup_close int fd = -EBADF;

	bench_run(&bench, touched_base);
	fd = bench_open(&bench, "base");
	add(&first, "d/one", CHANGE_FILE);
	add(&first, "f", CHANGE_FILE);
	must_pass(baseline_touch(bench.store, fd, &tree, &first, &one, &err));
	/* The base moves on; what was recorded of it stays, what is touched now is added. */
	bench_run(&bench, "echo other > base/d/one; rm base/f; mkdir base/f; echo x > base/f/x");
	add(&second, "d", CHANGE_DELETE);
	add(&second, "f/x", CHANGE_DELETE);
	add(&second, "g", CHANGE_FILE);
	must_pass(changeset_sort(&second, &err));
	must_pass(baseline_touch(bench.store, fd, &one, &second, &two, &err));
	expect_tree(&bench, &two,
		"d/.veneer 40000 0755 0:0\nd/e/.veneer 40000 0755 0:0\nd/e/two 0 0644 0:0\nd/one 0 0644 0:0\n"
		"f 0 0644 0:0\ng 0 0644 0:0\n"
		"100644 d/e/two '2\n'\n100644 d/one '1\n'\n100644 f 'f\n'\n100644 g 'g\n'\n");
	bench_run(&bench, "chmod 700 base/d base/d/e; chmod 600 base/g; mkfifo base/f/p");
	must_pass(baseline_touch(bench.store, fd, &two, &second, &same, &err));
	cr_assert(oid_equal(&two, &same));
}

/* Both the directory and what lies in it are named: each path is recorded once. */
Test(baseline, touch_records_nothing_twice)
{
	bench_auto bench = bench_make();
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	struct oid tree = empty_tree(&bench), grown;
	cleanup_close int fd = -EBADF;

	bench_run(&bench, touched_base);
	fd = bench_open(&bench, "base");
	add(&set, "d", CHANGE_FILE);
	add(&set, "d/e", CHANGE_DELETE);
	add(&set, "d/one", CHANGE_DELETE);
	must_pass(changeset_sort(&set, &err));
	must_pass(baseline_touch(bench.store, fd, &tree, &set, &grown, &err));
	expect_tree(&bench, &grown, touch_rows[9].wanted);
}
