/* SPDX-License-Identifier: Apache-2.0 */
/* The node table: taken over from a process that was killed between any two stores. */
#include "fs/node_internal.h"

#include <errno.h>
#include <fcntl.h>

/* Each slot whose id is its own is a node; all else is free. */
static void find_nodes(struct node_table *table)
{
	uint32_t pages = table->header->page_end < PAGE_MAX ? table->header->page_end : PAGE_MAX;

	for (uint32_t page = 0; page < pages; page++) {
		for (uint32_t i = 0; i < SLOTS_PER_PAGE; i++) {
			struct node *node = &table->slots[page * SLOTS_PER_PAGE + i];
			uint32_t slot = node_slot(table, node);

			/* Slot 0 is the header. */
			if (slot && node->id && ((node->id & SLOT_MASK) == slot)) {
				node->children = node->next = 0;
				node->flags &= (uint16_t)~NODE_WATCHED;
				table->pages[page] |= 1ull << i;
				table->used++;
				if (node->id >> NODE_SLOT_BITS > table->header->sequence)
					SHARED_PUBLISH(table->header->sequence, node->id >> NODE_SLOT_BITS);
			}
		}
	}
}

static bool is_node(const struct node_table *table, uint32_t slot)
{
	return slot < SLOT_MAX && table->pages[slot / SLOTS_PER_PAGE] & 1ull << slot % SLOTS_PER_PAGE;
}

static bool mark_handle(struct node_table *table, const struct node *node)
{
	const struct file_handle *handle = arena_at(table->names, node->handle);

	return arena_mark(table->names, node->handle) && handle->handle_bytes <= ARENA_ITEM_MAX - sizeof *handle;
}

/* Its name, content and handle are in use. false: it is no whole node. */
static bool mark(struct node_table *table, struct node *node, int *ret)
{
	if (!is_node(table, node->parent) || table->slots[node->parent].type != S_IFDIR >> 12 || !arena_mark(table->names, node->name))
		return false;
	if (node->handle && !mark_handle(table, node))
		SHARED_PUBLISH(node->handle, 0);
	if (!node->content)
		return true;
	*ret = node_contents_recover(table->contents, node->content);
	return *ret == 0;
}

static void chain(struct node_table *table, struct node *node)
{
	uint32_t *bucket = &table->buckets[node_bucket_of(table, &node->key)];

	node->next = *bucket;
	*bucket = node_slot(table, node);
	table->view_directories += node->content && node->type == S_IFDIR >> 12;
	if (node->id != NODE_ROOT)
		table->slots[node->parent].children++;
}

/* FN for each node but the root. */
static int each_node(struct node_table *table, int (*fn)(struct node_table *table, struct node *node))
{
	int r = 0;

	for (uint32_t page = 0; page < table->header->page_end && r == 0; page++) {
		for (uint64_t left = table->pages[page] & ~(page ? 0ull : 3ull); left && r == 0; left &= left - 1)
			r = fn(table, &table->slots[page * SLOTS_PER_PAGE + (uint32_t)__builtin_ctzll(left)]);
	}
	return r;
}

static int take_over(struct node_table *table, struct node *node)
{
	uint32_t slot = node_slot(table, node);
	int r = 0;

	if (mark(table, node, &r)) {
		chain(table, node);
		return 0;
	}
	if (r == -ENOMEM)
		return r;
	/* Nothing that we have stored: whoever asks for it is told that it is stale. */
	SHARED_PUBLISH(node->id, 0);
	table->pages[slot / SLOTS_PER_PAGE] &= ~(1ull << slot % SLOTS_PER_PAGE);
	table->used--;
	return 0;
}

/* A birth that was not counted yet, or a death that had not happened yet. */
static int reap_unused(struct node_table *table, struct node *node)
{
	if (node->id) /* else it went with a child */
		node_reap(table, node);
	return 0;
}

static void discard_empty_pages(struct node_table *table)
{
	uint32_t begin = 0;

	for (uint32_t page = 0; page <= table->header->page_end; page++) {
		if (page < table->header->page_end && !table->pages[page])
			continue;
		if (page > begin)
			shared_discard(table->shared, SHARED_NODES, (size_t)begin * SLOTS_PER_PAGE * sizeof(struct node),
				(size_t)(page - begin) * SLOTS_PER_PAGE * sizeof(struct node));
		begin = page + 1;
	}
}

static bool lives(void *arg, uint64_t id)
{
	return node_by_id(arg, id) != NULL;
}

int node_table_recover(struct node_table *table, const struct node_key *root)
{
	const struct node *first = &table->slots[1];
	int r;

	if (first->id != NODE_ROOT || first->key.high != root->high || first->key.low != root->low)
		return -EIO;
	table->pages[0] = 1; /* slot 0 is no slot */
	find_nodes(table);
	while (table->bucket_count < table->used && table->bucket_count < SLOT_MAX)
		table->bucket_count *= 2;
	chain(table, &table->slots[1]);
	r = each_node(table, take_over);
	if (r == 0)
		r = aliases_recover(table->aliases, lives, table);
	if (r == 0)
		r = arena_recover(table->names);
	if (r < 0)
		return r;
	each_node(table, reap_unused);
	discard_empty_pages(table);
	return 0;
}
