/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/blobmap.h"

static struct oid id_of(unsigned n)
{
	struct oid oid = { { 0 } };

	/* All begin alike in the byte that chooses the slot: they collide. */
	memcpy(oid.id + 8, &n, sizeof n);
	oid.id[1] = (uint8_t)n;
	return oid;
}

static struct hash128 hash_of(unsigned n)
{
	return hash128_of(&n, sizeof n);
}

static void add(struct blobmap *map, unsigned n)
{
	struct oid oid = id_of(n);
	struct hash128 hash = hash_of(n);

	cr_assert_eq(blobmap_add(map, &oid, &hash, n), 0);
}

static bool knows(struct blobmap *map, unsigned n)
{
	struct oid oid = id_of(n);
	struct hash128 hash, wanted = hash_of(n);
	uint64_t size;

	if (!blobmap_find(map, &oid, &hash, &size))
		return false;
	cr_assert_eq(size, n);
	cr_assert(hash128_equal(&hash, &wanted));
	return true;
}

static off_t file_size(int dirfd)
{
	struct stat st;

	return fstatat(dirfd, BLOBMAP_FILE, &st, 0) == 0 ? st.st_size : -1;
}

Test(blobmap, remembers)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (unsigned round = 0; round < 2; round++) {
		cleanup_blobmap struct blobmap *map = blobmap_new(dirfd);

		for (unsigned i = 0; i < 5000; i++) {
			cr_assert_eq(knows(map, i), round == 1, "%u", i);
			add(map, i);
		}
		cr_assert_not(knows(map, 5000));
		cr_assert_eq(blobmap_count(map), 5000);
	}
	cr_assert_eq(file_size(dirfd), 5000 * BLOBMAP_RECORD_BYTES, "what is known is not written again");
}

Test(blobmap, nothing_there)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_blobmap struct blobmap *map = blobmap_new(dirfd);

	cr_assert_not(knows(map, 1));
	cr_assert_eq(file_size(dirfd), -1, "looking makes no file");
}

/* Each breaks one thing; all else must stay known, and the next to open finds a clean file. */
Test(blobmap, damage)
{
	static const struct {
		const char *what;
		off_t at;
		int cut;       /* else a byte is flipped */
		size_t remain; /* of three */
	} rows[] = {
		{ "id of the second", BLOBMAP_RECORD_BYTES + 3, 0, 2 },
		{ "hash of the first", 25, 0, 2 },
		{ "size of the third", 2 * BLOBMAP_RECORD_BYTES + 43, 0, 2 },
		{ "checksum of the first", 51, 0, 2 },
		{ "a torn third", 2 * BLOBMAP_RECORD_BYTES + 30, 1, 2 },
		{ "all but one byte", 1, 1, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		temporary_directory_auto dir = temporary_directory_make();
		cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
		cleanup_blobmap struct blobmap *first = blobmap_new(dirfd), *second = blobmap_new(dirfd);
		uint8_t byte;

		for (unsigned n = 1; n <= 3; n++)
			add(first, n);
		fd = openat(dirfd, BLOBMAP_FILE, O_RDWR | O_CLOEXEC);
		if (rows[i].cut) {
			cr_assert_eq(ftruncate(fd, rows[i].at), 0);
		} else {
			cr_assert_eq(io_pread(fd, &byte, 1, (uint64_t)rows[i].at), 1);
			byte ^= 0x40;
			cr_assert_eq(io_pwrite(fd, &byte, 1, (uint64_t)rows[i].at), 0);
		}
		cr_expect_eq(blobmap_count(second), rows[i].remain, "%s", rows[i].what);
		cr_expect_eq(file_size(dirfd), (off_t)(rows[i].remain * BLOBMAP_RECORD_BYTES), "%s", rows[i].what);
		for (unsigned n = 1; n <= 3; n++)
			if (!knows(second, n))
				add(second, n);
		cr_expect_eq(blobmap_count(second), 3, "%s", rows[i].what);
		cr_expect_eq(file_size(dirfd), 3 * BLOBMAP_RECORD_BYTES, "%s", rows[i].what);
	}
}

Test(blobmap, what_contradicts_is_replaced)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_blobmap struct blobmap *map = blobmap_new(dirfd), *again = NULL;
	struct oid oid = id_of(7);
	struct hash128 wrong = hash_of(8);

	add(map, 1);
	cr_assert_eq(blobmap_add(map, &oid, &wrong, 8), 0);
	add(map, 7);
	add(map, 9);
	again = blobmap_new(dirfd);
	for (unsigned n = 1; n <= 9; n += 2)
		cr_assert_eq(knows(again, n), n == 1 || n >= 7, "%u", n);
}

Test(blobmap, too_large_begins_anew)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	cleanup_blobmap struct blobmap *map = blobmap_new(dirfd);

	add(map, 1);
	fd = openat(dirfd, BLOBMAP_FILE, O_RDWR | O_CLOEXEC);
	cr_assert_eq(ftruncate(fd, (off_t)BLOBMAP_RECORD_BYTES * (BLOBMAP_RECORDS_MAX + 1)), 0);
	blobmap_free(map);
	map = blobmap_new(dirfd);
	cr_assert_eq(blobmap_count(map), 0);
	add(map, 2);
	cr_assert_eq(file_size(dirfd), BLOBMAP_RECORD_BYTES);
}

Test(blobmap, two_writers)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_blobmap struct blobmap *a = blobmap_new(dirfd), *b = blobmap_new(dirfd), *c = blobmap_new(dirfd);

	for (unsigned n = 0; n < 100; n++)
		add(n % 2 ? a : b, n);
	cr_assert_eq(blobmap_count(c), 100);
}
