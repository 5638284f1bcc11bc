/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/tools/block_recorder/log.h"
#include "tests/tools/block_recorder/verbs.h"

#define MARK_MAX 200

struct cuts {
	size_t between;
	struct random random;
	char mark[MARK_MAX];
	size_t run_begin; /* index of the first record since the last flush or mark */
};

static void print_cut(const struct cuts *cuts, size_t index, const char *kind)
{
	printf("%zu %s %s\n", index, kind, cuts->mark);
}

/* The run of writes that ends at END. */
static void print_between(struct cuts *cuts, size_t end)
{
	size_t length = end - cuts->run_begin;

	for (size_t i = 0; length > 1 && i < cuts->between; i++)
		print_cut(cuts, cuts->run_begin + 1 + random_next(&cuts->random) % (length - 1), "between");
}

static void take_mark(struct cuts *cuts, const struct log_cursor *cursor)
{
	size_t size = cursor->record->size < MARK_MAX ? cursor->record->size : MARK_MAX - 1;

	memcpy(cuts->mark, cursor->data, size);
	cuts->mark[size] = '\0';
}

static void take_record(struct cuts *cuts, const struct log_cursor *cursor)
{
	const bool flush = cursor->record->kind == RECORD_FLUSH;

	if (!flush && cursor->record->kind != RECORD_MARK)
		return;
	print_between(cuts, cursor->index);
	if (flush)
		print_cut(cuts, cursor->index, "before-flush");
	else
		take_mark(cuts, cursor);
	print_cut(cuts, cursor->index + 1, flush ? "after-flush" : "mark");
	cuts->run_begin = cursor->index + 1;
}

int verb_cuts(const char *path, size_t between, uint64_t seed)
{
	struct cuts cuts = { .between = between, .random = { seed }, .mark = "-" };
	struct log_cursor cursor = { 0 };
	struct log log;
	int r = log_open(path, &log);

	if (r < 0)
		return complain(-r, "read '%s'", path);
	while (log_next(&log, &cursor))
		take_record(&cuts, &cursor);
	log_close(&log);
	return 0;
}

static void print_record(const struct log_cursor *cursor)
{
	const struct record *record = cursor->record;

	printf("%zu ", cursor->index);
	if (record->kind == RECORD_FLUSH)
		printf("flush\n");
	else if (record->kind == RECORD_MARK)
		printf("mark %.*s\n", (int)record->size, (const char *)cursor->data);
	else
		printf("%s %llu %llu\n", record->kind == RECORD_WRITE ? "write" : "zero", (unsigned long long)record->offset,
			(unsigned long long)record->length);
}

int verb_list(const char *path)
{
	struct log_cursor cursor = { 0 };
	struct log log;
	int r = log_open(path, &log);

	if (r < 0)
		return complain(-r, "read '%s'", path);
	while (log_next(&log, &cursor))
		print_record(&cursor);
	log_close(&log);
	return 0;
}
