/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bench_files open|whole|missing DIR LIST PASSES READERS: for each path in the file LIST (one a line, relative to
 * DIR), PASSES times: open it, read 1 KiB, close it; or read all of it; or look for a name that is not there.
 * READERS processes do it at the same time. Prints nanoseconds a path, as one reader sees them.
 */

#include <sys/stat.h>
#include <sys/wait.h>

#include "store/base/strbuf.h"
#include "tests/bench/bench.h"

#define LIST_BYTES_MAX ((size_t)256 << 20)
#define READERS_MAX 64

struct list {
	struct strbuf text;
	const char **paths;
	size_t count;
};

static void list_load(struct list *list, const char *file)
{
	struct error err = ERROR_INIT;
	int r = io_read_file_at(AT_FDCWD, file, LIST_BYTES_MAX, &list->text, &err);

	if (r < 0)
		bench_fail(-r, "%s", err.message);
	list->paths = calloc(list->text.len + 1, sizeof *list->paths);
	if (!list->paths)
		bench_fail(ENOMEM, "%s", file);
	for (char *line = list->text.buf, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		list->paths[list->count++] = line;
	}
	if (list->count == 0)
		bench_fail(EINVAL, "%s", file);
}

static void file_read(const char *path, size_t chunk, bool whole)
{
	static char buffer[131072];
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		bench_fail(errno, "%s", path);
	do {
		n = read(fd, buffer, chunk);
		if (n < 0)
			bench_fail(errno, "%s", path);
	} while (whole && n > 0);
}

static void file_open(const char *path)
{
	file_read(path, 1024, false);
}

static void file_whole(const char *path)
{
	file_read(path, 131072, true);
}

static void file_missing(const char *path)
{
	char name[8192];
	struct stat st;

	snprintf(name, sizeof name, "%s.missing", path);
	if (stat(name, &st) == 0 || errno != ENOENT)
		bench_fail(errno, "'%s' should be missing", name);
}

static void list_run(const struct list *list, unsigned long passes, void (*operation)(const char *path))
{
	for (unsigned long pass = 0; pass < passes; pass++)
		for (size_t i = 0; i < list->count; i++)
			operation(list->paths[i]);
}

/* READERS children, let go together by closing the pipe that they wait at. */
static void readers_run(const struct list *list, unsigned long passes, unsigned long readers,
			void (*operation)(const char *path), uint64_t *ret_ns)
{
	int gate[2], status;
	uint64_t start;
	char byte;

	if (pipe(gate) < 0)
		bench_fail(errno, "pipe");
	for (unsigned long i = 0; i < readers; i++) {
		pid_t pid = fork();

		if (pid < 0)
			bench_fail(errno, "fork");
		if (pid > 0)
			continue;
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 0)
			_exit(1);
		list_run(list, passes, operation);
		exit(0);
	}
	close(gate[0]);
	start = bench_now_ns();
	close(gate[1]);
	for (unsigned long i = 0; i < readers; i++)
		if (wait(&status) < 0 || status != 0)
			bench_fail(ECHILD, "a reader failed");
	*ret_ns = bench_now_ns() - start;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*operation)(const char *path);
	} modes[] = { { "open", file_open }, { "whole", file_whole }, { "missing", file_missing } };
	unsigned long passes = argc == 6 ? bench_number(argv[4]) : 0;
	unsigned long readers = argc == 6 ? bench_number(argv[5]) : 0;
	void (*operation)(const char *path) = NULL;
	struct list list = { .text = STRBUF_INIT };
	uint64_t ns;

	for (size_t i = 0; argc == 6 && i < sizeof modes / sizeof *modes; i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			operation = modes[i].operation;
	if (!operation || passes == 0 || readers == 0 || readers > READERS_MAX) {
		fprintf(stderr, "usage: bench_files open|whole|missing DIR LIST PASSES READERS\n");
		return 2;
	}
	list_load(&list, argv[3]);
	if (chdir(argv[2]) < 0)
		bench_fail(errno, "%s", argv[2]);
	if (readers == 1) {
		ns = bench_now_ns();
		list_run(&list, passes, operation);
		ns = bench_now_ns() - ns;
	} else {
		readers_run(&list, passes, readers, operation, &ns);
	}
	bench_print(ns, (uint64_t)passes * list.count);
	free(list.paths);
	strbuf_release(&list.text);
	return 0;
}
