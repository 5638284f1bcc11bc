/* SPDX-License-Identifier: Apache-2.0 */

/* Refs against plain git. */

#include <sys/wait.h>

#include "tests/unit/repo_fixture.h"

TestSuite(refs, .init = setup, .fini = teardown, .timeout = 300);

/* ---- refs ---- */

static struct oid commits[3];

static void make_commits(void)
{
	struct commit_spec spec = { .message = "x" };

	must_pass(repo_batch_begin(repo, &err));
	must_pass(repo_tree_empty(repo, &spec.tree, &err));
	for (size_t i = 0; i < 3; i++) {
		spec.time = (int64_t)i;
		must_pass(repo_commit_write(repo, &spec, &commits[i], &err));
	}
	must_pass(repo_batch_commit(repo, &err));
}

static struct oid ref(const char *name)
{
	struct oid oid = { { 0 } };
	int rc = repo_ref_read(repo, name, &oid, &err);

	cr_assert(rc == 0 || rc == -ENOENT, "%s: %s", name, err.message);
	return oid;
}

#define A "refs/veneer/x/active"
#define B "refs/veneer/x/base"

Test(refs, refs_are_made_moved_and_deleted)
{
	struct oid zero = { { 0 } };

	make_commits();
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { B, commits[0], true, zero }, { A, commits[1], false, zero } }, 2, &err));
	assert_oid(ref(A), commits[1]);
	assert_oid(shell_oid("git rev-parse " B), commits[0]);
	free(shell("git pack-refs --all && test ! -e git/" A));
	assert_oid(ref(A), commits[1]);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[2], true, commits[1] } }, 1, &err));
	assert_oid(shell_oid("git rev-parse " A), commits[2]);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, zero, true, commits[2] } }, 1, &err));
	assert_oid(ref(A), zero); /* and not the packed one again */
	free(shell("! git rev-parse --verify -q " A));
	assert_oid(ref(B), commits[0]);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, zero, false, zero } }, 1, &err)); /* there is none */
	free(shell("git update-ref " A " %s", hex_of(&commits[0])));
	assert_oid(ref(A), commits[0]); /* read fresh */
	free(shell("test -z \"$(find git -name '*.lock')\""));
}

Test(refs, refs_all_or_none)
{
	struct oid zero = { { 0 } }, missing;

	make_commits();
	memset(&missing, 0x22, sizeof missing);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[0], true, zero } }, 1, &err));
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[1], true, zero }, { A, commits[2], true, commits[1] } }, 2, &err), -EAGAIN);
	must_name(A);
	must_name(hex_of(&commits[0]));
	assert_oid(ref(B), zero);
	assert_oid(ref(A), commits[0]);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { A, commits[2], true, zero } }, 1, &err), -EAGAIN);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[2], true, commits[0] } }, 1, &err), -EAGAIN);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[1], true, zero }, { A, missing, false, zero } }, 2, &err), -ENOENT);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[1], true, zero }, { "refs/../x", commits[1], false, zero } }, 2, &err), -EINVAL);
	assert_oid(ref(B), zero);
	assert_oid(ref(A), commits[0]);
	free(shell("test -z \"$(find git -name '*.lock')\""));
}

Test(refs, a_lock_left_by_a_crash_is_broken)
{
	make_commits();
	free(shell("mkdir -p git/refs/veneer/x && touch -d '1 minute ago' git/" A ".lock"));
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[0], false, { { 0 } } } }, 1, &err));
	assert_oid(ref(A), commits[0]);
}

static double seconds_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* Ours, which nobody may write to: that its process is dead is seen at once. */
/* One that a dead process left before the clock was set back is as old as any. */
Test(refs, a_lock_of_the_future_is_broken)
{
	make_commits();
	free(shell("mkdir -p git/refs/veneer/x && touch -d '3 days' git/" A ".lock"));
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[0], false, { { 0 } } } }, 1, &err));
	assert_oid(ref(A), commits[0]);
	free(shell("test -z \"$(find git -name '*.lock')\""));
}

