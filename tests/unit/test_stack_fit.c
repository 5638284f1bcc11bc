/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "store/stack_fit.h"

/* A patch that builds on the one LABELLED, adopted from plain git. */
static void build_on(struct scene *scene, const char *below, const char *label, const char *script)
{
	char rev[64];
	struct oid commit;

	snprintf(rev, sizeof rev, "refs/veneer/app/patches/%s", below);
	commit = scene_commit(scene, rev, script);
	scene_adopt(scene, &commit, label);
}

/*
 * Independent: a (file one and dir/x), b (two), c (adds new, deletes link). Chains: d builds on a (same file again, and three), e on d;
 * f changes four; g builds on f (five).
 */
static struct scene patched_scene(void)
{
	struct scene scene = scene_make("for i in one two three four five; do echo -n 1 >$i; done; mkdir dir; echo -n 1 >dir/x; ln -s one link");

	scene_patch(&scene, "a", "echo -n a >one; echo -n a >dir/x");
	scene_patch(&scene, "b", "echo -n b >two");
	scene_patch(&scene, "c", "echo -n c >new; rm link");
	build_on(&scene, "a", "d", "echo -n d >one; echo -n d >three");
	build_on(&scene, "d", "e", "echo -n e >five2");
	scene_patch(&scene, "f", "echo -n f >four");
	build_on(&scene, "f", "g", "echo -n g >five");
	return scene;
}

static void stack_of(struct scene *scene, const struct patch_list *list, const char *labels, struct stack *ret)
{
	*ret = (struct stack){ .known = true };
	while (*labels) {
		char label[PATCH_LABEL_MAX + 1];
		const struct patch *patch;
		size_t length = strcspn(labels, " ");

		snprintf(label, sizeof label, "%.*s", (int)length, labels);
		patch = patch_find(list, label);
		cr_assert_not_null(patch, "%s", label);
		ret->patches[ret->count++] = patch->commit;
		labels += length + (labels[length] == ' ');
	}
}

struct stack_row {
	const char *labels, *change;
	const char *remains;
	size_t retired, absorbed;
	const char *reason;
};

static void expect_stack(const struct stack_row *row)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
	cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;
	cleanup_stack_fit struct stack_fit fit = STACK_FIT_INIT;
	cleanup_strbuf struct strbuf remains = STRBUF_INIT;
	struct stack stack;
	char text[512];

	must_pass(patch_list_load(scene.bench.store, scene.component, &list, &err));
	stack_of(&scene, &list, row->labels, &stack);
	snprintf(text, sizeof text, "cd base; %s", row->change);
	bench_run(&scene.bench, text);
	must_pass(stack_fit(scene.bench.store, scene.component, &list, &stack, scene.basefd, &fit, &err));
	strbuf_addstr(&remains, "");
	for (size_t i = 0; i < fit.stack.count; i++)
		strbuf_addf(&remains, "%s%s", i ? " " : "", patch_find_commit(&list, &fit.stack.patches[i])->label);
	cr_expect_str_eq(strbuf_text(&remains), row->remains, "'%s', '%s': '%s' remains", row->labels, row->change, strbuf_text(&remains));
	cr_expect_eq(fit.retired, row->retired, "'%s', '%s': %zu retired", row->labels, row->change, fit.retired);
	cr_expect_eq(fit.absorbed, row->absorbed, "'%s', '%s': %zu absorbed", row->labels, row->change, fit.absorbed);
	cr_expect_str_eq(strbuf_text(&fit.reason), row->reason, "'%s', '%s': \"%s\"", row->labels, row->change, strbuf_text(&fit.reason));
	cr_expect(fit.stack.known);
}

Test(stack_fit, independent_patches)
{
	static const struct stack_row rows[] = {
		{ "", ":", "", 0, 0, "" },
		{ "a b c", ":", "a b c", 0, 0, "" },
		{ "c b a", ":", "c b a", 0, 0, "" },
		{ "a b c", "echo -n 2 >two", "a c", 1, 0, "b: the base has something else at 'two'" },
		{ "a b c", "echo -n b >two", "a c", 0, 1, "b: the base has all of it" },
		/* The whole patch, never half of it. */
		{ "a b c", "echo -n 2 >dir/x", "b c", 1, 0, "a: the base has something else at 'dir/x'" },
		{ "a b c", "echo -n a >one", "a b c", 0, 0, "" },
		{ "a b c", "echo -n a >one; echo -n 2 >dir/x", "b c", 1, 0, "a: the base has something else at 'dir/x'" },
		{ "a b c", "echo -n 2 >one; echo -n b >two; rm link", "c", 1, 1,
			"a: the base has something else at 'one'; b: the base has all of it" },
		{ "a b c", "echo -n 2 >one; echo -n 2 >two; echo -n 2 >new", "", 3, 0,
			"a: the base has something else at 'one'; b: the base has something else at 'two'; c: the base has something else at 'new'" },
		{ "c", "echo -n c >new; rm link", "", 0, 1, "c: the base has all of it" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		expect_stack(&rows[i]);
}

Test(stack_fit, chains)
{
	static const struct stack_row rows[] = {
		{ "a d e", ":", "a d e", 0, 0, "" },
		/* What builds on a patch that has gone goes with it; the others stay. */
		{ "b a d e f", "echo -n 2 >dir/x", "b f", 3, 0,
			"a: the base has something else at 'dir/x'; d: the base has something else at 'dir/x'; e: the base has something else at 'dir/x'" },
		/* The upper ones do not fit, the lowest does. */
		{ "a d e", "echo -n 2 >three", "a", 2, 0, "d: the base has something else at 'three'; e: the base has something else at 'three'" },
		{ "a d e", "echo -n 2 >five2", "a d", 1, 0, "e: the base has something else at 'five2'" },
		/* Absorbed below one that is not: it stays, for the other is nothing without it. */
		{ "f g", "echo -n f >four", "f g", 0, 0, "" },
		{ "f g b", "echo -n f >four; echo -n g >five", "b", 0, 2, "g: the base has all of it; f: the base has all of it" },
		/* In part. */
		{ "f g b", "echo -n g >five", "f g b", 0, 0, "" },
		{ "f g b", "echo -n f >four; echo -n 2 >five", "b", 1, 1, "g: the base has something else at 'five'; f: the base has all of it" },
		/* A path that two of a chain change, and the base has it as the upper one makes it: the lower one has no reason to go alone. */
		{ "a d", "echo -n d >one", "a d", 0, 0, "" },
		{ "a d b", "echo -n d >one; echo -n 2 >two", "a d", 1, 0, "b: the base has something else at 'two'" },
		{ "a d", "echo -n d >one; echo -n a >dir/x; echo -n d >three", "", 0, 2, "d: the base has all of it; a: the base has all of it" },
		{ "a", "echo -n d >one", "", 1, 0, "a: the base has something else at 'one'" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		expect_stack(&rows[i]);
}

Test(stack_fit, a_patch_that_is_gone)
{
	__attribute__((cleanup(scene_remove))) struct scene scene = patched_scene();
	cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;
	cleanup_stack_fit struct stack_fit fit = STACK_FIT_INIT;
	struct stack stack;

	must_pass(patch_list_load(scene.bench.store, scene.component, &list, &err));
	stack_of(&scene, &list, "a", &stack);
	stack.patches[0].id[0] ^= 1;
	must_fail(-ENOENT, "no longer among its patches",
		stack_fit(scene.bench.store, scene.component, &list, &stack, scene.basefd, &fit, &err));
}
