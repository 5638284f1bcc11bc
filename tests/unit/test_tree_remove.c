/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "store/base/cleanup.h"
#include "store/base/tree_remove.h"

static int open_in(const struct temporary_directory *dir)
{
	return open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void run_in(const struct temporary_directory *dir, const char *script)
{
	char text[1024];

	snprintf(text, sizeof text, "cd '%s' && %s", dir->path, script);
	cr_assert_eq(system(text), 0, "%s", script);
}

Test(tree_remove, what_is_there)
{
	static const struct {
		const char *script;
		int wanted;
	} rows[] = {
		{ "true", 0 },
		{ "touch x", 0 },
		{ "mkdir x", 0 },
		{ "mkdir -p x/a/b/c x/d && touch x/a/1 x/a/b/2 x/d/3 x/d/.hidden", 0 },
		{ "mkfifo x", 0 },
		{ "ln -s keep x", 0 },
		{ "mkdir x && ln -s ../keep x/link && ln -s /nowhere x/dangling", 0 },
		{ "mkdir x && chmod 000 x", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		temporary_directory_auto dir = temporary_directory_make();
		cleanup_close int fd = open_in(&dir);
		int r;

		run_in(&dir, "mkdir keep && touch keep/kept");
		run_in(&dir, rows[i].script);
		r = tree_remove(fd, "x");
		/* Without root's rights a directory without bits cannot be read. */
		if (r == -EACCES && geteuid() != 0) {
			run_in(&dir, "chmod 700 x");
			continue;
		}
		cr_expect_eq(r, rows[i].wanted, "'%s': %d", rows[i].script, r);
		cr_expect_eq(faccessat(fd, "x", F_OK, AT_SYMLINK_NOFOLLOW), -1, "'%s': it is still there", rows[i].script);
		cr_expect_eq(faccessat(fd, "keep/kept", F_OK, 0), 0, "'%s': a link was followed", rows[i].script);
	}
}

/* Deeper than open directories are allowed: no crash, and an error that says so. */
Test(tree_remove, too_deep)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int fd = open_in(&dir);
	const struct rlimit few = { 64, 64 };

	run_in(&dir, "mkdir -p x/$(printf 'd/%.0s' $(seq 200))");
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	cr_assert_eq(tree_remove(fd, "x"), -EMFILE);
}

Test(tree_remove, not_a_directory_to_be_in)
{
	cr_assert_eq(tree_remove(-1, "x"), -EBADF);
}
