/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include <sys/xattr.h>

static const char *const fit_names[] = { "fits", "absorbed", "changed" };

static const char base_script[] =
	"echo -n one >file; echo -n two >two; chmod 4755 two; ln -s file link; mkfifo pipe; mkdir dir empty; echo -n x >dir/x; "
	"echo -n y >dir/y; mkdir -p gone/sub; echo -n g >gone/g; echo -n h >gone/sub/h; ln -s g gone/l";

/* What a view says of the base, loaded only (as reconcile() asks) and completed (as before a switch): both the same. */
static void expect_fit(struct scene *scene, const struct oid *commit, const char *row, enum view_fit wanted, const char *path)
{
	for (int completed = 0; completed < 2; completed++) {
		cleanup_view struct view *view = NULL;
		cleanup_free char *found = NULL;
		struct error problem = ERROR_INIT;
		enum view_fit fit;
		int r;

		must_pass(view_load(scene->bench.store, commit, &view, &err));
		r = completed ? view_complete(view, scene->bench.store, scene->basefd, &problem) : 0;
		if (r == -EBADMSG)
			continue; /* it passes through a symlink of the base, and is not served */
		cr_assert_eq(r, 0, "%s: %s", row, problem.message);
		r = view_fit(view, scene->bench.store, scene->basefd, &fit, &found, &problem);
		cr_assert_eq(r, 0, "%s: %s", row, problem.message);
		cr_expect_eq(fit, wanted, "%s%s: it %s, not %s ('%s')", row, completed ? ", completed" : "", fit_names[fit],
			fit_names[wanted], found ? found : "");
		cr_expect((found == NULL) == (path == NULL) && (!path || strcmp(found, path) == 0), "%s: '%s', not '%s'", row,
			found ? found : "no path", path ? path : "no path");
	}
}

struct fit_row {
	const char *patch, *change; /* shell: of a copy of the base; of the base afterwards */
	enum view_fit wanted;
	const char *path;
};

static void expect_rows(const struct fit_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct fit_row *row = &rows[i];
		scene_auto scene = scene_make(base_script);
		struct oid commit = scene_patch(&scene, "a", row->patch);
		char text[512];

		snprintf(text, sizeof text, "cd base; %s", row->change);
		bench_run(&scene.bench, text);
		snprintf(text, sizeof text, "patch '%s', then '%s'", row->patch, row->change);
		expect_fit(&scene, &commit, text, row->wanted, row->path);
	}
}

Test(view_fit, files)
{
	static const struct fit_row rows[] = {
		{ "echo -n new >file", ":", VIEW_FITS, NULL },
		{ "echo -n new >file", "touch file; chmod 600 file; chown 1:1 file", VIEW_FITS, NULL },
		{ "echo -n new >file", "cp file f; mv f file", VIEW_FITS, NULL }, /* another inode, the same bytes */
		{ "echo -n new >file", "ln file other", VIEW_FITS, NULL },
		{ "echo -n new >file", "echo -n more >two; rm -r dir gone link", VIEW_FITS, NULL },
		{ "echo -n new >file", "echo -n new >file", VIEW_ABSORBED, NULL },
		{ "echo -n new >file", "echo -n newer >file", VIEW_CHANGED, "file" },
		{ "echo -n new >file", "echo -n ONE >file; touch -r two file", VIEW_CHANGED, "file" }, /* as long */
		{ "echo -n new >file", "rm file", VIEW_CHANGED, "file" },
		{ "echo -n new >file", "rm file; mkdir file", VIEW_CHANGED, "file" },
		{ "echo -n new >file", "rm file; ln -s one file", VIEW_CHANGED, "file" },
		{ "echo -n new >file", "rm file; ln -s new file", VIEW_CHANGED, "file" }, /* a target of the same blob is no file */
		{ "echo -n new >file", "rm file; mkfifo file", VIEW_CHANGED, "file" },
		{ "echo -n new >dir/x", "rm dir/x; rmdir dir 2>/dev/null || :", VIEW_CHANGED, "dir/x" },
		{ "echo -n new >dir/x", "rm -r dir", VIEW_CHANGED, "dir/x" },
		{ "echo -n new >dir/x", "rm -r dir; echo f >dir", VIEW_CHANGED, "dir" },
		{ "echo -n new >dir/x", "mv dir other; ln -s other dir", VIEW_CHANGED, "dir" },
	};

	expect_rows(rows, ARRAY_SIZE(rows));
}

