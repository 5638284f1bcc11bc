/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "store/fsck.h"
#include "store/gc.h"

#define DAY 86400

/* Everything was written a day ago. */
static void age(struct scene *scene)
{
	bench_run(&scene->bench, "find store/objects store/git/objects -exec touch -h -d '1 day ago' {} +; sleep 1.1");
}

static struct oid used_blob;
static struct hash128 used_object;
static int answer;
static struct scene *mover; /* its ref is moved while it is looked at; NULL: none */
static struct oid moved_to;

/* "A daemon has one file open", or does not answer. */
static int in_use(struct store *store, const char *name, struct gc_use **ret, size_t *ret_count, struct error *err)
{
	*ret = NULL;
	*ret_count = 0;
	if (mover) {
		char script[128], hex[OID_HEX_LENGTH + 1];

		oid_to_hex(&moved_to, hex);
		snprintf(script, sizeof script, "git -C store/git update-ref refs/heads/found %s", hex);
		bench_run(&mover->bench, script);
	}
	if (answer < 0)
		return error_set(err, answer, "component '%s' is mounted and does not answer", name);
	if (answer == 0)
		return 0;
	*ret = malloc(sizeof **ret);
	cr_assert(*ret);
	(*ret)[0] = (struct gc_use){ used_blob, used_object };
	*ret_count = 1;
	return 0;
}

static int collect(struct scene *scene, uint64_t grace, bool dry_run, struct gc_report *ret, struct error *error)
{
	const struct gc_options options = { .dry_run = dry_run, .grace_seconds = grace, .in_use = in_use };

	return gc_run(scene->bench.store, &options, ret, error);
}

static bool has(struct scene *scene, const struct oid *oid)
{
	cleanup_store struct store *store = NULL;
	char path[64];

	snprintf(path, sizeof path, "%s/store", scene->bench.dir.path);
	must_pass(store_open(path, &store, &err));
	return repo_object_stored(store->repo, oid);
}

static void expect_whole(struct scene *scene)
{
	const struct fsck_options options = { .repair = false };
	cleanup_fsck_report struct fsck_report report = FSCK_REPORT_INIT;
	char path[64];

	snprintf(path, sizeof path, "%s/store", scene->bench.dir.path);
	must_pass(fsck_run(path, &options, &report, &err));
	cr_assert_eq(report.errors, 0, "%s: %s", report.findings[0].subject, report.findings[0].problem);
	bench_run(&scene->bench, "git -C store/git fsck --strict --no-dangling --no-progress");
}

/* A patch whose ref is gone. */
static struct oid forgotten_patch(struct scene *scene)
{
	struct oid commit = scene_patch(scene, "gone", "head -c 5000 /dev/urandom >new; echo x >f");

	bench_run(&scene->bench, "git -C store/git update-ref -d refs/veneer/app/patches/gone");
	return commit;
}

Test(gc, removes_what_nothing_needs)
{
	scene_auto scene = scene_make("echo f >f");
	struct oid kept = scene_patch(&scene, "a", "echo a >f"), gone = forgotten_patch(&scene);
	cleanup_gc_report struct gc_report young = GC_REPORT_INIT, dry = GC_REPORT_INIT, done = GC_REPORT_INIT, again = GC_REPORT_INIT;

	answer = 0;
	must_pass(collect(&scene, DAY / 2, false, &young, &err));
	cr_assert_eq(young.count, 0);
	age(&scene);
	must_pass(collect(&scene, 0, true, &dry, &err));
	cr_assert(has(&scene, &gone));
	must_pass(collect(&scene, 0, false, &done, &err));
	cr_assert_eq(done.count, dry.count);
	for (size_t i = 0; i < dry.count; i++)
		cr_assert_str_eq(done.rows[i].name, dry.rows[i].name);
	cr_assert_eq(done.objects, 2);
	cr_assert_gt(done.git_objects, 3);
	cr_assert_gt(done.freed, 10000);
	cr_assert(!has(&scene, &gone));
	cr_assert(has(&scene, &kept));
	expect_whole(&scene);
	age(&scene);
	must_pass(collect(&scene, 0, false, &again, &err));
	cr_assert_eq(again.count, 0);
}

