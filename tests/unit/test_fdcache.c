/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/resident.h"
#include "tests/unit/support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "fs/fdcache.h"
#include "store/base/cleanup.h"

static void cache_freep(struct fdcache **cache)
{
	fdcache_free(*cache);
}
#define cache_auto __attribute__((cleanup(cache_freep))) struct fdcache

static int new_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		cr_assert_fail("/dev/null");
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A new fd for ID, used and given back: its number. */
static int add(struct fdcache *cache, uint64_t id, enum fd_kind kind)
{
	cleanup_fdref struct fdref ref = FDREF_INIT;
	int fd = new_fd();

	fdcache_add(cache, id, kind, fd, &ref);
	/* An assertion is a message to Criterion's runner, also where it holds: not one for each fd of a thousand. */
	if (ref.fd != fd)
		cr_assert_fail("%d came back for %d", ref.fd, fd);
	return fd;
}

static bool has(struct fdcache *cache, uint64_t id, enum fd_kind kind)
{
	cleanup_fdref struct fdref ref = FDREF_INIT;

	return fdcache_get(cache, id, kind, &ref);
}

Test(fdcache, an_fd_for_each_node_and_kind)
{
	cache_auto *cache = fdcache_new(8);
	cleanup_fdref struct fdref ref = FDREF_INIT;
	int path = add(cache, 5, FD_PATH), read = add(cache, 5, FD_READ), write = add(cache, 5, FD_WRITE);

	cr_assert_eq(fdcache_open_count(cache), 3);
	cr_assert(fdcache_get(cache, 5, FD_READ, &ref));
	cr_assert_eq(ref.fd, read);
	fdref_release(&ref);
	cr_assert_eq(ref.fd, -EBADF);
	fdref_release(&ref);
	cr_assert(fdcache_get(cache, 5, FD_PATH, &ref));
	cr_assert_eq(ref.fd, path);
	fdref_release(&ref);
	cr_assert(fdcache_get(cache, 5, FD_WRITE, &ref));
	cr_assert_eq(ref.fd, write);
	cr_assert_not(has(cache, 6, FD_READ));
}

Test(fdcache, the_least_recently_used_goes_first)
{
	cache_auto *cache = fdcache_new(4);
	int fds[6];

	for (uint64_t id = 0; id < 4; id++)
		fds[id] = add(cache, id, FD_READ);
	/* Used again: 0 is the newest now, 1 the oldest. */
	cr_assert(has(cache, 0, FD_READ));
	fds[4] = add(cache, 4, FD_READ);
	cr_assert_not(has(cache, 1, FD_READ));
	fds[5] = add(cache, 5, FD_READ);
	cr_assert_not(has(cache, 2, FD_READ));
	cr_assert(has(cache, 0, FD_READ));
	cr_assert(has(cache, 3, FD_READ));
	cr_assert_eq(fdcache_open_count(cache), 4);
	cr_assert(is_open(fds[0]) && is_open(fds[3]) && is_open(fds[4]) && is_open(fds[5]));
}

Test(fdcache, never_more_than_the_capacity)
{
	size_t before = open_descriptors();

	for (size_t capacity = 0; capacity < 40; capacity = capacity * 2 + 1) {
		struct fdcache *cache = fdcache_new(capacity);

		for (uint64_t id = 0; id < 1000; id++) {
			add(cache, id, FD_READ);
			if (fdcache_open_count(cache) > capacity || open_descriptors() > before + capacity)
				cr_assert_fail("capacity %zu: %zu are open", capacity, open_descriptors() - before);
		}
		for (uint64_t id = 0; id < 1000; id++)
			if (has(cache, id, FD_READ) != (id >= 1000 - capacity))
				cr_assert_fail("capacity %zu: %lu", capacity, (unsigned long)id);
		fdcache_free(cache);
		cr_assert_eq(open_descriptors(), before);
	}
}

