/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/node_contents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

#define BUCKETS_MIN 64u
#define PACKED_MAX (64u << 20)

/* A piece, and the reference of the next one: 0 for the last. */
struct piece {
	uint32_t next;
	uint32_t size;
	char bytes[];
};
#define PIECE_BYTES (ARENA_ITEM_MAX - sizeof(struct piece))

/* By reference; an open hash table of at most half its places. */
struct place {
	uint32_t reference; /* 0: free */
	struct content *content;
};

struct node_contents {
	struct arena *arena; /* borrowed */
	struct place *places; /* owned; NULL before the first */
	size_t place_count, count;
};

struct node_contents *node_contents_new(struct arena *arena)
{
	struct node_contents *contents = calloc(1, sizeof *contents);

	if (contents)
		contents->arena = arena;
	return contents;
}

void node_contents_free(struct node_contents *contents)
{
	if (!contents)
		return;
	for (size_t i = 0; i < contents->place_count; i++)
		content_unref(contents->places[i].content);
	free(contents->places);
	free(contents);
}

/* ---- the table ---- */

static size_t home_of(const struct node_contents *contents, uint32_t reference)
{
	return (size_t)(reference * 0x9e3779b97f4a7c15ull >> 32) & (contents->place_count - 1);
}

/* Where REFERENCE is, or would be. */
static struct place *place_find(const struct node_contents *contents, uint32_t reference)
{
	size_t i = home_of(contents, reference);

	while (contents->places[i].reference && contents->places[i].reference != reference)
		i = (i + 1) & (contents->place_count - 1);
	return &contents->places[i];
}

static int places_grow(struct node_contents *contents)
{
	struct node_contents grown = *contents;

	grown.place_count = contents->place_count ? contents->place_count * 2 : BUCKETS_MIN;
	grown.places = calloc(grown.place_count, sizeof *grown.places);
	if (!grown.places)
		return -ENOMEM;
	for (size_t i = 0; i < contents->place_count; i++) {
		if (contents->places[i].reference)
			*place_find(&grown, contents->places[i].reference) = contents->places[i];
	}
	free(contents->places);
	*contents = grown;
	return 0;
}

/* CONTENT's count is handed over. */
static int place_add(struct node_contents *contents, uint32_t reference, struct content *content)
{
	if (contents->count * 2 >= contents->place_count && places_grow(contents) < 0)
		return -ENOMEM;
	*place_find(contents, reference) = (struct place){ reference, content };
	contents->count++;
	return 0;
}

/* Those behind it move up, so that none is lost. After Knuth, The Art of Computer Programming, 6.4, algorithm R. */
static void place_remove(struct node_contents *contents, struct place *place)
{
	size_t hole = (size_t)(place - contents->places), mask = contents->place_count - 1;

	for (size_t i = (hole + 1) & mask; contents->places[i].reference; i = (i + 1) & mask) {
		size_t home = home_of(contents, contents->places[i].reference);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			contents->places[hole] = contents->places[i];
			hole = i;
		}
	}
	contents->places[hole] = (struct place){ 0, NULL };
	contents->count--;
}

/* ---- the pieces ---- */

static void pieces_release(struct arena *arena, uint32_t reference)
{
	while (reference) {
		uint32_t next = ((const struct piece *)arena_at(arena, reference))->next;

		arena_release(arena, reference);
		reference = next;
	}
}

/* From the last to the first, which is what is known to others. 0: the arena is full. */
static uint32_t pieces_write(struct arena *arena, const char *bytes, size_t size)
{
	uint32_t next = 0;

	for (size_t begin = (size - 1) / PIECE_BYTES * PIECE_BYTES;; begin -= PIECE_BYTES) {
		size_t length = size - begin < PIECE_BYTES ? size - begin : PIECE_BYTES;
		uint32_t reference = arena_alloc(arena, sizeof(struct piece) + length);
		struct piece *piece = arena_at(arena, reference);

		if (!reference) {
			pieces_release(arena, next);
			return 0;
		}
		piece->next = next;
		piece->size = (uint32_t)length;
		memcpy(piece->bytes, bytes + begin, length);
		next = reference;
		if (!begin)
			return next;
	}
}

uint32_t node_contents_add(struct node_contents *contents, struct content *content)
{
	cleanup_strbuf struct strbuf packed = STRBUF_INIT;
	uint32_t reference;

	content_pack(content, &packed);
	if (strbuf_failed(&packed) || packed.len > PACKED_MAX)
		return 0;
	reference = pieces_write(contents->arena, packed.buf, packed.len);
	if (!reference)
		return 0;
	if (place_add(contents, reference, content) < 0) {
		pieces_release(contents->arena, reference);
		return 0;
	}
	content_ref(content);
	return reference;
}

struct content *node_contents_at(const struct node_contents *contents, uint32_t reference)
{
	return place_find(contents, reference)->content;
}

void node_contents_drop(struct node_contents *contents, uint32_t reference)
{
	struct place *place = place_find(contents, reference);

	content_unref(place->content);
	place_remove(contents, place);
	pieces_release(contents->arena, reference);
}

/* All pieces marked, and their bytes in SB. */
static int pieces_recover(struct arena *arena, uint32_t reference, struct strbuf *sb)
{
	while (reference) {
		const struct piece *piece = arena_at(arena, reference);

		if (!arena_mark(arena, reference) || piece->size > PIECE_BYTES || sb->len > PACKED_MAX)
			return -EIO;
		strbuf_add(sb, piece->bytes, piece->size);
		reference = piece->next;
	}
	return strbuf_failed(sb) ? -ENOMEM : 0;
}

int node_contents_recover(struct node_contents *contents, uint32_t reference)
{
	cleanup_strbuf struct strbuf packed = STRBUF_INIT;
	struct content *content;
	int r = pieces_recover(contents->arena, reference, &packed);

	if (r < 0)
		return r;
	content = content_unpack(packed.buf, packed.len);
	if (!content)
		return -EIO;
	r = place_add(contents, reference, content);
	if (r < 0)
		content_unref(content);
	return r;
}
