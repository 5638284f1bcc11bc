/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/tree_remove.h"

#define NAME_SUFFIX_MAX 16u
#define DIRECTORY_COUNT 256u
#define LEFTOVER_DEPTH_MAX 3u /* git's directory of what is being pushed has objects/ in it */

void inventory_free(struct inventory *inventory)
{
	if (!inventory)
		return;
	for (size_t i = 0; i < inventory->pack_count; i++) {
		pack_file_free(inventory->packs[i].file);
		free(inventory->packs[i].problem);
	}
	for (size_t i = 0; i < inventory->stray_count; i++)
		free(inventory->strays[i].path);
	free(inventory->packs);
	free(inventory->strays);
	free(inventory->loose_facts);
	oid_set_release(&inventory->loose);
	if (inventory->pack_fd >= 0)
		close(inventory->pack_fd);
	if (inventory->objects_fd >= 0)
		close(inventory->objects_fd);
	free(inventory->path);
	free(inventory);
}

/* Calls FN for each name in the directory FD but "." and "..". */
static int each_name(int fd, int (*fn)(struct inventory *inventory, int dirfd, const char *directory, const char *name),
	struct inventory *inventory, const char *directory)
{
	cleanup_close int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *entry;
	int r = 0;

	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir)
		return -errno;
	TAKE_FD(copy);
	while (r == 0 && (errno = 0, entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = fn(inventory, dirfd(dir), directory, entry->d_name);
	return r < 0 ? r : -errno;
}

/* ---- what is no object ---- */

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* Names under which we, git, and libgit2 write what is not finished. */
static bool is_leftover(const char *name)
{
	static const char *const prefixes[] = { "tmp_", ".tmp-", ".tmp_", "tmp-" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return has_suffix(name, ".lock") || strstr(name, "_git2_") != NULL;
}

/*
 * When a directory of git's changed last (a push writes what it is sent into one of its own first): what is written into a file
 * that is there changes neither the directory nor those above it.
 */
static int64_t newest_below(int parent, const char *name, int64_t newest, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		cleanup_closep(&fd);
		return newest;
	}
	while ((entry = readdir(dir)) != NULL) {
		struct stat st;

		if (strcmp(entry->d_name, "..") == 0 || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		newest = st.st_mtime > newest ? st.st_mtime : newest;
		if (S_ISDIR(st.st_mode) && strcmp(entry->d_name, ".") != 0 && depth > 1)
			newest = newest_below(fd, entry->d_name, newest, depth - 1);
	}
	return newest;
}

static int64_t changed_last(int dirfd, const char *name, const struct stat *st)
{
	return S_ISDIR(st->st_mode) ? newest_below(dirfd, name, st->st_mtime, LEFTOVER_DEPTH_MAX) : st->st_mtime;
}

static int add_stray(struct inventory *inventory, int dirfd, const char *directory, const char *name, bool leftover)
{
	struct inventory_stray *stray;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (inventory->stray_count == inventory->stray_alloc) {
		size_t alloc = inventory->stray_alloc ? inventory->stray_alloc * 2 : 16;
		struct inventory_stray *strays = reallocarray(inventory->strays, alloc, sizeof *strays);

		if (!strays)
			return -ENOMEM;
		inventory->strays = strays;
		inventory->stray_alloc = alloc;
	}
	stray = &inventory->strays[inventory->stray_count];
	*stray = (struct inventory_stray){ path_join(directory, name), (uint64_t)st.st_size, changed_last(dirfd, name, &st), leftover };
	return stray->path ? (inventory->stray_count++, 0) : -ENOMEM;
}

/* ---- packs ---- */

static bool pack_has(const struct inventory *inventory, const char *stem, const char *suffix)
{
	char name[PACK_STEM_MAX + NAME_SUFFIX_MAX];

	snprintf(name, sizeof name, "%s%s", stem, suffix);
	return faccessat(inventory->pack_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int add_pack(struct inventory *inventory, int dirfd, const char *name)
{
	struct inventory_pack *packs = reallocarray(inventory->packs, inventory->pack_count + 1, sizeof *packs), *pack;
	char index[PACK_STEM_MAX + NAME_SUFFIX_MAX];
	struct stat st;

	if (!packs)
		return -ENOMEM;
	if (inventory->pack_count == INVENTORY_PACKS_MAX)
		return -E2BIG;
	inventory->packs = packs;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	pack = &packs[inventory->pack_count++];
	*pack = (struct inventory_pack){ .size = (uint64_t)st.st_size, .changed_s = st.st_mtime };
	snprintf(pack->stem, sizeof pack->stem, "%.*s", (int)(strlen(name) - strlen(".pack")), name);
	snprintf(index, sizeof index, "%s.idx", pack->stem);
	if (fstatat(dirfd, index, &st, AT_SYMLINK_NOFOLLOW) == 0)
		pack->size += (uint64_t)st.st_size;
	pack->kept = pack_has(inventory, pack->stem, ".keep") || pack_has(inventory, pack->stem, ".promisor") ||
		pack_has(inventory, pack->stem, ".mtimes");
	return 0;
}

/* Beside NAME of a pack, is there the pack itself? */
static bool belongs_to_pack(const struct inventory *inventory, const char *name)
{
	static const char *const suffixes[] = { ".idx", ".rev", ".bitmap", ".keep", ".promisor", ".mtimes" };

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		char stem[PACK_STEM_MAX];
		size_t len = strlen(name) - (has_suffix(name, suffixes[i]) ? strlen(suffixes[i]) : 0);

		if (len == strlen(name) || len >= sizeof stem)
			continue;
		snprintf(stem, sizeof stem, "%.*s", (int)len, name);
		return pack_has(inventory, stem, ".pack");
	}
	return strncmp(name, "multi-pack-index", strlen("multi-pack-index")) == 0;
}

static int look_at_pack_name(struct inventory *inventory, int dirfd, const char *directory, const char *name)
{
	char stem[PACK_STEM_MAX];

	if (strncmp(name, "pack-", 5) == 0 && has_suffix(name, ".pack") && strlen(name) - 5 < sizeof stem) {
		snprintf(stem, sizeof stem, "%.*s", (int)(strlen(name) - 5), name);
		/* A pack gets its index last: without one it was cut short. */
		return pack_has(inventory, stem, ".idx") ? add_pack(inventory, dirfd, name) :
							   add_stray(inventory, dirfd, directory, name, true);
	}
	if (strncmp(name, "pack-", 5) == 0 && !is_leftover(name))
		return belongs_to_pack(inventory, name) ? 0 : add_stray(inventory, dirfd, directory, name, true);
	return belongs_to_pack(inventory, name) ? 0 : add_stray(inventory, dirfd, directory, name, is_leftover(name));
}

static int compare_packs(const void *a, const void *b)
{
	return strcmp(((const struct inventory_pack *)a)->stem, ((const struct inventory_pack *)b)->stem);
}

static void open_pack_file(struct inventory *inventory, struct inventory_pack *pack, bool scan)
{
	struct error problem = ERROR_INIT;

	if (pack_file_open(inventory->pack_fd, pack->stem, &pack->file, &problem) == 0)
		return;
	pack->problem = strdup(problem.message);
	pack->unreadable = true;
	if (scan && pack_file_scan(inventory->pack_fd, pack->stem, &pack->file, &problem) < 0)
		pack->file = NULL;
}

static int load_packs(struct inventory *inventory, bool scan)
{
	int r;

	inventory->pack_fd = openat(inventory->objects_fd, "pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (inventory->pack_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = each_name(inventory->pack_fd, look_at_pack_name, inventory, "pack");
	if (r < 0)
		return r;
	if (inventory->pack_count > 1)
		qsort(inventory->packs, inventory->pack_count, sizeof *inventory->packs, compare_packs);
	for (size_t i = 0; i < inventory->pack_count; i++) {
		struct inventory_pack *pack = &inventory->packs[i];

		open_pack_file(inventory, pack, scan);
		if (!pack->file && !pack->problem)
			return -ENOMEM;
		pack->first = inventory->copies;
		inventory->copies += pack->file ? pack->file->count : 0;
	}
	return 0;
}

/* ---- loose objects ---- */

static int add_loose(struct inventory *inventory, const struct oid *oid, const struct stat *st)
{
	size_t before = inventory->loose.alloc, number;
	int r = oid_set_add(&inventory->loose, oid, &number);

	if (r < 0)
		return r;
	if (inventory->loose.alloc != before) {
		struct inventory_loose *facts = reallocarray(inventory->loose_facts, inventory->loose.alloc, sizeof *facts);

		if (!facts)
			return -ENOMEM;
		inventory->loose_facts = facts;
	}
	inventory->loose_facts[number] = (struct inventory_loose){ (uint64_t)st->st_size, st->st_mtime };
	return 0;
}

static int look_at_loose_name(struct inventory *inventory, int dirfd, const char *directory, const char *name)
{
	char hex[OID_HEX_LENGTH + 1];
	struct stat st;
	struct oid oid;

	if (strlen(name) == OID_HEX_LENGTH - 2) {
		snprintf(hex, sizeof hex, "%s%s", directory, name);
		if (oid_from_hex(hex, OID_HEX_LENGTH, &oid) == 0) {
			if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
				return errno == ENOENT ? 0 : -errno;
			return add_loose(inventory, &oid, &st);
		}
	}
	return add_stray(inventory, dirfd, directory, name, is_leftover(name));
}

static int look_at_top_name(struct inventory *inventory, int dirfd, const char *directory, const char *name)
{
	if (strcmp(name, "pack") == 0 || strcmp(name, "info") == 0 ||
		(strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2))
		return 0;
	return add_stray(inventory, dirfd, directory, name, is_leftover(name));
}

static int load_loose(struct inventory *inventory)
{
	int r = each_name(inventory->objects_fd, look_at_top_name, inventory, "");

	for (unsigned i = 0; r == 0 && i < DIRECTORY_COUNT; i++) {
		cleanup_close int fd = -EBADF;
		char directory[3];

		snprintf(directory, sizeof directory, "%02x", i);
		fd = openat(inventory->objects_fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 && errno != ENOENT)
			return -errno;
		if (fd >= 0)
			r = each_name(fd, look_at_loose_name, inventory, directory);
	}
	inventory->copies += inventory->loose.count;
	return r;
}

int inventory_load(const char *path, bool scan, struct inventory **ret, struct error *err)
{
	cleanup_inventory struct inventory *inventory = calloc(1, sizeof *inventory);
	cleanup_free char *objects = path_join(path, "objects");
	int r;

	if (!inventory || !objects)
		return error_errno(err, ENOMEM, "list the objects of '%s'", path);
	inventory->pack_fd = -EBADF;
	inventory->objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	inventory->path = strdup(path);
	if (inventory->objects_fd < 0)
		return error_errno(err, errno, "open '%s'", objects);
	if (!inventory->path)
		return error_errno(err, ENOMEM, "list the objects of '%s'", path);
	r = load_packs(inventory, scan);
	if (r == 0)
		r = load_loose(inventory);
	if (r < 0)
		return error_errno(err, -r, "list the objects of '%s'", path);
	*ret = TAKE_PTR(inventory);
	return 0;
}

/* ---- copies ---- */

struct inventory_copy inventory_copy_at(const struct inventory *inventory, size_t copy)
{
	size_t low = 0, high = inventory->pack_count;

	/* The last pack that begins at or before it, and has objects. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (inventory->packs[middle].first <= copy)
			low = middle + 1;
		else
			high = middle;
	}
	while (low > 0) {
		const struct inventory_pack *pack = &inventory->packs[--low];

		if (pack->file && copy - pack->first < pack->file->count) {
			uint32_t number = (uint32_t)(copy - pack->first);

			return (struct inventory_copy){ pack->file->items[number].oid, pack, number };
		}
		if (pack->file && pack->file->count > 0)
			break;
	}
	return (struct inventory_copy){ inventory->loose.ids[copy - (inventory->copies - inventory->loose.count)], NULL, 0 };
}

void inventory_copy_place(const struct inventory *inventory, size_t copy, struct strbuf *sb)
{
	struct inventory_copy at = inventory_copy_at(inventory, copy);
	char path[RAW_LOOSE_PATH_LENGTH + 1];

	if (at.pack) {
		strbuf_addf(sb, "pack/%s.pack", at.pack->stem);
		return;
	}
	raw_loose_path(&at.oid, path);
	strbuf_addstr(sb, path);
}

size_t inventory_find(const struct inventory *inventory, const struct oid *oid, size_t *copies, size_t max)
{
	size_t count = 0, loose;
	uint32_t number;

	for (size_t i = 0; i < inventory->pack_count; i++) {
		const struct inventory_pack *pack = &inventory->packs[i];

		if (!pack->file || !pack_file_find(pack->file, oid, &number))
			continue;
		if (count < max)
			copies[count] = pack->first + number;
		count++;
	}
	if (oid_set_find(&inventory->loose, oid, &loose)) {
		if (count < max)
			copies[count] = inventory->copies - inventory->loose.count + loose;
		count++;
	}
	return count;
}

bool inventory_has(const struct inventory *inventory, const struct oid *oid)
{
	return inventory_find(inventory, oid, NULL, 0) > 0;
}

int inventory_read_copy(const struct inventory *inventory, size_t copy, uint64_t limit, struct raw_object *ret)
{
	struct inventory_copy at = inventory_copy_at(inventory, copy);
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	struct oid is;
	int r = at.pack ? pack_file_read(at.pack->file, at.number, limit, &object) :
			  raw_read_loose(inventory->objects_fd, &at.oid, limit, &object, NULL);

	if (r < 0)
		return r;
	is = raw_object_id(object.kind, object.data, object.size);
	if (!oid_equal(&is, &at.oid))
		return -EBADMSG;
	*ret = object;
	object = (struct raw_object)RAW_OBJECT_INIT;
	return 0;
}

int inventory_read(const struct inventory *inventory, const struct oid *oid, uint64_t limit, struct raw_object *ret)
{
	size_t copies[16];
	size_t count = inventory_find(inventory, oid, copies, ARRAY_SIZE(copies));
	int r = -ENOENT;

	for (size_t i = 0; i < count && i < ARRAY_SIZE(copies); i++) {
		r = inventory_read_copy(inventory, copies[i], limit, ret);
		if (r == 0 || r == -ENOMEM || r == -E2BIG)
			return r;
	}
	return r == -ENOENT ? r : -EBADMSG;
}

/* Is the other half of the pack that PATH is half of there by now? */
static bool is_whole_pack(const struct inventory *inventory, const char *path)
{
	static const char *const halves[][2] = { { ".pack", ".idx" }, { ".idx", ".pack" } };
	size_t length = strlen(path);

	for (size_t i = 0; i < ARRAY_SIZE(halves); i++) {
		size_t suffix = strlen(halves[i][0]);
		cleanup_free char *other = NULL;

		if (length <= suffix || strcmp(path + length - suffix, halves[i][0]) != 0)
			continue;
		if (asprintf(&other, "%.*s%s", (int)(length - suffix), path, halves[i][1]) < 0) {
			other = NULL;
			return true; /* then it is left */
		}
		return faccessat(inventory->objects_fd, other, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	return false;
}

int inventory_remove_leftover(const struct inventory *inventory, const struct inventory_stray *stray, bool *ret, struct error *err)
{
	struct stat st;
	int r;

	*ret = fstatat(inventory->objects_fd, stray->path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		changed_last(inventory->objects_fd, stray->path, &st) == stray->changed_s && !is_whole_pack(inventory, stray->path);
	r = *ret ? tree_remove(inventory->objects_fd, stray->path) : 0;
	return r < 0 ? error_errno(err, -r, "remove '%s'", stray->path) : 0;
}
