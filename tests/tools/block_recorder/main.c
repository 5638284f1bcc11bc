/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A disk that remembers what it was told, for tests of what a power cut leaves.
 *
 *     block_recorder record MOUNTPOINT LOG SIZE
 *     block_recorder list LOG
 *     block_recorder cuts LOG BETWEEN SEED
 *     block_recorder image LOG INDEX SEED SECTOR IMAGE
 *
 * `record` mounts a filesystem with a file `disk` of SIZE bytes, all zeroes and kept in memory: put a loop device over it, which sends
 * each write as it comes and a flush of the block layer as fsync. A line written to the file `mark` is put into the log between them.
 * It ends when it is unmounted.
 *
 * `list` prints the records: `INDEX write OFFSET LENGTH`, `INDEX zero OFFSET LENGTH`, `INDEX flush`, `INDEX mark TEXT`.
 *
 * `cuts` prints where the power may go, each line `INDEX KIND MARK`: before which record; KIND is `before-flush`, `after-flush`,
 * `between` or `mark` (right after it); MARK is the text of the last mark before, or `-`.
 *
 * `image` makes the file IMAGE: what the disk holds when the power goes before record INDEX. What was written up to the last flush
 * before it is there. Of what came later, SEED decides: 0: nothing; 1: all of it; else of each write all, nothing or some sectors of SECTOR
 * bytes, at random. A sector holds one of the versions written since the flush, or what it held then, whatever became of other
 * sectors that were written earlier or later: that is all that a cache which drops and reorders writes can do.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/error.h"
#include "tests/tools/block_recorder/verbs.h"

int complain(int error, const char *format, ...)
{
	va_list args;

	fputs("block_recorder: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
	return 1;
}

uint64_t random_next(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static int usage(void)
{
	fputs("usage: block_recorder record MOUNTPOINT LOG SIZE | list LOG | cuts LOG BETWEEN SEED | image LOG INDEX SEED SECTOR IMAGE\n", stderr);
	return 2;
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (end == text || *end != '\0')
		exit(usage());
	return value;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	if (strcmp(verb, "record") == 0 && argc == 5)
		return verb_record(argv[2], argv[3], number(argv[4]));
	if (strcmp(verb, "list") == 0 && argc == 3)
		return verb_list(argv[2]);
	if (strcmp(verb, "cuts") == 0 && argc == 5)
		return verb_cuts(argv[2], number(argv[3]), number(argv[4]));
	if (strcmp(verb, "image") == 0 && argc == 7)
		return verb_image(argv[2], number(argv[3]), number(argv[4]), number(argv[5]), argv[6]);
	return usage();
}