Test(view_fit, what_is_added_and_what_is_deleted)
{
	static const struct fit_row rows[] = {
		{ "echo -n n >new", ":", VIEW_FITS, NULL },
		{ "echo -n n >new", "echo -n n >new", VIEW_ABSORBED, NULL },
		{ "echo -n n >new", "echo -n m >new", VIEW_CHANGED, "new" },
		{ "echo -n n >new", "mkdir new", VIEW_CHANGED, "new" },
		{ "mkdir d; echo -n n >d/n", ":", VIEW_FITS, NULL },
		{ "mkdir d; echo -n n >d/n", "mkdir d", VIEW_FITS, NULL },
		{ "mkdir d; echo -n n >d/n", "mkdir d; echo -n n >d/n", VIEW_ABSORBED, NULL },
		{ "mkdir d; echo -n n >d/n", "echo d >d", VIEW_CHANGED, "d" },
		{ "mkdir d", "mkdir d", VIEW_FITS, NULL }, /* nothing of it is content */
		{ "rm file", ":", VIEW_FITS, NULL },
		{ "rm file", "rm file", VIEW_ABSORBED, NULL },
		{ "rm file", "echo -n other >file", VIEW_CHANGED, "file" },
		{ "rm link", "rm link", VIEW_ABSORBED, NULL },
		{ "rm link", "ln -sf two link", VIEW_CHANGED, "link" },
		{ "rm dir/x", "rm -r dir", VIEW_ABSORBED, NULL },
		{ "rm dir/x", "echo -n z >dir/z", VIEW_FITS, NULL },
		{ "rmdir empty", "rmdir empty", VIEW_ABSORBED, NULL },
		{ "rmdir empty", "rmdir empty; echo f >empty", VIEW_CHANGED, "empty" },
	};

	expect_rows(rows, ARRAY_SIZE(rows));
}

/* What was taken away with a directory was looked at, and is part of what the patch was made for. */
Test(view_fit, deleted_directories)
{
	static const struct fit_row rows[] = {
		{ "rm -r gone", ":", VIEW_FITS, NULL },
		{ "rm -r gone", "touch gone/g; chmod 700 gone/sub", VIEW_FITS, NULL },
		{ "rm -r gone", "rm -r gone", VIEW_ABSORBED, NULL },
		{ "rm -r gone", "rm -r gone; echo f >gone", VIEW_CHANGED, "gone" },
		{ "rm -r gone", "echo -n other >gone/g", VIEW_CHANGED, "gone/g" },
		{ "rm -r gone", "echo -n other >gone/sub/h", VIEW_CHANGED, "gone/sub/h" },
		{ "rm -r gone", "ln -sf h gone/l", VIEW_CHANGED, "gone/l" },
		{ "rm -r gone", "rm gone/sub/h", VIEW_CHANGED, "gone/sub/h" },
		{ "rm -r gone", "rm gone/g; mkdir gone/g", VIEW_CHANGED, "gone/g" },
		{ "rm -r gone", "echo -n n >gone/new", VIEW_CHANGED, "gone/new" },
		{ "rm -r gone", "mkdir gone/sub/deep", VIEW_CHANGED, "gone/sub/deep" },
		{ "rm -r gone", "mv gone/sub gone/bus", VIEW_CHANGED, NULL /* either name */ },
		/* Something else in its place. */
		{ "rm -r gone; echo f >gone", ":", VIEW_FITS, NULL },
		{ "rm -r gone; echo f >gone", "rm -r gone; echo f >gone", VIEW_ABSORBED, NULL },
		{ "rm -r gone; echo f >gone", "rm -r gone; echo g >gone", VIEW_CHANGED, "gone" },
		{ "rm -r gone; echo f >gone", "echo -n other >gone/g", VIEW_CHANGED, "gone/g" },
		{ "rm -r gone; ln -s dir gone", "echo -n n >gone/new", VIEW_CHANGED, "gone/new" },
		/* With another change: what is gone from the base already is not looked for. */
		{ "rm -r gone; echo -n new >file", "rm -r gone", VIEW_FITS, NULL },
		{ "rm -r gone; echo -n new >file", "rm -r gone; echo -n new >file", VIEW_ABSORBED, NULL },
		{ "rm -r gone/sub", "echo -n other >gone/g", VIEW_FITS, NULL },
		{ "rm -r gone/sub", "echo -n other >gone/sub/h", VIEW_CHANGED, "gone/sub/h" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].wanted != VIEW_CHANGED || rows[i].path) {
			expect_rows(&rows[i], 1);
		} else {
			scene_auto scene = scene_make(base_script);
			struct oid commit = scene_patch(&scene, "a", rows[i].patch);
			cleanup_view struct view *view = scene_view(&scene, &commit);
			cleanup_free char *path = NULL;
			char text[128];
			enum view_fit fit;

			snprintf(text, sizeof text, "cd base; %s", rows[i].change);
			bench_run(&scene.bench, text);
			must_pass(view_fit(view, scene.bench.store, scene.basefd, &fit, &path, &err));
			cr_expect_eq(fit, VIEW_CHANGED, "'%s'", rows[i].change);
		}
	}
}

