/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/readdir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/overlay_internal.h"
#include "fs/stat_ahead.h"
#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/path.h"

#define SNAPSHOTS_MAX 8
#define OFFSET_DOT 1u
#define OFFSET_DOTDOT 2u
#define OFFSET_FIRST 16u
#define OFFSET_MASK ((1ull << 62) - 1)
#define BUFFER_BYTES 65536

struct item {
	uint64_t offset;
	uint64_t inode;
	uint32_t name; /* into names */
	uint32_t type; /* S_IFMT part */
};

/* One directory, listed, in order. Immutable once made; counted. */
struct snapshot {
	atomic_uint users;
	uint64_t id;
	const struct view *view; /* compared, never followed: with the generation it names the state */
	unsigned generation;
	dev_t device;		 /* of the base directory */
	struct timespec changed; /* its ctime */
	struct item *items;
	size_t count, alloc;
	struct strbuf names;
};

struct readdir_cache {
	struct stat_ahead *ahead;
	pthread_mutex_t lock;
	struct snapshot *slots[SNAPSHOTS_MAX]; /* most recently used first */
};

static void snapshot_unref(struct snapshot *snapshot)
{
	if (!snapshot || atomic_fetch_sub(&snapshot->users, 1) != 1)
		return;
	free(snapshot->items);
	strbuf_release(&snapshot->names);
	free(snapshot);
}

static void snapshot_unrefp(struct snapshot **snapshot)
{
	snapshot_unref(*snapshot);
}

struct readdir_cache *readdir_cache_new(void)
{
	struct readdir_cache *cache = calloc(1, sizeof *cache);

	if (!cache)
		return NULL;
	cache->ahead = stat_ahead_new();
	pthread_mutex_init(&cache->lock, NULL);
	if (!cache->ahead) {
		readdir_cache_free(cache);
		return NULL;
	}
	return cache;
}

void readdir_cache_free(struct readdir_cache *cache)
{
	if (!cache)
		return;
	stat_ahead_free(cache->ahead);
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++)
		snapshot_unref(cache->slots[i]);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

void readdir_cache_drop(struct readdir_cache *cache, uint64_t id)
{
	SCOPED_LOCK(&cache->lock);

	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		if (cache->slots[i] && cache->slots[i]->id == id) {
			snapshot_unref(cache->slots[i]);
			cache->slots[i] = NULL;
		}
	}
}

static struct snapshot *cache_find(struct readdir_cache *cache, const struct snapshot *like)
{
	SCOPED_LOCK(&cache->lock);

	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		struct snapshot *found = cache->slots[i];

		if (found && found->id == like->id && found->view == like->view &&
			found->generation == like->generation &&
			found->changed.tv_sec == like->changed.tv_sec &&
			found->changed.tv_nsec == like->changed.tv_nsec) {
			atomic_fetch_add(&found->users, 1);
			return found;
		}
	}
	return NULL;
}

static void cache_keep(struct readdir_cache *cache, struct snapshot *snapshot)
{
	SCOPED_LOCK(&cache->lock);

	snapshot_unref(cache->slots[SNAPSHOTS_MAX - 1]);
	memmove(&cache->slots[1], &cache->slots[0], (SNAPSHOTS_MAX - 1) * sizeof cache->slots[0]);
	atomic_fetch_add(&snapshot->users, 1);
	cache->slots[0] = snapshot;
}

uint64_t readdir_offset(const char *name, size_t length)
{
	uint64_t offset = hash64_of(name, length) & OFFSET_MASK;

	return offset < OFFSET_FIRST ? offset + OFFSET_FIRST : offset;
}

static int snapshot_add(struct snapshot *snapshot, const char *name, uint64_t inode, mode_t type)
{
	size_t length = strlen(name);

	if (snapshot->count == snapshot->alloc) {
		size_t alloc = snapshot->alloc ? snapshot->alloc * 2 : 64;
		struct item *grown = realloc(snapshot->items, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		snapshot->items = grown;
		snapshot->alloc = alloc;
	}
	if (snapshot->names.len > UINT32_MAX - PATH_NAME_MAX - 1)
		return -EOVERFLOW;
	snapshot->items[snapshot->count++] = (struct item){ readdir_offset(name, length), inode,
		(uint32_t)snapshot->names.len, type };
	strbuf_add(&snapshot->names, name, length + 1);
	return strbuf_failed(&snapshot->names) ? -ENOMEM : 0;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Names of the base that the view says nothing of, or only leads through. */
static int list_base(struct snapshot *snapshot, struct overlay_guard *guard, const struct overlay_place *place,
	int base_fd)
{
	cleanup_close int fd = path_open(base_fd, "", O_RDONLY | O_DIRECTORY, 0);
	cleanup_free char *buffer = malloc(BUFFER_BYTES);

	if (fd < 0)
		return fd;
	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t n = getdents64(fd, buffer, BUFFER_BYTES);

		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
			uint32_t index = VIEW_NONE;
			ino_t inode;
			int r;

			at += entry->d_reclen;
			if (is_dots(entry->d_name))
				continue;
			if (place->view_index != VIEW_NONE)
				index = view_child(guard->view, place->view_index, entry->d_name,
					strlen(entry->d_name));
			if (index != VIEW_NONE)
				continue; /* list_view() says what is there, also where the view has ended */
			inode = overlay_base_inode(guard->overlay, snapshot->device, entry->d_ino);
			r = snapshot_add(snapshot, entry->d_name, inode, DTTOIF(entry->d_type));
			if (r < 0)
				return r;
		}
	}
}

