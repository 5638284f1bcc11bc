/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#include "fs/read_ahead_files.h"

#define FILES 100u
#define FILE_SIZE 100000 /* less than is read ahead of a file, more than Linux reads at first */

struct library {
	struct temporary_directory dir;
	struct fdcache *cache;
	struct read_ahead *ahead;
	atomic_uint opened;
	atomic_bool held; /* opening waits for as long as this is set */
	int answer;
};

static int open_directory(void *arg, uint64_t id, struct fdref *ret)
{
	struct library *library = arg;
	int fd;

	atomic_fetch_add(&library->opened, 1);
	while (atomic_load(&library->held))
		usleep(100);
	if (library->answer < 0)
		return library->answer;
	fd = open(library->dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	fdcache_add(library->cache, id, FD_PATH, fd, ret);
	return 0;
}

static void file_name(char name[16], unsigned number)
{
	snprintf(name, 16, "f%05u", number);
}

static int file_open(const struct library *library, unsigned number, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "%s/f%05u", library->dir.path, number);
	fd = open(path, flags | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0, "%s", path);
	return fd;
}

/* Is the last page of a file? To ask brings nothing in. */
static bool in_memory(const struct library *library, unsigned number)
{
	cleanup_close int fd = file_open(library, number, O_RDONLY);
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char resident[FILE_SIZE / 4096 + 1];
	void *map = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);

	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(mincore(map, FILE_SIZE, resident), 0);
	munmap(map, FILE_SIZE);
	return resident[(FILE_SIZE - 1) / page] & 1;
}

static void make_files(const struct library *library, unsigned from, unsigned to)
{
	static const char text[FILE_SIZE];

	for (unsigned i = from; i < to; i++) {
		cleanup_close int fd = file_open(library, i, O_WRONLY | O_CREAT);

		cr_assert_eq(write(fd, text, sizeof text), sizeof text);
	}
}

/* What is in the files FROM…TO-1 is not in memory any more. false: their filesystem has nowhere else to keep it. */
static bool evict(const struct library *library, unsigned from, unsigned to)
{
	cleanup_close int any = file_open(library, from, O_RDONLY);

	cr_assert_eq(syncfs(any), 0);
	for (unsigned i = from; i < to; i++) {
		cleanup_close int fd = file_open(library, i, O_RDONLY);

		cr_assert_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	}
	return !in_memory(library, to - 1);
}

static void library_make(struct library *library)
{
	library->dir = temporary_directory_make();
	library->cache = fdcache_new(8);
	make_files(library, 0, FILES);
	library->ahead = read_ahead_new(&read_ahead_files, open_directory, library);
	cr_assert(library->cache && library->ahead);
}

/* None of it is in memory. */
static void library_make_cold(struct library *library)
{
	library_make(library);
	if (!evict(library, 0, FILES))
		cr_skip_test("the filesystem of /tmp keeps files in memory");
}

static void library_remove(struct library *library)
{
	read_ahead_free(library->ahead);
	fdcache_free(library->cache);
	temporary_directory_remove(&library->dir);
}
#define library_auto __attribute__((cleanup(library_remove))) struct library

static void tell(struct library *library, uint64_t directory, unsigned number)
{
	char name[16];

	file_name(name, number);
	read_ahead_tell(library->ahead, directory, name);
}

static void await_opened(struct library *library, unsigned wanted)
{
	while (atomic_load(&library->opened) < wanted)
		usleep(100);
	cr_assert_eq(atomic_load(&library->opened), wanted);
}

static void await_count(struct library *library, unsigned long long wanted)
{
	while (read_ahead_count(library->ahead) < wanted)
		usleep(100);
	cr_assert_eq(read_ahead_count(library->ahead), wanted);
}

Test(read_ahead, reads_what_follows, .timeout = 60)
{
	library_auto library = { .answer = 0 };

	library_make_cold(&library);
	tell(&library, 7, 0);
	tell(&library, 7, 1);
	/* It is listed, and the first four are read. */
	await_opened(&library, 2);
	await_count(&library, SIBLINGS_WINDOW_MIN);
	for (unsigned i = 2; i < 2 + SIBLINGS_WINDOW_MIN; i++)
		while (!in_memory(&library, i))
			usleep(100);
	cr_assert_not(in_memory(&library, 2 + SIBLINGS_WINDOW_MIN), "read too far ahead");
	cr_assert_not(in_memory(&library, 0), "what was read already");
	/* Another reader elsewhere does not end the run; nor does what was read while the thread was at work. */
	tell(&library, 8, 50);
	for (unsigned i = 2; i < FILES - 2; i++)
		tell(&library, 7, i);
	tell(&library, 7, FILES - 2);
	while (!in_memory(&library, FILES - 1)) {
		usleep(1000);
		tell(&library, 7, FILES - 2);
	}
}

/* The files from FROM on in DIRECTORY, over and over, until nothing is looked at any more; how often directories were opened by then. */
static unsigned read_in_turn_until_it_rests(struct library *library, uint64_t directory, unsigned from)
{
	unsigned opened;

	do {
		opened = atomic_load(&library->opened);
		for (unsigned i = from; i < FILES; i++) {
			tell(library, directory, i);
			usleep(100);
		}
		usleep(20000);
	} while (atomic_load(&library->opened) != opened);
	return opened;
}

