/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/aliases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/hash.h"

#define BUCKETS_MIN 64u

/* In the arena: the facts. */
struct record {
	uint64_t node, parent;
	char name[];
};

/* Of this process. */
struct alias {
	struct alias *next_of_name, *next_of_node; /* in the chains of their buckets */
	uint32_t record;			   /* its reference */
	uint32_t index;				   /* where that stands in the region */
};

struct aliases {
	struct arena *names;   /* borrowed */
	uint32_t *references; /* the region: REFERENCES_MAX of them, 0 where there is none; the first is how many were ever in use */
	uint32_t free_hint;    /* none below is free */
	struct alias **by_name, **by_node; /* owned; bucket_count of each; NULL before the first */
	size_t bucket_count, count;
};

static uint32_t references_max(void)
{
	return (uint32_t)(shared_size(SHARED_ALIASES) / sizeof(uint32_t));
}

struct aliases *aliases_new(struct shared *shared, struct arena *names)
{
	struct aliases *aliases = calloc(1, sizeof *aliases);

	if (!aliases)
		return NULL;
	aliases->names = names;
	aliases->references = shared->at[SHARED_ALIASES];
	aliases->free_hint = 1;
	return aliases;
}

void aliases_free(struct aliases *aliases)
{
	if (!aliases)
		return;
	for (size_t i = 0; i < aliases->bucket_count; i++) {
		for (struct alias *alias = aliases->by_node[i], *next; alias; alias = next) {
			next = alias->next_of_node;
			free(alias);
		}
	}
	free(aliases->by_name);
	free(aliases->by_node);
	free(aliases);
}

static const struct record *record_of(const struct aliases *aliases, const struct alias *alias)
{
	return arena_at(aliases->names, alias->record);
}

static uint64_t mix(uint64_t value)
{
	value *= 0x9e3779b97f4a7c15ull;
	return value ^ value >> 32;
}

static struct alias **name_bucket(const struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	uint64_t hash = hash64_of(name, strlen(name)) ^ mix(parent) ^ mix(mix(node));

	return &aliases->by_name[hash & (aliases->bucket_count - 1)];
}

static struct alias **node_bucket(const struct aliases *aliases, uint64_t node)
{
	return &aliases->by_node[mix(node) & (aliases->bucket_count - 1)];
}

static void insert(struct aliases *aliases, struct alias *alias)
{
	const struct record *record = record_of(aliases, alias);
	struct alias **name = name_bucket(aliases, record->node, record->parent, record->name);
	struct alias **node = node_bucket(aliases, record->node);

	alias->next_of_name = *name;
	*name = alias;
	alias->next_of_node = *node;
	*node = alias;
}

static int grow(struct aliases *aliases)
{
	struct aliases grown = *aliases;

	grown.bucket_count = aliases->bucket_count ? aliases->bucket_count * 2 : BUCKETS_MIN;
	grown.by_name = calloc(grown.bucket_count, sizeof *grown.by_name);
	grown.by_node = calloc(grown.bucket_count, sizeof *grown.by_node);
	if (!grown.by_name || !grown.by_node) {
		free(grown.by_name);
		free(grown.by_node);
		return -ENOMEM;
	}
	for (size_t i = 0; i < aliases->bucket_count; i++) {
		for (struct alias *alias = aliases->by_node[i], *next; alias; alias = next) {
			next = alias->next_of_node;
			insert(&grown, alias);
		}
	}
	free(aliases->by_name);
	free(aliases->by_node);
	*aliases = grown;
	return 0;
}

static bool is_of(const struct aliases *aliases, const struct alias *alias, uint64_t node, uint64_t parent, const char *name)
{
	const struct record *record = record_of(aliases, alias);

	return record->node == node && record->parent == parent && strcmp(record->name, name) == 0;
}

/* The link that leads to the alias; to NULL: there is none. There are buckets. */
static struct alias **find(const struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	struct alias **link = name_bucket(aliases, node, parent, name);

	while (*link && !is_of(aliases, *link, node, parent, name))
		link = &(*link)->next_of_name;
	return link;
}

