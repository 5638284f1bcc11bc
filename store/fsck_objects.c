/* SPDX-License-Identifier: Apache-2.0 */
/* The objects that files are served from: each hashes to its name, and those that are to be there are. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"
#include "store/base/path.h"
#include "store/fsck_active.h"
#include "store/fsck_internal.h"
#include "store/journal.h"
#include "store/object.h"

#define OBJECT_FILE_MODE 0444
#define DIRECTORY_COUNT 256u

struct found {
	struct hash128 hash; /* as its name says */
	uint64_t size;
	bool whole;
};

struct scan {
	struct fsck *fsck;
	struct found *found; /* owned; in the order of hashes, once they are sorted */
	size_t count, alloc;
	size_t first; /* of those that are looked at now */
	atomic_uint_fast64_t bytes;
};

static void scan_release(struct scan *scan)
{
	free(scan->found);
}

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

/* ---- what there is ---- */

/* Something that is no object. */
static int tell_stray(struct fsck *fsck, const char *path, const struct stat *st, struct error *err)
{
	cleanup_free char *subject = path_join("objects", path);
	const char *name = strrchr(path, '/');
	bool leftover = strncmp(name ? name + 1 : path, ".tmp-", strlen(".tmp-")) == 0, repaired = fsck->options->repair && leftover;
	int r;

	if (!subject)
		return out_of_memory(err);
	if (leftover && st->st_mtime + FSCK_LEFTOVER_SECONDS >= time(NULL))
		return 0;
	if (repaired && unlinkat(fsck->store->objects_fd, path, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove '%s'", subject);
	r = fsck_add(fsck, FSCK_WARNING,
		FSCK_TEXT(leftover ? "leftover" : "stray", NULL, subject,
			repaired ? "removed" : leftover ? "'veneer fsck --repair' removes it" : "see what it is, and take it away", repaired),
		leftover ? "a temporary file that was left behind" : "nothing of this name belongs here");
	return r < 0 ? out_of_memory(err) : 0;
}

static int add_found(struct scan *scan, const struct hash128 *hash, uint64_t size)
{
	if (scan->count == scan->alloc) {
		size_t alloc = scan->alloc ? scan->alloc * 2 : 256;
		struct found *found = reallocarray(scan->found, alloc, sizeof *found);

		if (!found)
			return -ENOMEM;
		scan->found = found;
		scan->alloc = alloc;
	}
	scan->found[scan->count++] = (struct found){ *hash, size, false };
	return 0;
}

/* Nobody but us is to write it: who does writes to what is served. */
static int check_mode(struct fsck *fsck, const char *path, const struct stat *st, struct error *err)
{
	cleanup_free char *subject = path_join("objects", path);
	bool repaired = fsck->options->repair;

	if (!subject)
		return out_of_memory(err);
	if ((st->st_mode & 07777) == OBJECT_FILE_MODE)
		return 0;
	if (repaired && fchmodat(fsck->store->objects_fd, path, OBJECT_FILE_MODE, 0) < 0)
		return error_errno(err, errno, "set the mode of '%s'", subject);
	return fsck_add(fsck, FSCK_WARNING,
		       FSCK_TEXT("object", NULL, subject, repaired ? "its mode is 0444 now" : "'veneer fsck --repair' sets it", repaired),
		       "its mode is %04o, not %04o", (unsigned)st->st_mode & 07777, OBJECT_FILE_MODE) < 0 ?
		out_of_memory(err) : 0;
}

static int look_at_file(struct scan *scan, const char *directory, const char *name, const struct stat *st, struct error *err)
{
	cleanup_free char *path = path_join(directory, name);
	char hex[HASH128_HEX_LENGTH + 1];
	struct hash128 hash;
	int r;

	if (!path)
		return out_of_memory(err);
	snprintf(hex, sizeof hex, "%.2s%.30s", directory, name);
	if (!S_ISREG(st->st_mode) || strlen(name) != HASH128_HEX_LENGTH - 2 || hash128_from_hex(hex, HASH128_HEX_LENGTH, &hash) < 0)
		return tell_stray(scan->fsck, path, st, err);
	r = check_mode(scan->fsck, path, st, err);
	if (r == 0 && add_found(scan, &hash, (uint64_t)st->st_size) < 0)
		r = out_of_memory(err);
	return r;
}

/* DIRECTORY "": objects/ itself. */
static int scan_directory(struct scan *scan, const char *directory, struct error *err)
{
	int objects_fd = scan->fsck->store->objects_fd;
	int fd = openat(objects_fd, *directory ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		cleanup_closep(&fd);
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : error_errno(err, errno, "read 'objects/%s'", directory);
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		struct stat st;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (*directory)
			r = look_at_file(scan, directory, name, &st, err);
		else if (!S_ISDIR(st.st_mode) || strlen(name) != 2 || strspn(name, "0123456789abcdef") != 2)
			r = tell_stray(scan->fsck, name, &st, err);
	}
	return r;
}

static int compare_found(const void *a, const void *b)
{
	return memcmp(((const struct found *)a)->hash.bytes, ((const struct found *)b)->hash.bytes, sizeof(struct hash128));
}

static int list_all(struct scan *scan, struct error *err)
{
	int r = scan_directory(scan, "", err);

	for (unsigned i = 0; r == 0 && i < DIRECTORY_COUNT; i++) {
		char name[3];

		snprintf(name, sizeof name, "%02x", i);
		r = scan_directory(scan, name, err);
	}
	return r;
}

/* Of some components only: what they need, as far as it is there. */
static int list_needed(struct scan *scan, struct error *err)
{
	struct fsck *fsck = scan->fsck;

	for (size_t i = 0; i < fsck->need_count; i++) {
		char path[OBJECT_PATH_LENGTH + 1];
		struct stat st;

		object_path(&fsck->needs[i].object, path);
		if (fstatat(fsck->store->objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (add_found(scan, &fsck->needs[i].object, (uint64_t)st.st_size) < 0)
			return out_of_memory(err);
	}
	return 0;
}

static int verify_object(void *arg, size_t index, struct error *err)
{
	struct scan *scan = arg;
	struct found *found = &scan->found[scan->first + index];
	int objects_fd = scan->fsck->store->objects_fd, r = object_verify(objects_fd, &found->hash, found->size, NULL);

	/* What memory has of a file may be right, and what the disk has not. */
	if (r == 0)
		r = object_verify_disk(objects_fd, &found->hash, found->size, NULL, NULL, NULL);
	if (r == -ENOMEM)
		return error_errno(err, ENOMEM, "read objects");
	found->whole = r == 0;
	atomic_fetch_add(&scan->bytes, found->size);
	return 0;
}

static int verify_all(struct scan *scan, struct error *err)
{
	int r = 0;

	for (scan->first = 0; r == 0 && scan->first < scan->count; scan->first += FSCK_STRETCH) {
		size_t left = scan->count - scan->first;
		struct parallel parallel;

		parallel_begin(&parallel, left < FSCK_STRETCH ? left : FSCK_STRETCH, verify_object, scan);
		r = parallel_end(&parallel, err);
		fsck_progress(scan->fsck, "check of served objects", scan->first, atomic_load(&scan->bytes));
	}
	return r;
}

static struct found *find(const struct scan *scan, const struct hash128 *hash)
{
	struct found key = { .hash = *hash };

	return scan->count ? bsearch(&key, scan->found, scan->count, sizeof key, compare_found) : NULL;
}

/* ---- what is wrong ---- */

/* A blob that holds what the object does. */
static const struct oid *find_blob(const struct fsck *fsck, const struct hash128 *hash)
{
	for (size_t i = 0; i < fsck->reach.ids.count; i++)
		if (fsck->contents[i].known && hash128_equal(&fsck->contents[i].hash, hash))
			return &fsck->reach.ids.ids[i];
	return NULL;
}

static const struct fsck_need *find_need(const struct fsck *fsck, const struct hash128 *hash)
{
	for (size_t i = 0; i < fsck->need_count; i++)
		if (hash128_equal(&fsck->needs[i].object, hash))
			return &fsck->needs[i];
	return NULL;
}

/* In the same file where that can be, so that who has it open has the right bytes, too. */
static int make_again(struct fsck *fsck, const struct oid *blob, const struct hash128 *hash, struct error *err)
{
	struct error damage = ERROR_INIT;
	uint64_t size;
	int r = repo_blob_size(fsck->store->repo, blob, &size, err);

	if (r == 0)
		r = object_heal(fsck->store, blob, hash, size, &damage, err);

	for (size_t i = 0; r == 0 && i < fsck->need_count; i++)
		fsck->needs[i].healed |= hash128_equal(&fsck->needs[i].object, hash);
	return r;
}

static int mend_damaged(struct fsck *fsck, const struct found *found, const struct oid *blob, const char *path, struct error *err)
{
	if (blob)
		return make_again(fsck, blob, &found->hash, err);
	if (unlinkat(fsck->store->objects_fd, path, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove 'objects/%s'", path);
	return 0;
}

static int tell_damaged(struct fsck *fsck, const struct found *found, struct error *err)
{
	const struct fsck_need *need = find_need(fsck, &found->hash);
	const struct oid *blob = find_blob(fsck, &found->hash);
	char path[OBJECT_PATH_LENGTH + 1];
	cleanup_free char *subject = NULL;
	bool repaired = fsck->options->repair;
	int r = 0;

	object_path(&found->hash, path);
	subject = path_join("objects", path);
	if (!subject)
		return out_of_memory(err);
	if (repaired)
		r = mend_damaged(fsck, found, blob, path, err);
	if (r < 0)
		return r;
	r = fsck_add(fsck, FSCK_ERROR,
		FSCK_TEXT("object", NULL, subject,
			repaired ? (blob ? "made again from git" : "removed: nothing needs it") :
				   (blob ? "'veneer fsck --repair' makes it again from git; so does whoever reads it" : "'veneer fsck --repair' removes it"),
			repaired),
		"its bytes do not hash to its name%s%s", need ? ", and it is needed by " : "", need ? fsck->texts.buf + need->who : "");
	return r < 0 ? out_of_memory(err) : 0;
}

/* One that was never there is made when it is first served: what plain git has switched to while nothing was mounted. */
static int tell_missing(struct fsck *fsck, const struct fsck_need *need, struct error *err)
{
	char path[OBJECT_PATH_LENGTH + 1];
	cleanup_free char *subject = NULL;
	bool repaired = fsck->options->repair;
	int r = repaired ? make_again(fsck, &need->blob, &need->object, err) : 0;

	if (r < 0)
		return r;
	object_path(&need->object, path);
	subject = path_join("objects", path);
	if (!subject)
		return out_of_memory(err);
	r = fsck_add(fsck, need->must ? FSCK_ERROR : FSCK_WARNING,
		FSCK_TEXT("object", NULL, subject,
			repaired ? "made again from git" : "'veneer fsck --repair' makes it again from git; so does whoever serves it", repaired),
		"it is missing, and needed by %s", fsck->texts.buf + need->who);
	return r < 0 ? out_of_memory(err) : 0;
}

/* Each object once, where several need it; of those that must be there, if any. */
static int compare_needs(const void *a, const void *b)
{
	const struct fsck_need *first = a, *second = b;
	int order = memcmp(first->object.bytes, second->object.bytes, sizeof first->object);

	return order ? order : (int)second->must - (int)first->must;
}

static int check_needs(struct scan *scan, struct error *err)
{
	struct fsck *fsck = scan->fsck;
	int r = 0;

	if (fsck->need_count > 1)
		qsort(fsck->needs, fsck->need_count, sizeof *fsck->needs, compare_needs);
	for (size_t i = 0; r == 0 && i < fsck->need_count; i++) {
		if (i > 0 && hash128_equal(&fsck->needs[i].object, &fsck->needs[i - 1].object))
			continue;
		if (!find(scan, &fsck->needs[i].object))
			r = tell_missing(fsck, &fsck->needs[i], err);
	}
	return r;
}

/* Into the report. */
static int list_healed(struct fsck_report *report, const struct fsck_need *need)
{
	struct fsck_healed *healed = reallocarray(report->healed, report->healed_count + 1, sizeof *healed);

	if (!healed)
		return -ENOMEM;
	report->healed = healed;
	healed += report->healed_count++;
	snprintf(healed->component, sizeof healed->component, "%s", need->component);
	healed->object = need->object;
	return 0;
}

/* Silently for who reads, loudly in the journal: one entry for each component. */
static int note_healed(struct fsck *fsck, const char *name, struct error *err)
{
	cleanup_free char *labels = NULL, *reason = NULL;
	struct journal_entry entry = { .action = (char *)"healed" };
	const size_t before = fsck->report->healed_count;
	char ref[REF_NAME_MAX];
	size_t count;

	for (size_t i = 0; i < fsck->need_count; i++) {
		const struct fsck_need *need = &fsck->needs[i];

		if (need->healed && strcmp(need->component, name) == 0 &&
			(i == 0 || !hash128_equal(&need->object, &fsck->needs[i - 1].object)) && list_healed(fsck->report, need) < 0)
			return out_of_memory(err);
	}
	count = fsck->report->healed_count - before;
	component_ref(name, "active", ref);
	if (count == 0 || repo_ref_read(fsck->store->repo, ref, &entry.to, NULL) < 0)
		return 0;
	labels = fsck_labels(fsck, name, &entry.to);
	if (!labels || asprintf(&reason, "fsck has made %zu served %s again from git", count, count == 1 ? "object" : "objects") < 0) {
		reason = NULL;
		return out_of_memory(err);
	}
	entry.from = entry.to;
	entry.labels = labels;
	entry.reason = reason;
	return journal_append(fsck->store, name, &entry, err);
}

int fsck_objects(struct fsck *fsck, struct error *err)
{
	CLEANUP(scan_release) struct scan scan = { .fsck = fsck };
	int r;

	if (fsck->store->objects_fd < 0)
		return 0; /* told with the directories */
	r = fsck->options->names ? list_needed(&scan, err) : list_all(&scan, err);
	if (r < 0)
		return r;
	if (scan.count > 1)
		qsort(scan.found, scan.count, sizeof *scan.found, compare_found);
	r = verify_all(&scan, err);
	fsck->report->objects = scan.count;
	for (size_t i = 0; r == 0 && i < scan.count; i++)
		if (!scan.found[i].whole && (i == 0 || compare_found(&scan.found[i], &scan.found[i - 1]) != 0))
			r = tell_damaged(fsck, &scan.found[i], err);
	if (r == 0)
		r = check_needs(&scan, err);
	if (r == 0 && fsck->options->repair)
		r = object_sync_all(fsck->store, err);
	for (char **name = fsck->names; r == 0 && fsck->options->repair && *name; name++)
		r = note_healed(fsck, *name, err);
	return r;
}
