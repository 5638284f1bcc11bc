/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#define NEW "touch -hd @2000 "

/* Three patches of different files, on a base that grows with each of them. */
static struct scene three_patches(void)
{
	struct scene scene = scene_make("mkdir d; echo -n 1 >x; echo -n 1 >y; echo -n 1 >d/z; echo -n 1 >d/keep");

	scene_patch(&scene, "a", "echo -n a >x; " NEW "x");
	scene_patch(&scene, "b", "echo -n b >y; mkdir n; " NEW "y n");
	scene_patch(&scene, "c", "rm d/z; echo -n c >d/new; " NEW "d/new");
	return scene;
}

static struct patch_list list_of(struct scene *scene)
{
	struct patch_list list;

	must_pass(patch_list_load(scene->bench.store, scene->component, &list, &err));
	return list;
}

static void expect_stack(struct scene *scene, const struct oid *commit, const char *wanted)
{
	cleanup_patch_list struct patch_list list = list_of(scene);
	cleanup_free char *label = NULL;
	struct stack stack;

	must_pass(stack_read(scene->bench.store, scene->component, &list, commit, &stack, &err));
	label = stack_version_label(scene->component, &list, &stack, commit);
	cr_expect_str_eq(label, wanted);
	cr_expect(stack.known || stack.count == 0);
}

/* ---- composition is a function ---- */

Test(stack, composition_is_a_function)
{
	scene_auto scene = three_patches();
	struct oid abc = scene_compose(&scene, "a b c"), again = scene_compose(&scene, "a b c");
	struct oid ac = scene_compose(&scene, "a c"), ca = scene_compose(&scene, "c a"), removed, empty;
	cleanup_patch_list struct patch_list list = list_of(&scene);
	struct stack stack;
	bool changed;

	cr_expect(oid_equal(&abc, &again));
	cr_expect_not(oid_equal(&ac, &ca), "the order is part of it");
	/* a, b, c without b is a, c. */
	must_pass(stack_read(scene.bench.store, scene.component, &list, &abc, &stack, &err));
	must_pass(stack_remove(&list, &stack, "b", &changed, &err));
	cr_expect(changed);
	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	must_pass(stack_compose(scene.bench.store, scene.component, &list, &stack, &removed, &err));
	must_pass(repo_batch_commit(scene.bench.store->repo, &err));
	cr_expect(oid_equal(&removed, &ac));
	empty = scene_compose(&scene, "");
	cr_expect(oid_equal(&empty, &scene.component->base));
	expect_view(&scene, &ac, "t d\nf d/new 100644 0:0 @2000 'c'\n- d/z\nf x 100644 0:0 @2000 'a'\n");
	expect_view(&scene, &abc,
		"t d\nf d/new 100644 0:0 @2000 'c'\n- d/z\nd n 40755 0:0 @2000\n"
		"f x 100644 0:0 @2000 'a'\nf y 100644 0:0 @2000 'b'\n");
}

/* What was composed before is known by all that it was made of, and only where it was kept. */
Test(stack, composed_before)
{
	scene_auto scene = three_patches();
	struct store *store = scene.bench.store;
	cleanup_patch_list struct patch_list list = list_of(&scene);
	struct stack stack = { .patches = { patch_find(&list, "a")->commit }, .count = 1, .known = true };
	struct oid aborted, ab = scene_compose(&scene, "a b"), a, renamed;
	cleanup_commit struct commit commit = { 0 };
	cleanup_free char *labels = NULL;
	char script[256], hex[OID_HEX_LENGTH + 1];

	must_pass(repo_batch_begin(store->repo, &err));
	must_pass(stack_compose(store, scene.component, &list, &stack, &aborted, &err));
	cr_expect(repo_object_stored(store->repo, &aborted));
	repo_batch_abort(store->repo);
	cr_expect_not(repo_object_stored(store->repo, &aborted));
	a = scene_compose(&scene, "a");
	cr_expect(oid_equal(&a, &aborted));
	oid_to_hex(&a, hex);
	snprintf(script, sizeof script, "git -C store/git fsck --strict --no-dangling 2>&1; git -C store/git ls-tree -r %s >/dev/null", hex);
	bench_run(&scene.bench, script);
	/* Another stack, and the same one after others. */
	cr_expect_not(oid_equal(&a, &ab));
	for (int i = 0; i < 6; i++) {
		struct oid again = scene_compose(&scene, i % 2 ? "b" : "a c");

		cr_expect_not(oid_equal(&again, &a));
		again = scene_compose(&scene, "a");
		cr_expect(oid_equal(&again, &a));
	}
	/* A label is in the message. */
	bench_run(&scene.bench, "git -C store/git update-ref refs/veneer/app/patches/q refs/veneer/app/patches/a; "
		"git -C store/git update-ref -d refs/veneer/app/patches/a");
	renamed = scene_compose(&scene, "q");
	cr_expect_not(oid_equal(&renamed, &a));
	must_pass(repo_commit_read(store->repo, &renamed, &commit, &err));
	labels = trailer_get(commit.message, "Labels", 0);
	cr_expect_str_eq(labels, "q");
}