Test(view_fit, symlinks_and_specials)
{
	static const struct fit_row rows[] = {
		{ "ln -sf two link", ":", VIEW_FITS, NULL },
		{ "ln -sf two link", "touch -h link; chown -h 1:1 link", VIEW_FITS, NULL },
		{ "ln -sf two link", "ln -sf two link", VIEW_ABSORBED, NULL },
		{ "ln -sf two link", "ln -sf three link", VIEW_CHANGED, "link" },
		{ "ln -sf two link", "rm link; echo -n file >link", VIEW_CHANGED, "link" }, /* the bytes of the target */
		{ "ln -s t new", "ln -s t new", VIEW_ABSORBED, NULL },
		{ "rm file; ln -s two file", "rm file; ln -s two file", VIEW_ABSORBED, NULL },
		{ "rm link; echo -n f >link", ":", VIEW_FITS, NULL },
		{ "rm link; echo -n f >link", "rm link; echo -n f >link", VIEW_ABSORBED, NULL },
		{ "rm link; mkdir link", ":", VIEW_FITS, NULL },
		{ "rm link; mkdir link; echo -n n >link/n", ":", VIEW_FITS, NULL },
		{ "rm link; mkdir link; echo -n n >link/n", "ln -sfn two link", VIEW_CHANGED, "link" },
		{ "rm file; mkdir file; echo -n n >file/n", ":", VIEW_FITS, NULL },
		{ "rm file; mkdir file; echo -n n >file/n", "echo -n other >file", VIEW_CHANGED, "file" },
		{ "rm file; mkdir file; echo -n n >file/n", "rm file", VIEW_CHANGED, "file" },
		{ "rm file; mkdir file; echo -n n >file/n", "rm file; ln -s one file", VIEW_CHANGED, "file" },
		{ "rm file; mkdir file; echo -n n >file/n", "rm file; mkdir file", VIEW_FITS, NULL },
		{ "rm file; mkdir file; echo -n n >file/n", "rm file; mkdir file; echo -n n >file/n", VIEW_ABSORBED, NULL },
		{ "rm pipe", ":", VIEW_FITS, NULL },
		{ "rm pipe", "rm pipe; echo f >pipe", VIEW_CHANGED, "pipe" },
		{ "rm pipe; echo -n f >pipe", "rm pipe; echo -n f >pipe", VIEW_ABSORBED, NULL },
		{ "rm pipe; mkdir pipe", "rm pipe; echo f >pipe", VIEW_CHANGED, "pipe" },
		{ "rm pipe; mkdir pipe", "rm pipe; mkdir pipe", VIEW_ABSORBED, NULL },
		{ "mkfifo new", "mkfifo new", VIEW_ABSORBED, NULL },
		{ "mkfifo new", "echo f >new", VIEW_CHANGED, "new" },
	};

	expect_rows(rows, ARRAY_SIZE(rows));
}

