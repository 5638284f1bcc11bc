/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * A reference counts units of 16 bytes from the start of the region. Page 0 has the region's header alone. The first unit of a
 * page is its header, of which the class alone is a fact: it is written before the page's first reference is given to anybody, and stays
 * until none is in use.
 */
#define PAGE_BYTES 4096u
#define UNIT 16u
#define UNITS_PER_PAGE (PAGE_BYTES / UNIT)
#define MARK_WORDS (UNITS_PER_PAGE / 64)

static const uint16_t class_bytes[] = { 16, 32, 48, 64, 96, 128, 192, 256, 272, 512, 1024 };
#define CLASS_COUNT (sizeof class_bytes / sizeof class_bytes[0])

struct region_header {
	uint32_t page_fresh; /* first page never used */
};

struct page_header {
	uint32_t next, previous; /* page numbers in the list of pages with room of this class; 0: none */
	uint16_t used;		 /* slots */
	uint16_t first_free;	 /* unit within the page; 0: none (then take a fresh one) */
	uint16_t fresh;		 /* first unit never handed out */
	uint16_t class_index;
};
_Static_assert(sizeof(struct page_header) == UNIT, "the header of a page is its first unit");

struct arena {
	struct shared *shared;
	enum shared_region region;
	uint8_t *base;
	struct region_header *header;
	uint32_t page_count;  /* of the region */
	uint32_t *free_pages; /* stack of page numbers given back */
	size_t free_count, free_alloc;
	uint32_t with_room[CLASS_COUNT]; /* heads of the lists */
	uint64_t (*marks)[MARK_WORDS];	 /* of each page, which units are in use; while it recovers */
	size_t marks_alloc;
};

struct arena *arena_new(struct shared *shared, enum shared_region region, size_t capacity)
{
	struct arena *arena = calloc(1, sizeof *arena);

	if (!arena)
		return NULL;
	arena->shared = shared;
	arena->region = region;
	arena->base = shared->at[region];
	arena->header = (struct region_header *)arena->base;
	arena->page_count = (uint32_t)((capacity < shared_size(region) ? capacity : shared_size(region)) / PAGE_BYTES);
	if (!arena->header->page_fresh)
		arena->header->page_fresh = 1;
	return arena;
}

void arena_free_all(struct arena *arena)
{
	if (!arena)
		return;
	free(arena->free_pages);
	free(arena->marks);
	free(arena);
}

static struct page_header *page_at(struct arena *arena, uint32_t page)
{
	return (struct page_header *)(arena->base + (size_t)page * PAGE_BYTES);
}

static size_t class_for(size_t size)
{
	size_t i = 0;

	while (i < CLASS_COUNT && class_bytes[i] < size)
		i++;
	return i;
}

static void list_push(struct arena *arena, uint32_t page)
{
	struct page_header *header = page_at(arena, page);
	uint32_t *head = &arena->with_room[header->class_index];

	header->previous = 0;
	header->next = *head;
	if (*head)
		page_at(arena, *head)->previous = page;
	*head = page;
}

static void list_drop(struct arena *arena, uint32_t page)
{
	struct page_header *header = page_at(arena, page);

	if (header->previous)
		page_at(arena, header->previous)->next = header->next;
	else
		arena->with_room[header->class_index] = header->next;
	if (header->next)
		page_at(arena, header->next)->previous = header->previous;
	header->next = header->previous = 0;
}

static bool page_has_room(const struct page_header *header)
{
	return header->first_free ||
		header->fresh + class_bytes[header->class_index] / UNIT <= UNITS_PER_PAGE;
}

static uint32_t page_take(struct arena *arena, size_t class_index)
{
	uint32_t page;
	struct page_header *header;

	if (arena->free_count)
		page = arena->free_pages[--arena->free_count];
	else if (arena->header->page_fresh < arena->page_count)
		page = arena->header->page_fresh++;
	else
		return 0;
	header = page_at(arena, page);
	memset(header, 0, sizeof *header);
	header->class_index = (uint16_t)class_index;
	header->fresh = 1;
	list_push(arena, page);
	return page;
}

/* PAGE has no slot in use, and is in no list. false: there is no room to note it. */
static bool page_give_back(struct arena *arena, uint32_t page)
{
	if (arena->free_count == arena->free_alloc) {
		size_t alloc = arena->free_alloc ? arena->free_alloc * 2 : 256;
		uint32_t *grown = realloc(arena->free_pages, alloc * sizeof *grown);

		if (!grown)
			return false;
		arena->free_pages = grown;
		arena->free_alloc = alloc;
	}
	shared_discard(arena->shared, arena->region, (size_t)page * PAGE_BYTES, PAGE_BYTES);
	arena->free_pages[arena->free_count++] = page;
	return true;
}