Test(refs, our_own_lock_of_a_dead_process_is_broken_at_once)
{
	struct timespec begin;

	make_commits();
	free(shell("mkdir -p git/refs/veneer/x && touch git/" A ".lock && chmod 444 git/" A ".lock"));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	cr_assert(seconds_since(&begin) < 2, "%f", seconds_since(&begin));
	assert_oid(ref(A), commits[0]);
	free(shell("mkdir -p git/refs/veneer/x && touch git/" A ".lock && chmod 444 git/" A ".lock && { flock -x git/" A ".lock "
		   "sh -c 'sleep 0.5; rm git/" A ".lock' > /dev/null 2>&1 & } && sleep 0.1"));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[1] } }, 1, &err));
	cr_assert(seconds_since(&begin) > 0.2, "one that is held is waited for: %f", seconds_since(&begin));
	assert_oid(ref(A), commits[1]);
}

/* git leaves an empty directory where refs were below a name. */
Test(refs, an_empty_directory_is_no_obstacle)
{
	make_commits();
	free(shell("mkdir -p git/" A "/below"));
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { .name = B, .new_oid = commits[0] }, { .name = A, .new_oid = commits[0] } }, 2, &err),
		-ENOTEMPTY);
	must_name(A);
	free(shell("! git rev-parse --verify -q " B " && test -z \"$(find git -name '*.lock')\""));
	free(shell("rmdir git/" A "/below"));
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	assert_oid(shell_oid("git rev-parse " A), commits[0]);
}

/* The second one cannot move: the first one is set back, whether there was one before or not. */
Test(refs, what_has_moved_is_set_back)
{
	struct oid zero = { { 0 } };

	make_commits();
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = B, .new_oid = commits[0] } }, 1, &err));
	free(shell("mkdir -p git/" A "/below"));
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { .name = B, .new_oid = commits[1] }, { .name = "refs/veneer/y/new", .new_oid = commits[1] },
		{ .name = A, .new_oid = commits[1] } }, 3, &err), -ENOTEMPTY);
	assert_oid(ref(B), commits[0]);
	assert_oid(ref("refs/veneer/y/new"), zero);
	free(shell("test -z \"$(find git -name '*.lock')\""));
}

Test(refs, a_lock_that_is_held_is_waited_for)
{
	struct timespec begin, end;
	double seconds;

	make_commits();
	free(shell("mkdir -p git/refs/veneer/x && touch git/" A ".lock && { (sleep 0.4; rm git/" A ".lock) > /dev/null 2>&1 & }"));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	cr_assert(seconds > 0.2 && seconds < 5, "%f", seconds);
	assert_oid(ref(A), commits[0]);
}

Test(refs, a_ref_beneath_a_ref_is_refused)
{
	make_commits();
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { .name = A "/b", .new_oid = commits[1] } }, 1, &err), -ENOTDIR);
	must_name(A "/b");
	assert_oid(ref(A), commits[0]);
}

#define MOVERS 4
#define MOVES 60

/* One more commit behind what REF is: it and B move together, as active and journal do. Whoever was faster is no failure. */
static int move_on(struct repo *mine, const char *name)
{
	struct commit_spec spec = { .message = "more", .time = getpid() };
	struct oid before, after;
	int rc = repo_ref_read(mine, name, &before, &err);

	if (rc == 0)
		rc = repo_batch_begin(mine, &err);
	if (rc == 0)
		rc = repo_tree_empty(mine, &spec.tree, &err);
	spec.parents = &before;
	spec.parent_count = 1;
	if (rc == 0)
		rc = repo_commit_write(mine, &spec, &after, &err);
	if (rc == 0)
		rc = repo_batch_commit(mine, &err);
	return rc < 0 ? rc :
			repo_refs_update(mine, (struct ref_update[]){ { name, after, true, before }, { .name = B, .new_oid = after } }, 2, &err);
}

static void mover(const char *path)
{
	struct repo *mine = NULL;
	int rc = repo_open(path, &mine, &err);

	for (int moved = 0; rc == 0 && moved < MOVES;) {
		rc = move_on(mine, A);
		moved += rc == 0;
		rc = rc == -EAGAIN ? 0 : rc;
	}
	if (rc < 0)
		fprintf(stderr, "a mover: %s\n", err.message);
	repo_free(mine);
	_exit(rc < 0);
}

