/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged objects, made again (docs/decisions/self-healing.md). */
#include "store/object_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/log.h"

#define HEALED_NAMED_MAX 8u

void object_note_healed(struct store *store, const char *damage)
{
	log_message(LOG_WARNING, "%s; it was made again from git", damage);
	if (store->healed_count++ < HEALED_NAMED_MAX)
		strbuf_addf(&store->healed, "%s%s", store->healed.len ? "; " : "", damage);
}

void object_note_missing(struct store *store, const struct hash128 *hash)
{
	char path[OBJECT_PATH_LENGTH + 1];

	object_path(hash, path);
	if (store->missing_count++ < HEALED_NAMED_MAX)
		strbuf_addf(&store->missing, "%sobject '%s': missing", store->missing.len ? "; " : "", path);
}

static unsigned take(struct strbuf *text, unsigned *count, struct strbuf *ret)
{
	unsigned taken = *count;

	if (taken)
		strbuf_addf(ret, "%s%s", ret->len ? "; " : "", strbuf_text(text));
	if (taken > HEALED_NAMED_MAX)
		strbuf_addf(ret, "; and %u more", taken - HEALED_NAMED_MAX);
	strbuf_reset(text);
	*count = 0;
	return taken;
}

unsigned object_take_healed(struct store *store, bool missing, struct strbuf *ret)
{
	cleanup_strbuf struct strbuf unsaid = STRBUF_INIT;
	unsigned healed = take(&store->healed, &store->healed_count, ret);
	unsigned lost = take(&store->missing, &store->missing_count, missing ? ret : &unsaid);

	return missing ? healed + lost : healed;
}

/* Is it whole in the page cache and on the disk? */
static int look_at_both(struct store *store, const struct hash128 *hash, uint64_t size, struct error *err)
{
	int r = object_verify(store->objects_fd, hash, size, err);

	return r < 0 ? r : object_verify_disk(store->objects_fd, hash, size, NULL, NULL, err);
}

/* Another file takes its name. */
static int replace(struct store *store, const char *path, const void *data, size_t size, struct error *err)
{
	struct object_temporary file;
	char directory[3];
	int r = object_temporary_write(&file, store->objects_fd, data, size);

	if (r < 0)
		return error_errno(err, -r, "write object '%s'", path);
	snprintf(directory, sizeof directory, "%.2s", path);
	/* A file in the place of the directory is nothing of ours. */
	unlinkat(store->objects_fd, directory, 0);
	if (fsync(file.fd) < 0 || (mkdirat(store->objects_fd, directory, OBJECT_DIRECTORY_MODE) < 0 && errno != EEXIST))
		r = -errno;
	if (r == 0)
		r = object_temporary_replace(&file, path);
	object_temporary_release(&file);
	if (r < 0)
		return error_errno(err, -r, "replace object '%s'", path);
	store->objects_unsynced[strtoul(directory, NULL, 16) / 64] |= 1ull << strtoul(directory, NULL, 16) % 64;
	return object_sync_all(store, err);
}

int object_heal(struct store *store, const struct oid *blob, const struct hash128 *hash, uint64_t size,
	struct error *damage, struct error *err)
{
	cleanup_blob struct blob *content = NULL;
	char path[OBJECT_PATH_LENGTH + 1];
	struct hash128 found;
	int r = look_at_both(store, hash, size, damage);

	if (r == 0)
		return 0;
	if (r != -ENOENT && !object_is_damage(r))
		return error_set(err, r, "%s", damage->message);
	object_path(hash, path);
	r = repo_blob_open(store->repo, blob, OBJECT_BYTES_MAX, &content, err);
	if (r < 0)
		return error_prefix(err, r, "object '%s' is damaged and cannot be made again", path);
	found = hash128_of(blob_data(content), blob_size(content));
	if (!hash128_equal(&found, hash) || blob_size(content) != size)
		return error_set(err, -EBADMSG, "object '%s' is damaged, and git's blob is not what it was made from", path);
	if (object_mend(store->objects_fd, path, blob_data(content), size) == 0)
		return 0;
	r = replace(store, path, blob_data(content), size, err);
	return r < 0 ? r : look_at_both(store, hash, size, err);
}
