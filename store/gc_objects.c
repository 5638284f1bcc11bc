/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Served objects. Which blob one was made from, cache/blobs says for most. Of the others it is told by their own bytes: the id that
 * they have as a blob can be reached, or it cannot. So no blob is inflated to know what is needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/parallel.h"
#include "store/base/path.h"
#include "store/gc_internal.h"
#include "store/object.h"

#define DIRECTORY_COUNT 256u
#define TEMPORARY_PREFIX ".tmp-"

struct candidate {
	char *path; /* owned; below objects/ */
	struct hash128 hash;
	uint64_t size;
	int64_t changed_s;
	bool needed;
};

struct judgement {
	struct gc *gc;
	struct hash128 *known; /* owned; sorted: objects that are needed, as cache/blobs and daemons say */
	size_t known_count;
	struct candidate *candidates; /* owned */
	size_t count, alloc;
};

static void judgement_release(struct judgement *judgement)
{
	for (size_t i = 0; i < judgement->count; i++)
		free(judgement->candidates[i].path);
	free(judgement->candidates);
	free(judgement->known);
}

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "look for served objects that are not needed");
}

/* ---- sockets ---- */

static bool is_listed(const char *const *names, const char *name, size_t len)
{
	for (; *names; names++)
		if (strlen(*names) == len && memcmp(*names, name, len) == 0)
			return true;
	return false;
}

int gc_each_socket(struct gc *gc, const char *const *names, int (*fn)(struct gc *gc, const char *name, struct error *err),
	struct error *err)
{
	static const char suffix[] = ".sock";
	int fd = openat(gc->store->run_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		cleanup_closep(&fd);
		return error_errno(err, errno, "read '%s/run'", gc->store->path);
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		size_t len = strlen(entry->d_name);
		cleanup_free char *name = NULL;

		if (len <= strlen(suffix) || strcmp(entry->d_name + len - strlen(suffix), suffix) != 0)
			continue;
		len -= strlen(suffix);
		if (is_listed(names, entry->d_name, len))
			continue;
		name = strndup(entry->d_name, len);
		r = name ? fn(gc, name, err) : out_of_memory(err);
	}
	return r;
}

/* ---- which are needed ---- */

static int compare_hashes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct hash128));
}

static int list_known(struct judgement *judgement)
{
	struct gc *gc = judgement->gc;
	uint64_t size;

	judgement->known = calloc(gc->reach.ids.count + gc->use_count + 1, sizeof *judgement->known);
	if (!judgement->known)
		return -ENOMEM;
	for (size_t i = 0; i < gc->reach.ids.count; i++)
		if (gc->reach.items[i].kind == RAW_BLOB &&
			blobmap_find(gc->store->blobs, &gc->reach.ids.ids[i], &judgement->known[judgement->known_count], &size))
			judgement->known_count++;
	for (size_t i = 0; i < gc->use_count; i++)
		judgement->known[judgement->known_count++] = gc->uses[i].object;
	qsort(judgement->known, judgement->known_count, sizeof *judgement->known, compare_hashes);
	return 0;
}

static bool is_known(const struct judgement *judgement, const struct hash128 *hash)
{
	return bsearch(hash, judgement->known, judgement->known_count, sizeof *hash, compare_hashes) != NULL;
}

static int add_candidate(struct judgement *judgement, const char *directory, const char *name, const struct stat *st)
{
	struct candidate candidate = { .size = (uint64_t)st->st_size,
		.changed_s = st->st_ctime > st->st_mtime ? st->st_ctime : st->st_mtime };
	char hex[HASH128_HEX_LENGTH + 1];

	/* What is no object is fsck's. */
	if (!S_ISREG(st->st_mode) || strlen(name) != HASH128_HEX_LENGTH - 2)
		return 0;
	snprintf(hex, sizeof hex, "%.2s%.30s", directory, name);
	if (hash128_from_hex(hex, HASH128_HEX_LENGTH, &candidate.hash) < 0 || candidate.changed_s >= judgement->gc->older_than_s ||
		is_known(judgement, &candidate.hash))
		return 0;
	if (judgement->count == judgement->alloc) {
		size_t alloc = judgement->alloc ? judgement->alloc * 2 : 64;
		struct candidate *candidates = reallocarray(judgement->candidates, alloc, sizeof *candidates);

		if (!candidates)
			return -ENOMEM;
		judgement->candidates = candidates;
		judgement->alloc = alloc;
	}
	candidate.path = path_join(directory, name);
	if (!candidate.path)
		return -ENOMEM;
	judgement->candidates[judgement->count++] = candidate;
	return 0;
}

static int list_directory(struct judgement *judgement, const char *directory, struct error *err)
{
	int fd = openat(judgement->gc->store->objects_fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		cleanup_closep(&fd);
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : error_errno(err, errno, "read 'objects/%s'", directory);
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		struct stat st;

		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			r = add_candidate(judgement, directory, entry->d_name, &st);
	}
	return r < 0 ? out_of_memory(err) : 0;
}

/* What is damaged is fsck's, too: its bytes say nothing of what it was made from. */
static int judge(void *arg, size_t index, struct error *err)
{
	struct judgement *judgement = arg;
	struct candidate *candidate = &judgement->candidates[index];
	cleanup_strbuf struct strbuf data = STRBUF_INIT;
	struct hash128 hash;
	struct oid blob;
	int r = io_read_file_at(judgement->gc->store->objects_fd, candidate->path, OBJECT_BYTES_MAX, &data, NULL);

	candidate->needed = true;
	if (r == -ENOMEM)
		return out_of_memory(err);
	if (r < 0)
		return 0;
	hash = hash128_of(strbuf_text(&data), data.len);
	blob = raw_object_id(RAW_BLOB, strbuf_text(&data), data.len);
	candidate->needed = !hash128_equal(&hash, &candidate->hash) || reach_has(&judgement->gc->reach, &blob);
	return 0;
}

