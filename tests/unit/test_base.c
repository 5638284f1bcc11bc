/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "store/base/base64.h"
#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"
#include "store/base/lock.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"

/* ---- errors ---- */

Test(base, error_texts)
{
	struct error err = ERROR_INIT;

	cr_assert_eq(error_set(&err, -EBADMSG, "object '%s': hash mismatch", "ab12"), -EBADMSG);
	cr_assert_eq(error_prefix(&err, -EIO, "apply '%s'", "a"), -EIO);
	cr_assert_str_eq(err.message, "apply 'a': object 'ab12': hash mismatch");
	cr_assert_eq(err.code, -EIO);
	cr_assert_eq(error_errno(&err, ENOENT, "open '%s'", "x"), -ENOENT);
	cr_assert_str_eq(err.message, "open 'x': No such file or directory");
	cr_assert_eq(error_set(NULL, -EPERM, "nobody reads this"), -EPERM);
	cr_assert_eq(error_prefix(NULL, -EPERM, "nor this"), -EPERM);
}

Test(base, error_too_long_is_cut)
{
	struct error err = ERROR_INIT;
	char text[3 * ERROR_MESSAGE_MAX];

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	error_set(&err, -EIO, "%s", text);
	error_prefix(&err, -EIO, "%s", text);
	cr_assert_eq(strlen(err.message), ERROR_MESSAGE_MAX - 1);
}

/* ---- strbuf ---- */

Test(base, strbuf_adds_and_detaches)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	cleanup_free char *text = NULL;
	size_t len;

	cr_assert_str_eq(strbuf_text(&sb), "");
	strbuf_addstr(&sb, "abc");
	strbuf_addch(&sb, '-');
	strbuf_addf(&sb, "%d%s", 42, "!");
	cr_assert_str_eq(strbuf_text(&sb), "abc-42!");
	strbuf_truncate(&sb, 3);
	cr_assert_str_eq(strbuf_text(&sb), "abc");
	strbuf_add(&sb, "\0z", 2);
	cr_assert_eq(sb.len, 5);
	text = strbuf_detach(&sb, &len);
	cr_assert_eq(len, 5);
	cr_assert_arr_eq(text, "abc\0z", 6);
	cr_assert_eq(sb.len, 0);
}

Test(base, strbuf_grows)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	for (int i = 0; i < 100000; i++)
		strbuf_addf(&sb, "%05d", i);
	cr_assert_eq(sb.len, 500000);
	cr_assert_not(strbuf_failed(&sb));
	cr_assert_str_eq(sb.buf + 499995, "99999");
}

Test(base, strbuf_error_is_sticky)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	strbuf_addstr(&sb, "abc");
	cr_assert_eq(strbuf_grow(&sb, SIZE_MAX - 2), -ENOMEM);
	cr_assert(strbuf_failed(&sb));
	strbuf_addstr(&sb, "def");
	cr_assert_eq(sb.len, 3);
	cr_assert_null(strbuf_detach(&sb, NULL));
	cr_assert_not(strbuf_failed(&sb), "a detached buffer is fresh");
}

/* ---- base64: the vectors of RFC 4648, and what is not base64 ---- */

Test(base, base64_vectors)
{
	static const struct {
		const char *plain, *text;
	} rows[] = {
		{ "", "" },	    { "f", "Zg==" },	    { "fo", "Zm8=" },
		{ "foo", "Zm9v" },  { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" }, { "\xff\xfe\xfb", "//77" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_strbuf struct strbuf text = STRBUF_INIT, plain = STRBUF_INIT;

		base64_encode(rows[i].plain, strlen(rows[i].plain), &text);
		cr_expect_str_eq(strbuf_text(&text), rows[i].text);
		cr_expect_eq(base64_decode(rows[i].text, strlen(rows[i].text), &plain), 0, "%s", rows[i].text);
		cr_expect_str_eq(strbuf_text(&plain), rows[i].plain);
	}
}

Test(base, base64_refuses)
{
	static const char *const rows[] = { "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "Zm 9",
		"Zm9v\n", "Zg==Zg==", "Zm-_", "Zm9\xc3" };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_strbuf struct strbuf plain = STRBUF_INIT;

		cr_expect_eq(base64_decode(rows[i], strlen(rows[i]), &plain), -EINVAL, "accepted: '%s'", rows[i]);
	}
}

