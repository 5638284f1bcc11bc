/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/resident.h"
#include "tests/unit/support.h"

#include <stdint.h>

#include "fs/arena.h"
#include "store/base/cleanup.h"

#define PAGE 4096u

static void arena_freep(struct arena **arena)
{
	arena_free_all(*arena);
}
#define arena_auto __attribute__((cleanup(arena_freep))) struct arena

/* In regions of this test's process, which are never freed. */
static struct shared *shared;

static struct arena *arena_make(size_t capacity)
{
	shared = shared_new();
	cr_assert(shared);
	return arena_new(shared, SHARED_NAMES, capacity);
}

/* An item that was handed out: SIZE bytes of MARK. */
struct item {
	uint32_t reference;
	size_t size;
	uint8_t mark;
};

static struct item item_new(struct arena *arena, size_t size, uint8_t mark)
{
	struct item item = { arena_alloc(arena, size), size, mark };

	if (item.reference)
		memset(arena_at(arena, item.reference), mark, size);
	return item;
}

static void item_check(struct arena *arena, const struct item *item)
{
	const uint8_t *bytes = arena_at(arena, item->reference);

	/* An assertion is a message to Criterion's runner, also where it holds: not one a byte. */
	for (size_t i = 0; i < item->size; i++) {
		if (bytes[i] != item->mark)
			cr_assert_fail("%zu bytes at %u: byte %zu is %u, not %u", item->size, item->reference, i,
				bytes[i], item->mark);
	}
}

/* As many items of SIZE as there is room for. */
static size_t fill(struct arena *arena, size_t size, uint32_t *references, size_t max)
{
	size_t count = 0;

	while (count < max) {
		uint32_t reference = arena_alloc(arena, size);

		if (!reference)
			break;
		if (references)
			references[count] = reference;
		count++;
	}
	return count;
}

Test(arena, items_of_every_size_keep_their_bytes)
{
	arena_auto *arena = arena_make(64u << 20);
	struct item items[2 * ARENA_ITEM_MAX];
	size_t count = 0;

	for (size_t size = 1; size <= ARENA_ITEM_MAX; size++) {
		items[count++] = item_new(arena, size, (uint8_t)size);
		items[count++] = item_new(arena, size, (uint8_t)~size);
	}
	for (size_t i = 0; i < count; i++) {
		cr_assert_neq(items[i].reference, 0);
		item_check(arena, &items[i]);
	}
	/* Every other one goes; the rest is as it was, also when the room is used again. */
	for (size_t i = 0; i < count; i += 2)
		arena_release(arena, items[i].reference);
	for (size_t i = 0; i < count; i += 2)
		items[i] = item_new(arena, items[i].size, 0x55);
	for (size_t i = 0; i < count; i++)
		item_check(arena, &items[i]);
}

struct size_row {
	size_t size;
	size_t per_page; /* 0: refused */
};

/* One unit of 16 bytes of a page is its header; page 0 is never used. */
Test(arena, room_of_a_page)
{
	static const struct size_row rows[] = {
		{ 0, 255 }, { 1, 255 }, { 16, 255 }, { 17, 127 }, { 32, 127 }, { 33, 85 }, { 48, 85 }, { 49, 63 }, { 64, 63 },
		{ 65, 42 }, { 96, 42 }, { 97, 31 }, { 128, 31 }, { 129, 21 }, { 192, 21 }, { 193, 15 }, { 256, 15 },
		{ 257, 15 }, { 272, 15 }, { 273, 7 }, { 512, 7 }, { 513, 3 }, { 1024, 3 }, { 1025, 0 }, { SIZE_MAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		arena_auto *arena = arena_make(4 * PAGE);
		size_t count = fill(arena, rows[i].size, NULL, 10000);

		cr_expect_eq(count, 3 * rows[i].per_page, "size %zu: %zu items in three pages, not %zu", rows[i].size,
			count, 3 * rows[i].per_page);
	}
}

Test(arena, full_and_usable_again)
{
	arena_auto *arena = arena_make(3 * PAGE);
	uint32_t references[600];
	size_t count = fill(arena, 16, references, ARRAY_SIZE(references));

	cr_assert_eq(count, 510);
	cr_assert_eq(arena_alloc(arena, 16), 0);
	cr_assert_eq(arena_alloc(arena, 1024), 0);
	for (size_t i = 0; i < count; i += 7) {
		arena_release(arena, references[i]);
		cr_assert_eq(arena_alloc(arena, 16), references[i], "the only room there is");
		cr_assert_eq(arena_alloc(arena, 16), 0);
	}
}

Test(arena, pages_change_their_class)
{
	static const size_t sizes[] = { 1, 1024, 48, 512, 272, 16, 192 };
	arena_auto *arena = arena_make(65 * PAGE);
	uint32_t references[64 * 255];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t count = fill(arena, sizes[i], references, ARRAY_SIZE(references));

		cr_assert_geq(count, 64 * 3, "size %zu: only %zu", sizes[i], count);
		/* Odd order: from both ends. */
		for (size_t k = 0; k < count / 2; k++) {
			arena_release(arena, references[k]);
			arena_release(arena, references[count - 1 - k]);
		}
		if (count % 2)
			arena_release(arena, references[count / 2]);
	}
}

