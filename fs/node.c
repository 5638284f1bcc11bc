/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/node.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/aliases.h"
#include "fs/arena.h"
#include "store/base/cleanup.h"

#define SLOT_MAX (1u << NODE_SLOT_BITS)
#define SLOT_MASK (SLOT_MAX - 1)
#define SLOTS_PER_PAGE 64u
#define PAGE_MAX (SLOT_MAX / SLOTS_PER_PAGE)
#define BUCKETS_MIN 1024u
#define NAMES_BYTES ((size_t)SLOT_MAX * 64)

enum {
	NODE_PINNED = 1, /* no path leads to it */
	NODE_HELD = 2,	 /* and an fd is kept for it */
	NODE_WATCHED = 4,
};

/* Links are slots; 0: none. All fields are guarded by the table's lock. */
struct node {
	uint64_t id; /* 0: a free slot */
	struct node_key key;
	uint64_t lookups;
	uint32_t parent;
	uint32_t name; /* arena reference; 0 for the root */
	uint32_t next; /* in the chain of its bucket */
	uint32_t children;
	uint32_t opens;
	int32_t backing;
	uint32_t content; /* index + 1 into contents */
	uint16_t type;	  /* S_IFMT part >> 12 */
	uint16_t flags;
};

struct node_table {
	pthread_mutex_t lock;
	struct node *slots;  /* SLOT_MAX of them reserved */
	uint32_t *buckets;   /* SLOT_MAX of them reserved, bucket_count in use */
	uint32_t bucket_count;
	uint64_t *pages;     /* for each page of slots, which of its 64 are in use */
	uint32_t page_hint;  /* no page below it has a free slot */
	uint32_t page_end;   /* no slot of this page or of a later one was ever in use */
	size_t used;
	uint64_t sequence; /* high part of the last id given */
	node_reap_fn reap;
	void *reap_arg;
	struct arena *names;
	struct aliases *aliases;
	struct content **contents; /* by node.content - 1; a free one holds NULL */
	uint32_t content_count, content_alloc, content_free_hint;
	size_t view_directories; /* nodes of directories with a content */
};

_Static_assert(sizeof(struct node) == 64, "64 nodes fill a page, and one word says which are in use");

static void *reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

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

