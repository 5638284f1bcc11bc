/* SPDX-License-Identifier: Apache-2.0 */
/* What of the sandbox needs no mount: its directories, and what becomes of a command. The rest: tests/fs/test_record.sh. */
#include "tests/unit/source_support.h"

#include <errno.h>
#include <signal.h>
#include <sys/file.h>

#include "fs/sandbox_internal.h"

Test(sandbox, exit_statuses)
{
	static const struct {
		struct sandbox_result result;
		int wanted;
		bool succeeded;
	} rows[] = {
		{ { .wait_status = 0 }, 0, true },
		{ { .wait_status = 0, .killed = 3 }, 0, true },
		{ { .wait_status = 1 << 8 }, 1, false },
		{ { .wait_status = 255 << 8 }, 255, false },
		{ { .wait_status = SIGTERM }, 143, false },
		{ { .wait_status = SIGKILL }, 137, false },
		{ { .wait_status = SIGSEGV | 0x80 }, 139, false }, /* with a core */
		{ { .exec_errno = ENOENT, .wait_status = 127 << 8 }, 127, false },
		{ { .exec_errno = EACCES, .wait_status = 127 << 8 }, 126, false },
		{ { .exec_errno = ENOEXEC, .wait_status = 127 << 8 }, 126, false },
		{ { .exec_errno = ENOENT, .wait_status = 0 }, 127, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(sandbox_exit_status(&rows[i].result), rows[i].wanted, "row %zu: %d", i,
			sandbox_exit_status(&rows[i].result));
		cr_expect_eq(sandbox_succeeded(&rows[i].result), rows[i].succeeded, "row %zu", i);
	}
}

static bool there(const struct store *store, const char *name)
{
	return faccessat(store->run_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

Test(sandbox, directories)
{
	bench_auto bench = bench_make();
	cleanup_sandbox struct sandbox one = SANDBOX_INIT, two = SANDBOX_INIT;
	char name[SANDBOX_NAME_MAX];
	struct stat st;

	must_pass(sandbox_make_directory(bench.store, &one, &err));
	must_pass(sandbox_make_directory(bench.store, &two, &err));
	cr_assert_str_neq(one.name, two.name);
	cr_assert(there(bench.store, one.name), "removed by the second, though it is locked");
	cr_assert_eq(fstat(one.directory_fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	cr_assert_eq(faccessat(one.directory_fd, "upper", F_OK, 0), 0);
	cr_assert_eq(faccessat(one.directory_fd, "work", F_OK, 0), 0);
	strcpy(name, one.name);
	sandbox_release(&one);
	cr_assert_not(there(bench.store, name), "not removed in the end");
	cr_assert(there(bench.store, two.name));
	cr_assert_eq(one.upper_fd, -EBADF);
}

/* What nobody holds goes; what is not ours by its name, or is held, stays. */
Test(sandbox, abandoned_directories)
{
	bench_auto bench = bench_make();
	cleanup_sandbox struct sandbox sandbox = SANDBOX_INIT;
	cleanup_close int held = -EBADF;

	bench_run(&bench, "cd store/run && mkdir -p record-dead/upper/a/b record-held other && touch record-dead/upper/a/f record-file "
			  "&& ln -s other record-link");
	held = openat(bench.store->run_fd, "record-held", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(flock(held, LOCK_EX | LOCK_NB), 0);
	must_pass(sandbox_make_directory(bench.store, &sandbox, &err));
	cr_assert_not(there(bench.store, "record-dead"));
	cr_assert(there(bench.store, "record-held"));
	cr_assert(there(bench.store, "record-file"));
	cr_assert(there(bench.store, "record-link"));
	cr_assert(there(bench.store, "other"));
}
