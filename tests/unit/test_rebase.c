/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "store/journal.h"
#include "store/rebase.h"

static const char base_script[] = "for i in one two three; do echo -n 1 >$i; done; mkdir dir gone; echo -n 1 >dir/x; echo -n 1 >gone/g; ln -s one link";

static struct scene patched_scene(void)
{
	struct scene scene = scene_make(base_script);

	scene_patch(&scene, "a", "echo -n a >one; rm -r gone");
	scene_patch(&scene, "b", "echo -n b >two; echo -n b >new");
	return scene;
}

static void apply(struct scene *scene, const char *labels)
{
	struct ref_update update = { .name = "refs/veneer/app/active", .new_oid = scene_compose(scene, labels) };

	must_pass(repo_refs_update(scene->bench.store->repo, &update, 1, &err));
	scene->component->active = update.new_oid;
}

static int rebase(struct scene *scene, const char *version, bool *ret_changed, struct error *error)
{
	return component_rebase(scene->bench.store, scene->component, scene->basefd, version, NULL, NULL, ret_changed, error);
}

static bool must_rebase(struct scene *scene, const char *version)
{
	cleanup_component struct component *loaded = NULL;
	bool changed;

	must_pass(rebase(scene, version, &changed, &err));
	/* What the component says of itself is what another process loads. */
	must_pass(component_load(scene->bench.store, "app", &loaded, &err));
	cr_expect_str_eq(scene->component->base_version, loaded->base_version);
	cr_expect(oid_equal(&scene->component->base, &loaded->base));
	cr_expect(oid_equal(&scene->component->base_tree, &loaded->base_tree));
	cr_expect(oid_equal(&scene->component->active, &loaded->active));
	return changed;
}

struct newest {
	char action[32], labels[64];
	struct oid from, to;
	size_t count;
};

static int keep_newest(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct newest *newest = arg;

	if (newest->count++ == 0) {
		snprintf(newest->action, sizeof newest->action, "%s", entry->action);
		snprintf(newest->labels, sizeof newest->labels, "%s", entry->labels ? entry->labels : "");
		newest->from = entry->from;
		newest->to = entry->to;
	}
	return 0;
}

static struct newest newest_entry(struct scene *scene)
{
	struct newest newest = { .count = 0 };

	must_pass(journal_each(scene->bench.store, "app", 0, keep_newest, &newest, &err));
	return newest;
}

static void expect_in_base(struct scene *scene, const char *listing)
{
	char text[1024];

	snprintf(text, sizeof text, "is=$(git --git-dir=store/git ls-tree -r --name-only refs/veneer/app/base | grep -v ^.veneer | while read p; do "
		"echo -n \"$p=$(git --git-dir=store/git show refs/veneer/app/base:$p) \"; done); test \"$is\" = '%s' || { echo \"$is\" >&2; false; }", listing);
	bench_run(&scene->bench, text);
}

Test(rebase, nothing_where_nothing_has_changed)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
	const struct component before = *scene.component;
	const size_t entries = newest_entry(&scene).count;

	apply(&scene, "a b");
	cr_expect_not(must_rebase(&scene, "1.0"));
	cr_expect(oid_equal(&scene.component->base, &before.base));
	/* What is not on record does not count. */
	bench_run(&scene.bench, "echo -n 2 >base/three; echo y >base/other");
	cr_expect_not(must_rebase(&scene, "1.0"));
	cr_expect_eq(newest_entry(&scene).count, entries);
	expect_in_base(&scene, "gone/g=1 one=1 two=1 ");
}

Test(rebase, another_version_of_the_same_files)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
	const struct oid base = scene.component->base, tree = scene.component->base_tree;
	cleanup_commit struct commit commit = { 0 };
	struct newest newest;
	struct oid active;

	apply(&scene, "b");
	active = scene.component->active;
	cr_expect(must_rebase(&scene, "1.0.1"));
	cr_expect_str_eq(scene.component->base_version, "1.0.1");
	cr_expect(oid_equal(&scene.component->base_tree, &tree));
	must_pass(repo_commit_read(scene.bench.store->repo, &scene.component->base, &commit, &err));
	cr_assert_eq(commit.parent_count, 1);
	cr_expect(oid_equal(&commit.parents[0], &base), "over the one before");
	newest = newest_entry(&scene);
	cr_expect_str_eq(newest.action, "rebased");
	cr_expect_str_eq(newest.labels, "b");
	cr_expect(oid_equal(&newest.from, &active) && oid_equal(&newest.to, &scene.component->active));
	cr_expect_not(oid_equal(&active, &scene.component->active));
	active = scene_compose(&scene, "b");
	cr_expect(oid_equal(&active, &scene.component->active), "active is the composition of what was applied");
	scene_compose(&scene, "a b");
	cr_expect_not(must_rebase(&scene, "1.0.1"));
}

struct refused_row {
	const char *change, *labels; /* labels: composed over the new base */
	const char *word;	      /* NULL: they are good still */
};

