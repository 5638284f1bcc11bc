/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/node.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/mailbox.h"
#include "fs/node_internal.h"
#include "store/base/cleanup.h"

static void *reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

struct node_key node_key_of_base(dev_t device, ino_t inode)
{
	return (struct node_key){ .high = (uint64_t)device & ~(1ull << 63), .low = (uint64_t)inode };
}

struct node_key node_key_of_view(const struct hash128 *identity)
{
	struct node_key key;

	memcpy(&key.high, identity->bytes, 8);
	memcpy(&key.low, identity->bytes + 8, 8);
	key.high |= 1ull << 63;
	return key;
}

uint32_t node_bucket_of(const struct node_table *table, const struct node_key *key)
{
	uint64_t mixed = (key->low ^ key->high * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	return (uint32_t)(mixed >> 32) & (table->bucket_count - 1);
}

static bool key_equal(const struct node_key *a, const struct node_key *b)
{
	return a->high == b->high && a->low == b->low;
}

/* The table over regions that were never used: the root alone. */
static void begin(struct node_table *table, const struct node_key *root)
{
	struct node *node = &table->slots[1];

	node->id = NODE_ROOT;
	node->key = *root;
	node->lookups = LOOKUPS_MAX;
	node->type = S_IFDIR >> 12;
	table->buckets[node_bucket_of(table, root)] = 1;
	table->pages[0] = 3; /* slot 0 is no slot */
	table->used = 1;
	table->header->page_end = 1;
	SHARED_PUBLISH(table->header->sequence, 1);
}

int node_table_new(const struct node_key *root, struct shared *shared, struct node_table **ret)
{
	struct node_table *table = calloc(1, sizeof *table);
	int r = 0;

	if (!table)
		return -ENOMEM;
	pthread_mutex_init(&table->lock, NULL);
	table->shared_owned = !shared;
	table->shared = shared ? shared : shared_new();
	if (!table->shared) {
		node_table_free(table);
		return -ENOMEM;
	}
	table->slots = table->shared->at[SHARED_NODES];
	table->header = table->shared->at[SHARED_NODES];
	table->buckets = reserve((size_t)SLOT_MAX * sizeof(uint32_t));
	table->pages = reserve(PAGE_MAX * sizeof(uint64_t));
	table->names = arena_new(table->shared, SHARED_NAMES, shared_size(SHARED_NAMES));
	table->aliases = table->names ? aliases_new(table->shared, table->names) : NULL;
	table->contents = table->names ? node_contents_new(table->names) : NULL;
	if (!table->buckets || !table->pages || !table->aliases || !table->contents) {
		node_table_free(table);
		return -ENOMEM;
	}
	table->bucket_count = BUCKETS_MIN;
	if (table->header->sequence)
		r = node_table_recover(table, root);
	else
		begin(table, root);
	if (r < 0)
		node_table_free(table);
	else
		*ret = table;
	return r;
}

void node_table_free(struct node_table *table)
{
	if (!table)
		return;
	node_contents_free(table->contents);
	aliases_free(table->aliases);
	arena_free_all(table->names);
	if (table->buckets)
		munmap(table->buckets, (size_t)SLOT_MAX * sizeof(uint32_t));
	if (table->pages)
		munmap(table->pages, PAGE_MAX * sizeof(uint64_t));
	if (table->shared_owned)
		shared_free(table->shared);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

static struct node *node_by_key(struct node_table *table, const struct node_key *key)
{
	uint32_t slot = table->buckets[node_bucket_of(table, key)];

	while (slot && !key_equal(&table->slots[slot].key, key))
		slot = table->slots[slot].next;
	return slot ? &table->slots[slot] : NULL;
}

/* Double the buckets in place: each chain is split by the next bit of its hashes. */
static void buckets_grow(struct node_table *table)
{
	uint32_t old = table->bucket_count;

	if (old >= SLOT_MAX)
		return;
	table->bucket_count = old * 2;
	for (uint32_t b = 0; b < old; b++) {
		uint32_t slot = table->buckets[b];

		table->buckets[b] = 0;
		while (slot) {
			struct node *node = &table->slots[slot];
			uint32_t next = node->next, to = node_bucket_of(table, &node->key);

			node->next = table->buckets[to];
			table->buckets[to] = slot;
			slot = next;
		}
	}
}

/* The lowest free slot: a table that has shrunk fills up from below, and its upper pages stay free. */
static uint32_t slot_take(struct node_table *table)
{
	uint32_t page = table->page_hint, slot;

	while (page < PAGE_MAX && table->pages[page] == UINT64_MAX)
		page++;
	table->page_hint = page;
	if (page == PAGE_MAX)
		return 0;
	if (page >= table->header->page_end)
		SHARED_PUBLISH(table->header->page_end, page + 1);
	slot = page * SLOTS_PER_PAGE + (uint32_t)__builtin_ctzll(~table->pages[page]);
	table->pages[page] |= 1ull << slot % SLOTS_PER_PAGE;
	table->used++;
	memset(&table->slots[slot], 0, sizeof table->slots[slot]);
	return slot;
}

static void slot_release(struct node_table *table, uint32_t slot)
{
	uint32_t page = slot / SLOTS_PER_PAGE;

	table->pages[page] &= ~(1ull << slot % SLOTS_PER_PAGE);
	table->used--;
	if (page < table->page_hint)
		table->page_hint = page;
	if (!table->pages[page])
		shared_discard(table->shared, SHARED_NODES, (size_t)page * SLOTS_PER_PAGE * sizeof(struct node),
			SLOTS_PER_PAGE * sizeof(struct node));
}

static uint32_t name_store(struct node_table *table, const char *name)
{
	size_t size = strlen(name) + 1;
	uint32_t reference = arena_alloc(table->names, size);

	if (reference)
		memcpy(arena_at(table->names, reference), name, size);
	return reference;
}

static void node_unchain(struct node_table *table, struct node *node)
{
	uint32_t slot = node_slot(table, node), *link = &table->buckets[node_bucket_of(table, &node->key)];

	while (*link != slot)
		link = &table->slots[*link].next;
	*link = node->next;
}

static void handle_drop(struct node_table *table, struct node *node)
{
	uint32_t reference = node->handle;

	if (!reference)
		return;
	SHARED_PUBLISH(node->handle, 0);
	arena_release(table->names, reference);
}

void node_reap(struct node_table *table, struct node *node)
{
	while (node->id != NODE_ROOT && !node->lookups && !node->children && !node->opens) {
		struct node *parent = &table->slots[node->parent];
		uint32_t slot = node_slot(table, node);
		uint64_t id = node->id;

		node_unchain(table, node);
		SHARED_PUBLISH(node->id, 0);
		aliases_forget(table->aliases, id);
		if (node->content) {
			table->view_directories -= node->type == S_IFDIR >> 12;
			node_contents_drop(table->contents, node->content);
		}
		handle_drop(table, node);
		arena_release(table->names, node->name);
		if (table->reap)
			table->reap(table->reap_arg, id);
		slot_release(table, slot);
		parent->children--;
		node = parent;
	}
}

/* Is ANCESTOR on the chain of parents that begins with NODE? */
static bool chain_holds(struct node_table *table, const struct node *node, const struct node *ancestor)
{
	for (;;) {
		if (node == ancestor)
			return true;
		if (node->id == NODE_ROOT)
			return false;
		node = &table->slots[node->parent];
	}
}

/* Its name changes, and the kernel may go on knowing the old one; directories it moves. */
static int keep_alias(struct node_table *table, const struct node *node)
{
	if (node->flags & NODE_PINNED || node->type == S_IFDIR >> 12)
		return 0;
	return aliases_add(table->aliases, node->id, table->slots[node->parent].id, arena_at(table->names, node->name));
}

static int node_rename_locked(struct node_table *table, struct node *node, struct node *parent,
	const char *name)
{
	struct node *old_parent = &table->slots[node->parent];
	uint32_t reference, old_name = node->name;
	struct node moved;

	if (node->id == NODE_ROOT)
		return -ELOOP;
	if (old_parent == parent && strcmp(arena_at(table->names, node->name), name) == 0)
		return 0;
	if (node->type == S_IFDIR >> 12 && chain_holds(table, parent, node))
		return -ELOOP;
	reference = name_store(table, name);
	if (!reference)
		return -ENOSPC;
	if (keep_alias(table, node) < 0) {
		arena_release(table->names, reference);
		return -ENOMEM;
	}
	moved.parent = node_slot(table, parent);
	moved.name = reference;
	SHARED_PUBLISH(node->place, moved.place);
	aliases_drop(table->aliases, node->id, parent->id, name);
	arena_release(table->names, old_name);
	parent->children++;
	old_parent->children--;
	node_reap(table, old_parent);
	return 0;
}

static int node_add(struct node_table *table, struct node *parent, const char *name,
	const struct node_key *key, mode_t type, struct content *content, struct node **ret)
{
	uint32_t parent_slot = node_slot(table, parent), reference = name_store(table, name), slot, *bucket;
	uint32_t packed = content && reference ? node_contents_add(table->contents, content) : 0;
	struct node *node;

	slot = reference && (packed || !content) ? slot_take(table) : 0;
	if (!slot) {
		if (reference)
			arena_release(table->names, reference);
		if (packed)
			node_contents_drop(table->contents, packed);
		return -ENOSPC;
	}
	if (table->used > table->bucket_count)
		buckets_grow(table);
	node = &table->slots[slot];
	node->key = *key;
	node->parent = parent_slot;
	node->name = reference;
	node->type = (uint16_t)(type >> 12);
	node->content = packed;
	SHARED_PUBLISH(table->header->sequence, table->header->sequence + 1);
	SHARED_PUBLISH(node->id, table->header->sequence << NODE_SLOT_BITS | slot);
	table->view_directories += content && S_ISDIR(type);
	bucket = &table->buckets[node_bucket_of(table, key)];
	node->next = *bucket;
	*bucket = slot;
	table->slots[parent_slot].children++;
	*ret = node;
	return 0;
}

/* A path leads to it: what was put aside for it may go. Was there anything? */
static int node_named(struct node_table *table, struct node *node)
{
	int was = node->flags & NODE_PINNED ? 1 : 0;

	SHARED_PUBLISH(node->flags, (uint16_t)(node->flags & ~(NODE_PINNED | NODE_HELD)));
	handle_drop(table, node);
	return was;
}

static void count_look_up(struct node *node)
{
	if (node->lookups >= LOOKUPS_MAX)
		return;
	mailbox_count(MAILBOX_LOOKS_UP, node->id, node->lookups);
	SHARED_PUBLISH(node->lookups, node->lookups + 1);
	mailbox_counted();
}

int node_look_up(struct node_table *table, uint64_t parent_id, const char *name, const struct node_key *key,
	mode_t type, struct content *content, uint64_t *ret_id)
{
	SCOPED_LOCK(&table->lock);
	struct node *parent = node_by_id(table, parent_id), *node;
	int r;

	if (!parent)
		return -ESTALE;
	node = node_by_key(table, key);
	/* An inode number that the base gave to a new file of another type: the old node cannot be it. */
	if (node && node->type != (type & S_IFMT) >> 12) {
		if (node->id == NODE_ROOT)
			return -EIO;
		node_unchain(table, node);
		node->key.high = UINT64_MAX;
		node->key.low = node->id;
		node->next = table->buckets[node_bucket_of(table, &node->key)];
		table->buckets[node_bucket_of(table, &node->key)] = node_slot(table, node);
		node = NULL;
	}
	if (node && content && !hash128_equal(&node_contents_at(table->contents, node->content)->identity, &content->identity))
		return -EIO;
	r = node ? node_rename_locked(table, node, parent, name) :
		   node_add(table, parent, name, key, type & S_IFMT, content, &node);
	if (r < 0)
		return r;
	count_look_up(node);
	*ret_id = node->id;
	return node_named(table, node);
}

int node_look_up_again(struct node_table *table, uint64_t id, uint64_t parent, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (!node || node->flags & NODE_PINNED)
		return -ESTALE;
	if (aliases_add(table->aliases, id, parent, name) < 0)
		return -ENOMEM;
	count_look_up(node);
	return 0;
}

void node_unalias(struct node_table *table, uint64_t id, uint64_t parent, const char *name)
{
	SCOPED_LOCK(&table->lock);

	aliases_drop(table->aliases, id, parent, name);
}

int node_get(struct node_table *table, uint64_t id, struct node_info *ret)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (!node)
		return -ESTALE;
	ret->id = id;
	ret->key = node->key;
	ret->type = (mode_t)node->type << 12;
	ret->content = node->content ? content_ref(node_contents_at(table->contents, node->content)) : NULL;
	ret->pinned = node->flags & NODE_PINNED;
	return 0;
}

void node_info_release(struct node_info *info)
{
	content_unref(info->content);
	info->content = NULL;
}

void node_table_on_reap(struct node_table *table, node_reap_fn reap, void *arg)
{
	table->reap = reap;
	table->reap_arg = arg;
}

void node_forget(struct node_table *table, uint64_t id, uint64_t count)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (!node || id == NODE_ROOT)
		return;
	mailbox_uncount(id);
	if (node->lookups < LOOKUPS_MAX) {
		mailbox_count(MAILBOX_FORGETS, id, node->lookups);
		SHARED_PUBLISH(node->lookups, node->lookups - (count < node->lookups ? (uint32_t)count : node->lookups));
		mailbox_counted();
	}
	node_reap(table, node);
}