/* ---- hashes: values of xxHash's own test (sanity_test_vectors.h) and of xxh128sum ---- */

Test(base, hash_values)
{
	static const struct {
		const char *text, *hex;
	} rows[] = {
		{ "", "99aa06d3014798d86001c324468d497f" },
		{ "a", "a96faf705af16834e6c632b61e964e1f" },
		{ "abc", "06b05ab6733a618578af5f94892f3950" },
		{ "The quick brown fox jumps over the lazy dog", "ddd650205ca3e7fa24a1cc2e3a8a7651" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hash128 hash = hash128_of(rows[i].text, strlen(rows[i].text)), again;
		char hex[HASH128_HEX_LENGTH + 1];

		hash128_to_hex(&hash, hex);
		cr_expect_str_eq(hex, rows[i].hex, "of '%s'", rows[i].text);
		cr_expect_eq(hash128_from_hex(hex, strlen(hex), &again), 0);
		cr_expect(hash128_equal(&hash, &again));
	}
	cr_expect_eq(hash64_of("", 0), 0x2d06800538d394c2ull);
}

Test(base, hash_in_pieces_equals_whole)
{
	static uint8_t data[100000];
	cleanup_hash128 struct hash128_state *state = hash128_new();
	struct hash128 whole, pieces;

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 31 + i / 251);
	for (size_t at = 0, step = 1; at < sizeof data; at += step, step = step * 3 % 4093 + 1)
		hash128_update(state, data + at, at + step > sizeof data ? sizeof data - at : step);
	whole = hash128_of(data, sizeof data);
	pieces = hash128_final(state);
	cr_assert(hash128_equal(&whole, &pieces));
	data[77777] ^= 1;
	pieces = hash128_of(data, sizeof data);
	cr_assert_not(hash128_equal(&whole, &pieces));
}

Test(base, hex_refuses)
{
	struct hash128 hash;
	uint8_t bytes[4];

	cr_expect_eq(hash128_from_hex("99aa06d3014798d86001c324468d497", 31, &hash), -EINVAL);
	cr_expect_eq(hash128_from_hex("99AA06d3014798d86001c324468d497f", 32, &hash), -EINVAL);
	cr_expect_eq(hash128_from_hex("g9aa06d3014798d86001c324468d497f", 32, &hash), -EINVAL);
	cr_expect_eq(hex_decode("abc", 3, bytes), -EINVAL);
	cr_expect_eq(hex_decode("0aff", 4, bytes), 0);
	cr_expect_eq(bytes[0], 0x0a);
	cr_expect_eq(bytes[1], 0xff);
}

/* ---- paths ---- */

#define NAME_255                                                                                   \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"        \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"        \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

Test(base, path_check_table)
{
	static const struct {
		const char *path;
		bool good;
	} rows[] = {
		{ "", true },
		{ "a", true },
		{ "lib/libssl.so.3", true },
		{ "...", true },
		{ ".gitignore", true },
		{ ".gi", true },
		{ ".veneer2", true },
		{ ".Veneer", true },
		{ "a b/c\n/\xff", true },
		{ NAME_255, true },
		{ "a/" NAME_255 "/b", true },
		{ "/", false },
		{ "/etc", false },
		{ "a/", false },
		{ "a//b", false },
		{ ".", false },
		{ "..", false },
		{ "a/..", false },
		{ "a/./b", false },
		{ "a/../b", false },
		{ ".git", false },
		{ "a/.git/b", false },
		{ ".GiT", false },
		{ ".veneer", false },
		{ "a/.veneer", false },
		{ NAME_255 "x", false },
		{ "a/" NAME_255 "x/b", false },
	};

	cr_assert_eq(strlen(NAME_255), 255);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = ERROR_INIT;
		int r = path_check(rows[i].path, &err);

		cr_expect_eq(r, rows[i].good ? 0 : -EINVAL, "'%s': %d %s", rows[i].path, r, err.message);
		cr_expect_eq(err.message[0] == '\0', rows[i].good);
	}
}

