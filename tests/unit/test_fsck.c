/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scene.h"

#include "store/fsck.h"
#include "store/journal.h"

static int base_fd;

static int open_base(struct store *store, const struct component *component, int *ret_fd, struct error *err)
{
	*ret_fd = fcntl(base_fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? error_errno(err, errno, "base") : 0;
}

/* The findings, one a line: "severity kind subject[ repaired]". */
static char *look(struct scene *scene, bool repair)
{
	const struct fsck_options options = { .repair = repair, .open_base = open_base };
	cleanup_fsck_report struct fsck_report report = FSCK_REPORT_INIT;
	struct strbuf text = STRBUF_INIT;
	char path[64];

	base_fd = scene->basefd;
	snprintf(path, sizeof path, "%s/store", scene->bench.dir.path);
	must_pass(fsck_run(path, &options, &report, &err));
	strbuf_addstr(&text, "");
	for (size_t i = 0; i < report.count; i++) {
		const struct fsck_finding *finding = &report.findings[i];

		strbuf_addf(&text, "%s %s %s%s\n", finding->severity == FSCK_ERROR ? "error" : "warning", finding->kind, finding->subject,
			finding->repaired ? " repaired" : "");
	}
	cr_assert_eq(report.errors + report.warnings + report.repaired, report.count);
	return strbuf_detach(&text, NULL);
}

static void expect(struct scene *scene, bool repair, const char *wanted)
{
	cleanup_free char *is = look(scene, repair);

	cr_assert_str_eq(is, wanted, "is:\n%swanted:\n%s", is, wanted);
}

Test(fsck, nothing_where_all_is_well)
{
	scene_auto scene = scene_make("mkdir d; echo f >d/f; ln -s f d/l; chmod 4755 d/f; mkfifo p");
	struct oid commit;

	expect(&scene, false, "");
	scene_patch(&scene, "a", "echo a >d/f; rm p");
	scene_patch(&scene, "b", "echo b >d/new; mkdir e; chmod 700 e");
	commit = scene_commit(&scene, "refs/veneer/app/base", "echo c >c");
	scene_adopt(&scene, &commit, "c");
	bench_run(&scene.bench, "git -C store/git worktree prune; git -C store/git worktree remove --force checkout; git -C store/git update-ref -d refs/heads/plain");
	expect(&scene, false, "");
	expect(&scene, true, "");
}

Test(fsck, a_journal_behind_active_is_caught_up)
{
	scene_auto scene = scene_make("echo f >f");
	struct oid patch = scene_patch(&scene, "a", "echo a >f");
	char script[256], hex[OID_HEX_LENGTH + 1];
	int lock = must_pass(store_lock(scene.bench.store, 0, &err));

	/* The last one who wrote gave it back in order: nobody completes anything by himself. */
	store_unlock(lock);
	oid_to_hex(&patch, hex);
	snprintf(script, sizeof script, "git -C store/git update-ref refs/veneer/app/active %s", hex);
	bench_run(&scene.bench, script);
	expect(&scene, false, "warning journal refs/veneer/app/journal\n");
	expect(&scene, true, "warning journal refs/veneer/app/journal repaired\n");
	expect(&scene, false, "");
}

/* What a command and the daemon write down the other way round is no finding. */
Test(fsck, a_move_that_is_written_down_late)
{
	scene_auto scene = scene_make("echo f >f");
	struct store *store = scene.bench.store;
	struct oid a = scene_patch(&scene, "a", "echo a >f"), b = scene_patch(&scene, "b", "echo b >f"), base;
	struct journal_entry entry = { .action = (char *)"applied", .labels = (char *)"b" };
	char script[256], hex[OID_HEX_LENGTH + 1];

	must_pass(repo_ref_read(store->repo, "refs/veneer/app/base", &base, &err));
	entry.from = a;
	entry.to = b;
	must_pass(journal_append(store, "app", &entry, &err));
	entry = (struct journal_entry){ .action = (char *)"switched", .from = base, .to = a };
	must_pass(journal_append(store, "app", &entry, &err));
	oid_to_hex(&b, hex);
	snprintf(script, sizeof script, "git -C store/git update-ref refs/veneer/app/active %s", hex);
	bench_run(&scene.bench, script);
	expect(&scene, false, "");
	/* Refused, and served on. */
	entry = (struct journal_entry){ .action = (char *)"refused", .from = b, .to = a };
	must_pass(journal_append(store, "app", &entry, &err));
	expect(&scene, false, "");
}

/* A blob whose bytes only the base has, at a path of a patch's preimage. */
Test(fsck, a_blob_from_the_base)
{
	scene_auto scene = scene_make("mkdir d; echo only-here >d/f");
	struct oid patch = scene_patch(&scene, "a", "echo a >d/f");
	cleanup_free char *first = NULL;

	(void)patch;
	bench_run(&scene.bench, "cd store/git; for p in objects/pack/*.pack; do [ -e $p ] || continue; mv $p ../../p; rm -f ${p%.pack}.*; git unpack-objects -q <../../p; done; "
				"b=$(git rev-parse refs/veneer/app/base:d/f); rm objects/$(echo $b | sed 's|^..|&/|')");
	first = look(&scene, false);
	cr_assert(strncmp(first, "error git-object ", 17) == 0 && strchr(first, '\n')[1] == '\0', "%s", first);
	free(first);
	first = look(&scene, true);
	cr_assert(strstr(first, " repaired\n"), "%s", first);
	expect(&scene, false, "");
	bench_run(&scene.bench, "git -C store/git fsck --strict --no-dangling --no-progress");
}

/* The same bytes once more, but not quite: no wrong ones are taken. */
Test(fsck, no_wrong_bytes_are_taken)
{
	scene_auto scene = scene_make("mkdir d; echo only-here >d/f");
	cleanup_free char *found = NULL;

	scene_patch(&scene, "a", "echo a >d/f");
	bench_run(&scene.bench, "echo only-herE >base/d/f; cd store/git; for p in objects/pack/*.pack; do [ -e $p ] || continue; mv $p ../../p; rm -f ${p%.pack}.*; git unpack-objects -q <../../p; done; "
				"b=$(git rev-parse refs/veneer/app/base:d/f); rm objects/$(echo $b | sed 's|^..|&/|')");
	found = look(&scene, true);
	cr_assert(strstr(found, "error git-object ") && !strstr(found, "repaired"), "%s", found);
}
