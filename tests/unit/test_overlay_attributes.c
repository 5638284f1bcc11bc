/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include <errno.h>
#include <sys/xattr.h>

static const struct overlay_cred root = { 0, 0, 022, 0 }, user = { 1000, 1000, 022, 0 };

static const char base_script[] = "umask 022; mkdir dir; echo -n one >file; ln -s file link; mkfifo pipe";

/* ---- set-id bits ---- */

struct kill_row {
	const struct overlay_cred *cred;
	unsigned set;
	mode_t wanted;
};

Test(overlay_attributes, set_id_bits_end_as_the_caller_would_end_them)
{
	static const struct kill_row rows[] = {
		{ &user, SET_KILL, 0755 },
		{ &root, SET_KILL, 06755 }, /* about to write, and not in chown(2) */
		{ &user, SET_KILL | SET_SIZE, 0755 },
		{ &root, SET_KILL | SET_SIZE, 0755 }, /* the kernel says that he has no CAP_FSETID */
		{ &root, SET_SIZE, 06755 },
		{ &root, SET_KILL | SET_GID, 0755 },
		{ &user, SET_KILL | SET_GID, 0755 },
	};
	overlay_scene_auto made = overlay_scene_make("echo -n one >file");
	const struct stat wanted = { .st_size = 1, .st_gid = 7 };
	uint64_t id = find_id(made.overlay, "file");

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct stat st = { 0 };

		cr_assert_eq(fchmodat(made.scene.basefd, "file", 06755, 0), 0);
		cr_assert_eq(GUARDED(made.overlay, overlay_setattr(&guard, rows[i].cred, id, &wanted, rows[i].set, &st)), 0, "row %zu", i);
		cr_assert_eq(st.st_mode & 07777, rows[i].wanted, "row %zu: %o", i, st.st_mode & 07777);
	}
}

/* ---- attributes ---- */

Test(overlay_attributes, attributes)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	static const char *const paths[] = { "file", "dir", "link", "pipe", "" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		uint64_t id = find_id(made.overlay, paths[i]);
		struct stat before = stat_of(made.overlay, id), st;
		struct stat attributes = { .st_mode = 04711, .st_uid = 5, .st_gid = 6, .st_atim = { 1000, 1 },
			.st_mtim = { 2000, 123456789 } };
		bool link = S_ISLNK(before.st_mode);

		cr_expect_eq(set(made.overlay, id, &attributes, SET_UID), 0);
		cr_expect(stat_of(made.overlay, id).st_uid == 5 && stat_of(made.overlay, id).st_gid == before.st_gid);
		cr_expect_eq(set(made.overlay, id, &attributes, SET_GID), 0);
		cr_expect(stat_of(made.overlay, id).st_uid == 5 && stat_of(made.overlay, id).st_gid == 6);
		cr_expect_eq(set(made.overlay, id, &attributes, SET_MTIME), 0);
		st = stat_of(made.overlay, id);
		cr_expect(st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 123456789, "'%s'", paths[i]);
		cr_expect(st.st_atim.tv_sec == before.st_atim.tv_sec && st.st_atim.tv_nsec == before.st_atim.tv_nsec, "'%s'", paths[i]);
		cr_expect_eq(set(made.overlay, id, &attributes, SET_ATIME), 0);
		st = stat_of(made.overlay, id);
		cr_expect(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 2000, "'%s'", paths[i]);
		attributes.st_mtim.tv_nsec = UTIME_NOW;
		cr_expect_eq(set(made.overlay, id, &attributes, SET_MTIME), 0);
		cr_expect_gt(stat_of(made.overlay, id).st_mtim.tv_sec, 1000000000, "'%s'", paths[i]);
		/* The mode comes after the owner, whose change would take its set-id bits. */
		cr_expect_eq(set(made.overlay, id, &attributes, SET_MODE | SET_UID), link ? -EOPNOTSUPP : 0, "'%s'", paths[i]);
		if (!link)
			cr_expect_eq(stat_of(made.overlay, id).st_mode & 07777, 04711, "'%s'", paths[i]);
	}
	cr_assert_eq(base_stat(&made, "file").st_uid, 5);
}

Test(overlay_attributes, sizes)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t id = find_id(made.overlay, "file");
	cleanup_fdref struct fdref ref = FDREF_INIT;
	struct stat st;

	cr_assert_eq(set(made.overlay, id, &(struct stat){ .st_size = 2 }, SET_SIZE), 0);
	expect_content(made.overlay, id, "on");
	cr_assert_eq(set(made.overlay, id, &(struct stat){ .st_size = 1 << 20 }, SET_SIZE), 0);
	st = stat_of(made.overlay, id);
	cr_assert_eq(st.st_size, 1 << 20);
	cr_assert_eq(set(made.overlay, id, &(struct stat){ .st_size = 0 }, SET_SIZE), 0);
	cr_assert_eq(overlay_open(made.overlay, id, FD_WRITE, &ref), 0);
	cr_assert_eq(pwrite(ref.fd, "new", 3, 0), 3);
	expect_content(made.overlay, id, "new");
	cr_assert_eq(stat_of(made.overlay, id).st_size, 3);
	cr_assert_lt(set(made.overlay, find_id(made.overlay, "dir"), &(struct stat){ .st_size = 0 }, SET_SIZE), 0);
	cr_assert_eq(set(made.overlay, 12345, &(struct stat){ .st_size = 0 }, SET_SIZE), -ESTALE);
}

Test(overlay_attributes, xattrs)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t file = find_id(made.overlay, "file"), link = find_id(made.overlay, "link"), dir = find_id(made.overlay, "dir");
	char value[8];

	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, file, "user.a", "123", 3, 0, false)), 0);
	cr_assert_eq(GUARDED(made.overlay, overlay_getxattr(&guard, file, "user.a", value, sizeof value)), 3);
	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, file, "user.a", "1", 1, XATTR_CREATE, false)), -EEXIST);
	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, file, "user.b", "1", 1, XATTR_REPLACE, false)), -ENODATA);
	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, dir, "user.d", "", 0, 0, false)), 0);
	cr_assert_eq(GUARDED(made.overlay, overlay_getxattr(&guard, dir, "user.d", value, sizeof value)), 0);
	/* Of the symlink itself: "user." is not allowed there, "trusted." is. */
	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, link, "user.l", "1", 1, 0, false)), -EPERM);
	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, link, "trusted.l", "1", 1, 0, false)), 0);
	cr_assert_eq(lgetxattr(path_in(made.scene.bench.dir, "base/link"), "trusted.l", value, sizeof value), 1);
	cr_assert_eq(GUARDED(made.overlay, overlay_removexattr(&guard, link, "trusted.l")), 0);
	cr_assert_eq(GUARDED(made.overlay, overlay_removexattr(&guard, file, "user.a")), 0);
	cr_assert_eq(GUARDED(made.overlay, overlay_removexattr(&guard, file, "user.a")), -ENODATA);
	cr_assert_eq(GUARDED(made.overlay, overlay_setxattr(&guard, 12345, "user.a", "1", 1, 0, false)), -ESTALE);
}
