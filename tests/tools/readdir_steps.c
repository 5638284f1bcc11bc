/* SPDX-License-Identifier: Apache-2.0 */

/*
 * readdir_steps DIR: reads a directory in small steps with getdents64(2), so that neither libc nor a
 * large buffer hides what offsets do. Reads half of it, prints "half", waits for a line on standard
 * input (time for a switch), reads the rest. Where that line is "offsets", it then goes back to every
 * offset that it was given in the first half: the name there must be the one that followed before.
 *
 * Prints each name as `name NAME`, sorted; then "done". Exit 1 where a name came
 * twice or an offset led elsewhere.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "store/base/cleanup.h"

#define BUFFER_BYTES 320 /* room for one name of NAME_MAX bytes, or for a few short ones */
#define NAMES_MAX 100000

struct step {
	char *name;
	off_t offset; /* where the reading goes on behind it */
};

struct walk {
	struct step steps[NAMES_MAX];
	size_t count;
};

/* One getdents64(2); false at the end. */
static bool walk_read(struct walk *walk, int fd)
{
	char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
	long len = syscall(SYS_getdents64, fd, buffer, sizeof buffer);

	if (len < 0) {
		perror("readdir_steps: getdents64");
		exit(1);
	}
	for (long at = 0; at < len && walk->count < NAMES_MAX;) {
		struct dirent64 *entry = (struct dirent64 *)(buffer + at);

		walk->steps[walk->count++] = (struct step){ strdup(entry->d_name), entry->d_off };
		at += entry->d_reclen;
	}
	return len > 0;
}

static void walk_freep(struct walk **walk)
{
	for (size_t i = 0; *walk && i < (*walk)->count; i++)
		free((*walk)->steps[i].name);
	free(*walk);
}

static size_t count_names(const char *directory)
{
	cleanup_closedir DIR *dir = opendir(directory);
	size_t count = 0;

	while (dir && readdir(dir))
		count++;
	return count;
}

static int compare_steps(const void *a, const void *b)
{
	return strcmp(((const struct step *)a)->name, ((const struct step *)b)->name);
}

/* Back to each offset of the first half: does the same name follow? */
static int check_offsets(const struct walk *walk, size_t half, int fd)
{
	int failed = 0;

	for (size_t i = 0; i + 1 < half; i++) {
		char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
		struct dirent64 *entry = (struct dirent64 *)buffer;

		if (lseek(fd, walk->steps[i].offset, SEEK_SET) < 0 ||
			syscall(SYS_getdents64, fd, buffer, sizeof buffer) <= 0) {
			fprintf(stderr, "readdir_steps: nothing at the offset behind '%s'\n",
				walk->steps[i].name);
			failed = 1;
		} else if (strcmp(entry->d_name, walk->steps[i + 1].name) != 0) {
			fprintf(stderr, "readdir_steps: behind '%s' came '%s', now '%s'\n",
				walk->steps[i].name, walk->steps[i + 1].name, entry->d_name);
			failed = 1;
		}
	}
	return failed;
}

int main(int argc, char **argv)
{
	CLEANUP(walk_freep) struct walk *walk = calloc(1, sizeof *walk);
	cleanup_close int fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
	size_t half, total;
	char line[64];
	int failed = 0;

	if (!walk || fd < 0) {
		fprintf(stderr, "usage: readdir_steps DIR\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	total = count_names(argv[1]);
	while (walk->count < total / 2 && walk_read(walk, fd))
		;
	half = walk->count;
	puts("half");
	if (!fgets(line, sizeof line, stdin))
		return 2;
	while (walk_read(walk, fd))
		;
	if (!strcmp(line, "offsets\n"))
		failed |= check_offsets(walk, half, fd);
	qsort(walk->steps, walk->count, sizeof walk->steps[0], compare_steps);
	for (size_t i = 0; i < walk->count; i++) {
		printf("name %s\n", walk->steps[i].name);
		if (i && !strcmp(walk->steps[i].name, walk->steps[i - 1].name)) {
			fprintf(stderr, "readdir_steps: '%s' came twice\n", walk->steps[i].name);
			failed = 1;
		}
	}
	puts("done");
	return failed;
}
