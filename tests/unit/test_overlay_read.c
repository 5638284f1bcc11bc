/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include <errno.h>
#include <fcntl.h>


/* Open PATH to read FROM…TO-1. Is a descriptor KEPT after that, and is its size said to be SIZE? */
static void expect_open(struct overlay *overlay, const char *path, uint64_t from, uint64_t to, uint64_t size, bool kept)
{
	struct fdref file = FDREF_INIT, again = FDREF_INIT;
	uint64_t id = find_id(overlay, path), said = 0;

	cr_assert_eq(overlay_open_to_read(overlay, id, from, to, &file, &said), 0, "%s", path);
	cr_assert_eq(said, size, "%s: size %ju", path, (uintmax_t)said);
	cr_assert_geq(file.fd, 0);
	fdref_release(&file);
	cr_assert_eq(fdcache_get(overlay_fds(overlay), id, FD_READ, &again), kept, "%s", path);
	fdref_release(&again);
}

/* What is read whole at once is not kept open; what will be asked for again is. */
Test(overlay_read, open_to_read)
{
	overlay_scene_auto made = overlay_scene_make("mkdir dir; echo -n 12345 >dir/in; echo -n 12345678 >other; : >empty");
	static const char *const paths[] = { "dir/in", "other" };

	patch(&made, "a", "echo -n 87654321 >other");
	expect_open(made.overlay, "empty", 0, 4096, 0, false);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		uint64_t size = i ? 8 : 5;

		expect_open(made.overlay, paths[i], 0, 4096, size, false);
		expect_open(made.overlay, paths[i], 0, size, size, false);
		expect_open(made.overlay, paths[i], 0, size - 1, size, true);
		/* A descriptor that was there says nothing of the size: it may have been opened long ago. */
		expect_open(made.overlay, paths[i], 0, 4096, UINT64_MAX, true);
	}
	fdcache_forget(overlay_fds(made.overlay), find_id(made.overlay, "other"));
	expect_open(made.overlay, "other", 1, 4096, 8, true);
}

Test(overlay_read, what_cannot_be_opened_to_read)
{
	overlay_scene_auto made = overlay_scene_make("mkdir dir; echo -n 12345 >dir/in");
	struct fdref file = FDREF_INIT;
	uint64_t size = 1, id = find_id(made.overlay, "dir/in");

	bench_run(&made.scene.bench, "rm base/dir/in");
	cr_assert_eq(overlay_open_to_read(made.overlay, id, 0, 10, &file, &size), -ESTALE);
	cr_assert_eq(overlay_open_to_read(made.overlay, 12345, 0, 10, &file, &size), -ESTALE);
	cr_assert_eq(file.fd, -EBADF);
}

/* A name that another file has got, of another size, while an fd of the first is kept: its end is the first's, and nobody asked for it. */
Test(overlay_read, size_is_of_the_file_that_is_opened)
{
	overlay_scene_auto made = overlay_scene_make("echo -n 12345678 >f");
	uint64_t size = 0, id = find_id(made.overlay, "f");
	cleanup_fdref struct fdref file = FDREF_INIT;
	char bytes[16];

	cr_assert_eq(fdcache_pin(overlay_fds(made.overlay), id, openat(made.scene.basefd, "f", O_PATH | O_CLOEXEC)), 0);
	bench_run(&made.scene.bench, "echo -n 1 >base/t; mv base/t base/f");
	cr_assert_eq(overlay_open_to_read(made.overlay, id, 0, 4096, &file, &size), 0);
	cr_assert_eq(size, UINT64_MAX, "size %ju", (uintmax_t)size);
	cr_assert_eq(read(file.fd, bytes, sizeof bytes), 8);
}
