/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * A reference counts units of 16 bytes from the start of the mapping. Page 0 is never used. The
 * first unit of a page is its header.
 */
#define PAGE_BYTES 4096u
#define UNIT 16u
#define UNITS_PER_PAGE (PAGE_BYTES / UNIT)

static const uint16_t class_bytes[] = { 16, 32, 48, 64, 96, 128, 192, 256, 272, 512, 1024 };
#define CLASS_COUNT (sizeof class_bytes / sizeof class_bytes[0])

struct page_header {
	uint32_t next, previous; /* page numbers in the list of pages with room of this class; 0: none */
	uint16_t used;		 /* slots */
	uint16_t first_free;	 /* unit within the page; 0: none (then take a fresh one) */
	uint16_t fresh;		 /* first unit never handed out */
	uint16_t class_index;
};

struct arena {
	uint8_t *base;
	uint32_t page_count;  /* of the mapping */
	uint32_t page_fresh;  /* first page never used */
	uint32_t *free_pages; /* stack of page numbers given back */
	size_t free_count, free_alloc;
	uint32_t with_room[CLASS_COUNT]; /* heads of the lists */
};

struct arena *arena_new(size_t capacity)
{
	struct arena *arena = calloc(1, sizeof *arena);

	if (!arena)
		return NULL;
	arena->base = mmap(NULL, capacity, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena->base == MAP_FAILED) {
		free(arena);
		return NULL;
	}
	arena->page_count = (uint32_t)(capacity / PAGE_BYTES);
	arena->page_fresh = 1;
	return arena;
}

void arena_free_all(struct arena *arena)
{
	if (!arena)
		return;
	munmap(arena->base, (size_t)arena->page_count * PAGE_BYTES);
	free(arena->free_pages);
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
	else if (arena->page_fresh < arena->page_count)
		page = arena->page_fresh++;
	else
		return 0;
	header = page_at(arena, page);
	memset(header, 0, sizeof *header);
	header->class_index = (uint16_t)class_index;
	header->fresh = sizeof *header / UNIT + (sizeof *header % UNIT != 0);
	list_push(arena, page);
	return page;
}

static void page_return(struct arena *arena, uint32_t page)
{
	list_drop(arena, page);
	if (arena->free_count == arena->free_alloc) {
		size_t alloc = arena->free_alloc ? arena->free_alloc * 2 : 256;
		uint32_t *grown = realloc(arena->free_pages, alloc * sizeof *grown);

		/* Without room to note it the page stays in its class, empty: usable, not lost. */
		if (!grown) {
			list_push(arena, page);
			return;
		}
		arena->free_pages = grown;
		arena->free_alloc = alloc;
	}
	madvise(page_at(arena, page), PAGE_BYTES, MADV_REMOVE);
	arena->free_pages[arena->free_count++] = page;
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
	if (!header->used)
		page_return(arena, page);
}

void *arena_at(struct arena *arena, uint32_t reference)
{
	return arena->base + (size_t)reference * UNIT;
}
