/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

#include "store/baseline_queue.h"

typedef struct base_queue *base_queue_pointer;
#define queue_auto __attribute__((cleanup(queue_release))) base_queue_pointer

static void queue_release(base_queue_pointer *queue)
{
	base_queue_free(*queue);
}

static bool add(struct base_queue *queue, int basefd, const char *path)
{
	cleanup_source_entry struct source_entry entry = SOURCE_ENTRY_INIT;

	must_pass(source_entry_find(basefd, path, &entry, &err));
	if (base_queue_full(queue, &entry))
		return false;
	must_pass(base_queue_add(queue, &entry, path, &err));
	cr_assert_eq(entry.fd >= 0, S_ISDIR(entry.st.st_mode), "the descriptor of '%s'", path);
	return true;
}

static void expect_content(const struct base_item *item, const char *wanted)
{
	cr_assert_eq(item->content.size, strlen(wanted), "'%s': %zu bytes", item->path, item->content.size);
	cr_assert_arr_eq(item->content.data, wanted, strlen(wanted));
}

Test(baseline_queue, items_are_read_in_their_order)
{
	bench_auto bench = bench_make();
	queue_auto queue = base_queue_new();
	cleanup_close int fd = -EBADF;

	bench_run(&bench, "mkdir -p base/d; cd base; echo a > a; ln -s a l; mkfifo p; : > e");
	fd = bench_open(&bench, "base");
	cr_assert(add(queue, fd, "a") && add(queue, fd, "d") && add(queue, fd, "e") && add(queue, fd, "l") && add(queue, fd, "p"));
	base_queue_start(queue);
	must_pass(base_queue_finish(queue, &err));
	cr_assert_eq(queue->count, 5);
	expect_content(&queue->items[0], "a\n");
	expect_content(&queue->items[3], "a");
	for (size_t i = 0; i < queue->count; i++) {
		const struct base_item *item = &queue->items[i];

		cr_assert_eq(item->entry.fd, -EBADF, "'%s' is open", item->path);
		cr_assert_gt(item->meta.size, 0, "'%s' has no metadata", item->path);
		cr_assert_eq(item->path[0], "adelp"[i]);
	}
	base_queue_clear(queue);
	cr_assert_eq(queue->count, 0);
	must_pass(base_queue_finish(queue, &err)); /* not started: nothing to finish */
}

Test(baseline_queue, is_full_by_items_and_by_bytes)
{
	bench_auto bench = bench_make();
	queue_auto queue = base_queue_new();
	cleanup_close int fd = -EBADF;
	size_t count = 0;

	bench_run(&bench, "mkdir base; cd base; echo s > small; truncate -s 5M five; truncate -s 3M three; truncate -s 9M nine");
	fd = bench_open(&bench, "base");
	while (add(queue, fd, "small"))
		count++;
	cr_assert_eq(count, BASE_QUEUE_ITEMS);
	base_queue_clear(queue);
	cr_assert(add(queue, fd, "five"));
	cr_assert(!add(queue, fd, "five"));
	cr_assert(add(queue, fd, "three"));
	cr_assert(!add(queue, fd, "small"));
	base_queue_clear(queue);
	cr_assert(add(queue, fd, "nine"), "one that is larger than the queue comes alone");
	cr_assert(!add(queue, fd, "small"));
}

/* To write to a file that waits is no change of a file while it is read. */
Test(baseline_queue, an_item_is_read_as_it_is_when_its_turn_comes)
{
	static const char *const scripts[] = { "echo longer text > base/f", "echo x > base/f", ": > base/f" };
	static const char *const wanted[] = { "longer text\n", "x\n", "" };

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		bench_auto bench = bench_make();
		queue_auto queue = base_queue_new();
		cleanup_close int fd = -EBADF;

		bench_run(&bench, "mkdir base; echo text > base/f");
		fd = bench_open(&bench, "base");
		cr_assert(add(queue, fd, "f"));
		bench_run(&bench, scripts[i]);
		base_queue_start(queue);
		must_pass(base_queue_finish(queue, &err));
		expect_content(&queue->items[0], wanted[i]);
		cr_assert_eq(queue->items[0].entry.st.st_size, (off_t)strlen(wanted[i]));
	}
}

/* The files "10" to "99". */
static void add_numbers(struct base_queue *queue, int basefd)
{
	for (unsigned number = 10; number <= 99; number++) {
		char name[16];

		snprintf(name, sizeof name, "%u", number);
		cr_assert(add(queue, basefd, name));
	}
}

Test(baseline_queue, the_first_item_that_fails_is_named)
{
	bench_auto bench = bench_make();
	queue_auto queue = base_queue_new();
	cleanup_close int fd = -EBADF;

	bench_run(&bench, "mkdir base; cd base; for i in $(seq 10 99); do echo $i > $i; done");
	fd = bench_open(&bench, "base");
	add_numbers(queue, fd);
	bench_run(&bench, "truncate -s 5G base/51 base/52 base/80");
	base_queue_start(queue);
	must_fail(-EFBIG, "'51' is larger", base_queue_finish(queue, &err));
	for (size_t i = 0; i < 41; i++)
		cr_assert_eq(queue->items[i].entry.fd, -EBADF, "'%s' was not read", queue->items[i].path);
}

Test(baseline_queue, clearing_ends_what_was_started)
{
	bench_auto bench = bench_make();
	queue_auto queue = base_queue_new();
	cleanup_close int fd = -EBADF;

	bench_run(&bench, "mkdir base; cd base; for i in $(seq 10 99); do echo $i > $i; done");
	fd = bench_open(&bench, "base");
	for (unsigned round = 0; round < 50; round++) {
		add_numbers(queue, fd);
		base_queue_start(queue);
		base_queue_clear(queue);
		cr_assert(queue->count == 0 && !queue->started, "round %u", round);
	}
}
