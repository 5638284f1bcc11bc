/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/resident.h"
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/object.h"

#define FOX "The quick brown fox jumps over the lazy dog"
#define FOX_PATH "dd/d650205ca3e7fa24a1cc2e3a8a7651"

static struct store *new_store(const struct temporary_directory *dir)
{
	struct store *store = NULL;
	bool existed;

	must_pass(store_init(path_in(*dir, "store"), &existed, &err));
	must_pass(store_open(path_in(*dir, "store"), &store, &err));
	return store;
}

static struct oid write_blob(struct store *store, const void *data, size_t size)
{
	struct oid oid;

	must_pass(repo_batch_begin(store->repo, &err));
	must_pass(repo_blob_write(store->repo, data, size, &oid, &err));
	must_pass(repo_batch_commit(store->repo, &err));
	return oid;
}

static void overwrite(struct store *store, const char *path, const char *text)
{
	cleanup_close int fd = -EBADF;

	unlinkat(store->objects_fd, path, 0);
	fd = openat(store->objects_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	cr_assert_eq(io_write(fd, text, strlen(text)), 0);
}

/* Names in the directory of an object; a temporary one left behind would count. */
static size_t count_names(struct store *store, const char *directory)
{
	int fd = openat(store->objects_fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fdopendir(fd);
	size_t count = 0;

	while (readdir(dir))
		count++;
	return count - 2;
}

Test(object, put_and_open)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct hash128 hash, wanted = hash128_of(FOX, strlen(FOX));
	char path[OBJECT_PATH_LENGTH + 1], text[64] = "";
	cleanup_close int fd = -EBADF;
	struct stat st;
	mode_t mask = umask(0077);

	must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
	umask(mask);
	cr_assert(hash128_equal(&hash, &wanted));
	object_path(&hash, path);
	cr_assert_str_eq(path, FOX_PATH);
	must_pass(object_sync_all(store, &err));
	fd = (int)must_pass(object_open(store->objects_fd, &hash, strlen(FOX), &err));
	cr_assert_eq(io_read(fd, text, sizeof text), (ssize_t)strlen(FOX));
	cr_assert_str_eq(text, FOX);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0444);
	cr_assert_eq(st.st_nlink, 1);
	cr_assert_eq(fstatat(store->objects_fd, "dd", &st, 0), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	must_pass(object_verify(store->objects_fd, &hash, strlen(FOX), &err));
	must_fail(-EBADMSG, "44", object_open(store->objects_fd, &hash, 44, &err));
	hash.bytes[5] ^= 1;
	must_fail(-ENOENT, "object 'dd/", object_open(store->objects_fd, &hash, 43, &err));
	must_fail(-ENOENT, "object 'dd/", object_verify(store->objects_fd, &hash, 43, &err));
}

Test(object, empty_and_large)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	size_t size = (5u << 20) + 17;
	cleanup_free uint8_t *data = malloc(size);
	struct hash128 hash;

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i ^ i >> 9);
	must_pass(object_put(store, "", 0, &hash, &err));
	must_pass(object_verify(store->objects_fd, &hash, 0, &err));
	must_pass(object_put(store, data, size, &hash, &err));
	must_pass(object_verify(store->objects_fd, &hash, size, &err));
	must_pass(object_put(store, data, size, &hash, &err));
}

Test(object, put_again_is_success)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct hash128 hash;
	struct stat before, after;

	must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
	cr_assert_eq(fstatat(store->objects_fd, FOX_PATH, &before, 0), 0);
	must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
	cr_assert_eq(fstatat(store->objects_fd, FOX_PATH, &after, 0), 0);
	cr_assert_eq(before.st_ino, after.st_ino, "it was not written again");
	cr_assert_eq(count_names(store, "dd"), 1);
}

/* How many; where PATTERN is set, what is said of them has it. */
static unsigned take_healed(struct store *store, const char *pattern)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	unsigned count = object_take_healed(store, false, &text);

	cr_assert(!pattern || strstr(strbuf_text(&text), pattern), "%s", strbuf_text(&text));
	return count;
}