static uint32_t bucket_of(const struct node_table *table, const struct node_key *key)
{
	uint64_t mixed = (key->low ^ key->high * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	return (uint32_t)(mixed >> 32) & (table->bucket_count - 1);
}

static bool key_equal(const struct node_key *a, const struct node_key *b)
{
	return a->high == b->high && a->low == b->low;
}

struct node_table *node_table_new(const struct node_key *root)
{
	struct node_table *table = calloc(1, sizeof *table);
	struct node *node;

	if (!table)
		return NULL;
	pthread_mutex_init(&table->lock, NULL);
	table->slots = reserve((size_t)SLOT_MAX * sizeof(struct node));
	table->buckets = reserve((size_t)SLOT_MAX * sizeof(uint32_t));
	table->pages = reserve(PAGE_MAX * sizeof(uint64_t));
	table->names = arena_new(NAMES_BYTES);
	table->aliases = aliases_new();
	if (!table->slots || !table->buckets || !table->pages || !table->names || !table->aliases) {
		node_table_free(table);
		return NULL;
	}
	table->bucket_count = BUCKETS_MIN;
	table->sequence = 1;
	node = &table->slots[1];
	node->id = NODE_ROOT;
	node->key = *root;
	node->lookups = 1; /* for ever */
	node->type = S_IFDIR >> 12;
	node->next = 0;
	table->buckets[bucket_of(table, root)] = 1;
	table->pages[0] = 3; /* slot 0 is no slot */
	table->page_end = 1;
	table->used = 1;
	return table;
}

void node_table_free(struct node_table *table)
{
	if (!table)
		return;
	for (uint32_t i = 0; i < table->content_count; i++)
		content_unref(table->contents[i]);
	free(table->contents);
	if (table->slots)
		munmap(table->slots, (size_t)SLOT_MAX * sizeof(struct node));
	if (table->buckets)
		munmap(table->buckets, (size_t)SLOT_MAX * sizeof(uint32_t));
	if (table->pages)
		munmap(table->pages, PAGE_MAX * sizeof(uint64_t));
	arena_free_all(table->names);
	aliases_free(table->aliases);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

static struct node *node_by_id(struct node_table *table, uint64_t id)
{
	struct node *node = &table->slots[id & SLOT_MASK];

	return id && node->id == id ? node : NULL;
}

static uint32_t slot_of(const struct node_table *table, const struct node *node)
{
	return (uint32_t)(node - table->slots);
}

static struct node *node_by_key(struct node_table *table, const struct node_key *key)
{
	uint32_t slot = table->buckets[bucket_of(table, key)];

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
			uint32_t next = node->next, to = bucket_of(table, &node->key);

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
	if (page >= table->page_end)
		table->page_end = page + 1;
	slot = page * SLOTS_PER_PAGE + (uint32_t)__builtin_ctzll(~table->pages[page]);
	table->pages[page] |= 1ull << slot % SLOTS_PER_PAGE;
	table->used++;
	memset(&table->slots[slot], 0, sizeof table->slots[slot]);
	return slot;
}

static void slot_release(struct node_table *table, uint32_t slot)
{
	uint32_t page = slot / SLOTS_PER_PAGE;

	table->slots[slot].id = 0;
	table->pages[page] &= ~(1ull << slot % SLOTS_PER_PAGE);
	table->used--;
	if (page < table->page_hint)
		table->page_hint = page;
	if (!table->pages[page])
		madvise(&table->slots[page * SLOTS_PER_PAGE], SLOTS_PER_PAGE * sizeof(struct node),
			MADV_REMOVE);
}

static uint32_t content_store(struct node_table *table, struct content *content)
{
	uint32_t i = table->content_free_hint;

	while (i < table->content_count && table->contents[i])
		i++;
	if (i == table->content_alloc) {
		uint32_t alloc = table->content_alloc ? table->content_alloc * 2 : 64;
		struct content **grown = realloc(table->contents, alloc * sizeof *grown);

		if (!grown)
			return 0;
		table->contents = grown;
		table->content_alloc = alloc;
	}
	if (i == table->content_count)
		table->content_count++;
	table->contents[i] = content_ref(content);
	table->content_free_hint = i + 1;
	return i + 1;
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
	uint32_t slot = slot_of(table, node), *link = &table->buckets[bucket_of(table, &node->key)];

	while (*link != slot)
		link = &table->slots[*link].next;
	*link = node->next;
}

/* Free NODE and then each ancestor that lived only for it. */
static void node_reap(struct node_table *table, struct node *node)
{
	while (node->id != NODE_ROOT && !node->lookups && !node->children && !node->opens) {
		struct node *parent = &table->slots[node->parent];
		uint32_t slot = slot_of(table, node);

		node_unchain(table, node);
		arena_release(table->names, node->name);
		aliases_forget(table->aliases, node->id);
		if (node->content) {
			table->view_directories -= node->type == S_IFDIR >> 12;
			content_unref(table->contents[node->content - 1]);
			table->contents[node->content - 1] = NULL;
			if (node->content - 1 < table->content_free_hint)
				table->content_free_hint = node->content - 1;
		}
		if (table->reap)
			table->reap(table->reap_arg, node->id);
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
	uint32_t reference;

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
	aliases_drop(table->aliases, node->id, parent->id, name);
	arena_release(table->names, node->name);
	node->name = reference;
	node->parent = slot_of(table, parent);
	parent->children++;
	old_parent->children--;
	node_reap(table, old_parent);
	return 0;
}

static int node_add(struct node_table *table, struct node *parent, const char *name,
	const struct node_key *key, mode_t type, struct content *content, struct node **ret)
{
	uint32_t parent_slot = slot_of(table, parent), reference = name_store(table, name), slot, *bucket;
	uint32_t content_index = 0;
	struct node *node;

	if (!reference)
		return -ENOSPC;
	if (content) {
		content_index = content_store(table, content);
		if (!content_index) {
			arena_release(table->names, reference);
			return -ENOMEM;
		}
	}
	slot = slot_take(table);
	if (!slot) {
		arena_release(table->names, reference);
		if (content_index) {
			content_unref(content);
			table->contents[content_index - 1] = NULL;
		}
		return -ENOSPC;
	}
	if (table->used > table->bucket_count)
		buckets_grow(table);
	node = &table->slots[slot];
	node->id = ++table->sequence << NODE_SLOT_BITS | slot;
	node->key = *key;
	node->parent = parent_slot;
	node->name = reference;
	node->type = (uint16_t)(type >> 12);
	node->content = content_index;
	table->view_directories += content && S_ISDIR(type);
	bucket = &table->buckets[bucket_of(table, key)];
	node->next = *bucket;
	*bucket = slot;
	table->slots[parent_slot].children++;
	*ret = node;
	return 0;
}

/* A path leads to it: what was put aside for it may go. Was there anything? */
static int node_named(struct node *node)
{
	int was = node->flags & NODE_PINNED ? 1 : 0;

	node->flags &= (uint16_t)~(NODE_PINNED | NODE_HELD);
	return was;
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
		node->next = table->buckets[bucket_of(table, &node->key)];
		table->buckets[bucket_of(table, &node->key)] = slot_of(table, node);
		node = NULL;
	}
	if (node && content && !hash128_equal(&table->contents[node->content - 1]->identity, &content->identity))
		return -EIO;
	r = node ? node_rename_locked(table, node, parent, name) :
		   node_add(table, parent, name, key, type & S_IFMT, content, &node);
	if (r < 0)
		return r;
	node->lookups++;
	*ret_id = node->id;
	return node_named(node);
}

int node_look_up_again(struct node_table *table, uint64_t id, uint64_t parent, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (!node || node->flags & NODE_PINNED)
		return -ESTALE;
	if (aliases_add(table->aliases, id, parent, name) < 0)
		return -ENOMEM;
	node->lookups++;
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
	ret->content = node->content ? content_ref(table->contents[node->content - 1]) : NULL;
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
	node->lookups -= count < node->lookups ? count : node->lookups;
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

/* The chain of names that leads to NODE, appended to SB. */
static int path_add(const struct node_table *table, const struct node *node, struct strbuf *sb)
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

	return node ? path_add(table, node, sb) : -ESTALE;
}

/* The first slot in use at or behind SLOT; 0: there is none. */
static uint32_t slot_next(const struct node_table *table, uint32_t slot)
{
	for (uint32_t page = slot / SLOTS_PER_PAGE; page < table->page_end; page++) {
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
	return path_add(table, node, path) < 0 ? -ENOMEM : 1;
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
	return r < 0 ? r : node_named(node);
}

bool node_is_named(struct node_table *table, uint64_t id, uint64_t parent_id, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id), *parent = node_by_id(table, parent_id);

	return node && parent && id != NODE_ROOT && !(node->flags & NODE_PINNED) && node->parent == slot_of(table, parent) &&
		strcmp(arena_at(table->names, node->name), name) == 0;
}

bool node_lose(struct node_table *table, uint64_t id, uint64_t parent_id, const char *name)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id), *parent = node_by_id(table, parent_id);

	if (!node || !parent || id == NODE_ROOT || node->flags & NODE_PINNED || node->parent != slot_of(table, parent) ||
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

int node_backing_use(struct node_table *table, uint64_t id, int32_t *ret_backing)
{
	SCOPED_LOCK(&table->lock);
	struct node *node = node_by_id(table, id);

	if (!node)
		return -ESTALE;
	node->opens++;
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
	if (--node->opens == 0) {
		backing = node->backing > 0 ? node->backing : 0;
		node->backing = 0;
	}
	node_reap(table, node);
	return backing;
}

size_t node_count(struct node_table *table)
{
	SCOPED_LOCK(&table->lock);

	return table->used;
}
