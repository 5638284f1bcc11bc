/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "store/journal.h"
#include "store/patch_internal.h"

#define OLD "touch -hd @1000 "
#define NEW "touch -hd @2000 "

static struct patch_list list_of(struct scene *scene)
{
	struct patch_list list;

	must_pass(patch_list_load(scene->bench.store, scene->component, &list, &err));
	return list;
}

/* ---- labels ---- */

Test(patch, labels)
{
	static const struct {
		const char *label;
		bool good;
	} rows[] = {
		{ "a", true }, { "CVE-2026-1234", true }, { "1.2+x", true }, { "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true },
		{ "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false }, { "", false }, { "a/b", false }, { "-a", false },
		{ "a b", false }, { "..", false }, { "a.lock", false }, { "é", false }, { "a.", false },
		{ "active", false }, { "base", false }, { "HEAD", false }, { "bases", true }, { "head", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(patch_check_label(rows[i].label, NULL), rows[i].good ? 0 : -EINVAL, "'%s'", rows[i].label);
}

Test(patch, next_label)
{
	static const struct {
		const char *used[4], *next;
	} rows[] = {
		{ { NULL }, "a" },
		{ { "a" }, "b" },
		{ { "c", "a" }, "d" },
		{ { "z" }, "aa" },
		{ { "az", "y" }, "z" }, /* az is the 52nd, far ahead of two patches: a word */
		{ { "a", "fix", "hotfix", "A1" }, "b" },
		{ { "1", "x.y" }, "a" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct patch patches[4] = { { 0 } };
		struct patch_list list = { .patches = patches };
		char label[PATCH_LABEL_MAX + 1];

		for (; list.count < 4 && rows[i].used[list.count]; list.count++)
			patches[list.count].label = (char *)rows[i].used[list.count];
		patch_next_label(&list, label);
		cr_expect_str_eq(label, rows[i].next, "row %zu", i);
	}
}

Test(patch, next_label_counts_on)
{
	char names[800][8];
	struct patch *patches = calloc(800, sizeof *patches);
	struct patch_list list = { .patches = patches };

	for (; list.count < 800; list.count++) {
		char label[PATCH_LABEL_MAX + 1];

		patch_next_label(&list, label);
		snprintf(names[list.count], sizeof names[0], "%.7s", label);
		patches[list.count].label = names[list.count];
	}
	cr_expect_str_eq(names[25], "z");
	cr_expect_str_eq(names[26], "aa");
	cr_expect_str_eq(names[701], "zz");
	cr_expect_str_eq(names[702], "aaa");
	free(patches);
}

/* ---- facts ---- */

/* What only looks like the line that ends a message for git is none: the trailers are read by git, too. */
Test(patch, dashes)
{
	scene_auto scene = scene_make("echo 1 >x");
	struct patch_spec spec = { .message = "x\n\n---y\n ---\n----\nz ---", .label = "a" };
	struct oid commit;

	must_pass(scene_patch_spec(&scene, "echo 2 >x", &spec, &commit, &err));
	bench_run(&scene.bench,
		"git -C store/git log -1 --format=%B refs/veneer/app/patches/a | git interpret-trailers --parse | grep -qx 'Label: a'");
}

Test(patch, facts)
{
	scene_auto scene = scene_make("echo 1 >x; echo 1 >y");
	static const char *const fixes[] = { "CVE-2026-1", "CVE-2026-2", NULL }, *const units[] = { "nginx.service", NULL };
	static const char *const supersedes[] = { "first", NULL };
	struct patch_spec spec = { .message = "  Close the hole\n\nLong\ntext.\n\n", .label = "first" };
	struct oid first, second;

	must_pass(scene_patch_spec(&scene, "echo 2 >x", &spec, &first, &err));
	spec = (struct patch_spec){ .message = "Close it better\n\nSigned-off-by: A <a@x>", .label = "second",
		.fixes = fixes, .supersedes = supersedes, .restart = units, .reboot = true };
	must_pass(scene_patch_spec(&scene, "echo 3 >x; echo 3 >y", &spec, &second, &err));
	cleanup_patch_list struct patch_list list = list_of(&scene);

	cr_assert_eq(list.count, 2);
	cr_expect(patch_find_commit(&list, &second) == &list.patches[1]);
	cr_expect_null(patch_find(&list, "third"));
	const struct patch *patch = patch_find(&list, "first");
	cr_expect_str_eq(patch->subject, "Close the hole");
	cr_expect_str_eq(patch->body, "Long\ntext.");
	cr_expect_str_eq(patch->base_version, "1.0");
	cr_expect_eq(patch->sequence, 1);
	cr_expect(oid_equal(&patch->commit, &first));
	cr_expect_not(patch->reboot);
	cr_expect_null(patch->fixes[0]);
	patch = patch_find(&list, "second");
	cr_expect_eq(patch->sequence, 2);
	cr_expect_str_eq(patch->body, "");
	cr_expect_str_eq(patch->fixes[1], "CVE-2026-2");
	cr_expect_null(patch->fixes[2]);
	cr_expect_str_eq(patch->supersedes[0], "first");
	cr_expect_str_eq(patch->restart[0], "nginx.service");
	cr_expect(patch->reboot);
	cr_expect(oid_equal(&patch->parent, &scene.component->base));
	/* git itself reads them. */
	bench_run(&scene.bench,
		"git -C store/git log -1 --format='%(trailers:key=Fixes,valueonly)' refs/veneer/app/patches/second | grep -qx CVE-2026-2; "
		"git -C store/git log -1 --format='%(trailers:key=Label,valueonly)' refs/veneer/app/patches/second | grep -qx second; "
		"git -C store/git fsck --strict");
}

Test(patch, bad_specs)
{
	scene_auto scene = scene_make("echo 1 >x");
	static const char *const spaced[] = { "CVE 1", NULL }, *const nobody[] = { "nobody", NULL }, *const empty[] = { "", NULL };
	static const char *many[PATCH_VALUES_MAX + 2], *long_words[301];
	static char long_message[PATCH_MESSAGE_MAX / 2 + 2], long_word[250];
	struct {
		struct patch_spec spec;
		int code;
		const char *word;
	} rows[] = {
		{ { .message = "" }, -EINVAL, "message" },
		{ { .message = " \n" }, -EINVAL, "message" },
		{ { .message = "x\n\nKind: base" }, -EINVAL, "'Kind:'" },
		{ { .message = "x\n\nLabel: z" }, -EINVAL, "'Label:'" },
		{ { .message = "x", .label = "a/b" }, -EINVAL, "label" },
		{ { .message = "x", .label = "taken" }, -EEXIST, "'taken' already" },
		{ { .message = "x", .fixes = spaced }, -EINVAL, "CVE 1" },
		{ { .message = "x", .restart = empty }, -EINVAL, "unit" },
		{ { .message = "x", .supersedes = nobody }, -ENOENT, "'nobody'" },
		{ { .message = long_message }, -EINVAL, "32768" },
		{ { .message = "x\n---\ny" }, -EINVAL, "'---'" },
		{ { .message = "x\n\n--- y" }, -EINVAL, "'---'" },
		{ { .message = "---" }, -EINVAL, "'---'" },
		{ { .message = "x", .fixes = many }, -E2BIG, "512" },
		{ { .message = "x", .fixes = long_words }, -E2BIG, "65536" },
	};
	struct oid commit;

	memset(long_message, 'x', sizeof long_message - 1);
	memset(long_word, 'x', sizeof long_word - 1);
	for (size_t i = 0; i + 1 < ARRAY_SIZE(many); i++)
		many[i] = "CVE-1";
	for (size_t i = 0; i + 1 < ARRAY_SIZE(long_words); i++)
		long_words[i] = long_word;
	scene_patch(&scene, "taken", "echo 2 >x");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		must_fail(rows[i].code, rows[i].word, scene_patch_spec(&scene, "echo 3 >x", &rows[i].spec, &commit, &err));
		must_fail(rows[i].code, rows[i].word,
			patch_check_spec(scene.bench.store, scene.component, &rows[i].spec, &err));
	}
	must_pass(patch_check_spec(scene.bench.store, scene.component, &(struct patch_spec){ .message = "x" }, &err));
	cleanup_patch_list struct patch_list list = list_of(&scene);

	cr_expect_eq(list.count, 1);
}

Test(patch, nothing_to_do)
{
	scene_auto scene = scene_make("mkdir d; echo 1 >x; ln -s x l; mkfifo p; setfattr -n user.a -v b x");
	struct patch_spec spec = { .message = "x" };
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_free char *label = NULL;
	struct change *change;
	struct oid commit;

	must_fail(-ENODATA, "nothing", scene_patch_spec(&scene, "true", &spec, &commit, &err));
	/* Changes that state what is there already: dropped one by one, and all of them. */
	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	for (size_t i = 0; i < 4; i++)
		must_pass(changeset_add_from_disk(&set, scene.bench.store, scene.basefd,
			((const char *[]){ "d", "x", "l", "p" })[i], &err));
	must_pass(changeset_add(&set, "not/there", CHANGE_DELETE, &change, &err));
	must_pass(changeset_sort(&set, &err));
	must_fail(-ENODATA, "nothing", patch_create(scene.bench.store, scene.component, scene.basefd, &set, &spec, &label, &commit, &err));
	repo_batch_abort(scene.bench.store->repo);
	/* mtime alone counts unless it is to be ignored. */
	for (size_t i = 0; i < set.count; i++)
		set.changes[i].meta.mtime.tv_sec++;
	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	for (size_t i = 0; i < set.count; i++)
		set.changes[i].ignore_mtime = true;
	must_fail(-ENODATA, "nothing", patch_create(scene.bench.store, scene.component, scene.basefd, &set, &spec, &label, &commit, &err));
	for (size_t i = 0; i < set.count; i++)
		set.changes[i].ignore_mtime = false;
	must_pass(patch_create(scene.bench.store, scene.component, scene.basefd, &set, &spec, &label, &commit, &err));
	cleanup_view struct view *view = scene_view(&scene, &commit);

	cr_expect_eq(view_count(view), 4, "the root, x, l and p, not d");
}

/* What is put beneath a directory that the same set deletes is there again, though it equals the base. */
Test(patch, put_beneath_a_deletion)
{
	scene_auto scene = scene_make("mkdir d; echo -n 1 >d/x; echo -n 1 >d/y; " OLD "d/x d/y");
	struct patch_spec spec = { .message = "x" };
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_free char *label = NULL;
	struct change *change;
	struct oid commit;

	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	must_pass(changeset_add(&set, "d", CHANGE_DELETE, &change, &err));
	must_pass(changeset_add_from_disk(&set, scene.bench.store, scene.basefd, "d/y", &err));
	must_pass(changeset_sort(&set, &err));
	must_pass(patch_create(scene.bench.store, scene.component, scene.basefd, &set, &spec, &label, &commit, &err));
	cleanup_view struct view *view = scene_view(&scene, &commit);

	cr_expect_eq(view_at(view, view_lookup(view, "d"))->kind, VIEW_THROUGH);
	cr_expect_eq(view_at(view, view_lookup(view, "d/x"))->kind, VIEW_DELETED);
	cr_expect_neq(view_lookup(view, "d/y"), VIEW_NONE);
	bench_run(&scene.bench, "git -C store/git cat-file -e refs/veneer/app/patches/a:d/y");
}

/* A directory of the base with other metadata goes on having the time that its entries give it. */
Test(patch, directory_keeps_its_own_time)
{
	scene_auto scene = scene_make("mkdir d");
	struct patch_spec spec = { .message = "x" };
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_free char *label = NULL;
	struct oid commit;

	must_pass(repo_batch_begin(scene.bench.store->repo, &err));
	must_pass(changeset_add_from_disk(&set, scene.bench.store, scene.basefd, "d", &err));
	set.changes[0].meta.mode = 0700;
	set.changes[0].meta.mtime.tv_sec = 5;
	must_pass(patch_create(scene.bench.store, scene.component, scene.basefd, &set, &spec, &label, &commit, &err));
	expect_view(&scene, &commit, "d d 40700 0:0\n");
}

/* ---- trees ---- */

/* The diff of base and patch names exactly what is patched, and its metadata. */
Test(patch, trees)
{
	static const struct {
		const char *script, *wanted;
	} rows[] = {
		{ "echo 2 >x", "M .veneer/meta/x\nM x\n" },
		{ "chmod 600 x", "M .veneer/meta/x\n" },
		{ "chmod 755 x", "M .veneer/meta/x\nM x\n" },
		{ "rm x", "D .veneer/meta/x\nD x\n" },
		{ "mkdir n; echo n >n/n", "A .veneer/meta/n/.veneer\nA .veneer/meta/n/n\nA n/n\n" },
		{ "rm -r d", "D .veneer/meta/d/.veneer\nD .veneer/meta/d/e/.veneer\nD .veneer/meta/d/e/f\nD .veneer/meta/d/g\nD d/e/f\nD d/g\n" },
		{ "rm -r d/e", "D .veneer/meta/d/e/.veneer\nD .veneer/meta/d/e/f\nD d/e/f\n" },
		{ "rm -r d; echo >d", "A .veneer/meta/d\nD .veneer/meta/d/.veneer\nD .veneer/meta/d/e/.veneer\nD .veneer/meta/d/e/f\n"
				      "D .veneer/meta/d/g\nA d\nD d/e/f\nD d/g\n" },
		{ "rm x; mkdir x; echo >x/y", "D .veneer/meta/x\nA .veneer/meta/x/.veneer\nA .veneer/meta/x/y\nD x\nA x/y\n" },
		{ "rm x; mkfifo x", "M .veneer/meta/x\nD x\n" },
		{ "chmod 700 d", "M .veneer/meta/d/.veneer\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make("mkdir -p d/e; echo 1 >x; echo 1 >d/e/f; echo 1 >d/g");
		cleanup_strbuf struct strbuf is = STRBUF_INIT;

		scene_patch(&scene, "a", rows[i].script);
		bench_run(&scene.bench, "git -C store/git diff --no-renames --name-status refs/veneer/app/base refs/veneer/app/patches/a "
					"| tr '\\t' ' ' >is");
		must_pass(io_read_file_at(AT_FDCWD, path_in(scene.bench.dir, "is"), 1 << 20, &is, &err));
		cr_expect_str_eq(strbuf_text(&is), rows[i].wanted, "%s: is:\n%s", rows[i].script, strbuf_text(&is));
	}
}

/* ---- the base grows ---- */

static int count_recomposed(void *arg, const struct journal_entry *entry, struct error *err)
{
	*(int *)arg += strcmp(entry->action, "recomposed") == 0 && strcmp(entry->labels, "a") == 0;
	return 0;
}

Test(patch, grown_base)
{
	scene_auto scene = scene_make("echo -n 1 >x; echo -n 1 >y");
	struct oid a = scene_patch(&scene, "a", "echo -n 2 >x; " NEW "x"), base = scene.component->base, before, read;
	struct component *again;
	int recomposed = 0;

	/* a becomes active, as apply does it. */
	bench_run(&scene.bench, "git -C store/git update-ref refs/veneer/app/active refs/veneer/app/patches/a");
	component_free(scene.component);
	must_pass(component_load(scene.bench.store, "app", &scene.component, &err));
	before = scene.component->active;
	cr_assert(oid_equal(&before, &a));
	scene_patch(&scene, "b", "echo -n 2 >y; " NEW "y");
	cr_expect_not(oid_equal(&scene.component->base, &base));
	cr_expect_not(oid_equal(&scene.component->active, &before));
	must_pass(component_load(scene.bench.store, "app", &again, &err));
	cr_expect(oid_equal(&again->base, &scene.component->base) && oid_equal(&again->active, &scene.component->active) &&
		oid_equal(&again->base_tree, &scene.component->base_tree));
	component_free(again);
	/* Active is what composing its stack gives, and serves what it did. */
	read = scene_compose(&scene, "a");
	cr_expect(oid_equal(&read, &scene.component->active));
	expect_view(&scene, &read, "f x 100644 0:0 @2000 '2'\n");
	must_pass(journal_each(scene.bench.store, "app", 0, count_recomposed, &recomposed, &err));
	cr_expect_eq(recomposed, 1);
	/* A patch of paths that are on record grows nothing. */
	base = scene.component->base;
	scene_patch(&scene, "c", "echo -n 3 >x");
	cr_expect(oid_equal(&scene.component->base, &base));
	bench_run(&scene.bench, "git -C store/git fsck --strict");
}

/* ---- commits of plain git ---- */

Test(patch, of_a_commit)
{
	scene_auto scene = scene_make("mkdir d; echo -n 1 >x; chown 3:4 x; chmod 4755 x; echo -n 1 >d/y; " OLD "x d/y");
	struct oid commit, patch;

	/* Of a path that the base has on disk and not on record: the base grows, and the setuid bit stays. */
	commit = scene_commit(&scene, "refs/veneer/app/base", "echo -n 2 >x");
	patch = scene_adopt(&scene, &commit, "a");
	expect_view(&scene, &patch, "f x 104755 3:4 @1600000000 '2'\n");
	cleanup_patch_list struct patch_list list = list_of(&scene);
	const struct patch *a = patch_find(&list, "a");

	cr_expect(oid_equal(&a->parent, &scene.component->base));
	cr_expect_str_eq(a->author, "Ann <ann@example.org>");
	cr_expect_eq(a->time, 1600000000);
	bench_run(&scene.bench, "git -C store/git show refs/veneer/app/base:x | grep -qx 1; git -C store/git fsck --strict");
	/* Of what is on record: the base stays, an older one too. */
	commit = scene_commit(&scene, "refs/veneer/app/base", "echo -n 3 >x");
	patch = scene_adopt(&scene, &commit, "b");
	scene_patch(&scene, "c", "echo -n 2 >d/y");
	commit = scene_commit(&scene, "refs/veneer/app/patches/b^", "echo -n 4 >x");
	patch = scene_adopt(&scene, &commit, "d");
	cleanup_patch_list struct patch_list later = list_of(&scene);

	cr_expect(oid_equal(&patch_find(&later, "d")->parent, &a->parent));
	cr_expect_not(oid_equal(&patch_find(&later, "d")->parent, &scene.component->base));
}

/* The base has these files on disk and not on record: what plain git says is laid over what they are. */
Test(patch, of_a_commit_of_unrecorded_files)
{
	static const struct {
		const char *base, *script, *wanted;
	} rows[] = {
		{ "echo -n 1 >x; chown 3:4 x; chmod 640 x; " OLD "x", "echo -n 2 >x; chmod +x x", "f x 100750 3:4 @1600000000 '2'\n" },
		{ "echo -n 1 >x; chown 3:4 x; chmod 4644 x; " OLD "x", "echo -n 1 >x; chmod +x x", "f x 104755 3:4 @1000 '1'\n" },
		/* A file that is made without x does not say that it shall be gone. */
		{ "echo -n 1 >x; chown 3:4 x; chmod 4711 x; " OLD "x", "echo -n 2 >x", "f x 104711 3:4 @1600000000 '2'\n" },
		{ "echo -n 1 >x; chown 3:4 x; chmod 4711 x; " OLD "x", "ln -s y x", "l x 120777 3:4 @1600000000 -> y\n" },
		{ "ln -s y x; chown -h 3:4 x", "echo -n 2 >x; chmod +x x", "f x 100755 3:4 @1600000000 '2'\n" },
		{ "echo -n 1 >x; chown 3:4 x; " OLD "x", "echo -n 2 >x; mkdir -p .veneer/meta; echo 'mode 0600' >.veneer/meta/x",
			"f x 100600 3:4 @1000 '2'\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make(rows[i].base);
		struct oid commit = scene_commit(&scene, "refs/veneer/app/base", rows[i].script);
		struct oid patch = scene_adopt(&scene, &commit, "a");

		expect_view(&scene, &patch, rows[i].wanted);
	}
}

/* The same as what is there, which the base could not tell. */
Test(patch, of_a_commit_of_nothing)
{
	scene_auto scene = scene_make("echo -n 1 >x");
	struct patch_spec spec = { .message = "x" };
	struct oid commit = scene_commit(&scene, "refs/veneer/app/base", "echo -n 1 >x"), patch;

	must_fail(-ENODATA, "nothing differs", scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
}

/* An edit of a patch's own checkout builds on it; the object that its metadata names is not claimed any more. */
Test(patch, of_a_commit_on_a_patch)
{
	scene_auto scene = scene_make("echo -n 1 >x; " OLD "x");
	struct oid a = scene_patch(&scene, "a", "echo -n 2 >x; chmod 700 x; " NEW "x");
	struct oid commit = scene_commit(&scene, "refs/veneer/app/patches/a", "echo -n third >x"), patch;

	patch = scene_adopt(&scene, &commit, "b");
	cleanup_patch_list struct patch_list list = list_of(&scene);

	cr_expect(oid_equal(&patch_find(&list, "b")->parent, &a));
	expect_view(&scene, &patch, "f x 100700 0:0 @1600000000 'third'\n");
}

/* Made in a worktree of what is applied: what the applied patches changed is not part of it, nor may it be touched. */
Test(patch, of_a_commit_on_a_composition)
{
	static const struct {
		const char *script, *wanted; /* NULL: refused */
		const char *path;
	} rows[] = {
		{ "echo -n 3 >z", "f z 100600 0:0 @1600000000 '3'\n", NULL },
		{ "echo -n 3 >new; git add -A; git commit -qm first; echo -n 4 >d/more", "t d\nf d/more 100644 0:0 @1600000000 '4'\nf new 100644 0:0 @1600000000 '3'\n", NULL },
		{ "echo -n 3 >z; echo -n 3 >x", NULL, "'x'" },
		{ "rm made/a", NULL, "'made/a'" },
		{ "echo -n 3 >made/b", NULL, "'made/b'" },
		{ "rm -r d; echo -n 3 >d", NULL, "'d'" },
		{ "rm y; mkdir y; echo -n 3 >y/b", NULL, "'y'" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		scene_auto scene = scene_make("umask 022; echo -n 1 >x; echo -n 1 >y; echo -n 1 >z; chmod 600 z; mkdir d; echo -n 1 >d/f");
		struct patch_spec spec = { .message = "x", .label = "c" };
		char hex[OID_HEX_LENGTH + 1];
		struct oid commit, patch;

		scene_patch(&scene, "a", "echo -n 2 >x; mkdir made; echo -n 2 >made/a");
		scene_patch(&scene, "b", "echo -n 2 >y; chmod 700 d; echo -n 2 >d/f");
		commit = scene_compose(&scene, "a b");
		oid_to_hex(&commit, hex);
		commit = scene_commit(&scene, hex, rows[i].script);
		if (rows[i].path) {
			must_fail(-EEXIST, rows[i].path, scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
			must_fail(-EEXIST, "worktree", scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
			continue;
		}
		patch = scene_adopt(&scene, &commit, "c");
		expect_view(&scene, &patch, rows[i].wanted);
		scene_compose(&scene, "a b c");
	}
}

/* Nothing but what stands on it. */
Test(patch, of_a_composition)
{
	scene_auto scene = scene_make("echo -n 1 >x; echo -n 1 >y");
	struct patch_spec spec = { .message = "x" };
	struct oid commit, patch;

	scene_patch(&scene, "a", "echo -n 2 >x");
	scene_patch(&scene, "b", "echo -n 2 >y");
	commit = scene_compose(&scene, "a b");
	must_fail(-ENODATA, "composition", scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
}

Test(patch, of_a_merge)
{
	scene_auto scene = scene_make("echo -n 1 >x; echo -n 1 >y");
	struct oid commit = scene_commit(&scene, "refs/veneer/app/base",
		"git checkout -q -b left; echo -n 2 >x; git add -A; git commit -qm left; "
		"git checkout -q -b right refs/veneer/app/base; echo -n 2 >y; git add -A; git commit -qm right; git merge -q left");
	struct oid patch = scene_adopt(&scene, &commit, "a");

	expect_view(&scene, &patch, "f x 100644 0:0 @1600000000 '2'\nf y 100644 0:0 @1600000000 '2'\n");
}

Test(patch, of_a_bad_commit)
{
	scene_auto scene = scene_make("echo -n 1 >x");
	struct patch_spec spec = { .message = "x" };
	struct oid a = scene_patch(&scene, "a", "echo -n 2 >x"), commit, ret;

	must_fail(-EEXIST, "patch 'a' already", scene_adopt_spec(&scene, &a, &spec, &ret, &err));
	must_fail(-ENODATA, "is a base", scene_adopt_spec(&scene, &scene.component->base, &spec, &ret, &err));
	commit = scene_commit(&scene, "refs/veneer/app/base", "git commit -q --allow-empty -m nothing");
	must_fail(-ENODATA, "nothing differs", scene_adopt_spec(&scene, &commit, &spec, &ret, &err));
	commit = scene_commit(&scene, "refs/veneer/app/base", "git checkout -q --orphan alone; git rm -rqf .; echo f >f");
	must_fail(-EINVAL, "no base and no patch", scene_adopt_spec(&scene, &commit, &spec, &ret, &err));
	commit = scene_commit(&scene, "refs/veneer/app/base", "echo garbage >.veneer/meta/x");
	must_fail(-EBADMSG, "metadata of 'x'", scene_adopt_spec(&scene, &commit, &spec, &ret, &err));
	/* A base of another's making is no base of ours. */
	commit = scene_commit(&scene, "refs/veneer/app/base",
		"git checkout -q --orphan another; git commit -qm \"$(printf 'x\\n\\nKind: base\\nComponent: app\\n')\"; echo f >f");
	must_fail(-EINVAL, "no base and no patch", scene_adopt_spec(&scene, &commit, &spec, &ret, &err));
	cleanup_patch_list struct patch_list list = list_of(&scene);

	cr_expect_eq(list.count, 1);
}

/* What a commit stands on is looked for so far and no further, by bytes too. */
Test(patch, of_a_commit_far_away)
{
	static char message[1000001];
	scene_auto scene = scene_make("echo -n 1 >x");
	struct repo *repo = scene.bench.store->repo;
	struct patch_spec spec = { .message = "x" };
	struct oid at = scene_commit(&scene, "refs/veneer/app/base", "echo -n 2 >x"), ret;
	struct commit_spec commit = { .message = message, .parents = &at, .parent_count = 1, .time = 1 };

	memset(message, 'x', sizeof message - 1);
	cleanup_commit struct commit facts = { 0 };
	must_pass(repo_commit_read(repo, &at, &facts, &err));
	commit.tree = facts.tree;
	for (size_t i = 0; i < 70; i++) {
		must_pass(repo_batch_begin(repo, &err));
		must_pass(repo_commit_write(repo, &commit, &at, &err));
		must_pass(repo_batch_commit(repo, &err));
		if (i == 60)
			scene_adopt(&scene, &at, "near");
	}
	must_fail(-EINVAL, "no base and no patch", scene_adopt_spec(&scene, &at, &spec, &ret, &err));
}

/* A message of someone else's may be as long as git allows, and costs no time. */
Test(patch, hostile_messages, .timeout = 20)
{
	static const struct {
		const char *message, *word; /* NULL: good */
	} rows[] = {
		{ "seq 512 | sed 's/^/Fixes: CVE-/'", NULL },
		{ "seq 513 | sed 's/^/Fixes: CVE-/'", "'Fixes:'" },
		{ "seq 500 | sed 's/^/Restart: x /'", "'Restart:'" },
		{ "seq 59000 | sed 's/^/Fixes: CVE-/'", "65536" },
		{ "yes | head -c 70000", "65536" },
	};
	scene_auto scene = scene_make("echo 1 >x");

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;
		char script[1024];

		snprintf(script, sizeof script,
			"export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$PWD/store/git; { echo x; echo; %s; } >message; "
			"git update-ref refs/veneer/app/patches/a $(git -c user.name=M -c user.email=m@x "
			"commit-tree -p refs/veneer/app/base -F message refs/veneer/app/base^{tree})",
			rows[i].message);
		bench_run(&scene.bench, script);
		must_pass(patch_list_load(scene.bench.store, scene.component, &list, &err));
		cr_assert_eq(list.broken, rows[i].word ? 1 : 0);
		if (rows[i].word)
			cr_assert(strstr(list.problem, rows[i].word), "'%s' does not say '%s'", list.problem, rows[i].word);
		patch_list_release(&list);
	}
}

/* What is left out of the list, and why. */
static void expect_left_out(struct scene *scene, const char *words)
{
	cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;

	must_pass(patch_list_load(scene->bench.store, scene->component, &list, &err));
	cr_assert_eq(list.count, 1);
	cr_assert_str_eq(list.patches[0].label, "good");
	cr_assert_eq(list.broken, 1);
	cr_assert(strstr(list.problem, words), "'%s' does not say '%s'", list.problem, words);
}

/* A ref under patches/ that is none of ours is named and left out, and the others stay usable. */
Test(patch, bad_refs)
{
	scene_auto scene = scene_make("echo -n 1 >x");

	bench_run(&scene.bench,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$PWD/store/git; "
		"git update-ref refs/veneer/app/patches/good $(git -c user.name=M -c user.email=m@x commit-tree -m x "
		"-p refs/veneer/app/base $(git mktree </dev/null)); "
		"git update-ref refs/veneer/app/patches/odd $(git -c user.name=M -c user.email=m@x commit-tree -m x $(git mktree </dev/null))");
	expect_left_out(&scene, "patch 'odd'");
	bench_run(&scene.bench,
		"git -C store/git update-ref -d refs/veneer/app/patches/odd; "
		"git -C store/git update-ref refs/veneer/app/patches/a/b refs/veneer/app/base");
	expect_left_out(&scene, "a/b");
	bench_run(&scene.bench,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_DIR=$PWD/store/git; git update-ref -d refs/veneer/app/patches/a/b; "
		"git update-ref refs/veneer/app/patches/alien $(git -c user.name=M -c user.email=m@x commit-tree -m x "
		"-m 'Component: other' -p refs/veneer/app/base $(git mktree </dev/null))");
	expect_left_out(&scene, "component 'other'");
}