/* What stands under an object's name and does not hash to it is mended, for whoever has it open, too. */
Test(object, damage_is_seen_and_healed)
{
	static const char *const rows[] = { "", "The quick brown fox jumps over the lazy cat", "much shorter",
		"The quick brown fox jumps over the lazy dog and a little further" };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		temporary_directory_auto dir = temporary_directory_make();
		cleanup_store struct store *store = new_store(&dir);
		struct hash128 hash;
		cleanup_close int old = -EBADF;
		char text[100] = "";

		must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
		overwrite(store, FOX_PATH, rows[i]);
		must_fail(-EBADMSG, "damaged", object_verify(store->objects_fd, &hash, strlen(FOX), &err));
		old = openat(store->objects_fd, FOX_PATH, O_RDONLY | O_CLOEXEC);
		must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
		must_pass(object_verify(store->objects_fd, &hash, strlen(FOX), &err));
		cr_assert_geq(io_read(old, text, sizeof text), 0);
		cr_assert_str_eq(text, FOX, "who had it open");
		cr_assert_eq(take_healed(store, "damaged"), 1);
		cr_assert_eq(take_healed(store, NULL), 0);
		cr_assert_eq(count_names(store, "dd"), 1);
	}
}

Test(object, what_is_no_file_is_refused)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct hash128 hash = hash128_of(FOX, strlen(FOX)), out;

	cr_assert_eq(mkdirat(store->objects_fd, "dd", 0700), 0);
	cr_assert_eq(mkfifoat(store->objects_fd, FOX_PATH, 0600), 0);
	must_fail(-EBADMSG, "regular", object_open(store->objects_fd, &hash, strlen(FOX), &err));
	cr_assert_eq(unlinkat(store->objects_fd, FOX_PATH, 0), 0);
	cr_assert_eq(symlinkat("/etc/passwd", store->objects_fd, FOX_PATH), 0);
	must_fail(-EBADMSG, "regular", object_open(store->objects_fd, &hash, strlen(FOX), &err));
	must_pass(object_put(store, FOX, strlen(FOX), &out, &err));
	must_pass(object_verify(store->objects_fd, &hash, strlen(FOX), &err));
}

/* ---- damage ---- */

#define LARGE_BYTES (300u << 10)

static void fill(char *data)
{
	for (size_t i = 0; i < LARGE_BYTES; i++)
		data[i] = (char)(i * 7 + i / 251);
}

/* Each way, in the place of an object of LARGE_BYTES at $1; what is there then is made again, and where it can be, in the same file. */
static const struct damage_row {
	const char *script;
	bool same_file;
} damages[] = {
	{ "printf X | dd of=$1 bs=1 seek=100000 conv=notrunc status=none", true },
	{ "printf X | dd of=$1 bs=1 seek=307199 conv=notrunc status=none", true },
	{ "truncate -s 100001 $1", true },
	{ "truncate -s 0 $1", true },
	{ "echo more >>$1", true },
	{ "chmod 0 $1; printf X | dd of=$1 bs=1 seek=5 conv=notrunc status=none", true },
	{ "ln -f $1 other; printf X | dd of=$1 bs=1 seek=5 conv=notrunc status=none", false },
	{ "rm $1", false },
	{ "rm $1; mkdir -p $1/a/b; echo x >$1/a/c", false },
	{ "rm $1; mkfifo $1", false },
	{ "rm $1; ln -s /etc/passwd $1", false },
	{ "rm $1; perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un($ARGV[0])) or die' $1", false },
	{ "rm -r ${1%/*}; echo x >${1%/*}", false },
	{ "rm -r ${1%/*}", false },
};

static void run_in_objects(const struct store *store, const char *script, const char *path)
{
	char command[1024];

	snprintf(command, sizeof command, "cd '%s/objects' && set -- %s && { %s; }", store->path, path, script);
	cr_assert_eq(system(command), 0, "%s", command);
}

