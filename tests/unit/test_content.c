/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <pthread.h>

#include "fs/content.h"
#include "store/base/cleanup.h"

struct stat_row {
	mode_t mode;
	uint64_t size;
	off_t wanted_size;
	blkcnt_t wanted_blocks;
	nlink_t wanted_links;
};

Test(content, stat)
{
	static const struct stat_row rows[] = {
		{ S_IFREG | 0644, 0, 0, 0, 1 },
		{ S_IFREG | 04755, 1, 1, 8, 1 },
		{ S_IFREG | 0644, 4096, 4096, 8, 1 },
		{ S_IFREG | 0644, 4097, 4097, 16, 1 },
		{ S_IFREG | 0644, 4ull << 30, (off_t)(4ull << 30), 8 << 20, 1 },
		{ S_IFLNK | 0777, 17, 17, 0, 1 },
		{ S_IFDIR | 01777, 0, 4096, 8, 2 },
		{ S_IFIFO | 0600, 0, 0, 0, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct view_entry entry = { .mode = rows[i].mode, .size = rows[i].size, .uid = 3, .gid = 4,
			.mtime = { 1700000000, 123456789 }, .device = 0x103, .identity = hash128_of("x", 1) };
		struct stat st;

		memset(&st, 0xff, sizeof st);
		content_stat(&entry, &st);
		cr_expect_eq(st.st_mode, rows[i].mode, "row %zu", i);
		cr_expect_eq(st.st_size, rows[i].wanted_size, "row %zu: %jd bytes", i, (intmax_t)st.st_size);
		cr_expect_eq(st.st_blocks, rows[i].wanted_blocks, "row %zu: %jd blocks", i, (intmax_t)st.st_blocks);
		cr_expect_eq(st.st_nlink, rows[i].wanted_links, "row %zu", i);
		cr_expect(st.st_uid == 3 && st.st_gid == 4 && st.st_rdev == 0x103, "row %zu", i);
		cr_expect_eq(st.st_dev, 0, "row %zu", i);
		cr_expect_eq(st.st_ino, content_inode(&entry.identity), "row %zu", i);
		cr_expect(st.st_mtim.tv_sec == 1700000000 && st.st_mtim.tv_nsec == 123456789, "row %zu", i);
		cr_expect(st.st_ctim.tv_nsec == 123456789 && st.st_atim.tv_nsec == 123456789, "row %zu", i);
	}
}

/* Base inodes begin with 0, those of other devices with 10: see overlay_base_inode(). */
Test(content, inode_numbers_begin_with_two_ones)
{
	for (unsigned i = 0; i < 1000; i++) {
		struct hash128 identity = hash128_of(&i, sizeof i);

		cr_assert_eq(content_inode(&identity) >> 62, 3);
		cr_assert_eq(content_inode(&identity), content_inode(&identity));
	}
}

Test(content, keeps_copies)
{
	uint8_t value[] = { 1, 0, 2 };
	char name[] = "user.a", other[] = "security.b", target[] = "over/there";
	struct meta_xattr xattrs[] = { { name, value, sizeof value }, { other, value, 0 } };
	struct view_entry entry = { .kind = VIEW_SYMLINK, .mode = S_IFLNK | 0777, .size = 10, .target = target,
		.xattrs = xattrs, .xattr_count = 2, .identity = hash128_of("i", 1), .object = hash128_of("o", 1) };
	struct content *content = content_new(&entry);

	cr_assert(content);
	memset(value, 9, sizeof value);
	memset(name, 'x', 3);
	memset(target, 'x', 3);
	cr_assert_eq(content->kind, VIEW_SYMLINK);
	cr_assert_str_eq(content->target, "over/there");
	cr_assert(hash128_equal(&content->identity, &entry.identity));
	cr_assert(hash128_equal(&content->object, &entry.object));
	cr_assert_eq(content->meta.xattr_count, 2);
	cr_assert_str_eq(content->meta.xattrs[0].name, "security.b", "sorted by name");
	cr_assert_eq(content->meta.xattrs[0].size, 0);
	cr_assert_str_eq(content->meta.xattrs[1].name, "user.a");
	cr_assert_eq(content->meta.xattrs[1].size, 3);
	cr_assert_eq(memcmp(content->meta.xattrs[1].value, "\1\0\2", 3), 0);
	cr_assert_eq(content_ref(content), content);
	content_unref(content);
	cr_assert_str_eq(content->target, "over/there");
	content_unref(content);
	content_unref(NULL);
	cr_assert_null(content_ref(NULL));
}

static void *count(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		cleanup_content struct content *mine = content_ref(arg);

		if (mine->kind != VIEW_FILE)
			cr_assert_fail("not what it was");
	}
	content_unref(arg);
	return NULL;
}

Test(content, threads)
{
	struct view_entry entry = { .kind = VIEW_FILE, .mode = S_IFREG | 0644 };
	struct content *content = content_new(&entry);
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, count, content_ref(content)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(atomic_load(&content->users), 1);
	content_unref(content);
}
