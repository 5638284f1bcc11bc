/* SPDX-License-Identifier: Apache-2.0 */
/* The node table: paths, walks and lists. */
#include "fs/node_internal.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

int node_path_add(const struct node_table *table, const struct node *node, struct strbuf *sb)
{
	const struct node *at;
	size_t length = 0, start = sb->len;
	char *end;

	for (at = node; at->id != NODE_ROOT; at = &table->slots[at->parent])
		length += strlen(arena_at(table->names, at->name)) + 1;
	if (!length)
		return 0;
	length--; /* no slash in front */
	if (strbuf_grow(sb, length) < 0)
		return -ENOMEM;
	sb->len = start + length;
	end = sb->buf + sb->len;
	*end = '\0';
	for (at = node; at->id != NODE_ROOT; at = &table->slots[at->parent]) {
		const char *name = arena_at(table->names, at->name);
		size_t n = strlen(name);

		end -= n;
		memcpy(end, name, n);
		if (end > sb->buf + start)
			*--end = '/';
	}
	return 0;
}

int node_name(struct node_table *table, uint64_t id, uint64_t *ret_parent, char ret[NAME_MAX + 1])
{
	SCOPED_LOCK(&table->lock);
	const struct node *node = node_by_id(table, id);

	if (!node || id == NODE_ROOT || node->flags & NODE_PINNED)
		return -ESTALE;
	if (node->content)
		return -ENOENT;
	*ret_parent = table->slots[node->parent].id;
	snprintf(ret, NAME_MAX + 1, "%s", (const char *)arena_at(table->names, node->name));
	return 0;
}

int node_path(struct node_table *table, uint64_t id, struct strbuf *sb)
{
	SCOPED_LOCK(&table->lock);
	const struct node *node = node_by_id(table, id);

	return node ? node_path_add(table, node, sb) : -ESTALE;
}

/* The first slot in use at or behind SLOT; 0: there is none. */
static uint32_t slot_next(const struct node_table *table, uint32_t slot)
{
	for (uint32_t page = slot / SLOTS_PER_PAGE; page < table->header->page_end; page++) {
		uint64_t used = table->pages[page];

		if (page == slot / SLOTS_PER_PAGE)
			used &= UINT64_MAX << slot % SLOTS_PER_PAGE;
		if (used)
			return page * SLOTS_PER_PAGE + (uint32_t)__builtin_ctzll(used);
	}
	return 0;
}

int node_walk(struct node_table *table, uint32_t *slot, struct node_met *ret, struct strbuf *path)
{
	SCOPED_LOCK(&table->lock);
	/* The first two are no slot and the root. */
	uint32_t next = slot_next(table, *slot < 2 ? 2 : *slot);
	const struct node *node = &table->slots[next];

	if (!next)
		return 0;
	*slot = next + 1;
	*ret = (struct node_met){ .id = node->id, .parent = table->slots[node->parent].id,
		.type = (mode_t)node->type << 12, .patched = node->content != 0,
		.pinned = node->flags & NODE_PINNED };
	strbuf_reset(path);
	return node_path_add(table, node, path) < 0 ? -ENOMEM : 1;
}

/* ---- all names ---- */

static int list_add(struct node_list *list, uint64_t parent, const char *name, const struct node *node, bool alias)
{
	if (list->count == list->alloc) {
		size_t alloc = list->alloc ? list->alloc * 2 : 1024;
		struct node_named *grown = realloc(list->names, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		list->names = grown;
		list->alloc = alloc;
	}
	list->names[list->count++] = (struct node_named){ .id = node->id, .parent = parent, .key = node->key,
		.name = list->text.len, .type = (mode_t)node->type << 12, .patched = node->content != 0, .alias = alias };
	strbuf_add(&list->text, name, strlen(name) + 1);
	return strbuf_failed(&list->text) ? -ENOMEM : 0;
}

struct listing {
	struct node_table *table;
	struct node_list *list;
	bool (*wanted)(void *arg, uint64_t parent, const char *name);
	void *arg;
};

static int list_one(const struct listing *listing, uint64_t parent, const char *name, const struct node *node, bool alias)
{
	if (listing->wanted && !listing->wanted(listing->arg, parent, name))
		return 0;
	return list_add(listing->list, parent, name, node, alias);
}

static int list_alias(void *arg, uint64_t id, uint64_t parent, const char *name)
{
	const struct listing *listing = arg;

	return list_one(listing, parent, name, node_by_id(listing->table, id), true);
}

/* So many slots are looked at before the lock is given to whoever waits. */
#define LIST_SLOTS 2048u

static int list_slots(const struct listing *listing, uint32_t *slot)
{
	struct node_table *table = listing->table;
	SCOPED_LOCK(&table->lock);
	int r = 0;

	for (unsigned i = 0; i < LIST_SLOTS && *slot && r == 0; i++) {
		const struct node *node;

		*slot = slot_next(table, *slot);
		if (!*slot)
			return 0;
		node = &table->slots[*slot];
		if (!(node->flags & NODE_PINNED))
			r = list_one(listing, table->slots[node->parent].id, arena_at(table->names, node->name), node, false);
		++*slot;
	}
	return r;
}

static int list_aliases(struct listing *listing)
{
	SCOPED_LOCK(&listing->table->lock);

	return aliases_each(listing->table->aliases, list_alias, listing);
}

int node_list_names(struct node_table *table, bool (*wanted)(void *arg, uint64_t parent, const char *name), void *arg,
	struct node_list *ret)
{
	struct listing listing = { table, ret, wanted, arg };
	uint32_t slot = 2; /* the first two are no slot and the root */
	int r = 0;

	while (slot && r == 0)
		r = list_slots(&listing, &slot);
	return r < 0 ? r : list_aliases(&listing);
}

void node_list_release(struct node_list *list)
{
	free(list->names);
	strbuf_release(&list->text);
	list->names = NULL;
	list->count = list->alloc = 0;
}