Test(object, every_damage_is_healed)
{
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		const char *script = damages[i].script;
		temporary_directory_auto dir = temporary_directory_make();
		cleanup_store struct store *store = new_store(&dir);
		cleanup_free char *data = malloc(LARGE_BYTES), *seen = malloc(LARGE_BYTES);
		char path[OBJECT_PATH_LENGTH + 1];
		cleanup_close int old = -EBADF;
		struct error damage = ERROR_INIT;
		struct hash128 hash;
		struct stat before, after;
		struct oid blob;
		uint64_t size;

		fill(data);
		blob = write_blob(store, data, LARGE_BYTES);
		must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
		must_pass(object_heal(store, &blob, &hash, size, &damage, &err));
		cr_assert_eq(damage.code, 0, "%s: %s", script, damage.message);
		object_path(&hash, path);
		old = openat(store->objects_fd, path, O_RDONLY | O_CLOEXEC);
		cr_assert_eq(fstat(old, &before), 0);
		run_in_objects(store, script, path);
		must_pass(object_heal(store, &blob, &hash, size, &damage, &err));
		cr_assert_neq(damage.code, 0, "%s", script);
		must_pass(object_verify(store->objects_fd, &hash, size, &err));
		must_pass(object_verify_disk(store->objects_fd, &hash, size, NULL, NULL, &err));
		cr_assert_eq(fstatat(store->objects_fd, path, &after, AT_SYMLINK_NOFOLLOW), 0);
		cr_assert_eq(before.st_ino == after.st_ino, damages[i].same_file, "%s", script);
		if (damages[i].same_file) {
			cr_assert_eq(io_pread(old, seen, LARGE_BYTES, 0), LARGE_BYTES, "%s", script);
			cr_assert_eq(memcmp(seen, data, LARGE_BYTES), 0, "%s: who had it open", script);
		}
		/* The next one who makes it finds it as well. */
		run_in_objects(store, script, path);
		objects_distrust(store, NULL, 0, 0);
		must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
		must_pass(object_sync_all(store, &err));
		must_pass(object_verify(store->objects_fd, &hash, size, &err));
	}
}

/* Where it has another name it may be something else by now: that one is left alone. */
Test(object, a_file_with_other_names_is_not_written)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	char text[100] = "";
	struct hash128 hash;
	cleanup_close int fd = -EBADF;

	must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
	run_in_objects(store, "rm $1; echo precious >../mine; ln ../mine $1", FOX_PATH);
	must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
	must_pass(object_verify(store->objects_fd, &hash, strlen(FOX), &err));
	fd = openat(store->fd, "mine", O_RDONLY | O_CLOEXEC);
	cr_assert_gt(io_read(fd, text, sizeof text), 0);
	cr_assert_str_eq(text, "precious\n");
}

Test(object, what_git_has_lost_is_not_healed)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct error damage = ERROR_INIT;
	struct hash128 hash;
	struct oid blob, other;
	uint64_t size;

	blob = write_blob(store, FOX, strlen(FOX));
	other = write_blob(store, "other", 5);
	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
	run_in_objects(store, "truncate -s 3 $1", FOX_PATH);
	must_fail(-EBADMSG, "not what it was made from", object_heal(store, &other, &hash, size, &damage, &err));
	run_in_objects(store, "find ../git/objects -type f -delete", FOX_PATH);
	must_fail(-ENOENT, "cannot be made again", object_heal(store, &blob, &hash, size, &damage, &err));
}

/* Rot beneath the filesystem leaves the fingerprint as it was: it is read again where it is not in use. */
Test(object, what_is_not_in_use_is_read_again)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct oid blobs[2];
	struct object_query queries[2];
	uint64_t size;

	for (int i = 0; i < 2; i++) {
		struct hash128 hash;

		blobs[i] = write_blob(store, i ? "second" : "first", 5);
		must_pass(object_materialise(store, &blobs[i], NULL, &hash, &size, &err));
		must_pass(object_materialise(store, &blobs[i], NULL, &hash, &size, &err));
		queries[i] = (struct object_query){ .blob = blobs[i] };
		blobmap_set_verified(store->blobs, &blobs[i], 12345); /* no file's */
		cr_assert_eq(blobmap_verified(store->blobs, &blobs[i]), 12345);
	}
	objects_distrust(store, &blobs[1], 1, 0);
	cr_assert_eq(blobmap_verified(store->blobs, &blobs[0]), 0);
	cr_assert_eq(blobmap_verified(store->blobs, &blobs[1]), 12345);
	objects_distrust(store, NULL, 0, 0);
	cr_assert_eq(blobmap_verified(store->blobs, &blobs[1]), 0);
	must_pass(objects_find(store, queries, 2, &err));
	cr_assert(queries[0].there && queries[1].there);
	objects_distrust(store, NULL, 0, 60);
	cr_assert_neq(blobmap_verified(store->blobs, &blobs[0]), 0, "it was read just now");
	must_pass(objects_find(store, queries, 2, &err));
	objects_distrust(store, &blobs[0], 1, 0);
	cr_assert_neq(blobmap_verified(store->blobs, &blobs[0]), 0, "it was read, and is in use");
}

