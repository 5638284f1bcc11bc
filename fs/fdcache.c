/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fdcache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/keeper.h"
#include "store/base/cleanup.h"
#include "store/base/log.h"

#define NONE UINT32_MAX

/* All fields are guarded by the cache's lock. An entry out of every bucket is "dead": closed when unused. */
struct entry {
	uint64_t id;
	enum fd_kind kind;
	int fd;
	unsigned users;
	bool dead;
	uint32_t chain;		 /* next in the bucket */
	uint32_t newer, older;	 /* order of use; newer doubles as the free list */
};

#define PIN_BUCKETS_MIN 64

struct pin {
	struct pin *next; /* in the chain of its bucket */
	uint64_t id;
	int fd;
};

struct fdcache {
	pthread_mutex_t lock;
	struct entry *entries;
	uint32_t count, bucket_mask;
	uint32_t *buckets;
	uint32_t newest, oldest, free_list;
	struct pin **pins; /* owned; NULL before the first */
	size_t pin_count, pin_buckets;
	size_t open;
	struct keeper *keeper; /* borrowed; NULL: nobody */
};

struct fdcache *fdcache_new(size_t capacity)
{
	struct fdcache *cache = calloc(1, sizeof *cache);
	uint32_t buckets = 16;

	if (!cache)
		return NULL;
	while (buckets < capacity * 2)
		buckets *= 2;
	cache->count = (uint32_t)capacity;
	cache->entries = calloc(capacity, sizeof *cache->entries);
	cache->buckets = malloc(buckets * sizeof *cache->buckets);
	if (!cache->entries || !cache->buckets) {
		free(cache->entries);
		free(cache->buckets);
		free(cache);
		return NULL;
	}
	pthread_mutex_init(&cache->lock, NULL);
	cache->bucket_mask = buckets - 1;
	for (uint32_t i = 0; i < buckets; i++)
		cache->buckets[i] = NONE;
	for (uint32_t i = 0; i < cache->count; i++) {
		cache->entries[i].fd = -EBADF;
		cache->entries[i].newer = i + 1 < cache->count ? i + 1 : NONE;
	}
	cache->newest = cache->oldest = NONE;
	cache->free_list = cache->count ? 0 : NONE;
	return cache;
}

static void pin_drop(struct fdcache *cache, struct pin **link);

