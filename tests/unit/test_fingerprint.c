/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <fcntl.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"
#include "store/base/strbuf.h"
#include "store/fingerprint.h"

struct cache {
	struct temporary_directory dir;
	int fd;
	struct fingerprints *fingerprints;
};

static struct cache cache_make(void)
{
	struct cache cache = { .dir = temporary_directory_make() };

	cache.fd = open(cache.dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(cache.fd, 0);
	cache.fingerprints = fingerprints_new(cache.fd);
	cr_assert_not_null(cache.fingerprints);
	return cache;
}

static void cache_release(struct cache *cache)
{
	fingerprints_free(cache->fingerprints);
	close(cache->fd);
	temporary_directory_remove(&cache->dir);
}

#define cache_auto __attribute__((cleanup(cache_release))) struct cache

/* As another process reads it. */
static void reload(struct cache *cache)
{
	fingerprints_free(cache->fingerprints);
	cache->fingerprints = fingerprints_new(cache->fd);
}

/* A file that was settled long ago. */
static struct stat settled(ino_t inode)
{
	return (struct stat){ .st_dev = 7, .st_ino = inode, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 1 },
		.st_ctim = { 200, 2 } };
}

static struct oid blob_of(uint64_t number)
{
	struct oid oid = { { 0 } };

	memcpy(oid.id, &number, sizeof number);
	oid.id[19] = 0xee;
	return oid;
}

static void put(struct cache *cache, const struct stat *st, uint64_t number)
{
	const struct oid blob = blob_of(number);

	fingerprints_put(cache->fingerprints, st, &blob);
}

/* 0: not known. */
static uint64_t known(struct cache *cache, const struct stat *st)
{
	struct oid found;
	uint64_t number;

	if (!fingerprints_find(cache->fingerprints, st, &found))
		return 0;
	memcpy(&number, found.id, sizeof number);
	cr_assert_eq(found.id[19], 0xee, "all of the id");
	return number;
}

static off_t file_size(const struct cache *cache)
{
	struct stat st;

	return fstatat(cache->fd, FINGERPRINT_FILE, &st, 0) < 0 ? -1 : st.st_size;
}

/* What another process finds out and writes meanwhile is known after the next reading, and not lost by the next writing. */
Test(fingerprint, two_processes_add_to_it)
{
	cache_auto cache = cache_make();
	struct fingerprints *other = fingerprints_new(cache.fd);
	struct stat first = settled(1), second = settled(2), newer = settled(1);
	const struct oid two = blob_of(2), three = blob_of(3);

	newer.st_ctim.tv_sec++;
	put(&cache, &first, 1);
	fingerprints_save(cache.fingerprints);
	fingerprints_put(other, &second, &two);
	fingerprints_put(other, &newer, &three);
	fingerprints_save(other);
	cr_expect_eq(known(&cache, &second), 0);
	fingerprints_read(cache.fingerprints);
	cr_expect_eq(known(&cache, &second), 2);
	cr_expect_eq(known(&cache, &newer), 3);
	/* The older record of an inode does not take the place of the newer one. */
	put(&cache, &second, 2);
	fingerprints_save(cache.fingerprints);
	reload(&cache);
	cr_expect_eq(known(&cache, &newer), 3);
	cr_expect_eq(known(&cache, &second), 2);
	fingerprints_free(other);
}

Test(fingerprint, what_was_put_is_found_now_and_after_a_reload)
{
	cache_auto cache = cache_make();

	for (ino_t i = 1; i <= 1000; i++) {
		const struct stat st = settled(i);

		cr_assert_eq(known(&cache, &st), 0);
		put(&cache, &st, i);
		cr_assert_eq(known(&cache, &st), i);
	}
	cr_expect_eq(file_size(&cache), -1, "nothing is written before it is asked for");
	fingerprints_save(cache.fingerprints);
	cr_expect_eq(file_size(&cache), 1000 * FINGERPRINT_RECORD_BYTES + (off_t)sizeof(struct hash128));
	reload(&cache);
	for (ino_t i = 1; i <= 1000; i++) {
		const struct stat st = settled(i);

		cr_assert_eq(known(&cache, &st), i, "inode %ju", (uintmax_t)i);
	}
}