Test(object, blocks_tell_which_bytes_are_right)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	cleanup_object_blocks struct object_blocks *blocks = NULL, *read = NULL;
	cleanup_free char *data = malloc(LARGE_BYTES);
	const size_t sizes[] = { 0, 1, OBJECT_BLOCK_BYTES, OBJECT_BLOCK_BYTES + 1, LARGE_BYTES };
	struct hash128 hash, small;

	fill(data);
	must_pass(object_put(store, data, LARGE_BYTES, &hash, &err));
	blocks = object_blocks_of(data, LARGE_BYTES);
	must_pass(object_verify_blocks(store->objects_fd, &hash, LARGE_BYTES, &read, &err));
	cr_assert_eq(read->count, object_block_count(LARGE_BYTES));
	cr_assert_eq(memcmp(read->sums, blocks->sums, read->count * sizeof *read->sums), 0);
	cr_assert(object_blocks_match(blocks, &hash, 0, data, LARGE_BYTES));
	for (size_t at = 0; at < LARGE_BYTES; at += 9999) {
		uint64_t from = at / OBJECT_BLOCK_BYTES * OBJECT_BLOCK_BYTES;
		size_t length = LARGE_BYTES - from < OBJECT_BLOCK_BYTES ? LARGE_BYTES - from : OBJECT_BLOCK_BYTES;

		data[at] ^= 1;
		cr_assert_not(object_blocks_match(blocks, &hash, 0, data, LARGE_BYTES), "%zu", at);
		cr_assert_not(object_blocks_match(blocks, &hash, from, data + from, length), "%zu", at);
		data[at] ^= 1;
		cr_assert(object_blocks_match(blocks, &hash, from, data + from, length), "%zu", at);
	}
	cr_assert_not(object_blocks_match(blocks, &hash, LARGE_BYTES / OBJECT_BLOCK_BYTES * OBJECT_BLOCK_BYTES + OBJECT_BLOCK_BYTES, data, 1));
	small = hash128_of(data, 100);
	cr_assert(object_blocks_match(NULL, &small, 0, data, 100));
	cr_assert_not(object_blocks_match(NULL, &small, 0, data + 1, 100));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		cr_assert_eq(object_needs_blocks(sizes[i]), object_block_count(sizes[i]) > 1, "%zu", sizes[i]);
}

Test(object, too_large)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct hash128 hash;

	/* Refused before a byte of it is looked at. */
	must_fail(-E2BIG, "more than", object_put(store, FOX, OBJECT_BYTES_MAX + 1, &hash, &err));
}

Test(object, sync_forgets_what_was_synced)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct hash128 hash;

	must_pass(object_put(store, FOX, strlen(FOX), &hash, &err));
	cr_assert_eq(store->objects_unsynced[0xdd / 64], 1ull << 0xdd % 64);
	must_pass(object_sync_all(store, &err));
	for (size_t i = 0; i < ARRAY_SIZE(store->objects_unsynced); i++)
		cr_assert_eq(store->objects_unsynced[i], 0);
}

/* ---- batches ---- */

static struct hash128 put_number(struct store *store, unsigned n)
{
	struct hash128 hash;

	must_pass(object_put(store, &n, sizeof n, &hash, &err));
	return hash;
}

static size_t count_there(struct store *store, unsigned numbers)
{
	size_t count = 0;

	for (unsigned n = 0; n < numbers; n++) {
		struct hash128 hash = hash128_of(&n, sizeof n);

		count += object_verify(store->objects_fd, &hash, sizeof n, NULL) == 0;
	}
	return count;
}