/* The last patch stands on the newest base and is its own composition; the first is laid over what grew since. */
Test(stack, single)
{
	scene_auto scene = three_patches();
	cleanup_patch_list struct patch_list list = list_of(&scene);
	struct oid a = scene_compose(&scene, "a"), c = scene_compose(&scene, "c");
	cleanup_commit struct commit commit = { 0 };

	cr_expect(oid_equal(&c, &patch_find(&list, "c")->commit));
	cr_expect_not(oid_equal(&a, &patch_find(&list, "a")->commit));
	must_pass(repo_commit_read(scene.bench.store->repo, &a, &commit, &err));
	cr_assert_eq(commit.parent_count, 2);
	cr_expect(oid_equal(&commit.parents[0], &scene.component->base));
	cr_expect(oid_equal(&commit.parents[1], &patch_find(&list, "a")->commit));
	cr_expect_str_eq(commit.author, "veneer <veneer@localhost>");
	expect_view(&scene, &a, "f x 100644 0:0 @2000 'a'\n");
	expect_view(&scene, &patch_find(&list, "a")->commit, "f x 100644 0:0 @2000 'a'\n");
}

/* Served alone or composed, plain git's files have the time of their own commit. */
Test(stack, times_stay)
{
	scene_auto scene = scene_make("echo -n 1 >x; echo -n 1 >y");
	struct oid by_hand = scene_commit(&scene, "refs/veneer/app/base", "echo -n f >new; chmod +x new");

	/* Not adopted: the ref is moved by hand. */
	bench_run(&scene.bench, "git -C store/git update-ref refs/veneer/app/patches/hand refs/heads/plain");
	scene_patch(&scene, "b", "echo -n b >y; " NEW "y");
	expect_view(&scene, &by_hand, "f new 100755 0:0 @1600000000 'f'\n");
	by_hand = scene_compose(&scene, "hand b");
	expect_view(&scene, &by_hand, "f new 100755 0:0 @1600000000 'f'\nf y 100644 0:0 @2000 'b'\n");
}

/* ---- chains ---- */

static struct scene chain(void)
{
	struct scene scene = scene_make("echo -n 1 >x; echo -n 1 >y");
	struct oid commit;

	scene_patch(&scene, "a", "echo -n a >x; " NEW "x");
	commit = scene_commit(&scene, "refs/veneer/app/patches/a", "echo -n b >x");
	scene_adopt(&scene, &commit, "b");
	return scene;
}

Test(stack, built_on)
{
	scene_auto scene = chain();
	cleanup_patch_list struct patch_list list = list_of(&scene);
	const struct patch *a = patch_find(&list, "a"), *b = patch_find(&list, "b");
	struct stack stack = { .known = true };
	struct oid composed = scene_compose(&scene, "b");
	bool changed;

	cr_assert(oid_equal(&b->parent, &a->commit));
	/* b brings a along; the chain on the newest base is its last patch. */
	cr_expect(oid_equal(&composed, &b->commit));
	expect_stack(&scene, &b->commit, "1.0 (a, b)");
	expect_view(&scene, &b->commit, "f x 100644 0:0 @1600000000 'b'\n");
	must_pass(stack_add(&list, &stack, "b", &changed, &err));
	cr_expect(changed && stack.count == 2);
	must_pass(stack_add(&list, &stack, "a", &changed, &err));
	cr_expect_not(changed);
	must_fail(-EBUSY, "'b' builds on 'a'", stack_remove(&list, &stack, "a", &changed, &err));
	must_pass(stack_remove(&list, &stack, "b", &changed, &err));
	must_pass(stack_remove(&list, &stack, "a", &changed, &err));
	cr_expect_eq(stack.count, 0);
	must_pass(stack_remove(&list, &stack, "a", &changed, &err));
	cr_expect_not(changed);
	must_fail(-ENOENT, "there are: a, b", stack_add(&list, &stack, "z", &changed, &err));
}