Test(fingerprint, what_was_not_saved_is_not_there_and_nothing_is_written_for_nothing)
{
	cache_auto cache = cache_make();
	const struct stat st = settled(1);

	fingerprints_save(cache.fingerprints);
	cr_expect_eq(file_size(&cache), -1);
	put(&cache, &st, 1);
	reload(&cache);
	cr_expect_eq(known(&cache, &st), 0);
}

/* A row changes one thing that stat(2) says. */
struct other_row {
	const char *what;
	struct stat st;
	bool found;
};

Test(fingerprint, all_that_stat_says_counts)
{
	const struct other_row rows[] = {
		{ "the same", { 7, 5, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 200, 2 } }, true },
		{ "the mode shows in ctime", { 7, 5, .st_mode = S_IFREG | 0600, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 200, 2 } }, true },
		{ "device", { 8, 5, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 200, 2 } }, false },
		{ "inode", { 7, 6, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 200, 2 } }, false },
		{ "size", { 7, 5, .st_mode = S_IFREG | 0644, .st_size = 1001, .st_mtim = { 100, 1 }, .st_ctim = { 200, 2 } }, false },
		{ "mtime, seconds", { 7, 5, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 101, 1 }, .st_ctim = { 200, 2 } }, false },
		{ "mtime, nanoseconds", { 7, 5, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 2 }, .st_ctim = { 200, 2 } }, false },
		{ "ctime, seconds", { 7, 5, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 201, 2 } }, false },
		{ "ctime, nanoseconds", { 7, 5, .st_mode = S_IFREG | 0644, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 200, 3 } }, false },
		{ "type", { 7, 5, .st_mode = S_IFLNK | 0777, .st_size = 1000, .st_mtim = { 100, 1 }, .st_ctim = { 200, 2 } }, false },
	};
	cache_auto cache = cache_make();
	const struct stat st = settled(5);

	put(&cache, &st, 1);
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			struct stat asked = rows[i].st;

			cr_expect_eq(known(&cache, &asked), rows[i].found ? 1u : 0u, "%s%s", rows[i].what, again ? ", read again" : "");
		}
		fingerprints_save(cache.fingerprints);
		reload(&cache);
	}
}

Test(fingerprint, an_inode_has_one_record_the_newest)
{
	cache_auto cache = cache_make();
	struct stat old = settled(5), new = settled(5);

	new.st_ctim.tv_sec++;
	put(&cache, &old, 1);
	put(&cache, &new, 2);
	fingerprints_save(cache.fingerprints);
	cr_expect_eq(file_size(&cache), FINGERPRINT_RECORD_BYTES + (off_t)sizeof(struct hash128));
	reload(&cache);
	cr_expect_eq(known(&cache, &old), 0);
	cr_expect_eq(known(&cache, &new), 2);
}

struct age_row {
	const char *what;
	int64_t age_seconds;
	mode_t type;
	bool remembered;
};

Test(fingerprint, what_may_change_within_the_same_tick_is_not_remembered)
{
	static const struct age_row rows[] = {
		{ "long ago", 1000, S_IFREG, true },
		{ "settled", FINGERPRINT_SETTLE_SECONDS + 1, S_IFREG, true },
		{ "just so", FINGERPRINT_SETTLE_SECONDS - 1, S_IFREG, false },
		{ "now", 0, S_IFREG, false },
		{ "in the future", -1000, S_IFREG, false },
		{ "a symlink", 1000, S_IFLNK, false },
		{ "a directory", 1000, S_IFDIR, false },
	};
	cache_auto cache = cache_make();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct stat st = settled(i + 1);

		st.st_mode = rows[i].type | 0644;
		st.st_ctim.tv_sec = time(NULL) - rows[i].age_seconds;
		put(&cache, &st, 1);
		cr_expect_eq(known(&cache, &st), rows[i].remembered ? 1u : 0u, "%s", rows[i].what);
	}
}

/* ---- a file that is not what was written ---- */

static void read_cache(const struct cache *cache, struct strbuf *sb)
{
	must_pass(io_read_file_at(cache->fd, FINGERPRINT_FILE, 1 << 24, sb, &err));
}

static void write_cache(const struct cache *cache, const void *bytes, size_t length)
{
	must_pass(io_write_file_at(cache->fd, FINGERPRINT_FILE, bytes, length, 0600, &err));
}

static void expect_disbelieved(struct cache *cache, const char *what, size_t at)
{
	const struct stat st = settled(2);

	reload(cache);
	cr_expect_eq(known(cache, &st), 0, "%s at %zu is believed", what, at);
}