/* A ref that is moving is locked until all have moved, also while its lock file has what was there before. */
Test(refs, several_processes_at_once)
{
	int failed = 0, status;

	make_commits();
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	for (int i = 0; i < MOVERS; i++)
		if (fork() == 0)
			mover(git_dir);
	for (int i = 0; i < MOVERS; i++) {
		wait(&status);
		failed += status != 0;
	}
	cr_assert_eq(failed, 0, "%d failed", failed);
	free(shell("test $(git rev-list --count " A ") = %d", 1 + MOVERS * MOVES));
	free(shell("test -z \"$(find git -name '*.lock')\" && git fsck --strict"));
}

static int ref_row(void *arg, const char *name, const struct oid *oid, struct error *e)
{
	strbuf_addf(arg, "%s ", name + strlen("refs/veneer/"));
	return strcmp(name, "refs/veneer/z/stop") == 0 ? 7 : 0;
}

Test(refs, refs_each_in_order)
{
	cleanup_strbuf struct strbuf got = STRBUF_INIT, all = STRBUF_INIT;
	const char *hex;

	make_commits();
	hex = hex_of(&commits[0]);
	free(shell("for r in x/patches/b x/patches/a y/active; do git update-ref refs/veneer/$r %s; done; git pack-refs --all; "
		   "for r in x/patches/ab x/active z/stop z/top; do git update-ref refs/veneer/$r %s; done; git update-ref refs/veneer/y/active %s",
		hex, hex, hex_of(&commits[1])));
	must_pass(repo_refs_each(repo, "refs/veneer/x/patches/", ref_row, &got, &err));
	cr_assert_str_eq(got.buf, "x/patches/a x/patches/ab x/patches/b ");
	cr_assert_eq(repo_refs_each(repo, "refs/veneer/", ref_row, &all, &err), 7);
	cr_assert_str_eq(all.buf, "x/active x/patches/a x/patches/ab x/patches/b y/active z/stop ");
	assert_oid(ref("refs/veneer/y/active"), commits[1]);
	must_pass(repo_refs_each(repo, "refs/nothing/", ref_row, &all, &err));
}

/* What an editor or somebody at work leaves below refs/: the others are there all the same. */
Test(refs, what_is_no_ref_hides_none)
{
	cleanup_strbuf struct strbuf got = STRBUF_INIT;

	make_commits();
	free(shell("for r in x/active x/patches/a y/active; do git update-ref refs/veneer/$r %s; done; cd git/refs; ln -s nowhere a; ln -s heads b; cd veneer; "
		   "ln -s nowhere a; cp x/patches/a x/patches/a~; mkdir -p x/patches/b.lock .d; cp x/patches/a x/patches/b.lock/c; cp x/patches/a .d/x; "
		   "ln -s nowhere x/patches/0; mkfifo x/patches/1; cp x/patches/a x/.active.swp",
		hex_of(&commits[0])));
	must_pass(repo_refs_each(repo, "refs/veneer/", ref_row, &got, &err));
	cr_assert_str_eq(got.buf, "x/active x/patches/a y/active ");
	free(shell("rm git/refs/veneer/x/patches/1 && git pack-refs --all 2>&1")); /* git waits for somebody at the other end */
	strbuf_reset(&got);
	must_pass(repo_refs_each(repo, "refs/veneer/", ref_row, &got, &err));
	cr_assert_str_eq(got.buf, "x/active x/patches/a y/active ");
	free(shell("echo garbage >>git/packed-refs"));
	must_fail(repo_refs_each(repo, "refs/veneer/", ref_row, &got, &err), -EBADMSG);
	must_name("packed-refs");
}

Test(refs, a_corrupt_ref_is_named)
{
	struct oid oid;

	free(shell("mkdir -p git/refs/veneer/x && echo garbage > git/" A));
	must_fail(repo_ref_read(repo, A, &oid, &err), -EBADMSG);
	must_name(A);
	must_fail(repo_ref_read(repo, "refs/veneer/none", &oid, &err), -ENOENT);
}