bool node_knows_view_directories(struct node_table *table)
{
	SCOPED_LOCK(&table->lock);

	return table->view_directories > 0;
}

uint64_t node_find(struct node_table *table, const struct node_key *key)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_key(table, key);

	return node ? node->id : 0;
}

int node_move(struct node_table *table, const struct node_key *key, uint64_t parent_id, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *parent = node_by_id(table, parent_id), *node = node_by_key(table, key);
	int r;

	if (!node)
		return 0; /* the kernel does not know it: nothing to keep right */
	if (!parent)
		return -ESTALE;
	r = node_rename_locked(table, node, parent, name);
	return r < 0 ? r : node_named(table, node);
}

bool node_is_named(struct node_table *table, uint64_t id, uint64_t parent_id, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id), *parent = node_by_id(table, parent_id);

	return node && parent && id != NODE_ROOT && !(node->flags & NODE_PINNED) && node->parent == node_slot(table, parent) &&
		strcmp(arena_at(table->names, node->name), name) == 0;
}

bool node_lose(struct node_table *table, uint64_t id, uint64_t parent_id, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id), *parent = node_by_id(table, parent_id);

	if (!node || !parent || id == NODE_ROOT || node->flags & NODE_PINNED || node->parent != node_slot(table, parent) ||
		strcmp(arena_at(table->names, node->name), name) != 0)
		return false;
	node->flags |= NODE_PINNED;
	return true;
}

