/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>

#include "store/base/cleanup.h"
#include "store/component.h"
#include "store/journal.h"

struct bench {
	struct temporary_directory dir;
	struct store *store;
};

static struct bench bench_make(void)
{
	struct bench bench = { temporary_directory_make(), NULL };
	bool existed;

	must_pass(store_init(path_in(bench.dir, "store"), &existed, &err));
	must_pass(store_open(path_in(bench.dir, "store"), &bench.store, &err));
	cr_assert_eq(mkdir(path_in(bench.dir, "image"), 0755), 0);
	cr_assert_eq(mkdir(path_in(bench.dir, "image/lib"), 0755), 0);
	cr_assert_eq(mkdir(path_in(bench.dir, "image/share"), 0755), 0);
	return bench;
}

static void bench_release(struct bench *bench)
{
	store_free(bench->store);
	temporary_directory_remove(&bench->dir);
}

#define bench_auto __attribute__((cleanup(bench_release))) struct bench

/* ---- names ---- */

Test(component, names)
{
	static const struct {
		const char *name;
		bool good;
	} rows[] = {
		{ "openssl", true },
		{ "a", true },
		{ "3", true },
		{ "lib++-3.0_x", true },
		{ "a.", true },
		{ "a.lock.b", true },
		{ "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true },
		{ "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false },
		{ "", false },
		{ ".", false },
		{ "..", false },
		{ ".a", false },
		{ "-a", false },
		{ "_a", false },
		{ "a..b", false },
		{ "a.lock", false },
		{ "a/b", false },
		{ "a b", false },
		{ "a\n", false },
		{ "a~", false },
		{ "a^", false },
		{ "a:b", false },
		{ "a@{0}", false },
		{ "\xc3\xa4", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = ERROR_INIT;
		int r = component_check_name(rows[i].name, &err);

		cr_expect_eq(r, rows[i].good ? 0 : -EINVAL, "'%s': %d %s", rows[i].name, r, err.message);
	}
}

/* ---- add and load ---- */

Test(component, add_and_load)
{
	bench_auto bench = bench_make();
	cleanup_component struct component *component = NULL;
	struct component_spec spec = { .name = "openssl", .directory = path_in(bench.dir, "image/./lib"),
		.root = path_in(bench.dir, "image/"), .base_version = "3.0.20-1~deb12u1" };
	cleanup_commit struct commit commit = { 0 };
	struct oid empty, found, found_tree;

	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	must_pass(component_load(bench.store, "openssl", &component, &err));
	cr_assert_str_eq(component->name, "openssl");
	cr_assert_str_eq(component->directory, path_in(bench.dir, "image/lib"));
	cr_assert_str_eq(component->root, path_in(bench.dir, "image"));
	cr_assert_str_eq(component->base_version, "3.0.20-1~deb12u1");
	cr_assert_eq(component->snapshot, SNAPSHOT_TOUCHED);
	cr_assert(oid_equal(&component->base, &component->active));
	must_pass(repo_tree_empty(bench.store->repo, &empty, &err));
	cr_assert(oid_equal(&component->base_tree, &empty));
	must_pass(repo_commit_read(bench.store->repo, &component->base, &commit, &err));
	cr_assert(commit_is_base(&commit));
	cr_assert_eq(commit.parent_count, 0);
	must_pass(commit_find_base(bench.store, &component->base, &found, &found_tree, &err));
	cr_assert(oid_equal(&found, &component->base));
}

Test(component, full_snapshot)
{
	bench_auto bench = bench_make();
	cleanup_component struct component *component = NULL;
	struct component_spec spec = { .name = "lib", .directory = path_in(bench.dir, "image/lib"),
		.snapshot = SNAPSHOT_FULL };
	struct tree_entry entry;

	cr_assert_eq(close(creat(path_in(bench.dir, "image/lib/libssl.so.3"), 0644)), 0);
	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	must_pass(component_load(bench.store, "lib", &component, &err));
	cr_assert_eq(component->snapshot, SNAPSHOT_FULL);
	cr_assert_str_eq(component->root, "/");
	cr_assert_str_eq(component->base_version, "");
	must_pass(repo_tree_lookup(bench.store->repo, &component->base_tree, "libssl.so.3", &entry, &err));
}

static int check_added(void *arg, const struct journal_entry *entry, struct error *err)
{
	const struct component *component = arg;

	cr_assert_str_eq(entry->action, "added");
	cr_assert(oid_is_zero(&entry->from));
	cr_assert(oid_equal(&entry->to, &component->base));
	return 1;
}

Test(component, add_is_in_the_journal)
{
	bench_auto bench = bench_make();
	cleanup_component struct component *component = NULL;
	struct component_spec spec = { .name = "lib", .directory = path_in(bench.dir, "image/lib") };

	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	must_pass(component_load(bench.store, "lib", &component, &err));
	cr_assert_eq(journal_each(bench.store, "lib", 0, check_added, component, NULL), 1);
}

/* A journal that cannot be written to is no reason to declare the component twice. */
Test(component, add_without_a_journal)
{
	bench_auto bench = bench_make();
	cleanup_component struct component *component = NULL;
	struct component_spec spec = { .name = "lib", .directory = path_in(bench.dir, "image/lib") };
	FILE *file;

	cr_assert_eq(mkdir(path_in(bench.dir, "store/git/refs/veneer"), 0755), 0);
	cr_assert_eq(mkdir(path_in(bench.dir, "store/git/refs/veneer/lib"), 0755), 0);
	file = fopen(path_in(bench.dir, "store/git/refs/veneer/lib/journal"), "we");
	fputs("garbage\n", file);
	fclose(file);
	must_fail(-EBADMSG, "journal", component_add(bench.store, &spec, NULL, NULL, &err));
	must_fail(-ENOENT, "lib", component_load(bench.store, "lib", &component, &err));
}

Test(component, add_refuses)
{
	bench_auto bench = bench_make();
	static const struct {
		const char *name, *directory, *root, *version; /* beneath the bench; NULL: not given */
		int result;
		const char *word;
	} rows[] = {
		{ "a/b", "image/lib", NULL, NULL, -EINVAL, "name" },
		{ "new", "image/missing", NULL, NULL, -ENOENT, "image/missing" },
		{ "new", "image/file", NULL, NULL, -ENOTDIR, "image/file" },
		{ "new", "image/lib", "image/missing", NULL, -ENOENT, "the root" },
		{ "new", "image/lib", "image/share", NULL, -EINVAL, "beneath" },
		{ "new", "image/out", "image", NULL, -EINVAL, "beneath" }, /* a symlink that leads out */
		{ "new", "", NULL, NULL, -EINVAL, "inside the component's directory" },
		{ "new", "store/objects", NULL, NULL, -EINVAL, "inside the store" },
		{ "new", "store", NULL, NULL, -EINVAL, "inside" },
		{ "new", "image/line\nbreak", NULL, NULL, -EINVAL, "control" },
		{ "new", "image/blank ", NULL, NULL, -EINVAL, "blank" },
		{ "new", "image/lib", NULL, "1\n2", -EINVAL, "version" },
		{ "new", "image/lib", NULL, " 1", -EINVAL, "version" },
		{ "taken", "image/lib", NULL, NULL, -EEXIST, "component 'taken' already" },
		{ "new", "image/share", NULL, NULL, -EEXIST, "that of component 'taken'" },
		{ "new", "image/link", NULL, NULL, -EEXIST, "that of component 'taken'" },
	};
	struct component_spec taken = { .name = "taken", .directory = path_in(bench.dir, "image/share") };

	must_pass(component_add(bench.store, &taken, NULL, NULL, &err));
	cr_assert_eq(close(creat(path_in(bench.dir, "image/file"), 0644)), 0);
	cr_assert_eq(mkdir(path_in(bench.dir, "image/line\nbreak"), 0755), 0);
	cr_assert_eq(mkdir(path_in(bench.dir, "image/blank "), 0755), 0);
	cr_assert_eq(symlink("share", path_in(bench.dir, "image/link")), 0);
	cr_assert_eq(symlink("/usr", path_in(bench.dir, "image/out")), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char directory[256], root[256];
		struct component_spec spec = { .name = rows[i].name, .directory = directory,
			.root = rows[i].root ? root : NULL, .base_version = rows[i].version };
		struct error err = ERROR_INIT;
		int r;

		snprintf(directory, sizeof directory, "%s/%s", bench.dir.path, rows[i].directory);
		snprintf(root, sizeof root, "%s/%s", bench.dir.path, rows[i].root ? rows[i].root : "");
		r = component_add(bench.store, &spec, NULL, NULL, &err);
		cr_expect_eq(r, rows[i].result, "row %zu: %d %s", i, r, err.message);
		cr_expect(strstr(err.message, rows[i].word), "row %zu: %s", i, err.message);
	}
	must_fail(-EINVAL, "'/' cannot", component_add(bench.store,
		&(struct component_spec){ .name = "new", .directory = "/" }, NULL, NULL, &err));
	must_fail(-ENOENT, "there are: taken", component_load(bench.store, "new", &(struct component *){ NULL }, &err));
}

Test(component, load_of_an_unknown_one)
{
	bench_auto bench = bench_make();
	struct component *component = NULL;
	struct component_spec spec = { .name = "b", .directory = path_in(bench.dir, "image/lib") };

	must_fail(-ENOENT, "veneer add", component_load(bench.store, "x", &component, &err));
	must_fail(-EINVAL, "'../x'", component_load(bench.store, "../x", &component, &err));
	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	spec = (struct component_spec){ .name = "a", .directory = path_in(bench.dir, "image/share") };
	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	must_fail(-ENOENT, "there are: a, b", component_load(bench.store, "x", &component, &err));
}

/* Without the ref base there is no component; what a crash left of one is in nobody's way. */
Test(component, add_after_a_crash)
{
	bench_auto bench = bench_make();
	cleanup_component struct component *component = NULL;
	struct component_spec spec = { .name = "lib", .directory = path_in(bench.dir, "image/lib") };
	struct ref_update gone = { .name = "refs/veneer/lib/base" };

	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	must_pass(repo_refs_update(bench.store->repo, &gone, 1, &err));
	must_fail(-ENOENT, "no component 'lib'", component_load(bench.store, "lib", &component, &err));
	must_pass(component_add(bench.store, &spec, NULL, NULL, &err));
	must_pass(component_load(bench.store, "lib", &component, &err));
}

/* ---- broken bases ---- */

static struct oid write_commit(struct store *store, const char *message, const struct oid *parents, size_t count)
{
	struct commit_spec spec = { .message = message, .parents = parents, .parent_count = count, .time = 1 };
	struct oid id;

	must_pass(repo_batch_begin(store->repo, &err));
	must_pass(repo_tree_empty(store->repo, &spec.tree, &err));
	must_pass(repo_commit_write(store->repo, &spec, &id, &err));
	must_pass(repo_batch_commit(store->repo, &err));
	return id;
}

#define BASE(component, directory, root, snapshot)                                                 \
	"base\n\nKind: base\nComponent: " component "\nDirectory: " directory "\nRoot: " root              \
	"\nSnapshot: " snapshot "\n"

Test(component, load_refuses_what_is_no_base)
{
	static const struct {
		const char *message, *word; /* NULL: good */
	} rows[] = {
		{ BASE("lib", "/d", "/", "touched"), NULL },
		{ BASE("lib", "/d e", "/", "full"), NULL },
		{ BASE("other", "/d", "/", "touched"), "Component" },
		{ BASE("lib", "d", "/", "touched"), "Directory" },
		{ BASE("lib", "/d", "", "touched"), "Root" },
		{ BASE("lib", "/d", "/", "whole"), "Snapshot" },
		{ "base\n\nComponent: lib\nDirectory: /d\nRoot: /\nSnapshot: full\n", "Kind" },
		{ "base\n\nKind: patch\nComponent: lib\nDirectory: /d\nRoot: /\nSnapshot: full\n", "Kind" },
		{ "base\n", "Kind" },
	};
	bench_auto bench = bench_make();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_component struct component *component = NULL;
		struct oid id = write_commit(bench.store, rows[i].message, NULL, 0);
		struct ref_update updates[] = { { .name = "refs/veneer/lib/active", .new_oid = id },
			{ .name = "refs/veneer/lib/base", .new_oid = id } };
		struct error problem = ERROR_INIT;
		int r;

		must_pass(repo_refs_update(bench.store->repo, updates, 2, &err));
		r = component_load(bench.store, "lib", &component, &problem);
		cr_expect_eq(r, rows[i].word ? -EBADMSG : 0, "row %zu: %d %s", i, r, problem.message);
		if (rows[i].word)
			cr_expect(strstr(problem.message, rows[i].word), "row %zu: %s", i, problem.message);
	}
}

Test(component, find_base)
{
	bench_auto bench = bench_make();
	struct oid base = write_commit(bench.store, BASE("lib", "/d", "/", "touched"), NULL, 0);
	struct oid other = write_commit(bench.store, BASE("other", "/e", "/", "touched"), NULL, 0);
	struct oid stray = write_commit(bench.store, "no base\n", NULL, 0);
	struct oid parents[2] = { base, other }, patch, second, found, tree;

	patch = write_commit(bench.store, "patch\n", parents, 2);
	second = write_commit(bench.store, "second\n\nKind: patch\n", &patch, 1);
	must_pass(commit_find_base(bench.store, &second, &found, &tree, &err));
	cr_assert(oid_equal(&found, &base), "by first parents");
	must_fail(-EBADMSG, "no base", commit_find_base(bench.store, &stray, &found, &tree, &err));
}

/* COUNT commits with MESSAGE in a row, on FROM. */
static struct oid write_chain(struct store *store, struct oid from, const char *message, size_t count)
{
	struct commit_spec spec = { .message = message, .parents = &from, .parent_count = 1, .time = 1 };

	must_pass(repo_batch_begin(store->repo, &err));
	must_pass(repo_tree_empty(store->repo, &spec.tree, &err));
	for (size_t i = 0; i < count; i++)
		must_pass(repo_commit_write(store->repo, &spec, &from, &err));
	must_pass(repo_batch_commit(store->repo, &err));
	return from;
}

/* A chain of bases is as long as it likes; of commits on top of one, so many and so large ones are looked at. */
Test(component, find_base_is_bounded)
{
	bench_auto bench = bench_make();
	const size_t size = 1000000;
	cleanup_free char *large = malloc(size + 1);
	struct oid base = write_commit(bench.store, BASE("lib", "/d", "/", "touched"), NULL, 0);
	struct oid tip, found, tree;

	memset(large, 'x', size);
	large[size] = '\0';
	base = write_chain(bench.store, base, BASE("lib", "/d", "/", "touched"), 3000);
	tip = write_chain(bench.store, base, "patch\n", BASE_SEARCH_MAX - 1);
	must_pass(commit_find_base(bench.store, &tip, &found, &tree, &err));
	cr_assert(oid_equal(&found, &base));
	tip = write_chain(bench.store, tip, "patch\n", 1);
	must_fail(-EBADMSG, "1024", commit_find_base(bench.store, &tip, &found, &tree, &err));
	tip = write_chain(bench.store, base, large, 8);
	must_pass(commit_find_base(bench.store, &tip, &found, &tree, &err));
	tip = write_chain(bench.store, tip, large, 1);
	must_fail(-EBADMSG, "8388608", commit_find_base(bench.store, &tip, &found, &tree, &err));
}

/* ---- list ---- */

Test(component, list)
{
	static const char *const sorted[] = { "a", "a-b", "ab" };
	bench_auto bench = bench_make();
	CLEANUP(string_list_freep) char **names = NULL;
	struct oid id = write_commit(bench.store, "anything\n", NULL, 0);
	struct ref_update updates[] = {
		{ .name = "refs/veneer/ab/base", .new_oid = id },
		{ .name = "refs/veneer/ab/active", .new_oid = id },
		{ .name = "refs/veneer/a/base", .new_oid = id },
		{ .name = "refs/veneer/a-b/base", .new_oid = id },
		{ .name = "refs/veneer/a/patches/base", .new_oid = id },
		{ .name = "refs/veneer/c/active", .new_oid = id },
		{ .name = "refs/veneer/_x/base", .new_oid = id },
		{ .name = "refs/heads/d/base", .new_oid = id },
	};
	size_t count;

	must_pass(component_list(bench.store, &names, &count, &err));
	cr_assert_eq(count, 0);
	cr_assert_null(names[0]);
	string_list_free(TAKE_PTR(names));
	must_pass(repo_refs_update(bench.store->repo, updates, ARRAY_SIZE(updates), &err));
	must_pass(component_list(bench.store, &names, &count, &err));
	cr_assert_eq(count, ARRAY_SIZE(sorted));
	for (size_t i = 0; i < count; i++)
		cr_expect_str_eq(names[i], sorted[i]);
	cr_assert_null(names[count]);
}
