/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "fs/hidden.h"

/* a1, d/a2 and e/a3 are one file; b1 and d/sub/b2; c alone. */
static const char base_script[] = "mkdir -p d/sub e; echo a >a1; ln a1 d/a2; ln a1 e/a3; echo b >b1; ln b1 d/sub/b2; echo c >c; ln -s c l; ln l m";

static struct node_key key_of(const struct scene *scene, const char *path)
{
	struct stat st;

	cr_assert_eq(fstatat(scene->basefd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return node_key_of_base(st.st_dev, st.st_ino);
}

struct row {
	const char *script;
	nlink_t a, b, c, l;
	bool directories;
};

Test(hidden, counts)
{
	static const struct row rows[] = {
		{ "chmod 700 d; echo new >new; rm c", 0, 0, 0, 0, false },
		{ "rm a1", 1, 0, 0, 0, false },
		{ "rm a1; echo new >a1", 1, 0, 0, 0, false },
		{ "rm a1 e/a3", 2, 0, 0, 0, false },
		{ "rm a1; mkdir a1; echo x >a1/x", 1, 0, 0, 0, false },
		{ "rm a1; ln -s c a1", 1, 0, 0, 0, false },
		{ "rm l", 0, 0, 0, 1, false },
		{ "rm -r d", 1, 1, 0, 0, true },
		{ "rm -r d; echo file >d; rm -r e b1", 2, 2, 0, 0, true },
		{ "rm -r d/sub", 0, 1, 0, 0, true },
		{ "rm -r d; mkdir d; echo x >d/x", 1, 1, 0, 0, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make(base_script);
		struct oid commit = scene_patch(&scene, "p", rows[i].script);
		cleanup_view struct view *view = scene_view(&scene, &commit);
		struct node_key a = key_of(&scene, "a1"), b = key_of(&scene, "b1"), c = key_of(&scene, "c"), l = key_of(&scene, "l");
		struct hidden *hidden;
		bool directories;

		cr_assert_eq(hidden_count(view, scene.basefd, &hidden, &directories), 0);
		cr_assert_eq(hidden_links(hidden, &a), rows[i].a, "'%s': a: %u", rows[i].script, (unsigned)hidden_links(hidden, &a));
		cr_assert_eq(hidden_links(hidden, &b), rows[i].b, "'%s': b: %u", rows[i].script, (unsigned)hidden_links(hidden, &b));
		cr_assert_eq(hidden_links(hidden, &c), rows[i].c, "'%s': c", rows[i].script);
		cr_assert_eq(hidden_links(hidden, &l), rows[i].l, "'%s': l", rows[i].script);
		cr_assert_eq(directories, rows[i].directories, "'%s': directories", rows[i].script);
		/* By a name that the view itself has: directories that go are not looked into. */
		cr_assert_eq(hidden_has(hidden, &a), strstr(rows[i].script, "rm a1") || strstr(rows[i].script, "mkdir d"), "'%s': is a hidden",
			rows[i].script);
		cr_assert_eq(hidden_has(hidden, &b), strstr(rows[i].script, " b1") != NULL, "'%s': is b hidden", rows[i].script);
		cr_assert_eq(hidden_has(hidden, &c), strstr(rows[i].script, "rm c") != NULL, "'%s': is c hidden", rows[i].script);
		hidden_free(hidden);
	}
}

Test(hidden, nothing_over_the_bare_base)
{
	scene_auto scene = scene_make(base_script);
	struct node_key a = key_of(&scene, "a1");
	struct hidden *hidden;
	bool directories;

	cr_assert_eq(hidden_count(NULL, scene.basefd, &hidden, &directories), 0);
	cr_assert_null(hidden);
	cr_assert_not(directories);
	cr_assert_eq(hidden_links(hidden, &a), 0);
	hidden_free(hidden);
}

Test(hidden, a_base_that_cannot_be_asked)
{
	scene_auto scene = scene_make(base_script);
	struct oid commit = scene_patch(&scene, "p", "rm -r d");
	cleanup_view struct view *view = scene_view(&scene, &commit);
	struct hidden *hidden;
	bool directories;

	cr_assert_eq(hidden_count(view, -EBADF, &hidden, &directories), -EBADF);
	cr_assert(directories, "who cannot know must take it for granted");
	cr_assert_null(hidden);
}

/* The files' own links are what the view found: the base is asked for directories alone. */
Test(hidden, what_the_view_found)
{
	scene_auto scene = scene_make(base_script);
	struct oid commit = scene_patch(&scene, "p", "rm a1");
	cleanup_view struct view *view = scene_view(&scene, &commit);
	struct node_key a = key_of(&scene, "a1");
	struct hidden *hidden;
	bool directories;

	cr_assert_eq(hidden_count(view, -EBADF, &hidden, &directories), 0);
	cr_assert_eq(hidden_links(hidden, &a), 1);
	cr_assert_not(directories);
	hidden_free(hidden);
}

Test(hidden, a_view_that_is_not_completed)
{
	scene_auto scene = scene_make(base_script);
	struct oid commit = scene_patch(&scene, "p", "rm a1");
	cleanup_view struct view *view = NULL;
	struct hidden *hidden;
	bool directories;

	must_pass(view_load(scene.bench.store, &commit, &view, &err));
	cr_assert_eq(hidden_count(view, scene.basefd, &hidden, &directories), -EINVAL);
	cr_assert_null(hidden);
	cr_assert(directories);
}