Test(read_ahead, rests_where_all_is_in_memory, .timeout = 60)
{
	library_auto library = { .answer = 0 };
	unsigned opened;

	library_make(&library);
	opened = read_in_turn_until_it_rests(&library, 9, 0);
	/* Some of the rest is over: less than two rounds of all files. */
	for (unsigned i = 0; i < READ_AHEAD_FILES_REST - 2 * FILES; i++)
		tell(&library, 10, i % FILES);
	usleep(20000);
	cr_assert_eq(atomic_load(&library.opened), opened, "it was to rest");
	cr_assert_eq(read_ahead_count(library.ahead), 0);
	tell(&library, 11, 0);
	tell(&library, 11, 1);
	while (atomic_load(&library.opened) == opened) {
		usleep(1000);
		tell(&library, 11, 1);
		tell(&library, 11, 2);
	}
}

Test(read_ahead, nothing_is_done_for_one_file, .timeout = 60)
{
	library_auto library = { .answer = 0 };

	library_make(&library);
	for (uint64_t directory = 1; directory < 100; directory++)
		tell(&library, directory, 5);
	/* Opened, and then read. */
	tell(&library, 99, 5);
	usleep(20000);
	cr_assert_eq(atomic_load(&library.opened), 0);
}

/* Who tells while it is at work goes on without it. */
Test(read_ahead, never_waits, .timeout = 60)
{
	library_auto library = { .answer = 0, .held = true };

	library_make(&library);
	tell(&library, 7, 0);
	tell(&library, 7, 1);
	await_opened(&library, 1);
	for (unsigned i = 0; i < FILES; i++) {
		tell(&library, 7, i);
		tell(&library, 8, i);
	}
	cr_assert_eq(atomic_load(&library.opened), 1);
	atomic_store(&library.held, false);
	/* What it was asked for first it has done: it was told of all the files of 7 by then, and of 8 nothing is known. */
	for (unsigned i = 0; atomic_load(&library.opened) < 2; i++) {
		tell(&library, 7, i % FILES);
		usleep(1000);
	}
}

/* A directory that cannot be opened is asked for once; others are read from as before. */
Test(read_ahead, a_directory_that_is_gone, .timeout = 60)
{
	library_auto library = { .answer = -ESTALE };

	library_make_cold(&library);
	for (unsigned i = 0; i < 10; i++) {
		tell(&library, 7, i);
		usleep(10000);
	}
	await_opened(&library, 1);
	library.answer = 0;
	tell(&library, 8, 0);
	tell(&library, 8, 1);
	while (atomic_load(&library.opened) < 3) { /* it may have been busy with the first */
		usleep(1000);
		tell(&library, 8, 2);
		tell(&library, 8, 3);
	}
	while (!read_ahead_count(library.ahead))
		usleep(100);
}

/* What has come since a directory was listed is seen once enough of it was read. */
Test(read_ahead, lists_anew_what_has_changed, .timeout = 60)
{
	library_auto library = { .answer = 0 };
	unsigned listed;

	library_make_cold(&library);
	tell(&library, 7, 0);
	tell(&library, 7, 1);
	await_count(&library, SIBLINGS_WINDOW_MIN);
	listed = atomic_load(&library.opened);
	make_files(&library, FILES, FILES + READ_AHEAD_MISSES + 40);
	evict(&library, FILES, FILES + READ_AHEAD_MISSES + 40);
	for (unsigned i = 0; i < READ_AHEAD_MISSES; i++)
		tell(&library, 7, FILES + i);
	tell(&library, 7, FILES + READ_AHEAD_MISSES);
	cr_assert_eq(atomic_load(&library.opened), listed);
	tell(&library, 7, FILES + READ_AHEAD_MISSES + 1);
	while (read_ahead_count(library.ahead) <= SIBLINGS_WINDOW_MIN)
		usleep(100);
}

/* Readers of what is in memory do not end the reading ahead of what is not. */
Test(read_ahead, a_cold_directory_beside_a_warm_one, .timeout = 60)
{
	library_auto library = { .answer = 0 };
	char page[1];

	library_make_cold(&library);
	tell(&library, 7, 0);
	tell(&library, 7, 1);
	await_count(&library, SIBLINGS_WINDOW_MIN);
	/* The same files, as another directory: those at the end are in memory by now. */
	for (unsigned i = 60; i < FILES; i++) {
		cleanup_close int fd = file_open(&library, i, O_RDONLY);

		cr_assert_eq(read(fd, page, 1), 1);
	}
	read_in_turn_until_it_rests(&library, 8, 60);
	cr_assert_eq(read_ahead_count(library.ahead), SIBLINGS_WINDOW_MIN);
	/* It rests: for those who read there. */
	for (unsigned i = 2; i < 8; i++)
		tell(&library, 7, i);
	while (read_ahead_count(library.ahead) <= SIBLINGS_WINDOW_MIN) {
		usleep(1000);
		tell(&library, 7, 8);
	}
}

/* A name that was a file when the directory was listed: to open what is there now would wake who waits at the other end. */
Test(read_ahead, what_is_no_file_is_not_opened, .timeout = 60)
{
	library_auto library = { .answer = 0 };
	cleanup_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[64], event[4096];

	library_make_cold(&library);
	tell(&library, 7, 0);
	tell(&library, 7, 1);
	await_count(&library, SIBLINGS_WINDOW_MIN);
	snprintf(path, sizeof path, "%s/f%05u", library.dir.path, 2 + SIBLINGS_WINDOW_MIN);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(mkfifo(path, 0644), 0);
	cr_assert_geq(inotify_add_watch(watch, path, IN_OPEN), 0);
	tell(&library, 7, 4);
	while (read_ahead_count(library.ahead) < SIBLINGS_WINDOW_MIN + 3)
		usleep(100);
	cr_assert_eq(read(watch, event, sizeof event), -1, "it was opened");
	cr_assert_eq(errno, EAGAIN);
}
