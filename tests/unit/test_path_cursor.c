/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/path_cursor.h"

static const char *const paths[] = {
	"", "a", "a/b", "a/b/file", "a/b/none", "a/b/link", "a/b/link/x", "a/file", "a/file/x", "none/x", "none/y",
	"a/b/file", "link/b/file", "link", "a/b/c/d", "up",
};

/* Whatever path_stat() says of a path, in whatever order they come. */
Test(path_cursor, as_path_stat)
{
	temporary_directory_auto root = temporary_directory_make();
	cleanup_close int fd = open(root.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct path_cursor cursor = PATH_CURSOR_INIT(fd);

	must_pass(path_make_directories(fd, "a/b/c", 0755));
	cr_assert_eq(symlinkat("a", fd, "link"), 0);
	cr_assert_eq(symlinkat("file", fd, "a/b/link"), 0);
	cr_assert_eq(symlinkat("..", fd, "up"), 0);
	close(openat(fd, "a/b/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	close(openat(fd, "a/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(paths); j++) {
			size_t k = (i * 7 + j) % ARRAY_SIZE(paths);
			struct stat wanted = { 0 }, got = { 0 };
			int r = path_stat(fd, paths[k], &wanted);

			cr_expect_eq(path_cursor_stat(&cursor, paths[k], &got), r, "'%s'", paths[k]);
			cr_expect_eq(got.st_ino, wanted.st_ino, "'%s'", paths[k]);
			cr_expect_eq(got.st_mode, wanted.st_mode, "'%s'", paths[k]);
		}
	}
	path_cursor_release(&cursor);
	cr_assert_eq(cursor.fd, -EBADF);
}