Test(fingerprint, a_torn_or_altered_file_is_not_believed)
{
	cache_auto cache = cache_make();
	cleanup_strbuf struct strbuf good = STRBUF_INIT;
	const struct stat st = settled(2);

	for (ino_t i = 1; i <= 3; i++) {
		const struct stat each = settled(i);

		put(&cache, &each, i);
	}
	fingerprints_save(cache.fingerprints);
	read_cache(&cache, &good);
	for (size_t length = 0; length < good.len; length++) {
		write_cache(&cache, good.buf, length);
		expect_disbelieved(&cache, "a file that ends", length);
	}
	for (size_t at = 0; at < good.len; at++) {
		good.buf[at] ^= 1;
		write_cache(&cache, good.buf, good.len);
		good.buf[at] ^= 1;
		expect_disbelieved(&cache, "another byte", at);
	}
	strbuf_addch(&good, 'x');
	write_cache(&cache, good.buf, good.len);
	expect_disbelieved(&cache, "a byte more", good.len);
	/* What is found out anew replaces it. */
	put(&cache, &st, 9);
	fingerprints_save(cache.fingerprints);
	reload(&cache);
	cr_expect_eq(known(&cache, &st), 9);
	write_cache(&cache, good.buf, good.len - 1);
	reload(&cache);
	cr_expect_eq(known(&cache, &st), 2, "the file itself is good");
}

/* Well hashed, but no whole records, or one of no inode: neither read beyond the end nor without end. */
Test(fingerprint, a_file_of_nonsense_that_is_well_hashed)
{
	static const size_t lengths[] = { 0, 1, FINGERPRINT_RECORD_BYTES - 1, FINGERPRINT_RECORD_BYTES, FINGERPRINT_RECORD_BYTES + 1,
		600 * FINGERPRINT_RECORD_BYTES };
	cache_auto cache = cache_make();
	const struct stat st = settled(2), none = { .st_mode = S_IFREG };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		cleanup_free char *bytes = calloc(1, lengths[i] + sizeof(struct hash128));
		struct hash128 hash = hash128_of(bytes, lengths[i]);

		memcpy(bytes + lengths[i], &hash, sizeof hash);
		write_cache(&cache, bytes, lengths[i] + sizeof hash);
		reload(&cache);
		cr_expect_eq(known(&cache, &st), 0, "%zu bytes", lengths[i]);
		cr_expect_eq(known(&cache, &none), 0, "%zu bytes", lengths[i]);
		put(&cache, &st, 1);
		cr_expect_eq(known(&cache, &st), 1, "%zu bytes", lengths[i]);
	}
}

Test(fingerprint, a_cache_that_cannot_be_written_is_a_cache_still)
{
	cache_auto cache = cache_make();
	const struct stat st = settled(2);

	cr_assert_eq(mkdirat(cache.fd, FINGERPRINT_FILE, 0700), 0);
	cr_expect_eq(known(&cache, &st), 0);
	put(&cache, &st, 1);
	fingerprints_save(cache.fingerprints);
	cr_expect_eq(known(&cache, &st), 1);
}

/* Full: it begins anew, and what the file holds is what is read again in one piece. */
Test(fingerprint, the_limit)
{
	cache_auto cache = cache_make();
	struct stat st;

	for (ino_t i = 1; i <= FINGERPRINT_RECORDS_MAX; i++) {
		st = settled(i);
		put(&cache, &st, i);
	}
	fingerprints_save(cache.fingerprints);
	reload(&cache);
	st = settled(1);
	cr_expect_eq(known(&cache, &st), 1, "as many as there may be are read");
	/* Known again, as something else: nothing is forgotten for it. */
	st.st_ctim.tv_sec++;
	put(&cache, &st, 77);
	cr_expect_eq(known(&cache, &st), 77);
	st = settled(2);
	cr_expect_eq(known(&cache, &st), 2, "one that is replaced makes no room");
	st = settled(FINGERPRINT_RECORDS_MAX + 1);
	put(&cache, &st, 5);
	cr_expect_eq(known(&cache, &st), 5);
	st = settled(2);
	cr_expect_eq(known(&cache, &st), 0);
	fingerprints_save(cache.fingerprints);
	cr_expect_eq(file_size(&cache), FINGERPRINT_RECORD_BYTES + (off_t)sizeof(struct hash128));
}