void fdcache_free(struct fdcache *cache)
{
	if (!cache)
		return;
	cache->keeper = NULL;
	for (uint32_t i = 0; i < cache->count; i++) {
		if (cache->entries[i].fd >= 0)
			close(cache->entries[i].fd);
	}
	for (size_t i = 0; i < cache->pin_buckets; i++) {
		while (cache->pins[i])
			pin_drop(cache, &cache->pins[i]);
	}
	free(cache->pins);
	free(cache->entries);
	free(cache->buckets);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static uint32_t *bucket_of(struct fdcache *cache, uint64_t id, enum fd_kind kind)
{
	uint64_t mixed = (id * 4 + kind) * 0x9e3779b97f4a7c15ull;

	return &cache->buckets[(uint32_t)(mixed >> 32) & cache->bucket_mask];
}

static void order_drop(struct fdcache *cache, uint32_t i)
{
	struct entry *entry = &cache->entries[i];

	if (entry->newer != NONE)
		cache->entries[entry->newer].older = entry->older;
	else
		cache->newest = entry->older;
	if (entry->older != NONE)
		cache->entries[entry->older].newer = entry->newer;
	else
		cache->oldest = entry->newer;
}

static void order_push(struct fdcache *cache, uint32_t i)
{
	struct entry *entry = &cache->entries[i];

	entry->older = cache->newest;
	entry->newer = NONE;
	if (cache->newest != NONE)
		cache->entries[cache->newest].newer = i;
	else
		cache->oldest = i;
	cache->newest = i;
}

static void entry_unchain(struct fdcache *cache, uint32_t i)
{
	struct entry *entry = &cache->entries[i];
	uint32_t *link = bucket_of(cache, entry->id, entry->kind);

	while (*link != i)
		link = &cache->entries[*link].chain;
	*link = entry->chain;
	order_drop(cache, i);
	entry->dead = true;
}

static void entry_free(struct fdcache *cache, uint32_t i)
{
	struct entry *entry = &cache->entries[i];

	close(entry->fd);
	cache->open--;
	entry->fd = -EBADF;
	entry->dead = false;
	entry->newer = cache->free_list;
	cache->free_list = i;
}

static uint32_t entry_find(struct fdcache *cache, uint64_t id, enum fd_kind kind)
{
	uint32_t i = *bucket_of(cache, id, kind);

	while (i != NONE && (cache->entries[i].id != id || cache->entries[i].kind != kind))
		i = cache->entries[i].chain;
	return i;
}

static void entry_use(struct fdcache *cache, uint32_t i, struct fdref *ret)
{
	cache->entries[i].users++;
	order_drop(cache, i);
	order_push(cache, i);
	*ret = (struct fdref){ cache, i, cache->entries[i].fd };
}

bool fdcache_get(struct fdcache *cache, uint64_t id, enum fd_kind kind, struct fdref *ret)
{
	SCOPED_LOCK(&cache->lock);
	uint32_t i = entry_find(cache, id, kind);

	if (i == NONE)
		return false;
	entry_use(cache, i, ret);
	return true;
}

/* A free entry, by closing the oldest that is not in use; NONE: all are in use. */
static uint32_t entry_take(struct fdcache *cache)
{
	uint32_t i = cache->free_list;

	if (i == NONE) {
		i = cache->oldest;
		while (i != NONE && cache->entries[i].users)
			i = cache->entries[i].newer;
		if (i == NONE)
			return NONE;
		entry_unchain(cache, i);
		entry_free(cache, i);
	}
	cache->free_list = cache->entries[i].newer;
	return i;
}

void fdref_alone(int fd, struct fdref *ret)
{
	*ret = (struct fdref){ NULL, NONE, fd };
}

void fdcache_add(struct fdcache *cache, uint64_t id, enum fd_kind kind, int fd, struct fdref *ret)
{
	SCOPED_LOCK(&cache->lock);
	uint32_t i = entry_find(cache, id, kind), *bucket;
	struct entry *entry;

	if (i != NONE) {
		close(fd);
		entry_use(cache, i, ret);
		return;
	}
	i = entry_take(cache);
	if (i == NONE) {
		/* More in use at once than the cache holds: this one is the caller's alone. */
		fdref_alone(fd, ret);
		return;
	}
	entry = &cache->entries[i];
	entry->id = id;
	entry->kind = kind;
	entry->fd = fd;
	entry->users = 0;
	entry->dead = false;
	bucket = bucket_of(cache, id, kind);
	entry->chain = *bucket;
	*bucket = i;
	order_push(cache, i);
	cache->open++;
	entry_use(cache, i, ret);
}

void fdref_release(struct fdref *ref)
{
	struct fdcache *cache = ref->cache;

	if (ref->fd < 0)
		return;
	if (ref->entry == NONE) {
		close(ref->fd);
	} else {
		SCOPED_LOCK(&cache->lock);
		struct entry *entry = &cache->entries[ref->entry];

		if (--entry->users == 0 && entry->dead)
			entry_free(cache, ref->entry);
	}
	ref->fd = -EBADF;
}

/* ---- pins ---- */

static struct pin **pin_bucket(struct fdcache *cache, uint64_t id)
{
	/* Ids differ in their low bits (the slot), and those that share one in the rest. */
	return &cache->pins[(id ^ id >> 24) & (cache->pin_buckets - 1)];
}

/* The link that leads to a pin of ID; to NULL: there is none. */
static struct pin **pin_find(struct fdcache *cache, uint64_t id)
{
	static struct pin *none;
	struct pin **link = cache->pins ? pin_bucket(cache, id) : &none;

	while (*link && (*link)->id != id)
		link = &(*link)->next;
	return link;
}

static void pin_drop(struct fdcache *cache, struct pin **link)
{
	struct pin *pin = *link;

	*link = pin->next;
	close(pin->fd);
	if (cache->keeper)
		keeper_drop(cache->keeper, pin->id);
	cache->open--;
	cache->pin_count--;
	free(pin);
}

static void pins_drop(struct fdcache *cache, uint64_t id)
{
	struct pin **link;

	while (*(link = pin_find(cache, id)))
		pin_drop(cache, link);
}

static int pins_grow(struct fdcache *cache)
{
	size_t old = cache->pin_buckets, count = old ? old * 2 : PIN_BUCKETS_MIN;
	struct pin **buckets = calloc(count, sizeof *buckets), **from = cache->pins;

	if (!buckets)
		return -ENOMEM;
	cache->pins = buckets;
	cache->pin_buckets = count;
	for (size_t i = 0; i < old; i++) {
		struct pin *next;

		for (struct pin *pin = from[i]; pin; pin = next) {
			struct pin **bucket = pin_bucket(cache, pin->id);

			next = pin->next;
			pin->next = *bucket;
			*bucket = pin;
		}
	}
	free(from);
	return 0;
}

void fdcache_set_keeper(struct fdcache *cache, struct keeper *keeper)
{
	cache->keeper = keeper;
}

int fdcache_pin(struct fdcache *cache, uint64_t id, int fd)
{
	/* Without a copy all is as well as long as this process lives. */
	int kept = cache->keeper ? keeper_hold(cache->keeper, id, fd) : -ENOENT, r;

	if (kept < 0 && cache->keeper)
		log_message(LOG_WARNING, "a file without a name would be lost with this process: %s", error_text(-kept));
	r = fdcache_adopt(cache, id, fd);
	if (r < 0 && kept == 0)
		keeper_drop(cache->keeper, id);
	return r;
}

int fdcache_adopt(struct fdcache *cache, uint64_t id, int fd)
{
	SCOPED_LOCK(&cache->lock);
	struct pin *pin = cache->pin_count < cache->pin_buckets || pins_grow(cache) == 0 ? malloc(sizeof *pin) : NULL, **bucket;

	if (!pin) {
		close(fd);
		return -ENOMEM;
	}
	bucket = pin_bucket(cache, id);
	*pin = (struct pin){ .next = *bucket, .id = id, .fd = fd };
	*bucket = pin;
	cache->pin_count++;
	cache->open++;
	return 0;
}

void fdcache_unpin(struct fdcache *cache, uint64_t id)
{
	SCOPED_LOCK(&cache->lock);
	struct pin **link = pin_find(cache, id);

	if (*link)
		pin_drop(cache, link);
}

void fdcache_unpin_all(struct fdcache *cache, uint64_t id)
{
	SCOPED_LOCK(&cache->lock);

	pins_drop(cache, id);
}

int fdcache_pinned(struct fdcache *cache, uint64_t id)
{
	SCOPED_LOCK(&cache->lock);
	const struct pin *pin = *pin_find(cache, id);
	int fd;

	if (!pin)
		return -EBADF;
	fd = fcntl(pin->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static void entry_drop(struct fdcache *cache, uint64_t id, enum fd_kind kind)
{
	uint32_t i = entry_find(cache, id, kind);

	if (i == NONE)
		return;
	entry_unchain(cache, i);
	if (!cache->entries[i].users)
		entry_free(cache, i);
}

void fdcache_drop(struct fdcache *cache, uint64_t id, enum fd_kind kind)
{
	SCOPED_LOCK(&cache->lock);

	entry_drop(cache, id, kind);
}

void fdcache_forget(struct fdcache *cache, uint64_t id)
{
	SCOPED_LOCK(&cache->lock);

	for (enum fd_kind kind = FD_PATH; kind <= FD_WRITE; kind++)
		entry_drop(cache, id, kind);
	pins_drop(cache, id);
}

size_t fdcache_open_count(struct fdcache *cache)
{
	SCOPED_LOCK(&cache->lock);

	return cache->open;
}
