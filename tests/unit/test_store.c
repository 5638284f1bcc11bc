/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>

#include "store/base/cleanup.h"
#include "store/store.h"

static void check_private_directory(const char *path)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0, "%s", path);
	cr_assert(S_ISDIR(st.st_mode), "%s", path);
	cr_assert_eq(st.st_mode & 07777, 0700, "%s: %o", path, st.st_mode);
}

Test(store, init_and_open)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = NULL;
	bool existed = true;
	mode_t mask = umask(0);

	must_pass(store_init(path_in(dir, "var/lib/veneer"), &existed, &err));
	umask(mask);
	cr_assert_not(existed);
	check_private_directory(path_in(dir, "var/lib/veneer"));
	check_private_directory(path_in(dir, "var/lib/veneer/objects"));
	check_private_directory(path_in(dir, "var/lib/veneer/cache"));
	check_private_directory(path_in(dir, "var/lib/veneer/run"));
	cr_assert_eq(access(path_in(dir, "var/lib/veneer/git/HEAD"), F_OK), 0);
	must_pass(store_open(path_in(dir, "var/lib/veneer"), &store, &err));
	cr_assert_str_eq(store->path, path_in(dir, "var/lib/veneer"));
	cr_assert_not_null(store->repo);
	cr_assert_eq(fcntl(store->fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fcntl(store->objects_fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fcntl(store->cache_fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fcntl(store->run_fd, F_GETFD), FD_CLOEXEC);
}

Test(store, init_again)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = NULL;
	bool existed = true;

	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	cr_assert_eq(close(creat(path_in(dir, "s/objects/kept"), 0600)), 0);
	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	cr_assert(existed);
	cr_assert_eq(access(path_in(dir, "s/objects/kept"), F_OK), 0);
	must_pass(store_open(path_in(dir, "s/"), &store, &err));
	cr_assert_str_eq(store->path, path_in(dir, "s"));
}

Test(store, init_completes_what_was_cut_short)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = NULL;
	bool existed = true;

	cr_assert_eq(mkdir(path_in(dir, "s"), 0700), 0);
	cr_assert_eq(mkdir(path_in(dir, "s/objects"), 0700), 0);
	must_fail(-ENOENT, "init'", store_open(path_in(dir, "s"), &store, &err));
	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	cr_assert_not(existed);
	must_pass(store_open(path_in(dir, "s"), &store, &err));
}

/* What a power cut leaves of a repository has not its name yet. */
Test(store, init_clears_half_a_repository_away)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = NULL;
	bool existed = true;

	cr_assert_eq(mkdir(path_in(dir, "s"), 0700), 0);
	cr_assert_eq(mkdir(path_in(dir, "s/objects"), 0700), 0);
	cr_assert_eq(mkdir(path_in(dir, "s/git.new"), 0755), 0);
	cr_assert_eq(close(creat(path_in(dir, "s/git.new/packed-refs"), 0600)), 0);
	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	cr_assert_not(existed);
	cr_assert_lt(access(path_in(dir, "s/git.new"), F_OK), 0);
	cr_assert_lt(access(path_in(dir, "s/git/packed-refs"), F_OK), 0);
	must_pass(store_open(path_in(dir, "s"), &store, &err));
}

Test(store, init_in_an_empty_directory)
{
	temporary_directory_auto dir = temporary_directory_make();
	bool existed;

	cr_assert_eq(mkdir(path_in(dir, "s"), 0755), 0);
	cr_assert_eq(mkdir(path_in(dir, "s/lost+found"), 0700), 0);
	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	check_private_directory(path_in(dir, "s"));
}

Test(store, init_refuses)
{
	temporary_directory_auto dir = temporary_directory_make();
	bool existed;
	char long_path[5000];
	struct stat st;

	cr_assert_eq(mkdir(path_in(dir, "full"), 0755), 0);
	cr_assert_eq(close(creat(path_in(dir, "full/file"), 0600)), 0);
	must_fail(-ENOTEMPTY, "not empty", store_init(path_in(dir, "full"), &existed, &err));
	cr_assert_eq(stat(path_in(dir, "full"), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0755, "what is someone's keeps its mode");
	must_fail(-ENOTDIR, "full/file", store_init(path_in(dir, "full/file"), &existed, &err));
	must_fail(-ENOTDIR, "full/file", store_init(path_in(dir, "full/file/s"), &existed, &err));
	must_fail(-EINVAL, "empty", store_init("", &existed, &err));
	memset(long_path, 'x', sizeof long_path);
	long_path[sizeof long_path - 1] = '\0';
	must_fail(-ENAMETOOLONG, "longer", store_init(long_path, &existed, &err));
}

Test(store, open_refuses)
{
	temporary_directory_auto dir = temporary_directory_make();
	struct store *store = NULL;
	bool existed;

	must_fail(-ENOENT, "run 'veneer --store", store_open(path_in(dir, "s"), &store, &err));
	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	cr_assert_eq(chmod(path_in(dir, "s"), 0750), 0);
	must_fail(-EACCES, "open to others", store_open(path_in(dir, "s"), &store, &err));
	must_fail(-EACCES, "open to others", store_init(path_in(dir, "s"), &existed, &err));
	cr_assert_eq(chmod(path_in(dir, "s"), 0700), 0);
	cr_assert_eq(rename(path_in(dir, "s/git"), path_in(dir, "git")), 0);
	must_fail(-ENOENT, "run 'veneer --store", store_open(path_in(dir, "s"), &store, &err));
	cr_assert_eq(mkdir(path_in(dir, "s/git"), 0700), 0);
	cr_assert_lt(store_open(path_in(dir, "s"), &store, NULL), 0, "git/ is no repository");
	if (geteuid() == 0) {
		cr_assert_eq(chown(path_in(dir, "s"), 1234, 0), 0);
		must_fail(-EACCES, "belongs to uid 1234", store_open(path_in(dir, "s"), &store, &err));
		must_fail(-EACCES, "belongs to uid 1234", store_init(path_in(dir, "s"), &existed, &err));
	}
	cr_assert_null(store);
}

Test(store, open_makes_caches_again)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = NULL;
	bool existed;

	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	cr_assert_eq(rmdir(path_in(dir, "s/cache")), 0);
	cr_assert_eq(rmdir(path_in(dir, "s/run")), 0);
	cr_assert_eq(rmdir(path_in(dir, "s/objects")), 0);
	must_pass(store_open(path_in(dir, "s"), &store, &err));
	check_private_directory(path_in(dir, "s/cache"));
}

Test(store, lock)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *a = NULL, *b = NULL;
	cleanup_close int fd = -EBADF, again = -EBADF;
	bool existed;

	must_pass(store_init(path_in(dir, "s"), &existed, &err));
	must_pass(store_open(path_in(dir, "s"), &a, &err));
	must_pass(store_open(path_in(dir, "s"), &b, &err));
	fd = (int)must_pass(store_lock(a, 0, &err));
	must_fail(-ETIMEDOUT, "another veneer command", store_lock(b, 0, &err));
	close(TAKE_FD(fd));
	again = (int)must_pass(store_lock(b, 0, &err));
}