Test(fdcache, what_is_in_use_is_never_closed)
{
	enum { CAPACITY = 4, USED = 10 };
	size_t before = open_descriptors();
	cache_auto *cache = fdcache_new(CAPACITY);
	struct fdref refs[USED], one = FDREF_INIT;
	int fds[USED];

	for (uint64_t id = 0; id < USED; id++) {
		fds[id] = new_fd();
		fdcache_add(cache, id, FD_READ, fds[id], &refs[id]);
		cr_assert_eq(refs[id].fd, fds[id]);
	}
	for (uint64_t id = 100; id < 200; id++)
		add(cache, id, FD_READ);
	for (size_t i = 0; i < USED; i++)
		cr_assert(is_open(fds[i]));
	/* Those beyond the capacity were their user's alone, and go with him; the others stay. */
	for (size_t i = 0; i < USED; i++)
		fdref_release(&refs[i]);
	cr_assert_eq(open_descriptors(), before + CAPACITY);
	cr_assert(fdcache_get(cache, 0, FD_READ, &one));
	cr_assert_eq(one.fd, fds[0]);
	/* In use: the three others go in its place. */
	for (uint64_t id = 100; id < 110; id++)
		add(cache, id, FD_READ);
	cr_assert(is_open(fds[0]));
	cr_assert(has(cache, 0, FD_READ));
	fdref_release(&one);
}

Test(fdcache, an_fd_that_came_second_is_closed)
{
	cache_auto *cache = fdcache_new(4);
	cleanup_fdref struct fdref ref = FDREF_INIT;
	int first = add(cache, 5, FD_READ), second = new_fd();

	fdcache_add(cache, 5, FD_READ, second, &ref);
	cr_assert_eq(ref.fd, first);
	cr_assert_not(is_open(second));
	cr_assert_eq(fdcache_open_count(cache), 1);
}

Test(fdcache, forget)
{
	cache_auto *cache = fdcache_new(8);
	size_t before = open_descriptors();
	struct fdref used = FDREF_INIT;
	int fd = new_fd(), other;

	add(cache, 5, FD_PATH);
	add(cache, 5, FD_WRITE);
	other = add(cache, 6, FD_READ);
	fdcache_add(cache, 5, FD_READ, fd, &used);
	fdcache_forget(cache, 5);
	fdcache_forget(cache, 77);
	/* In use it stays open, but is not to be had any more. */
	cr_assert(is_open(fd));
	cr_assert_eq(fdcache_open_count(cache), 2);
	cr_assert_not(has(cache, 5, FD_PATH));
	cr_assert_not(has(cache, 5, FD_READ));
	cr_assert_not(has(cache, 5, FD_WRITE));
	cr_assert(has(cache, 6, FD_READ));
	/* Another of the same id and kind beside it. */
	add(cache, 5, FD_READ);
	cr_assert_eq(fdcache_open_count(cache), 3);
	fdref_release(&used);
	cr_assert_not(is_open(fd));
	cr_assert(has(cache, 5, FD_READ));
	cr_assert(is_open(other));
	fdcache_forget(cache, 5);
	fdcache_forget(cache, 6);
	cr_assert_eq(fdcache_open_count(cache), 0);
	cr_assert_eq(open_descriptors(), before);
}

Test(fdcache, forgotten_entries_are_used_again)
{
	cache_auto *cache = fdcache_new(3);
	size_t before = open_descriptors();

	for (uint64_t id = 0; id < 1000; id++) {
		struct fdref a, b;

		fdcache_add(cache, id, FD_READ, new_fd(), &a);
		fdcache_add(cache, id, FD_PATH, new_fd(), &b);
		fdcache_forget(cache, id);
		fdref_release(&a);
		cr_assert_eq(fdcache_open_count(cache), 1);
		fdref_release(&b);
		cr_assert_eq(fdcache_open_count(cache), 0);
	}
	cr_assert_eq(open_descriptors(), before);
}

/* Do both lead to the same open file? */
static bool is_duplicate(int a, int b)
{
	struct stat left, right;

	return a != b && fstat(a, &left) == 0 && fstat(b, &right) == 0 && left.st_ino == right.st_ino;
}