Test(stack, compose_refuses)
{
	scene_auto scene = chain();
	cleanup_patch_list struct patch_list list = list_of(&scene);
	struct stack stack = { .known = true, .count = 1 };
	struct oid ret;

	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	stack.patches[0] = patch_find(&list, "b")->commit;
	must_fail(-EINVAL, "'b' builds on 'a'", stack_compose(scene.bench.store, scene.component, &list, &stack, &ret, &err));
	stack.patches[0] = scene.component->base;
	must_fail(-ENOENT, "no patch of 'app'", stack_compose(scene.bench.store, scene.component, &list, &stack, &ret, &err));
}

Test(stack, chain_over_a_grown_base)
{
	scene_auto scene = chain();
	struct oid composed;

	scene_patch(&scene, "c", "echo -n c >y; " NEW "y");
	composed = scene_compose(&scene, "b c");
	expect_stack(&scene, &composed, "1.0 (a, b, c)");
	expect_view(&scene, &composed, "f x 100644 0:0 @1600000000 'b'\nf y 100644 0:0 @2000 'c'\n");
}

/* ---- a directory that goes takes along what the base learns of it later ---- */

Test(stack, removed_directory_over_a_grown_base)
{
	static const struct {
		const char *script, *wanted;
	} rows[] = {
		{ "rm -r d", "- d\nf x 100644 0:0 @2000 'b'\n" },
		{ "rm -r d; mkfifo d; " NEW "d", "s d 10644 0:0 @2000\nf x 100644 0:0 @2000 'b'\n" },
		{ "rm -r d; echo -n f >d; " NEW "d", "f d 100644 0:0 @2000 'f'\nf x 100644 0:0 @2000 'b'\n" },
		{ "rm -r d/e", "t d\n- d/e\nf x 100644 0:0 @2000 'b'\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make("umask 022; echo -n 1 >x; mkdir -p d/e; echo -n 1 >d/old; echo -n 1 >d/e/old");
		struct oid grown, first, second;

		scene_patch(&scene, "a", rows[i].script);
		scene_patch(&scene, "b", "echo -n b >x; " NEW "x");
		bench_run(&scene.bench, "cd base; echo -n 1 >d/e/late; mkdir -p d/e/sub/dir; echo -n 1 >d/e/sub/late; mkfifo d/e/fifo");
		first = scene_compose(&scene, "a b");
		scene_patch(&scene, "grow", "rm -r d/e/late d/e/sub d/e/fifo");
		grown = scene_compose(&scene, "a b");
		cr_expect_not(oid_equal(&first, &grown));
		second = scene_compose(&scene, "a b");
		cr_expect(oid_equal(&second, &grown));
		expect_view(&scene, &grown, rows[i].wanted);
		bench_run(&scene.bench, "git -C store/git fsck --strict --no-dangling 2>&1");
	}
}

/* ---- superseding ---- */

Test(stack, superseding)
{
	scene_auto scene = three_patches();
	static const char *const supersedes[] = { "a", "b", NULL };
	struct patch_spec spec = { .message = "better", .label = "d", .supersedes = supersedes };
	struct stack stack = { .known = true };
	struct oid commit, both;
	bool changed;

	must_pass(scene_patch_spec(&scene, "echo -n d >x; echo -n d >y; " NEW "x y", &spec, &commit, &err));
	cleanup_patch_list struct patch_list list = list_of(&scene);

	must_pass(stack_add(&list, &stack, "a", &changed, &err));
	must_pass(stack_add(&list, &stack, "c", &changed, &err));
	must_pass(stack_add(&list, &stack, "d", &changed, &err));
	cr_expect_eq(stack.count, 2);
	cr_expect(oid_equal(&stack.patches[0], &patch_find(&list, "c")->commit));
	cr_expect(oid_equal(&stack.patches[1], &commit));
	must_fail(-EBUSY, "'d' supersedes 'a'", stack_add(&list, &stack, "a", &changed, &err));
	/* Both in one stack are no conflict: the later lies over the earlier. */
	stack.patches[0] = patch_find(&list, "a")->commit;
	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	must_pass(stack_compose(scene.bench.store, scene.component, &list, &stack, &both, &err));
	expect_view(&scene, &both, "f x 100644 0:0 @2000 'd'\nf y 100644 0:0 @2000 'd'\n");
}

/* Each names the one before it alone, as patches do that come one after the other; also in a circle. */
Test(stack, superseding_through_others)
{
	scene_auto scene = scene_make("echo 1 >x");
	const char *supersedes[] = { "s1", NULL };
	struct patch_spec spec = { .message = "better", .label = "s2", .supersedes = supersedes };
	struct stack stack = { .known = true };
	struct oid commit, both;
	bool changed;

	scene_patch(&scene, "s1", "echo 1 >>x");
	must_pass(scene_patch_spec(&scene, "echo 2 >>x", &spec, &commit, &err));
	spec.label = "s3";
	supersedes[0] = "s2";
	must_pass(scene_patch_spec(&scene, "echo 3 >>x", &spec, &commit, &err));
	cleanup_patch_list struct patch_list list = list_of(&scene);

	must_pass(stack_add(&list, &stack, "s1", &changed, &err));
	must_pass(stack_add(&list, &stack, "s3", &changed, &err));
	cr_assert_eq(stack.count, 1);
	cr_expect(oid_equal(&stack.patches[0], &commit));
	must_fail(-EBUSY, "'s3' supersedes 's1'", stack_add(&list, &stack, "s1", &changed, &err));
	stack.count = 2;
	stack.patches[0] = patch_find(&list, "s1")->commit;
	stack.patches[1] = commit;
	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	must_pass(stack_compose(scene.bench.store, scene.component, &list, &stack, &both, &err));
	free(list.patches[0].supersedes[0]);
	list.patches[0].supersedes = realloc(list.patches[0].supersedes, 2 * sizeof(char *));
	list.patches[0].supersedes[0] = strdup("s3");
	list.patches[0].supersedes[1] = NULL;
	stack.count = 0;
	must_pass(stack_add(&list, &stack, "s1", &changed, &err));
	must_fail(-EBUSY, "'s1' supersedes 's3'", stack_add(&list, &stack, "s3", &changed, &err));
}

/* ---- conflicts ---- */

Test(stack, conflicts)
{
	static const struct {
		const char *first, *second;
		const char *word; /* NULL: none */
	} rows[] = {
		{ "echo a >x", "echo b >y", NULL },
		{ "echo a >x", "echo b >x", "'x'" },
		{ "echo a >x", "echo a >x", "'x'" },
		{ "echo a >x", "chmod 600 x", "'x'" },
		{ "echo a >x", "rm x", "'x'" },
		{ "rm -r d", "echo b >d/z", "'d/z'" },
		{ "rm -r d", "echo b >d/new", "'d/new'" },
		{ "rm d/z", "echo b >d/keep", NULL },
		{ "rm -r d; echo a >d", "echo b >d/new", "'d/new'" },
		{ "echo a >n", "mkdir n; echo b >n/x", "'n'" },
		{ "mkfifo n", "mkdir n; echo b >n/x", "'n'" },
		{ "mkdir n; echo a >n/a", "mkdir n; echo b >n/b", NULL },
		{ "mkdir n; touch -d @5 n; echo a >n/a", "mkdir n; touch -d @6 n; echo b >n/b", NULL },
		{ "mkdir n; echo a >n/a", "mkdir n; chmod 700 n; echo b >n/b", "'n'" },
		{ "mkdir n; echo a >n/a", "mkdir n; echo b >n/a", "'n/a'" },
		{ "chmod 700 d", "echo b >d/new", NULL },
		{ "for i in $(seq 20); do echo >n$i; done", "for i in $(seq 20); do echo >n$i; done", "and 10 more" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make("mkdir d; echo 1 >x; echo 1 >y; echo 1 >d/z; echo 1 >d/keep");
		struct error why = ERROR_INIT;
		struct oid commit;
		int r;

		scene_patch(&scene, "first", rows[i].first);
		scene_patch(&scene, "second", rows[i].second);
		r = scene_compose_try(&scene, "first second", &commit, &why);
		cr_expect_eq(r, rows[i].word ? -EEXIST : 0, "%s | %s: %d: %s", rows[i].first, rows[i].second, r,
			why.message);
		if (!rows[i].word)
			continue;
		cr_expect(strstr(why.message, rows[i].word) && strstr(why.message, "'first', 'second'"),
			"%s | %s: %s", rows[i].first, rows[i].second, why.message);
		r = scene_compose_try(&scene, "second first", &commit, NULL);
		cr_expect_eq(r, -EEXIST, "%s | %s in the other order: %d", rows[i].first, rows[i].second, r);
	}
}

/* Refs moved by hand, without any metadata: a file where another patch has a directory. */
Test(stack, conflicts_without_metadata)
{
	scene_auto scene = scene_make("echo 1 >x");
	struct oid commit;

	scene_commit(&scene, "refs/veneer/app/base", "echo f >n");
	bench_run(&scene.bench, "git -C store/git update-ref refs/veneer/app/patches/file refs/heads/plain");
	scene_commit(&scene, "refs/veneer/app/base", "mkdir n; echo f >n/x");
	bench_run(&scene.bench, "git -C store/git update-ref refs/veneer/app/patches/tree refs/heads/plain");
	must_fail(-EEXIST, "'n/x'", scene_compose_try(&scene, "file tree", &commit, &err));
}

/* ---- reading back ---- */

Test(stack, reading_back)
{
	scene_auto scene = three_patches();
	struct oid abc = scene_compose(&scene, "a b c"), ba = scene_compose(&scene, "b a");
	struct oid a = scene_compose(&scene, "a"), c = scene_compose(&scene, "c"), other;
	char wanted[64], hex[OID_HEX_LENGTH + 1];

	expect_stack(&scene, &scene.component->base, "1.0");
	expect_stack(&scene, &abc, "1.0 (a, b, c)");
	expect_stack(&scene, &ba, "1.0 (b, a)");
	expect_stack(&scene, &a, "1.0 (a)");
	expect_stack(&scene, &c, "1.0 (c)");
	/* Somebody's own commit; and a composition of which a patch is gone. */
	other = scene_commit(&scene, "refs/veneer/app/base", "echo f >f");
	oid_to_hex(&other, hex);
	snprintf(wanted, sizeof wanted, "1.0 (commit %.7s)", hex);
	expect_stack(&scene, &other, wanted);
	bench_run(&scene.bench, "git -C store/git update-ref -d refs/veneer/app/patches/b");
	oid_to_hex(&abc, hex);
	snprintf(wanted, sizeof wanted, "1.0 (commit %.7s)", hex);
	expect_stack(&scene, &abc, wanted);
}

/* COMMIT written again by plain git with what SCRIPT adds to its tree, all else the same. */
static struct oid amended(struct scene *scene, const struct oid *commit, const char *script)
{
	char hex[OID_HEX_LENGTH + 1], text[2048];
	struct oid changed;

	oid_to_hex(commit, hex);
	snprintf(text, sizeof text,
		"%s; git add -A; GIT_AUTHOR_NAME=veneer GIT_AUTHOR_EMAIL=veneer@localhost "
		"GIT_COMMITTER_NAME=veneer GIT_COMMITTER_EMAIL=veneer@localhost GIT_AUTHOR_DATE=\"$(git log -1 --format=%%ad --date=raw)\" "
		"GIT_COMMITTER_DATE=\"$(git log -1 --format=%%cd --date=raw)\" git commit -q --allow-empty --amend --reset-author -C HEAD",
		script);
	changed = scene_commit(scene, hex, text);
	return changed;
}

static void expect_unknown(struct scene *scene, const struct oid *commit)
{
	char wanted[64], hex[OID_HEX_LENGTH + 1];

	oid_to_hex(commit, hex);
	snprintf(wanted, sizeof wanted, "1.0 (commit %.7s)", hex);
	expect_stack(scene, commit, wanted);
}

/* A message says what anybody wants. What is a composition is found by composing, a base by where it stands. */
Test(stack, pretenders_are_not_known)
{
	scene_auto scene = three_patches();
	struct oid ab = scene_compose(&scene, "a b"), same = amended(&scene, &ab, ":");
	struct oid backdoor = amended(&scene, &ab, "echo x >backdoor"), base, over, patch;
	char hex[OID_HEX_LENGTH + 1], script[512];

	cr_assert(oid_equal(&same, &ab), "or the test shows nothing");
	expect_stack(&scene, &ab, "1.0 (a, b)");
	expect_unknown(&scene, &backdoor);
	base = amended(&scene, &scene.component->base, "echo x >backdoor");
	expect_unknown(&scene, &base);
	/* Neither is what stands on such a base. */
	oid_to_hex(&base, hex);
	snprintf(script, sizeof script,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$PWD/store/git; git update-ref refs/heads/over "
		"$(git log -1 --format=%%B refs/veneer/app/patches/a | git -c user.name=M -c user.email=m@x commit-tree "
		"-p %s %s^{tree}); git update-ref refs/veneer/app/patches/over refs/heads/over", hex, hex);
	bench_run(&scene.bench, script);
	must_pass(repo_resolve(scene.bench.store->repo, "refs/heads/over", &patch, &err));
	expect_unknown(&scene, &patch);
	bench_run(&scene.bench, "git -C store/git update-ref -d refs/veneer/app/patches/over");
	{
		cleanup_patch_list struct patch_list list = list_of(&scene);
		struct component forged = *scene.component;
		struct stack stack = { .known = true, .count = 1, .patches = { patch_find(&list, "a")->commit } };
		cleanup_commit struct commit facts = { 0 };

		must_pass(repo_commit_read(scene.bench.store->repo, &base, &facts, &err));
		forged.base = base;
		forged.base_tree = facts.tree;
		must_pass(repo_batch_begin(scene.bench.store->repo, &err));
		must_pass(stack_compose(scene.bench.store, &forged, &list, &stack, &over, &err));
		must_pass(repo_batch_commit(scene.bench.store->repo, &err));
	}
	expect_unknown(&scene, &over);
}

/* A base that has grown since is the component's own as well, and so is a composition over it. */
Test(stack, older_bases_are_known)
{
	scene_auto scene = scene_make("echo 1 >x; echo 1 >y; echo 1 >z");
	struct oid first = scene.component->base, composed, again;

	scene_patch(&scene, "a", "echo a >x");
	scene_patch(&scene, "b", "echo b >y");
	composed = scene_compose(&scene, "a b");
	scene_patch(&scene, "c", "echo c >z");
	again = scene_compose(&scene, "a b");
	cr_assert_not(oid_equal(&again, &composed));
	expect_stack(&scene, &first, "1.0");
	expect_stack(&scene, &composed, "1.0 (a, b)");
}

/* Reading composes in passing: no batch is left open, an open one keeps what it holds and gets nothing. */
Test(stack, reading_leaves_nothing)
{
	scene_auto scene = three_patches();
	struct oid ab = scene_compose(&scene, "a b"), never_composed, mine;
	char hex[OID_HEX_LENGTH + 1], script[1024];
	struct repo *repo;

	oid_to_hex(&ab, hex);
	snprintf(script, sizeof script,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$PWD/store/git; p=refs/veneer/app; git update-ref refs/heads/never "
		"$(git log -1 --format=%%B %s | git -c user.name=M -c user.email=m@x commit-tree "
		"-p $p/base -p $p/patches/c -p $p/patches/b %s^{tree}); find store/git/objects -type f | sort >before",
		hex, hex);
	bench_run(&scene.bench, script);
	store_free(scene.bench.store);
	must_pass(store_open(path_in(scene.bench.dir, "store"), &scene.bench.store, &err));
	repo = scene.bench.store->repo;
	must_pass(repo_resolve(repo, "refs/heads/never", &never_composed, &err));
	expect_unknown(&scene, &never_composed);
	expect_stack(&scene, &ab, "1.0 (a, b)");
	must_pass(repo_batch_begin(repo, &err));
	must_pass(repo_blob_write(repo, "mine", 4, &mine, &err));
	expect_unknown(&scene, &never_composed);
	must_pass(repo_batch_commit(repo, &err));
	bench_run(&scene.bench,
		"find store/git/objects -type f | sort >after; test $(comm -13 before after | wc -l) = 1; "
		"test -z \"$(comm -23 before after)\"");
	must_pass(repo_blob_size(repo, &mine, &(uint64_t){ 0 }, &err));
}

Test(stack, unknown_is_not_edited)
{
	scene_auto scene = three_patches();
	cleanup_patch_list struct patch_list list = list_of(&scene);
	struct stack stack = { .known = false };
	bool changed;

	must_fail(-EINVAL, "revert --all", stack_add(&list, &stack, "a", &changed, &err));
	must_fail(-EINVAL, "revert --all", stack_remove(&list, &stack, "a", &changed, &err));
}