Test(rebase, patches_of_the_base_before_are_none_of_this_one)
{
	static const struct refused_row rows[] = {
		{ "echo -n 2 >one", "a", "patch 'a' was made for another base, 1.0: 'one' is something else in 2.0" },
		{ "echo -n 2 >one", "b", NULL },
		{ "echo -n 2 >one", "b a", "patch 'a' was made for another base" },
		{ "rm one", "a", "'one' is something else in 2.0" },
		{ "rm one; mkdir one", "a", "'one' is something else in 2.0" },
		{ "rm one; ln -s 1 one", "a", "'one' is something else in 2.0" }, /* the target has the same blob */
		{ "chmod 700 one", "a", NULL },
		{ "echo -n a >one", "a", "'one' is something else in 2.0" },
		{ "echo -n 2 >gone/g", "a", "'gone/g' is something else in 2.0" },
		{ "rm -r gone", "a", "'gone/g' is something else in 2.0" },
		{ "echo -n 2 >new", "b", NULL }, /* of what was not there nothing is on record: view_fit() finds it */
		{ "echo -n 2 >three", "a b", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
		struct error error = ERROR_INIT;
		struct oid commit;
		char text[256];
		int r;

		snprintf(text, sizeof text, "cd base; %s", rows[i].change);
		bench_run(&scene.bench, text);
		cr_expect(must_rebase(&scene, "2.0"), "'%s'", rows[i].change);
		r = scene_compose_try(&scene, rows[i].labels, &commit, &error);
		cr_expect_eq(r, rows[i].word ? -ESTALE : 0, "'%s', '%s': %d: %s", rows[i].change, rows[i].labels, r, error.message);
		cr_expect(!rows[i].word || strstr(error.message, rows[i].word), "'%s', '%s': no \"%s\" in: %s", rows[i].change, rows[i].labels,
			rows[i].word, error.message);
	}
}

Test(rebase, the_record_is_what_the_base_has_now)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();

	bench_run(&scene.bench, "cd base; echo -n 2 >one; rm -r gone; mkdir new; echo -n n >new/f");
	cr_expect(must_rebase(&scene, "2.0"));
	expect_in_base(&scene, "one=2 two=1 ");
	/* Patches for it are made as ever. */
	scene_patch(&scene, "c", "echo -n c >one");
	scene_compose(&scene, "c");
	expect_in_base(&scene, "one=2 two=1 ");
	cr_expect(must_rebase(&scene, "3.0"));
	scene_compose(&scene, "c");
}

/* Those that are applied must have gone before (fs/reconcile.h). */
Test(rebase, not_under_a_patch_that_is_applied)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
	const struct oid base = scene.component->base;
	cleanup_component struct component *loaded = NULL;
	struct oid active;
	bool changed = false;

	apply(&scene, "a b");
	active = scene.component->active;
	bench_run(&scene.bench, "echo -n 2 >base/one");
	must_fail(-ESTALE, "'one' is something else in 2.0", rebase(&scene, "2.0", &changed, &err));
	cr_expect_not(changed, "nothing has");
	must_pass(component_load(scene.bench.store, "app", &loaded, &err));
	cr_expect(oid_equal(&loaded->base, &base) && oid_equal(&loaded->active, &active));
	cr_expect(oid_equal(&scene.component->base, &base) && oid_equal(&scene.component->active, &active));
	cr_expect_str_eq(scene.component->base_version, "1.0");
	apply(&scene, "b");
	cr_expect(must_rebase(&scene, "2.0"));
	cr_expect_str_eq(newest_entry(&scene).labels, "b");
}

/* Somebody's own commit is no stack, and stays what it is. */
Test(rebase, under_a_commit_that_is_no_stack)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
	struct ref_update update = { .name = "refs/veneer/app/active" };

	update.new_oid = scene_commit(&scene, "refs/veneer/app/base", "echo -n mine >two");
	must_pass(repo_refs_update(scene.bench.store->repo, &update, 1, &err));
	scene.component->active = update.new_oid;
	bench_run(&scene.bench, "echo -n 2 >base/one");
	cr_expect(must_rebase(&scene, "2.0"));
	cr_expect(oid_equal(&scene.component->active, &update.new_oid));
}

Test(rebase, a_full_snapshot_is_taken_whole)
{
	scene_auto scene = scene_make(base_script);
	struct component_spec spec = { .name = "all", .base_version = "1.0", .snapshot = SNAPSHOT_FULL };
	cleanup_component struct component *all = NULL;
	cleanup_close int fd = -EBADF;
	bool changed;

	bench_run(&scene.bench, "cp -a base whole");
	spec.directory = path_in(scene.bench.dir, "whole");
	must_pass(component_add(scene.bench.store, &spec, NULL, NULL, &err));
	must_pass(component_load(scene.bench.store, "all", &all, &err));
	fd = bench_open(&scene.bench, "whole");
	must_pass(component_rebase(scene.bench.store, all, fd, "1.0", NULL, NULL, &changed, &err));
	cr_expect_not(changed);
	bench_run(&scene.bench, "cd whole; echo -n 2 >three; echo -n o >other; rm dir/x");
	must_pass(component_rebase(scene.bench.store, all, fd, "1.0", NULL, NULL, &changed, &err));
	cr_expect(changed, "though the version is the same");
	bench_run(&scene.bench, "test \"$(git --git-dir=store/git ls-tree -r --name-only refs/veneer/all/base | grep -v ^.veneer | tr '\\n' ' ')\" = "
		"'gone/g link one other three two '; test $(git --git-dir=store/git show refs/veneer/all/base:three) = 2");
}