static int add_unneeded(struct gc *gc, struct candidate *candidate)
{
	struct gc_unneeded *unneeded;

	if (gc->unneeded_count == gc->unneeded_alloc) {
		size_t alloc = gc->unneeded_alloc ? gc->unneeded_alloc * 2 : 64;

		unneeded = reallocarray(gc->unneeded, alloc, sizeof *unneeded);
		if (!unneeded)
			return -ENOMEM;
		gc->unneeded = unneeded;
		gc->unneeded_alloc = alloc;
	}
	if (gc_add_row(gc, "object", candidate->path, candidate->size, "no commit that is needed has it, and nobody has it open") < 0)
		return -ENOMEM;
	gc->report->objects++;
	gc->report->freed += candidate->size;
	gc->unneeded[gc->unneeded_count++] = (struct gc_unneeded){ TAKE_PTR(candidate->path), candidate->size, candidate->changed_s };
	return 0;
}

int gc_plan_objects(struct gc *gc, struct error *err)
{
	CLEANUP(judgement_release) struct judgement judgement = { .gc = gc };
	struct parallel parallel;
	int r = list_known(&judgement) < 0 ? out_of_memory(err) : 0;

	for (unsigned i = 0; r == 0 && i < DIRECTORY_COUNT; i++) {
		char name[3];

		snprintf(name, sizeof name, "%02x", i);
		r = list_directory(&judgement, name, err);
		gc_progress(gc, "look at served objects", judgement.count, 0);
	}
	if (r < 0)
		return r;
	parallel_begin(&parallel, judgement.count, judge, &judgement);
	r = parallel_end(&parallel, err);
	for (size_t i = 0; r == 0 && i < judgement.count; i++)
		if (!judgement.candidates[i].needed && add_unneeded(gc, &judgement.candidates[i]) < 0)
			r = out_of_memory(err);
	return r;
}

/* One that was made again meanwhile stays. */
int gc_remove_objects(struct gc *gc, struct error *err)
{
	for (size_t i = 0; i < gc->unneeded_count; i++) {
		const struct gc_unneeded *unneeded = &gc->unneeded[i];
		struct stat st;

		if (fstatat(gc->store->objects_fd, unneeded->path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			(st.st_ctime > st.st_mtime ? st.st_ctime : st.st_mtime) != unneeded->changed_s)
			continue;
		if (unlinkat(gc->store->objects_fd, unneeded->path, 0) < 0 && errno != ENOENT)
			return error_errno(err, errno, "remove 'objects/%s'", unneeded->path);
	}
	return 0;
}

/* ---- leftovers ---- */

/* It is gone, or would be. */
static int add_leftover(struct gc *gc, const char *directory, const char *path, uint64_t size, struct error *err)
{
	cleanup_free char *name = path_join(directory, path);

	if (!name)
		return out_of_memory(err);
	gc->report->leftovers++;
	gc->report->freed += size;
	return gc_add_row(gc, "leftover", name, size, "of a writer that was cut short") < 0 ? out_of_memory(err) : 0;
}

static int leftovers_in(struct gc *gc, int dirfd, const char *directory, struct error *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		cleanup_closep(&fd);
		return error_errno(err, errno, "read '%s'", directory);
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		struct stat st;

		if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0 ||
			fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_mtime >= gc->older_than_s)
			continue;
		if (!gc->options->dry_run && unlinkat(fd, entry->d_name, 0) < 0 && errno != ENOENT)
			return error_errno(err, errno, "remove '%s/%s'", directory, entry->d_name);
		r = add_leftover(gc, directory, entry->d_name, (uint64_t)st.st_size, err);
	}
	return r;
}

int gc_leftovers(struct gc *gc, struct error *err)
{
	const struct store *store = gc->store;
	int r = leftovers_in(gc, store->fd, "", err);

	if (r == 0)
		r = leftovers_in(gc, store->objects_fd, "objects", err);
	if (r == 0)
		r = leftovers_in(gc, store->cache_fd, "cache", err);
	for (size_t i = 0; r == 0 && i < gc->inventory->stray_count; i++) {
		const struct inventory_stray *stray = &gc->inventory->strays[i];
		bool removed = gc->options->dry_run;

		if (!stray->leftover || stray->changed_s >= gc->older_than_s)
			continue;
		if (!removed)
			r = inventory_remove_leftover(gc->inventory, stray, &removed, err);
		if (r == 0 && removed)
			r = add_leftover(gc, "git/objects", stray->path, stray->size, err);
	}
	return r;
}

uint64_t gc_estimate_kept(const struct gc *gc)
{
	const struct repack *repack = &gc->repack;
	const struct inventory *inventory = gc->inventory;
	uint64_t bytes = 0;

	for (size_t i = 0; i < inventory->pack_count; i++) {
		const struct pack_file *file = inventory->packs[i].file;

		for (uint32_t n = 0; repack->packs[i] && n < file->count; n++)
			if (reach_has(&gc->reach, &file->items[n].oid))
				bytes += pack_file_bytes(file, n);
	}
	for (size_t i = 0; i < inventory->loose.count; i++)
		if (repack->loose[i] == REPACK_PACKED)
			bytes += inventory->loose_facts[i].size;
	return bytes;
}