static int list_view(struct snapshot *snapshot, struct overlay_guard *guard, const struct overlay_place *place,
	int base_fd)
{
	const struct view_entry *directory;

	if (place->view_index == VIEW_NONE)
		return 0;
	directory = view_at(guard->view, place->view_index);
	for (uint32_t i = 0; i < directory->child_count; i++) {
		const char *name = view_at(guard->view, directory->first_child + i)->name;
		struct content *content = NULL;
		struct node_key key;
		struct stat st;
		int r = overlay_resolve(guard, place, base_fd, name, &st, &key, &content);

		content_unref(content);
		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = snapshot_add(snapshot, name, st.st_ino, st.st_mode & S_IFMT);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_items(const void *left, const void *right, void *names)
{
	const struct item *a = left, *b = right;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return strcmp((const char *)names + a->name, (const char *)names + b->name);
}

static int snapshot_make(struct overlay_guard *guard, uint64_t id, const struct snapshot *like,
	const struct overlay_place *place, int base_fd, struct snapshot **ret)
{
	__attribute__((cleanup(snapshot_unrefp))) struct snapshot *snapshot = calloc(1, sizeof *snapshot);
	int r = 0;

	if (!snapshot)
		return -ENOMEM;
	*snapshot = *like;
	atomic_init(&snapshot->users, 1);
	if (base_fd >= 0)
		r = list_base(snapshot, guard, place, base_fd);
	if (r == 0)
		r = list_view(snapshot, guard, place, base_fd);
	if (r < 0)
		return r;
	if (snapshot->count)
		qsort_r(snapshot->items, snapshot->count, sizeof *snapshot->items, compare_items, snapshot->names.buf);
	*ret = TAKE_PTR(snapshot);
	return 0;
}

/* The first item behind OFFSET. */
static size_t first_behind(const struct snapshot *snapshot, uint64_t offset)
{
	size_t low = 0, high = snapshot->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (snapshot->items[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* true: the end was reached. */
static bool emit_items(const struct snapshot *snapshot, uint64_t offset, readdir_emit_fn emit, void *arg)
{
	if (offset < OFFSET_DOT && !emit(arg, ".", OFFSET_DOT, 0, S_IFDIR))
		return false;
	if (offset < OFFSET_DOTDOT && !emit(arg, "..", OFFSET_DOTDOT, 0, S_IFDIR))
		return false;
	for (size_t i = first_behind(snapshot, offset); i < snapshot->count; i++) {
		const struct item *item = &snapshot->items[i];
		uint64_t behind = item->offset;

		/* The first of two names of one hash: a reader that stops between them shall see both again. */
		if (i + 1 < snapshot->count && snapshot->items[i + 1].offset == behind)
			behind--;
		if (!emit(arg, snapshot->names.buf + item->name, behind, item->inode, item->type))
			return false;
	}
	return true;
}

/* ---- attributes ahead ---- */

static const char *snapshot_name(void *snapshot, size_t index)
{
	const struct snapshot *of = snapshot;

	return of->names.buf + of->items[index].name;
}

static void snapshot_release(void *snapshot)
{
	snapshot_unref(snapshot);
}

/* The answer begins with the first half: another thread with the second. */
static void look_ahead(struct readdir_cache *cache, struct overlay_guard *guard, struct snapshot *snapshot)
{
	struct stat_names names = { snapshot, snapshot_release, snapshot_name, snapshot->count / 2, snapshot->count };
	struct fdref directory = FDREF_INIT;

	if (names.to - names.from < STAT_AHEAD_MIN || overlay_base_directory(guard->overlay, snapshot->id, &directory) < 0)
		return;
	atomic_fetch_add(&snapshot->users, 1);
	stat_ahead_give(cache->ahead, &directory, &names);
}

int readdir_list(struct readdir_cache *cache, struct overlay_guard *guard, uint64_t id, uint64_t offset, bool plus,
	readdir_emit_fn emit, void *arg)
{
	__attribute__((cleanup(snapshot_unrefp))) struct snapshot *snapshot = NULL;
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	cleanup_fdref struct fdref directory = FDREF_INIT;
	struct snapshot like = { .id = id, .view = guard->view, .generation = guard->generation };
	struct stat st;
	int r = overlay_place(guard, id, &place);

	if (r < 0)
		return r;
	r = overlay_base_directory(guard->overlay, id, &directory);
	if (r < 0 && r != -ENOENT)
		return r;
	if (place.gone)
		fdref_release(&directory);
	if (directory.fd >= 0 && fstatat(directory.fd, "", &st, AT_EMPTY_PATH) == 0) {
		like.changed = st.st_ctim;
		like.device = st.st_dev;
	}
	/* A reading that begins sees the directory as it is now, whatever the clock's grain. */
	if (offset > 0)
		snapshot = cache_find(cache, &like);
	if (!snapshot) {
		r = snapshot_make(guard, id, &like, &place, directory.fd, &snapshot);
		if (r < 0)
			return r;
	} else {
		readdir_cache_drop(cache, id);
	}
	if (offset == 0 && plus)
		look_ahead(cache, guard, snapshot);
	if (!emit_items(snapshot, offset, emit, arg))
		cache_keep(cache, snapshot);
	return 0;
}