static int new_file(void)
{
	int fd = memfd_create("pin", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

Test(fdcache, pins)
{
	enum { PINS = 50 };
	cache_auto *cache = fdcache_new(2);
	size_t before = open_descriptors();
	int fds[PINS];

	cr_assert_eq(fdcache_pinned(cache, 0), -EBADF);
	for (uint64_t id = 0; id < PINS; id++) {
		fds[id] = new_file();
		cr_assert_eq(fdcache_pin(cache, id, fds[id]), 0);
	}
	for (uint64_t id = 0; id < 100; id++)
		add(cache, 1000 + id, FD_READ);
	cr_assert_eq(fdcache_open_count(cache), PINS + 2);
	for (uint64_t id = 0; id < PINS; id++) {
		cleanup_close int duplicate = fdcache_pinned(cache, id);

		cr_assert(is_duplicate(duplicate, fds[id]), "pin %lu", (unsigned long)id);
	}
	cr_assert_not(has(cache, 7, FD_PATH), "a pin is no cached fd");
	for (uint64_t id = 0; id < PINS; id += 2)
		fdcache_forget(cache, id);
	for (uint64_t id = 0; id < PINS; id++) {
		cleanup_close int duplicate = fdcache_pinned(cache, id);

		cr_assert_eq(duplicate >= 0, id % 2);
		cr_assert_eq(is_open(fds[id]), id % 2);
	}
	cr_assert_eq(fdcache_open_count(cache), PINS / 2 + 2);
	for (uint64_t id = 1; id < PINS; id += 2)
		fdcache_forget(cache, id);
	cr_assert_eq(open_descriptors(), before + 2);
}

Test(fdcache, pins_of_one_node_are_counted)
{
	cache_auto *cache = fdcache_new(2);
	size_t before = open_descriptors();
	int duplicate;

	for (int i = 0; i < 3; i++)
		cr_assert_eq(fdcache_pin(cache, 5, new_file()), 0);
	cr_assert_eq(fdcache_pin(cache, 6, new_file()), 0);
	fdcache_unpin(cache, 5);
	fdcache_unpin(cache, 7);
	cr_assert_eq(fdcache_open_count(cache), 3);
	fdcache_unpin(cache, 5);
	duplicate = fdcache_pinned(cache, 5);
	cr_assert_geq(duplicate, 0);
	fdcache_unpin(cache, 5);
	cr_assert(is_open(duplicate), "the caller's own");
	close(duplicate);
	cr_assert_eq(fdcache_pinned(cache, 5), -EBADF);
	fdcache_unpin(cache, 5);
	cr_assert_eq(fdcache_open_count(cache), 1);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(fdcache_pin(cache, 6, new_file()), 0);
	fdcache_forget(cache, 6);
	cr_assert_eq(fdcache_open_count(cache), 0);
	cr_assert_eq(open_descriptors(), before);
}

Test(fdcache, the_end_closes_all)
{
	size_t before = open_descriptors();
	struct fdcache *cache = fdcache_new(4);

	for (uint64_t id = 0; id < 10; id++)
		add(cache, id, FD_READ);
	fdcache_pin(cache, 3, new_fd());
	fdcache_free(cache);
	fdcache_free(NULL);
	cr_assert_eq(open_descriptors(), before);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 5000, IDS = 12 };

static void *use_all(void *arg)
{
	struct fdcache *cache = arg;
	unsigned random = (unsigned)(uintptr_t)&random >> 4;

	for (int i = 0; i < ROUNDS; i++) {
		cleanup_fdref struct fdref ref = FDREF_INIT;
		uint64_t id;

		random = random * 1103515245u + 12345;
		id = (random >> 16) % IDS;
		if (!fdcache_get(cache, id, FD_READ, &ref))
			fdcache_add(cache, id, FD_READ, new_fd(), &ref);
		if ((random >> 24) % 8 == 0)
			fdcache_forget(cache, id);
		if (!is_open(ref.fd))
			cr_assert_fail("closed while in use");
	}
	return NULL;
}

Test(fdcache, threads)
{
	size_t before = open_descriptors();
	struct fdcache *cache = fdcache_new(6);
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, use_all, cache), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_leq(fdcache_open_count(cache), 6);
	fdcache_free(cache);
	cr_assert_eq(open_descriptors(), before);
}
