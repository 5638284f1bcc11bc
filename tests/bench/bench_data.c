/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bench_data sequential FILE PASSES: reads all of FILE in pieces of 128 KiB; prints nanoseconds a pass.
 * bench_data mmap FILE PAGES: maps FILE and touches PAGES pages, chosen at random but always the same; prints
 * nanoseconds a page.
 * bench_data fsync FILE WRITES: writes 4 KiB and calls fsync, over and over; prints nanoseconds a write.
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/bench/bench.h"

#define CHUNK_BYTES 131072
#define PAGE_BYTES 4096U

static void data_sequential(const char *path, unsigned long passes)
{
	static char buffer[CHUNK_BYTES];

	for (unsigned long pass = 0; pass < passes; pass++) {
		cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n;

		if (fd < 0)
			bench_fail(errno, "%s", path);
		while ((n = read(fd, buffer, sizeof buffer)) > 0)
			;
		if (n < 0)
			bench_fail(errno, "%s", path);
	}
}

static void data_mmap(const char *path, unsigned long count)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t state = 88172645463325252U, pages;
	const volatile char *map;
	unsigned char sum = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		bench_fail(errno, "%s", path);
	pages = (uint64_t)st.st_size / PAGE_BYTES;
	if (pages == 0)
		bench_fail(EINVAL, "%s", path);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		bench_fail(errno, "%s: mmap", path);
	for (unsigned long i = 0; i < count; i++)
		sum ^= (unsigned char)map[bench_random(&state) % pages * PAGE_BYTES];
	munmap((void *)map, (size_t)st.st_size);
	/* Not equal to any file's content by chance alone: the reads may not be optimised away. */
	if (sum == 0 && count == 0)
		puts("");
}

static void data_fsync(const char *path, unsigned long writes)
{
	static char buffer[PAGE_BYTES];
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		bench_fail(errno, "%s", path);
	memset(buffer, 'x', sizeof buffer);
	for (unsigned long i = 0; i < writes; i++) {
		int r = io_pwrite(fd, buffer, sizeof buffer, (uint64_t)i * PAGE_BYTES);

		if (r < 0)
			bench_fail(-r, "%s: write", path);
		if (fsync(fd) < 0)
			bench_fail(errno, "%s: fsync", path);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*operation)(const char *path, unsigned long count);
	} modes[] = { { "sequential", data_sequential }, { "mmap", data_mmap }, { "fsync", data_fsync } };
	unsigned long count = argc == 4 ? bench_number(argv[3]) : 0;
	uint64_t start;

	for (size_t i = 0; count > 0 && i < sizeof modes / sizeof *modes; i++) {
		if (strcmp(argv[1], modes[i].name) != 0)
			continue;
		start = bench_now_ns();
		modes[i].operation(argv[2], count);
		bench_print(bench_now_ns() - start, count);
		return 0;
	}
	fprintf(stderr, "usage: bench_data sequential|mmap|fsync FILE COUNT\n");
	return 2;
}