/* A patch is absorbed when the base has all that it would change: a set-id bit that it takes away, too. */
Test(view_fit, metadata)
{
	static const struct fit_row rows[] = {
		{ "chmod 755 two", ":", VIEW_FITS, NULL },
		{ "chmod 755 two", "chmod 755 two", VIEW_FITS, NULL },
		{ "chmod 755 two", "echo -n other >two", VIEW_CHANGED, "two" },
		{ "chmod +x file", "echo -n other >file", VIEW_CHANGED, "file" },
		{ "chmod +x file", "rm file", VIEW_CHANGED, "file" },
		{ "chmod 700 dir", ":", VIEW_FITS, NULL },
		{ "chmod 700 dir", "rm -r dir", VIEW_FITS, NULL },
		{ "chmod 700 dir", "rm -r dir; echo f >dir", VIEW_CHANGED, "dir" },
		{ "chown -h 1:1 link", "ln -sf two link", VIEW_CHANGED, "link" },
		{ "chmod 600 pipe", ":", VIEW_FITS, NULL },
		/* Beside a change that the base has. */
		{ "echo -n new >file; chmod 755 two", "echo -n new >file", VIEW_FITS, NULL },
		{ "echo -n new >file; chmod 755 two", "echo -n new >file; chmod 755 two", VIEW_ABSORBED, NULL },
		{ "echo -n new >file; touch -d @5 two", "echo -n new >file", VIEW_ABSORBED, NULL },
		{ "echo -n new >file; chmod 600 pipe", "echo -n new >file", VIEW_FITS, NULL },
		{ "echo -n new >file; chmod 700 dir", "echo -n new >file", VIEW_FITS, NULL },
		{ "echo -n new >file; chmod 700 dir", "echo -n new >file; chmod 700 dir", VIEW_ABSORBED, NULL },
		{ "echo -n new >file; mkdir d", "echo -n new >file", VIEW_FITS, NULL },
		{ "echo -n new >file; setfattr -n user.a -v 1 two", "echo -n new >file", VIEW_FITS, NULL },
		{ "echo -n new >file; setfattr -n user.a -v 1 two", "echo -n new >file; setfattr -n user.a -v 1 two", VIEW_ABSORBED, NULL },
		/* Of the same file. */
		{ "echo -n new >two; chmod 755 two", "echo -n new >two; chmod 4755 two", VIEW_FITS, NULL },
		{ "echo -n new >two; chmod 755 two", "echo -n new >two; chmod 755 two", VIEW_ABSORBED, NULL },
		{ "echo -n new >two; chown 1:1 two", "echo -n new >two; chmod 4755 two", VIEW_FITS, NULL },
	};

	expect_rows(rows, ARRAY_SIZE(rows));
}

Test(view_fit, in_part)
{
	static const struct fit_row rows[] = {
		{ "echo -n new >file; echo -n new2 >two", "echo -n new >file", VIEW_FITS, NULL },
		{ "echo -n new >file; echo -n new2 >two", "echo -n new >file; echo -n new2 >two; chmod 4755 two", VIEW_ABSORBED, NULL },
		{ "echo -n new >file; echo -n new2 >two", "echo -n new >file; echo -n other >two", VIEW_CHANGED, "two" },
		{ "rm file; echo -n n >new; ln -sf two link", "rm file; echo -n n >new", VIEW_FITS, NULL },
		{ "rm file; echo -n n >new; ln -sf two link", "rm file; echo -n n >new; ln -sf two link", VIEW_ABSORBED, NULL },
	};

	expect_rows(rows, ARRAY_SIZE(rows));
}

/* ---- fingerprints ---- */

static struct oid blob_of(struct scene *scene, const char *text)
{
	struct oid oid;

	must_pass(repo_blob_id(text, strlen(text), &oid, &err));
	return oid;
}

/*
 * A fingerprint stands for the content: one that lies is believed for as long as stat(2) says what it said, and no longer. That shows
 * what is read, and what is not.
 */
Test(view_fit, a_fingerprint_is_believed_for_as_long_as_stat_says_the_same)
{
	scene_auto scene = scene_make(base_script);
	struct oid commit = scene_patch(&scene, "a", "echo -n new >file"), lie = blob_of(&scene, "a lie");
	struct fingerprints *fingerprints = scene.bench.store->fingerprints;
	struct oid found;
	struct stat st;

	bench_run(&scene.bench, "sleep 3.1"); /* FINGERPRINT_SETTLE_SECONDS */
	expect_fit(&scene, &commit, "as it was", VIEW_FITS, NULL);
	cr_assert_eq(fstatat(scene.basefd, "file", &st, 0), 0);
	cr_assert(fingerprints_find(fingerprints, &st, &found), "what was read is known from then on");
	found = blob_of(&scene, "one");
	fingerprints_put(fingerprints, &st, &lie);
	expect_fit(&scene, &commit, "a lie", VIEW_CHANGED, "file");
	/* Each of these is another ctime at least. */
	bench_run(&scene.bench, "chmod 600 base/file");
	expect_fit(&scene, &commit, "chmod", VIEW_FITS, NULL);
	cr_assert_eq(fstatat(scene.basefd, "file", &st, 0), 0);
	cr_assert_not(fingerprints_find(fingerprints, &st, &found), "what was changed just now is not known");
	bench_run(&scene.bench, "cp base/file base/f; mv base/f base/file");
	expect_fit(&scene, &commit, "another inode", VIEW_FITS, NULL);
	bench_run(&scene.bench, "t=$(stat -c %y base/file); echo -n ONE >base/file; touch -d \"$t\" base/file");
	expect_fit(&scene, &commit, "as long and as old", VIEW_CHANGED, "file");
}

