/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/aliases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/hash.h"

#define BUCKETS_MIN 64u

struct alias {
	struct alias *next_of_name, *next_of_node; /* in the chains of their buckets */
	uint64_t node, parent;
	char name[];
};

struct aliases {
	struct alias **by_name, **by_node; /* owned; bucket_count of each; NULL before the first */
	size_t bucket_count, count;
};

struct aliases *aliases_new(void)
{
	return calloc(1, sizeof(struct aliases));
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
	struct alias **name = name_bucket(aliases, alias->node, alias->parent, alias->name);
	struct alias **node = node_bucket(aliases, alias->node);

	alias->next_of_name = *name;
	*name = alias;
	alias->next_of_node = *node;
	*node = alias;
}

static int grow(struct aliases *aliases)
{
	struct aliases grown = { .bucket_count = aliases->bucket_count ? aliases->bucket_count * 2 : BUCKETS_MIN,
		.count = aliases->count };

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

/* The link that leads to the alias; to NULL: there is none. There are buckets. */
static struct alias **find(const struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	struct alias **link = name_bucket(aliases, node, parent, name);

	while (*link && ((*link)->node != node || (*link)->parent != parent || strcmp((*link)->name, name) != 0))
		link = &(*link)->next_of_name;
	return link;
}

int aliases_add(struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct alias *alias;

	if (aliases->count && *find(aliases, node, parent, name))
		return 0;
	if (aliases->count == aliases->bucket_count && grow(aliases) < 0)
		return -ENOMEM;
	alias = malloc(sizeof *alias + size);
	if (!alias)
		return -ENOMEM;
	alias->node = node;
	alias->parent = parent;
	memcpy(alias->name, name, size);
	insert(aliases, alias);
	aliases->count++;
	return 0;
}

void aliases_drop(struct aliases *aliases, uint64_t node, uint64_t parent, const char *name)
{
	struct alias **link, **of_node, *alias;

	if (!aliases->count)
		return;
	link = find(aliases, node, parent, name);
	alias = *link;
	if (!alias)
		return;
	*link = alias->next_of_name;
	of_node = node_bucket(aliases, node);
	while (*of_node != alias)
		of_node = &(*of_node)->next_of_node;
	*of_node = alias->next_of_node;
	aliases->count--;
	free(alias);
}

void aliases_forget(struct aliases *aliases, uint64_t node)
{
	struct alias **of_node;

	if (!aliases->count)
		return;
	of_node = node_bucket(aliases, node);
	while (*of_node) {
		struct alias *alias = *of_node;

		if (alias->node != node) {
			of_node = &alias->next_of_node;
			continue;
		}
		*of_node = alias->next_of_node;
		*find(aliases, node, alias->parent, alias->name) = alias->next_of_name;
		aliases->count--;
		free(alias);
	}
}

size_t aliases_count(const struct aliases *aliases)
{
	return aliases->count;
}

int aliases_each(const struct aliases *aliases, aliases_fn fn, void *arg)
{
	int r = 0;

	for (size_t i = 0; i < aliases->bucket_count && r == 0; i++) {
		for (const struct alias *alias = aliases->by_node[i]; alias && r == 0; alias = alias->next_of_node)
			r = fn(arg, alias->node, alias->parent, alias->name);
	}
	return r;
}
