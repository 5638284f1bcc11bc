/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bench_tree DIR FILES [--mean-bytes N] [--version V] [--only K] [--hard-links] [--empty]
 *
 * Fills DIR with FILES files, 100 in a directory, ten directories in a directory: d0003/s4/f003456. The same arguments give
 * the same bytes on every machine. Each file begins with a line "version V file N"; what follows is half text made of words,
 * half that with random bytes in between, so that it compresses as programs and documents do. The sizes are those of a system
 * directory, many small and few large, N bytes in the mean. --only K makes just K of the files, spread evenly:
 * an upper layer, or a patch, over the whole tree. --hard-links: names of a few files instead of files of their own.
 * --empty: files with nothing in them.
 */

#include <getopt.h>
#include <sys/stat.h>

#include "tests/bench/bench.h"

#define FILES_IN_DIRECTORY 100U
#define DIRECTORIES_IN_DIRECTORY 10U
#define SIZE_STEPS 9U	      /* sizes from one unit to 2^8 of them, each step as likely */
#define MEAN_BYTES_MAX 131072 /* in the mean; the largest file has some seven times as much */
#define NAMES_PER_FILE 50000U /* below ext4's limit of 65,000 */

struct tree {
	const char *root;
	unsigned long files;
	unsigned long mean_bytes;
	unsigned long version;
	unsigned long only;
	bool hard_links;
	bool empty;
	char *buffer;
	size_t capacity;
};

static bool tree_parse(int argc, char **argv, struct tree *tree)
{
	static const struct option options[] = {
		{ "mean-bytes", required_argument, NULL, 'm' }, { "version", required_argument, NULL, 'v' },
		{ "only", required_argument, NULL, 'o' },	{ "hard-links", no_argument, NULL, 'l' },
		{ "empty", no_argument, NULL, 'e' },		{ 0 },
	};
	int option;

	*tree = (struct tree){ .mean_bytes = 64, .version = 1 };
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'm':
			tree->mean_bytes = bench_number(optarg);
			break;
		case 'v':
			tree->version = bench_number(optarg);
			break;
		case 'o':
			tree->only = bench_number(optarg);
			break;
		case 'l':
			tree->hard_links = true;
			break;
		case 'e':
			tree->empty = true;
			break;
		default:
			return false;
		}
	}
	if (argc - optind != 2)
		return false;
	tree->root = argv[optind];
	tree->files = bench_number(argv[optind + 1]);
	if (tree->only == 0)
		tree->only = tree->files;
	return tree->files > 0 && tree->mean_bytes > 0 && tree->mean_bytes <= MEAN_BYTES_MAX && tree->only <= tree->files;
}

static size_t file_size(const struct tree *tree, unsigned long number)
{
	uint64_t state = 0x9e3779b97f4a7c15U * (number + 1);
	/* The mean of the steps is (2^9 - 1) / 9 units, and half as much again is added at random. */
	uint64_t unit = tree->mean_bytes * SIZE_STEPS * 2 / (((1U << SIZE_STEPS) - 1) * 3);
	uint64_t size;

	if (unit < 8)
		return tree->mean_bytes;
	size = unit << (bench_random(&state) % SIZE_STEPS);
	return (size_t)(size + bench_random(&state) % size);
}

static size_t file_fill(struct tree *tree, unsigned long number)
{
	static const char *const syllables[] = { "ver", "ta", "lo", "mi", "struct ", "re", "con", "int ",
						 "ne", "di", "= ",   "; \n", "par", "or", "us ",  "en" };
	size_t size = file_size(tree, number), len;
	uint64_t state = 0x2545f4914f6cdd1dU * (number * 64 + tree->version + 1);

	len = (size_t)snprintf(tree->buffer, tree->capacity, "version %lu file %lu\n", tree->version, number);
	while (len < size) {
		uint64_t bits = bench_random(&state);
		const char *word = syllables[bits & 15];

		if (number % 2 == 1 && (bits >> 4) % 4 == 0) {
			memcpy(tree->buffer + len, &bits, sizeof bits);
			len += sizeof bits;
			continue;
		}
		memcpy(tree->buffer + len, word, strlen(word));
		len += strlen(word);
	}
	return len;
}

static void directory_make(const struct tree *tree, unsigned long directory)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/d%04lu", tree->root, directory / DIRECTORIES_IN_DIRECTORY);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		bench_fail(errno, "%s", path);
	snprintf(path, sizeof path, "%s/d%04lu/s%lu", tree->root, directory / DIRECTORIES_IN_DIRECTORY,
		 directory % DIRECTORIES_IN_DIRECTORY);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		bench_fail(errno, "%s", path);
}

static void file_path(const struct tree *tree, unsigned long number, char *path, size_t size)
{
	unsigned long directory = number / FILES_IN_DIRECTORY;

	snprintf(path, size, "%s/d%04lu/s%lu/f%06lu", tree->root, directory / DIRECTORIES_IN_DIRECTORY,
		 directory % DIRECTORIES_IN_DIRECTORY, number);
}

static void file_make(struct tree *tree, unsigned long number)
{
	unsigned long first = number - number % NAMES_PER_FILE;
	char path[4096], original[4096];
	size_t len;
	int r;

	file_path(tree, number, path, sizeof path);
	if (tree->hard_links && number != first) {
		file_path(tree, first, original, sizeof original);
		if (link(original, path) < 0)
			bench_fail(errno, "%s", path);
		return;
	}
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		bench_fail(errno, "%s", path);
	if (tree->empty)
		return;
	len = file_fill(tree, number);
	r = io_write(fd, tree->buffer, len);
	if (r < 0)
		bench_fail(-r, "%s", path);
}

int main(int argc, char **argv)
{
	unsigned long last = (unsigned long)-1;
	struct tree tree;

	if (!tree_parse(argc, argv, &tree)) {
		fprintf(stderr, "usage: bench_tree DIR FILES [--mean-bytes N] [--version V] [--only K] [--hard-links] "
				"[--empty]\n");
		return 2;
	}
	tree.capacity = (size_t)16 * MEAN_BYTES_MAX;
	tree.buffer = malloc(tree.capacity);
	if (!tree.buffer || (mkdir(tree.root, 0755) < 0 && errno != EEXIST))
		bench_fail(errno, "%s", tree.root);
	for (unsigned long i = 0; i < tree.only; i++) {
		unsigned long number = (unsigned long)((uint64_t)i * tree.files / tree.only);

		if (number / FILES_IN_DIRECTORY != last)
			directory_make(&tree, last = number / FILES_IN_DIRECTORY);
		file_make(&tree, number);
	}
	free(tree.buffer);
	return 0;
}