Test(object, batch)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	size_t there;

	must_pass(object_batch_begin(store, &err));
	for (unsigned n = 0; n < 200; n++)
		put_number(store, n);
	there = count_there(store, 200);
	cr_assert(there > 0 && there < 200, "%zu: neither all at the end nor each at once", there);
	must_pass(object_sync_all(store, &err));
	cr_assert_eq(count_there(store, 200), 200);
	cr_assert_null(store->object_batch);
	put_number(store, 200);
	cr_assert_eq(count_there(store, 201), 201, "outside of a batch it is there at once");
}

Test(object, batch_of_the_same)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir), *other = NULL;
	struct hash128 hash;
	cleanup_close int fd = -EBADF;
	unsigned read_back = 0;

	must_pass(store_open(path_in(dir, "store"), &other, &err));
	must_pass(object_batch_begin(store, &err));
	put_number(store, 7);
	hash = put_number(store, 7);
	must_fail(-ENOENT, "object", object_open(store->objects_fd, &hash, sizeof(unsigned), &err));
	fd = (int)must_pass(object_open_pending(store, &hash, sizeof(unsigned), &err));
	cr_assert_eq(io_read(fd, &read_back, sizeof read_back), sizeof read_back);
	cr_assert_eq(read_back, 7);
	/* Another process is faster; and one left damage behind. */
	put_number(other, 7);
	put_number(store, 8);
	hash = put_number(other, 8);
	{
		char path[OBJECT_PATH_LENGTH + 1];

		object_path(&hash, path);
		overwrite(store, path, "damage");
	}
	must_pass(object_sync_all(store, &err));
	must_pass(object_verify(store->objects_fd, &hash, sizeof(unsigned), &err));
	hash = put_number(store, 7);
	must_pass(object_verify(store->objects_fd, &hash, sizeof(unsigned), &err));
}

Test(object, batch_aborted)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);

	must_pass(object_batch_begin(store, &err));
	put_number(store, 0);
	object_batch_abort(store);
	object_batch_abort(store);
	must_pass(object_sync_all(store, &err));
	cr_assert_eq(count_there(store, 1), 0);
	cr_assert_eq(count_names(store, "."), 0, "something was left");
}

Test(object, batch_with_few_descriptors)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct rlimit limit = { (rlim_t)store->objects_fd + 20, (rlim_t)store->objects_fd + 20 };

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	must_pass(object_batch_begin(store, &err));
	for (unsigned n = 0; n < 100; n++)
		put_number(store, n);
	must_pass(object_sync_all(store, &err));
	cr_assert_eq(count_there(store, 100), 100);
}

/* ---- from git ---- */

Test(object, materialise)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct oid blob = write_blob(store, FOX, strlen(FOX)), absent = { { 1, 2, 3 } };
	struct hash128 hash, wanted = hash128_of(FOX, strlen(FOX)), other = hash128_of("x", 1);
	uint64_t size = 0;

	must_fail(-EBADMSG, "not xxh3-128:", object_materialise(store, &blob, &other, &hash, &size, &err));
	cr_assert_eq(faccessat(store->objects_fd, FOX_PATH, F_OK, 0), -1, "refused, and yet written");
	must_pass(object_materialise(store, &blob, &wanted, &hash, &size, &err));
	cr_assert(hash128_equal(&hash, &wanted));
	cr_assert_eq(size, strlen(FOX));
	must_pass(object_verify(store->objects_fd, &hash, size, &err));
	must_fail(-EBADMSG, "not xxh3-128:", object_materialise(store, &blob, &other, &hash, &size, &err));
	must_fail(-ENOENT, "0102030000", object_materialise(store, &absent, NULL, &hash, &size, &err));
}

/* What is known is not read again: seen by taking the repository away. */
Test(object, materialise_known)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct oid blob = write_blob(store, FOX, strlen(FOX));
	struct repo *repo = store->repo;
	struct hash128 hash;
	uint64_t size = 0;

	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
	store->repo = NULL;
	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
	cr_assert_eq(size, strlen(FOX));
	store->repo = repo;
}