/* The bytes of a file that is open stay, and the blob that they are made from again. */
Test(gc, what_a_daemon_uses_stays)
{
	scene_auto scene = scene_make("echo f >f");
	cleanup_gc_report struct gc_report report = GC_REPORT_INIT;
	struct oid gone = forgotten_patch(&scene);
	cleanup_view struct view *view = scene_view(&scene, &gone);
	uint32_t index = view_lookup(view, "new");

	used_blob = view_at(view, index)->blob;
	used_object = view_at(view, index)->object;
	answer = 1;
	age(&scene);
	must_pass(collect(&scene, 0, false, &report, &err));
	cr_assert_eq(report.objects, 1);
	cr_assert(!has(&scene, &gone));
	cr_assert(has(&scene, &used_blob));
	must_pass(object_verify(scene.bench.store->objects_fd, &used_object, 5000, &err));
}

Test(gc, nothing_goes_where_a_daemon_is_silent)
{
	scene_auto scene = scene_make("echo f >f");
	cleanup_gc_report struct gc_report report = GC_REPORT_INIT;
	struct oid gone = forgotten_patch(&scene);

	age(&scene);
	answer = -EBUSY;
	must_fail(-EBUSY, "does not answer", collect(&scene, 0, false, &report, &err));
	answer = 0;
	cr_assert(has(&scene, &gone));
}

/* Plain git names what was about to go, after the refs were read. */
Test(gc, a_ref_that_moves_meanwhile)
{
	scene_auto scene = scene_make("echo f >f");
	cleanup_gc_report struct gc_report report = GC_REPORT_INIT;

	moved_to = forgotten_patch(&scene);
	mover = &scene;
	answer = 0;
	age(&scene);
	must_pass(collect(&scene, 0, false, &report, &err));
	mover = NULL;
	cr_assert(has(&scene, &moved_to));
	expect_whole(&scene);
}

/* What is needed and cannot be followed may need what seems needless. */
Test(gc, nothing_goes_where_something_is_missing)
{
	scene_auto scene = scene_make("echo f >f");
	cleanup_gc_report struct gc_report report = GC_REPORT_INIT;
	struct oid gone = forgotten_patch(&scene);

	answer = 0;
	age(&scene);
	bench_run(&scene.bench, "cd store/git; echo 1234567890123456789012345678901234567890 >refs/heads/lost");
	must_fail(-EBADMSG, "fsck --repair", collect(&scene, 0, false, &report, &err));
	cr_assert(has(&scene, &gone));
	bench_run(&scene.bench, "cd store/git; echo nonsense >refs/heads/lost");
	must_fail(-EBADMSG, "refs/heads/lost", collect(&scene, 0, false, &report, &err));
	cr_assert(has(&scene, &gone));
}

/* Deltas are copied as they are; the pack of each round is one that git accepts. */
Test(gc, packs_with_deltas)
{
	scene_auto scene = scene_make("seq 1 5000 >f");
	struct oid a = scene_patch(&scene, "a", "echo a >>f"), b = scene_patch(&scene, "b", "echo b >>f"), gone;
	cleanup_gc_report struct gc_report report = GC_REPORT_INIT;

	answer = 0;
	gone = scene_patch(&scene, "gone", "echo gone >>f");
	for (int by_offset = 0; by_offset < 2; by_offset++) {
		char script[256];

		snprintf(script, sizeof script, "cd store/git; git -c repack.useDeltaBaseOffset=%s repack -adfq; git prune-packed; git update-ref -d refs/veneer/app/patches/gone",
			by_offset ? "true" : "false");
		bench_run(&scene.bench, script);
		age(&scene);
		must_pass(collect(&scene, 0, false, &report, &err));
		cr_assert_eq(report.new_packs, (size_t)!by_offset);
		gc_report_release(&report);
		expect_whole(&scene);
	}
	cr_assert(!has(&scene, &gone));
	cr_assert(has(&scene, &a) && has(&scene, &b));
}