bool node_is_watched(struct node_table *table, uint64_t id)
{
	SCOPED_LOCK(&table->lock);
	const struct node *node = node_by_id(table, id);

	return !node || node->flags & NODE_WATCHED;
}

void node_set_watched(struct node_table *table, uint64_t id)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (node)
		node->flags |= NODE_WATCHED;
}

bool node_set_pinned(struct node_table *table, uint64_t id, bool held)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);
	bool was = !node || node->flags & NODE_HELD;

	if (node)
		node->flags |= (uint16_t)(NODE_PINNED | (held ? NODE_HELD : 0));
	return was;
}

int node_keep_handle(struct node_table *table, uint64_t id, const struct file_handle *handle)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);
	size_t size = sizeof *handle + handle->handle_bytes;
	uint32_t reference, old;

	if (!node)
		return -ESTALE;
	reference = arena_alloc(table->names, size);
	if (!reference)
		return -ENOSPC;
	memcpy(arena_at(table->names, reference), handle, size);
	old = node->handle;
	SHARED_PUBLISH(node->handle, reference);
	if (old)
		arena_release(table->names, old);
	return 0;
}

struct file_handle *node_handle(struct node_table *table, uint64_t id)
{
	SCOPED_LOCK(&table->lock);
	const struct node *node = node_by_id(table, id);
	const struct file_handle *handle;
	size_t size;
	void *copy;