Test(base, path_check_limits)
{
	char path[2 * PATH_LENGTH_MAX] = "a";

	for (int i = 1; i < PATH_DEPTH_MAX; i++)
		strcat(path, "/a");
	must_pass(path_check(path, &err));
	strcat(path, "/a");
	must_fail(-EINVAL, "deeper", path_check(path, &err));
	memset(path, 'a', sizeof path);
	for (size_t i = 200; i < sizeof path; i += 200)
		path[i] = '/';
	path[PATH_LENGTH_MAX] = '\0';
	must_pass(path_check(path, &err));
	path[PATH_LENGTH_MAX] = 'a';
	path[PATH_LENGTH_MAX + 1] = '\0';
	must_fail(-EINVAL, "longer", path_check(path, &err));
}

Test(base, path_names)
{
	cr_expect_null(path_name_problem("a", 1));
	cr_expect_not_null(path_name_problem("", 0));
	cr_expect_not_null(path_name_problem("a/b", 3));
	cr_expect_not_null(path_name_problem("a\0b", 3));
	cr_expect_null(path_name_problem(".git", 3));
}

Test(base, path_open_stays_beneath)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int rootfd = -EBADF;
	static const struct {
		const char *path;
		int result; /* 0: an fd */
	} rows[] = {
		{ "", 0 },
		{ "in", 0 },
		{ "in/file", 0 },
		{ "in/missing", -ENOENT },
		{ "in/file/x", -ENOTDIR },
		{ "../outside", -EXDEV },
		{ "in/../../outside", -EXDEV },
		{ "in/../in/file", 0 }, /* stays beneath; path_check() refuses it */
		{ "/etc/passwd", -EXDEV },
		{ "absolute", -ELOOP },
		{ "absolute/passwd", -ELOOP },
		{ "relative", -ELOOP },
		{ "relative/file", -ELOOP },
		{ "up/outside", -ELOOP },
	};

	cr_assert_eq(mkdir(path_in(dir, "outside"), 0700), 0);
	cr_assert_eq(mkdir(path_in(dir, "root"), 0700), 0);
	cr_assert_eq(mkdir(path_in(dir, "root/in"), 0700), 0);
	cr_assert_eq(close(creat(path_in(dir, "root/in/file"), 0600)), 0);
	cr_assert_eq(symlink("/etc", path_in(dir, "root/absolute")), 0);
	cr_assert_eq(symlink("in", path_in(dir, "root/relative")), 0);
	cr_assert_eq(symlink("..", path_in(dir, "root/up")), 0);
	rootfd = open(path_in(dir, "root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_close int fd = path_open(rootfd, rows[i].path, O_RDONLY, 0);

		cr_expect_eq(fd < 0 ? fd : 0, rows[i].result, "'%s': %d", rows[i].path, fd);
		if (fd >= 0)
			cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	}
}

