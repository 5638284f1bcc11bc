/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "cli/comparison.h"

static bool has(struct scene *scene, const struct oid *tree, const char *path)
{
	struct tree_entry entry;

	return repo_tree_lookup(scene->bench.store->repo, tree, path, &entry, NULL) == 0 &&
		entry.mode != TREE_MODE_DIRECTORY;
}

/*
 * The patch A, and then the base learns of d/late. Seen from A's side that file is there, unless A has put
 * something in the place of the directory, or has taken it away.
 */
Test(comparison, what_a_later_base_knows)
{
	static const struct {
		const char *script;
		bool late, file;
	} rows[] = {
		{ "echo 2 >x", true, false },
		{ "rm d/old", true, false },
		{ "rm -r d", false, false },
		{ "rm -r d; echo 2 >d", false, true },
		{ "rm -r d; mkfifo d", false, false },
		{ "rm -r d; ln -s x d", false, true },
		{ "rm -r d; mkdir d", true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make("mkdir -p d/e; echo 1 >x; echo 1 >d/old; echo 1 >d/e/old");
		struct oid a = scene_patch(&scene, "a", rows[i].script);
		struct comparison comparison;

		bench_run(&scene.bench, "echo 1 >base/d/late; mkdir base/d/e/f; echo 1 >base/d/e/f/late");
		scene_patch(&scene, "b", "echo 2 >d/late; echo 2 >d/e/f/late");
		must_pass(repo_batch_begin(scene.bench.store->repo, &err));
		must_pass(comparison_prepare(scene.bench.store, &a, &scene.component->base, &comparison, &err));
		cr_expect_eq(has(&scene, &comparison.a.tree, "d/late"), rows[i].late, "%s", rows[i].script);
		cr_expect_eq(has(&scene, &comparison.a.tree, ".veneer/meta/d/late"), rows[i].late, "%s", rows[i].script);
		cr_expect_eq(has(&scene, &comparison.a.tree, "d"), rows[i].file, "%s", rows[i].script);
		cr_expect(has(&scene, &comparison.a.base_tree, "d/late"), "%s", rows[i].script);
		cr_expect(has(&scene, &comparison.b.tree, "d/late"), "%s", rows[i].script);
	}
}