Test(view_fit, what_cannot_be_read_is_an_error)
{
	scene_auto scene = scene_make(base_script);
	struct oid commit = scene_patch(&scene, "a", "echo -n new >dir/x");
	cleanup_view struct view *view = scene_view(&scene, &commit);
	cleanup_free char *path = NULL;
	enum view_fit fit = 77;

	/* Gone since it was looked at. */
	bench_run(&scene.bench, "echo -n x >base/dir/x; rm base/dir/x");
	must_fail(-ENOENT, "dir/x", view_fit(view, scene.bench.store, scene.basefd, &fit, &path, &err));
	cr_expect_eq(fit, 77);
	cr_expect_null(path);
	/* Another type: not opened, or not read. */
	bench_run(&scene.bench, "mkfifo base/dir/x");
	must_fail(-EAGAIN, "replaced", view_fit(view, scene.bench.store, scene.basefd, &fit, &path, &err));
	bench_run(&scene.bench, "rm base/dir/x; ln -s y base/dir/x");
	must_fail(-ELOOP, "dir/x", view_fit(view, scene.bench.store, scene.basefd, &fit, &path, &err));
}

/* ---- at the door ---- */

struct create_row {
	const char *change; /* of the base, after it was recorded */
	int wanted;
	const char *word;
};

/* The record of a path stays what it was when the next patch touches it: it must still be what the base has. */
Test(view_fit, a_patch_is_not_made_over_a_base_that_has_moved_since_its_record)
{
	static const struct create_row rows[] = {
		{ ":", 0, "" },
		{ "echo -n other >two", 0, "" }, /* not on record yet */
		{ "touch file; chmod 700 file", 0, "" },
		{ "echo -n other >file", -ESTALE, "'file' is something else now: record it anew" },
		{ "rm -r dir/x", -ESTALE, "'dir/x' is something else now" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct patch_spec spec = { .message = "second", .label = "b" };
		scene_auto scene = scene_make(base_script);
		struct error error = ERROR_INIT;
		struct oid commit;
		char text[256];
		int r;

		scene_patch(&scene, "a", "echo -n new >file; echo -n new >dir/x");
		snprintf(text, sizeof text, "cd base; %s", rows[i].change);
		bench_run(&scene.bench, text);
		r = scene_patch_spec(&scene, "echo -n newer >file; echo -n newer >dir/x; echo -n new >two", &spec, &commit, &error);
		cr_expect_eq(r, rows[i].wanted, "'%s': %d: %s", rows[i].change, r, error.message);
		cr_expect(strstr(error.message, rows[i].word), "'%s': no '%s' in: %s", rows[i].change, rows[i].word, error.message);
	}
}

Test(view_fit, a_commit_is_not_adopted_over_a_base_that_has_moved_since_its_record)
{
	const struct patch_spec spec = { .message = "by hand", .label = "b" };
	scene_auto scene = scene_make(base_script);
	struct oid commit, patch;

	scene_patch(&scene, "a", "echo -n new >file");
	commit = scene_commit(&scene, "refs/veneer/app/base", "echo -n newer >file");
	bench_run(&scene.bench, "echo -n other >base/file");
	must_fail(-ESTALE, "'file' is something else now", scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
	bench_run(&scene.bench, "echo -n newer >base/file");
	must_fail(-ESTALE, "all of this already", scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
	bench_run(&scene.bench, "echo -n one >base/file");
	must_pass(scene_adopt_spec(&scene, &commit, &spec, &patch, &err));
}