uint32_t arena_alloc(struct arena *arena, size_t size)
{
	size_t class_index = class_for(size);
	struct page_header *header;
	uint32_t page, unit;

	if (class_index == CLASS_COUNT)
		return 0;
	page = arena->with_room[class_index];
	if (!page)
		page = page_take(arena, class_index);
	if (!page)
		return 0;
	header = page_at(arena, page);
	if (header->first_free) {
		unit = header->first_free;
		memcpy(&header->first_free, (uint8_t *)header + unit * UNIT, sizeof header->first_free);
	} else {
		unit = header->fresh;
		header->fresh = (uint16_t)(unit + class_bytes[class_index] / UNIT);
	}
	header->used++;
	if (!page_has_room(header))
		list_drop(arena, page);
	return page * UNITS_PER_PAGE + unit;
}

void arena_release(struct arena *arena, uint32_t reference)
{
	uint32_t page = reference / UNITS_PER_PAGE, unit = reference % UNITS_PER_PAGE;
	struct page_header *header = page_at(arena, page);
	bool listed = page_has_room(header);

	memcpy((uint8_t *)header + unit * UNIT, &header->first_free, sizeof header->first_free);
	header->first_free = (uint16_t)unit;
	header->used--;
	if (!listed)
		list_push(arena, page);
	if (header->used)
		return;
	list_drop(arena, page);
	/* Else it stays in its class, empty: usable, not lost. */
	if (!page_give_back(arena, page))
		list_push(arena, page);
}

/* ---- after a crash ---- */

/* Room to mark what is in page PAGE. */
static bool marks_grow(struct arena *arena, uint32_t page)
{
	size_t alloc = arena->marks_alloc ? arena->marks_alloc : 1024;
	void *grown;

	while (alloc <= page)
		alloc *= 2;
	if (alloc == arena->marks_alloc)
		return true;
	grown = reallocarray(arena->marks, alloc, sizeof *arena->marks);
	if (!grown)
		return false;
	arena->marks = grown;
	memset(arena->marks + arena->marks_alloc, 0, (alloc - arena->marks_alloc) * sizeof *arena->marks);
	arena->marks_alloc = alloc;
	return true;
}

bool arena_mark(struct arena *arena, uint32_t reference)
{
	uint32_t page = reference / UNITS_PER_PAGE, unit = reference % UNITS_PER_PAGE, units;
	const struct page_header *header;
	uint64_t *word, bit = 1ull << unit % 64;

	if (!page || !unit || page >= arena->header->page_fresh || page >= arena->page_count)
		return false;
	header = page_at(arena, page);
	if (header->class_index >= CLASS_COUNT)
		return false;
	units = class_bytes[header->class_index] / UNIT;
	if ((unit - 1) % units != 0 || unit + units > UNITS_PER_PAGE || !marks_grow(arena, page))
		return false;
	word = &arena->marks[page][unit / 64];
	if (*word & bit)
		return false;
	*word |= bit;
	return true;
}

void arena_unmark(struct arena *arena, uint32_t reference)
{
	uint32_t unit = reference % UNITS_PER_PAGE;

	arena->marks[reference / UNITS_PER_PAGE][unit / 64] &= ~(1ull << unit % 64);
}

/* The page's free slots are a list from the first to the last. */
static void page_recover(struct arena *arena, uint32_t page)
{
	struct page_header *header = page_at(arena, page);
	uint16_t units = class_bytes[header->class_index] / UNIT, *link = &header->first_free;

	header->used = 0;
	header->next = header->previous = 0;
	for (uint16_t unit = 1; unit + units <= UNITS_PER_PAGE; unit = (uint16_t)(unit + units)) {
		header->fresh = (uint16_t)(unit + units);
		if (arena->marks[page][unit / 64] & 1ull << unit % 64) {
			header->used++;
		} else {
			*link = unit;
			link = (uint16_t *)((uint8_t *)header + unit * UNIT);
		}
	}
	*link = 0;
	if (page_has_room(header))
		list_push(arena, page);
}

static bool is_marked(const struct arena *arena, uint32_t page)
{
	uint64_t any = 0;

	for (unsigned i = 0; page < arena->marks_alloc && i < MARK_WORDS; i++)
		any |= arena->marks[page][i];
	return any != 0;
}

int arena_recover(struct arena *arena)
{
	for (uint32_t page = 1; page < arena->header->page_fresh; page++) {
		if (is_marked(arena, page))
			page_recover(arena, page);
		else if (!page_give_back(arena, page))
			return -ENOMEM;
	}
	free(arena->marks);
	arena->marks = NULL;
	arena->marks_alloc = 0;
	return 0;
}

void *arena_at(struct arena *arena, uint32_t reference)
{
	return arena->base + (size_t)reference * UNIT;
}