/* A place for a reference; 0: the region is full. */
static uint32_t index_take(struct aliases *aliases)
{
	uint32_t i = aliases->free_hint, end = aliases->references[0] ? aliases->references[0] : 1;

	while (i < end && aliases->references[i])
		i++;
	if (i == references_max())
		return 0;
	if (i >= end)
		SHARED_PUBLISH(aliases->references[0], i + 1);
	aliases->free_hint = i + 1;
	return i;
}

/* An alias of this process for RECORD. */
static int attach(struct aliases *aliases, uint32_t reference, uint32_t index)
{
	struct alias *alias;

	if (aliases->count == aliases->bucket_count && grow(aliases) < 0)
		return -ENOMEM;
	alias = malloc(sizeof *alias);
	if (!alias)
		return -ENOMEM;
	alias->record = reference;
	alias->index = index;
	insert(aliases, alias);
	aliases->count++;
	return 0;
}

int aliases_add(struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	size_t size = strlen(name) + 1;
	uint32_t reference, index;
	struct record *record;
	int r;

	if (aliases->count && *find(aliases, node, parent, name))
		return 0;
	reference = arena_alloc(aliases->names, sizeof *record + size);
	index = reference ? index_take(aliases) : 0;
	if (!index) {
		if (reference)
			arena_release(aliases->names, reference);
		return -ENOSPC;
	}
	record = arena_at(aliases->names, reference);
	record->node = node;
	record->parent = parent;
	memcpy(record->name, name, size);
	r = attach(aliases, reference, index);
	if (r < 0) {
		arena_release(aliases->names, reference);
		aliases->free_hint = index < aliases->free_hint ? index : aliases->free_hint;
		return r;
	}
	SHARED_PUBLISH(aliases->references[index], reference);
	return 0;
}

/* It is in no chain any more. */
static void discard(struct aliases *aliases, struct alias *alias)
{
	SHARED_PUBLISH(aliases->references[alias->index], 0);
	if (alias->index < aliases->free_hint)
		aliases->free_hint = alias->index;
	arena_release(aliases->names, alias->record);
	aliases->count--;
	free(alias);
}

static void unlink_name(struct aliases *aliases, const struct alias *alias)
{
	const struct record *record = record_of(aliases, alias);

	*find(aliases, record->node, record->parent, record->name) = alias->next_of_name;
}

void aliases_drop(struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	struct alias *alias, **of_node;

	if (!aliases->count)
		return;
	alias = *find(aliases, node, parent, name);
	if (!alias)
		return;
	unlink_name(aliases, alias);
	of_node = node_bucket(aliases, node);
	while (*of_node != alias)
		of_node = &(*of_node)->next_of_node;
	*of_node = alias->next_of_node;
	discard(aliases, alias);
}

void aliases_forget(struct aliases *aliases, uint64_t node)
{
	struct alias **of_node;

	if (!aliases->count)
		return;
	of_node = node_bucket(aliases, node);
	while (*of_node) {
		struct alias *alias = *of_node;

		if (record_of(aliases, alias)->node != node) {
			of_node = &alias->next_of_node;
			continue;
		}
		*of_node = alias->next_of_node;
		unlink_name(aliases, alias);
		discard(aliases, alias);
	}
}

int aliases_recover(struct aliases *aliases, bool (*lives)(void *arg, uint64_t node), void *arg)
{
	for (uint32_t i = 1; i < aliases->references[0] && i < references_max(); i++) {
		uint32_t reference = aliases->references[i];
		const struct record *record = arena_at(aliases->names, reference);

		if (reference && arena_mark(aliases->names, reference)) {
			if (!lives(arg, record->node))
				arena_unmark(aliases->names, reference);
			else if (attach(aliases, reference, i) < 0)
				return -ENOMEM;
			else
				continue;
		}
		SHARED_PUBLISH(aliases->references[i], 0);
	}
	return 0;
}

size_t aliases_count(const struct aliases *aliases)
{
	return aliases->count;
}

int aliases_each(const struct aliases *aliases, aliases_fn fn, void *arg)
{
	int r = 0;

	for (size_t i = 0; i < aliases->bucket_count && r == 0; i++) {
		for (const struct alias *alias = aliases->by_node[i]; alias && r == 0; alias = alias->next_of_node) {
			const struct record *record = record_of(aliases, alias);

			r = fn(arg, record->node, record->parent, record->name);
		}
	}
	return r;
}
