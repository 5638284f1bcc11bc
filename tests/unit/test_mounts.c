/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "fs/mounts.h"
#include "store/base/cleanup.h"

struct line_row {
	const char *line, *directory;
	int wanted;
};

Test(mounts, lines)
{
	static const struct line_row rows[] = {
		{ "36 35 0:32 / /opt/app rw,nosuid shared:1 - fuse.veneer veneer rw,user_id=0\n", "/opt/app", 1 },
		{ "36 35 0:32 / /opt/app rw - fuse.veneer veneer rw\n", "/opt/app", 1 },
		{ "36 35 0:32 / /opt/app rw shared:1 master:2 unbindable - fuse.veneer veneer rw\n", "/opt/app", 1 },
		{ "36 35 0:32 / /opt/app rw - fuse.veneer\n", "/opt/app", 0 }, /* no source, no options: not a line of the kernel's */
		{ "36 35 8:1 / /opt/app rw shared:1 - ext4 /dev/sda1 rw\n", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app rw shared:1 - fuse.veneerx veneer rw\n", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app rw shared:1 - fuse veneer rw\n", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app rw fuse.veneer - tmpfs tmpfs rw\n", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app rw - - fuse.veneer rw\n", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app/below rw - fuse.veneer veneer rw\n", "/opt/app", -ENOENT },
		{ "36 35 0:32 / /opt rw - fuse.veneer veneer rw\n", "/opt/app", -ENOENT },
		{ "36 35 0:32 /opt/app / rw - fuse.veneer veneer rw\n", "/opt/app", -ENOENT },
		/* What would part the fields is written in octal. */
		{ "36 35 0:32 / /opt/my\\040app rw - fuse.veneer veneer rw\n", "/opt/my app", 1 },
		{ "36 35 0:32 / /a\\011b\\012c\\134d rw - fuse.veneer veneer rw\n", "/a\tb\nc\\d", 1 },
		{ "36 35 0:32 / /a\\134040 rw - fuse.veneer veneer rw\n", "/a\\040", 1 },
		{ "36 35 0:32 / /a\\134040 rw - fuse.veneer veneer rw\n", "/a ", -ENOENT },
		{ "36 35 0:32 / /a\\043b rw - fuse.veneer veneer rw\n", "/a#b", 1 },
		{ "36 35 0:32 / /\\303\\244 rw - fuse.veneer veneer rw\n", "/\xc3\xa4", 1 },
		{ "36 35 0:32 / /a\\48 rw - fuse.veneer veneer rw\n", "/a\\48", 1 },
		{ "36 35 0:32 / /a\\777 rw - fuse.veneer veneer rw\n", "/a\\777", 1 },
		{ "36 35 0:32 / /a\\04", "/a\\04", 0 },
		{ "36 35 0:32 / /a\\", "/a\\", 0 },
		/* Too short. */
		{ "36 35 0:32 / /opt/app rw - ", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app rw -", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app rw", "/opt/app", 0 },
		{ "36 35 0:32 / /opt/app", "/opt/app", 0 },
		{ "36 35 0:32 /", "/opt/app", -ENOENT },
		{ "36", "36", -ENOENT },
		{ "\n", "/opt/app", -ENOENT },
		{ "", "", -ENOENT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_free char *line = strdup(rows[i].line);
		dev_t device;
		int r = mounts_line(line, rows[i].directory, &device);

		if (r == 1)
			cr_expect_eq(device, makedev(0, 32), "'%s': its device", rows[i].line);

		cr_expect_eq(r, rows[i].wanted, "'%s' for '%s': %d, not %d", rows[i].line, rows[i].directory, r,
			rows[i].wanted);
	}
}

Test(mounts, line_paths)
{
	static const struct {
		const char *line, *wanted;
	} rows[] = {
		{ "36 35 0:32 / /opt/app rw,nosuid shared:1 - fuse.veneer veneer rw\n", "/opt/app" },
		{ "36 35 0:32 /opt/app / rw - ext4 /dev/vda rw\n", "/" },
		{ "36 35 0:32 / /opt/my\\040app\\134 rw - tmpfs none rw\n", "/opt/my app\\" },
		{ "36 35 0:32 /", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_free char *line = strdup(rows[i].line);
		const char *path = mounts_line_path(line);

		cr_expect(rows[i].wanted ? path && strcmp(path, rows[i].wanted) == 0 : !path, "'%s': '%s'", rows[i].line,
			path ? path : "none");
	}
}

Test(mounts, beneath)
{
	cleanup_free char *path = NULL;

	must_pass(mounts_find_beneath("/", &path, &err));
	cr_assert(path && path[0] == '/' && path[1] != '\0', "nothing is mounted beneath '/'?");
	free(path);
	must_pass(mounts_find_beneath("/no/such/directory", &path, &err));
	cr_assert_null(path);
	/* A name that begins alike, and the directory itself, are not beneath. */
	must_pass(mounts_find_beneath("/pro", &path, &err));
	cr_assert_null(path);
	/* So there is one with none beneath. */
	path = strdup("/");
	for (int i = 0; path; i++) {
		char *inner;

		cr_assert_lt(i, 1000, "'%s' is beneath itself", path);
		must_pass(mounts_find_beneath(path, &inner, &err));
		free(path);
		path = inner;
	}
}

Test(mounts, of_this_process)
{
	bool ours = true;

	must_pass(mounts_find("/", &ours, &err));
	cr_assert_not(ours);
	ours = true;
	must_pass(mounts_find("/no/such/directory", &ours, &err));
	cr_assert_not(ours);
	ours = true;
	must_pass(mounts_find("/proc", &ours, &err));
	cr_assert_not(ours);
}

Test(mounts, flags)
{
	static const struct {
		unsigned long here, wanted;
	} rows[] = {
		{ ST_RELATIME, MS_RELATIME },
		{ ST_NOATIME, MS_NOATIME },
		{ ST_NOATIME | ST_NODIRATIME | ST_RELATIME, MS_NOATIME | MS_NODIRATIME | MS_RELATIME },
		{ 0, MS_STRICTATIME },
		{ ST_RDONLY | ST_RELATIME, MS_RDONLY | MS_RELATIME },
		{ ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RELATIME, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME },
		{ 0x2000 | ST_RELATIME, 256 | MS_RELATIME }, /* nosymfollow */
		/* Of how it is written, and what the kernel adds for itself: nothing. */
		{ ST_SYNCHRONOUS | ST_MANDLOCK | 0x20 | ST_RELATIME, MS_RELATIME },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct statvfs st = { .f_flag = rows[i].here };

		cr_assert_eq(mounts_flags(&st), rows[i].wanted, "row %zu: %#lx", i, mounts_flags(&st));
	}
}