Test(arena, freed_pages_go_back_to_the_kernel)
{
	enum { COUNT = 200000 };
	arena_auto *arena = arena_make(64u << 20);
	cleanup_free uint32_t *references = malloc(COUNT * sizeof *references);
	size_t full, empty;

	for (size_t i = 0; i < COUNT; i++)
		references[i] = item_new(arena, 64, 1).reference;
	full = resident_bytes();
	for (size_t i = 0; i < COUNT; i++)
		arena_release(arena, references[i]);
	empty = resident_bytes();
	cr_assert_lt(empty + COUNT * 64 * 3 / 4, full, "%zu bytes resident when full, %zu when empty", full, empty);
}

/* A model: what is handed out keeps its bytes whatever comes and goes around it. */
Test(arena, random_use)
{
	enum { ITEMS = 3000, STEPS = 200000 };
	arena_auto *arena = arena_make(16u << 20);
	cleanup_free struct item *items = calloc(ITEMS, sizeof *items);
	unsigned random = 1;

	for (size_t step = 0; step < STEPS; step++) {
		size_t at = (random = random * 1103515245u + 12345) >> 8, size;

		size = 1 + (at >> 12) % ARENA_ITEM_MAX;
		at %= ITEMS;
		if (items[at].reference) {
			item_check(arena, &items[at]);
			arena_release(arena, items[at].reference);
			items[at].reference = 0;
		} else {
			items[at] = item_new(arena, size, (uint8_t)step);
			cr_assert_neq(items[at].reference, 0);
		}
	}
}

/* What is marked stays as it was, and the rest can be had again. */
Test(arena, taken_over)
{
	enum { COUNT = 5000 };
	static struct item items[COUNT];
	arena_auto *arena = arena_make(4u << 20);
	size_t room;

	for (size_t i = 0; i < COUNT; i++)
		items[i] = item_new(arena, 1 + i * 37 % 500, (uint8_t)i);
	for (size_t i = 0; i < COUNT; i += 5)
		arena_release(arena, items[i].reference);
	room = fill(arena, 200, NULL, SIZE_MAX);
	arena_free_all(arena);
	arena = arena_new(shared, SHARED_NAMES, 4u << 20);
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 5 && !arena_mark(arena, items[i].reference))
			cr_assert_fail("item %zu cannot be marked", i);
	}
	cr_assert_not(arena_mark(arena, items[1].reference), "twice");
	cr_assert_not(arena_mark(arena, items[1].reference + 1) && arena_mark(arena, items[1].reference + 2), "not where one begins");
	cr_assert_not(arena_mark(arena, 0));
	cr_assert_not(arena_mark(arena, UINT32_MAX));
	cr_assert(arena_mark(arena, items[0].reference) || arena_mark(arena, items[5].reference), "what was free may be marked");
	arena_unmark(arena, items[0].reference);
	arena_unmark(arena, items[5].reference);
	cr_assert_eq(arena_recover(arena), 0);
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 5)
			item_check(arena, &items[i]);
	}
	cr_assert_geq(fill(arena, 200, NULL, SIZE_MAX), room, "what nobody has is free");
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 5)
			item_check(arena, &items[i]);
	}
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 5)
			arena_release(arena, items[i].reference);
	}
}