	if (!node || !node->handle)
		return NULL;
	handle = arena_at(table->names, node->handle);
	size = sizeof *handle + handle->handle_bytes;
	copy = malloc(size);
	return copy ? memcpy(copy, handle, size) : NULL;
}

int node_backing_use(struct node_table *table, uint64_t id, int32_t *ret_backing)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (!node)
		return -ESTALE;
	mailbox_count(MAILBOX_OPENS, id, node->opens);
	SHARED_PUBLISH(node->opens, node->opens + 1);
	mailbox_counted();
	*ret_backing = node->backing;
	return 0;
}

int32_t node_backing_offer(struct node_table *table, uint64_t id, int32_t backing, int32_t *ret_surplus)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	*ret_surplus = 0;
	if (!node)
		return backing;
	if (node->backing) {
		*ret_surplus = backing;
		return node->backing;
	}
	node->backing = backing;
	return backing;
}

int32_t node_backing_drop(struct node_table *table, uint64_t id)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);
	int32_t backing = 0;

	if (!node || !node->opens)
		return 0;
	mailbox_count(MAILBOX_CLOSES, id, node->opens);
	SHARED_PUBLISH(node->opens, node->opens - 1);
	mailbox_counted();
	if (node->opens == 0) {
		backing = node->backing > 0 ? node->backing : 0;
		node->backing = 0;
	}
	node_reap(table, node);
	return backing;
}

uint64_t node_counts(struct node_table *table, uint64_t id, bool openings)
{
	SCOPED_LOCK(&table->lock);
	const struct node *node = node_by_id(table, id);

	return !node ? UINT64_MAX : openings ? node->opens : node->lookups;
}

size_t node_count(struct node_table *table)
{
	SCOPED_LOCK(&table->lock);

	return table->used;
}