/* Damage that leaves size and mtime alone is found as well, by this process and by the next. */
Test(object, materialise_reads_what_is_there)
{
	for (int reopened = 0; reopened < 2; reopened++) {
		temporary_directory_auto dir = temporary_directory_make();
		cleanup_store struct store *store = new_store(&dir);
		struct oid blob = write_blob(store, FOX, strlen(FOX));
		struct timespec times[2];
		struct hash128 hash;
		struct stat st;
		uint64_t size;

		must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
		must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
		cr_assert_eq(fstatat(store->objects_fd, FOX_PATH, &st, 0), 0);
		overwrite(store, FOX_PATH, "The quick brown fox jumps over the lazy cat");
		times[0] = st.st_atim;
		times[1] = st.st_mtim;
		cr_assert_eq(utimensat(store->objects_fd, FOX_PATH, times, 0), 0);
		if (reopened) {
			store_free(store);
			must_pass(store_open(path_in(dir, "store"), &store, &err));
		}
		must_pass(object_materialise(store, &blob, &hash, &hash, &size, &err));
		must_pass(object_verify(store->objects_fd, &hash, size, &err));
	}
}

/* Bytes that this process has read so far, from whatever file. */
static unsigned long long bytes_read(void)
{
	cleanup_strbuf struct strbuf io = STRBUF_INIT;
	unsigned long long bytes = 0;

	must_pass(io_read_file_at(AT_FDCWD, "/proc/self/io", 4096, &io, &err));
	cr_assert_eq(sscanf(strbuf_text(&io), "rchar: %llu", &bytes), 1);
	return bytes;
}

Test(object, materialise_reads_it_once)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	const size_t size = 4u << 20;
	cleanup_free char *data = calloc(1, size);
	unsigned long long before, first, second;
	struct hash128 hash;
	uint64_t found;
	struct oid blob = write_blob(store, data, size);

	must_pass(object_materialise(store, &blob, NULL, &hash, &found, &err));
	before = bytes_read();
	must_pass(object_materialise(store, &blob, NULL, &hash, &found, &err));
	first = bytes_read();
	must_pass(object_materialise(store, &blob, NULL, &hash, &found, &err));
	second = bytes_read();
	cr_assert_geq(first - before, size);
	cr_assert_lt(second - first, size / 2);
}

/* In KiB, since the last call. */
static unsigned long peak_memory(void)
{
	cleanup_strbuf struct strbuf status = STRBUF_INIT;
	cleanup_close int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	unsigned long peak = 0;
	const char *line;

	must_pass(io_read_file_at(AT_FDCWD, "/proc/self/status", 65536, &status, &err));
	line = strstr(strbuf_text(&status), "VmHWM:");
	cr_assert(line && sscanf(line, "VmHWM: %lu", &peak) == 1);
	cr_assert_eq(io_write(fd, "5", 1), 0);
	return peak;
}

/* A large file is in memory once, not twice. */
Test(object, materialise_holds_one_copy)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	const size_t size = 96u << 20;
	char *data = calloc(1, size);
	struct oid blob = write_blob(store, data, size);
	struct hash128 hash;
	unsigned long before;
	uint64_t found;

	free(data);
	peak_memory();
	before = peak_memory();
	must_pass(object_materialise(store, &blob, NULL, &hash, &found, &err));
	cr_expect_lt(peak_memory() - before, SHADOW * 3 * (size >> 10) / 2);
}

Test(object, materialise_makes_again)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_store struct store *store = new_store(&dir);
	struct oid blob = write_blob(store, FOX, strlen(FOX));
	struct hash128 hash;
	uint64_t size;

	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
	cr_assert_eq(unlinkat(store->objects_fd, FOX_PATH, 0), 0);
	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
	must_pass(object_verify(store->objects_fd, &hash, size, &err));
	overwrite(store, FOX_PATH, "too short");
	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
	must_pass(object_verify(store->objects_fd, &hash, size, &err));
	cr_assert_eq(unlinkat(store->cache_fd, BLOBMAP_FILE, 0), 0, "the cache may go at any time");
	must_pass(object_materialise(store, &blob, NULL, &hash, &size, &err));
}