Test(base, path_open_symlink_itself)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int rootfd = open(dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	struct stat st;

	cr_assert_eq(symlink("/etc", path_in(dir, "link")), 0);
	fd = path_open(rootfd, "link", O_PATH, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(path_stat(rootfd, "link", &st), 0);
	cr_assert(S_ISLNK(st.st_mode));
}

Test(base, path_parents_and_directories)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int rootfd = open(dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	const char *name;
	struct stat st;

	cr_assert_eq(path_make_directories(rootfd, "a/b/c", 0700), 0);
	cr_assert_eq(path_make_directories(rootfd, "a/b/c", 0700), 0);
	cr_assert_eq(path_stat(rootfd, "a/b/c", &st), 0);
	cr_assert(S_ISDIR(st.st_mode));
	cr_assert_eq(path_open_parent(rootfd, "a/b/new", &fd, &name), 0);
	cr_assert_str_eq(name, "new");
	cr_assert_eq(close(openat(fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	cr_assert_eq(path_stat(rootfd, "a/b/new", &st), 0);
	cr_assert_eq(path_make_directories(rootfd, "a/b/new/x", 0700), -ENOTDIR);
	cr_assert_eq(path_open_parent(rootfd, "", &(int){ 0 }, &name), -EINVAL);
	cr_assert_eq(path_open_parent(rootfd, "nowhere/x", &(int){ 0 }, &name), -ENOENT);
}

Test(base, path_beneath)
{
	static const struct {
		const char *path, *root;
		bool beneath;
	} rows[] = {
		{ "/a/b", "/a", true },	  { "/a", "/a", true },	    { "/a", "/", true },     { "/", "/", true },
		{ "/ab", "/a", false },	  { "/a", "/a/b", false },  { "/a/b", "/a/", true }, { "a/b", "a", true },
		{ "/b/a", "/a", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(path_is_beneath(rows[i].path, rows[i].root), rows[i].beneath, "%s in %s",
			rows[i].path, rows[i].root);
}

Test(base, path_order)
{
	/* As a tree is walked: a directory, what is in it, then its siblings. */
	static const char *const sorted[] = { "", "a", "a/b", "a/b/c", "a/c", "a-b", "a.c", "ab", "b", "\xff" };

	for (size_t i = 0; i < ARRAY_SIZE(sorted); i++)
		for (size_t k = 0; k < ARRAY_SIZE(sorted); k++) {
			int order = path_compare(sorted[i], sorted[k]);

			cr_expect((order < 0) == (i < k) && (order == 0) == (i == k), "'%s' and '%s': %d",
				sorted[i], sorted[k], order);
		}
}

/* ---- files ---- */

Test(base, io_write_and_read_file)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	struct stat st;

	must_pass(io_write_file_at(dirfd, "f", "one", 3, 0600, &err));
	must_pass(io_write_file_at(dirfd, "f", "two!", 4, 0640, &err));
	strbuf_addstr(&text, "> ");
	must_pass(io_read_file_at(dirfd, "f", 4, &text, &err));
	cr_assert_str_eq(strbuf_text(&text), "> two!");
	must_fail(-E2BIG, "larger", io_read_file_at(dirfd, "f", 3, &text, &err));
	must_fail(-ENOENT, "'g'", io_read_file_at(dirfd, "g", 3, &text, &err));
	cr_assert_eq(symlinkat("f", dirfd, "link"), 0);
	must_fail(-ELOOP, "link", io_read_file_at(dirfd, "link", 4, &text, &err));
	cr_assert_eq(mkfifoat(dirfd, "fifo", 0600), 0);
	must_fail(-EINVAL, "regular", io_read_file_at(dirfd, "fifo", 4, &text, &err));
	cr_assert_eq(fstatat(dirfd, "f", &st, 0), 0);
	cr_assert_eq(st.st_mode & 0777, 0640);
}

Test(base, io_failed_write_leaves_nothing)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cr_assert_eq(mkdirat(dirfd, "d", 0700), 0);
	must_fail(-EISDIR, "'d'", io_write_file_at(dirfd, "d", "x", 1, 0600, &err));
	cr_assert_eq(unlinkat(dirfd, "d", AT_REMOVEDIR), 0);
	cr_assert_eq(rmdir(dir.path), 0, "the temporary file is still there");
}

Test(base, io_offsets)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int fd = open(path_in(dir, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char buf[16] = "";

	cr_assert_eq(io_pwrite(fd, "hello", 5, 3), 0);
	cr_assert_eq(io_pread(fd, buf, sizeof buf, 3), 5);
	cr_assert_str_eq(buf, "hello");
	cr_assert_eq(io_pread(fd, buf, sizeof buf, 100), 0);
	cr_assert_eq(io_read(fd, buf, sizeof buf), 8);
	cr_assert_eq(io_write(-1, "x", 1), -EBADF);
	cr_assert_eq(io_sync_dir(fd), -ENOTDIR);
}

/* ---- the lock ---- */

Test(base, lock_excludes)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = (int)must_pass(lock_acquire(dirfd, "lock", 0, &err)), again;

	must_fail(-ETIMEDOUT, "another veneer command", lock_acquire(dirfd, "lock", 0, &err));
	must_fail(-ETIMEDOUT, "another veneer command", lock_acquire(dirfd, "lock", 20, &err));
	close(fd);
	again = (int)must_pass(lock_acquire(dirfd, "lock", 0, &err));
	close(again);
}

/* Another process may hand its lock over: it is confirmed by what it is, not by what is said of it. */
Test(base, lock_confirmed)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = (int)must_pass(lock_acquire(dirfd, "lock", 0, &err));
	cleanup_close int copy = dup(fd), other = openat(dirfd, "lock", O_RDWR | O_CLOEXEC);
	cleanup_close int stranger = openat(dirfd, "stranger", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_eq(lock_confirm(dirfd, "lock", copy), 0);
	cr_assert_eq(lock_confirm(dirfd, "lock", other), -EWOULDBLOCK, "the file, without the lock on it");
	cr_assert_eq(lock_confirm(dirfd, "lock", stranger), -EACCES);
	cr_assert_eq(lock_confirm(dirfd, "lock", -EBADF), -EACCES);
	/* The lock lives as long as any copy of the descriptor. */
	cleanup_closep(&fd);
	fd = -EBADF;
	must_fail(-ETIMEDOUT, "lock", lock_acquire(dirfd, "lock", 0, &err));
	/* A file that was removed is nobody's lock any more. */
	cr_assert_eq(unlinkat(dirfd, "lock", 0), 0);
	cr_assert_eq(lock_confirm(dirfd, "lock", copy), -EACCES);
}

/* Another process that waits for the lock, says so once it has it, and keeps it until it is killed. */
static pid_t hold_in_child(int dirfd, int ready_fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		lock_acquire(dirfd, "lock", 10000, NULL);
		io_write(ready_fd, "x", 1);
		pause();
		_exit(0);
	}
	return pid;
}

Test(base, lock_removed)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = (int)must_pass(lock_acquire(dirfd, "lock", 0, &err)), ready[2], again;
	char c;
	pid_t pid;

	/* Who waits while it is removed gets the next one, and is alone with it. */
	cr_assert_eq(pipe(ready), 0);
	pid = hold_in_child(dirfd, ready[1]);
	usleep(30000);
	lock_remove(dirfd, "lock", fd);
	cr_assert_eq(io_read(ready[0], &c, 1), 1);
	must_fail(-ETIMEDOUT, "lock", lock_acquire(dirfd, "lock", 0, &err));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	again = (int)must_pass(lock_acquire(dirfd, "lock", 1000, &err));
	lock_remove(dirfd, "lock", again);
	cr_assert_eq(faccessat(dirfd, "lock", F_OK, 0), -1);
	close(ready[0]);
	close(ready[1]);
}

Test(base, lock_goes_with_the_process)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ready[2], fd;
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = hold_in_child(dirfd, ready[1]);
	cr_assert_eq(io_read(ready[0], &c, 1), 1);
	must_fail(-ETIMEDOUT, "lock", lock_acquire(dirfd, "lock", 0, &err));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd = (int)must_pass(lock_acquire(dirfd, "lock", 1000, &err));
	close(fd);
	close(ready[0]);
	close(ready[1]);
}
