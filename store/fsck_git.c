/* SPDX-License-Identifier: Apache-2.0 */
/* All that refs lead to, and each copy of each object: read whole, and told where it is not what its id says. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"
#include "store/fsck_internal.h"
#include "store/object.h"

#define COMPONENT_PREFIX "refs/veneer/"

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

/* ---- where to begin ---- */

static bool is_wanted_ref(const struct fsck *fsck, const char *ref)
{
	cleanup_free char *name = NULL;
	const char *slash;

	if (fsck_all_git(fsck))
		return true;
	if (strncmp(ref, COMPONENT_PREFIX, strlen(COMPONENT_PREFIX)) != 0)
		return false;
	slash = strchr(ref + strlen(COMPONENT_PREFIX), '/');
	name = slash ? strndup(ref + strlen(COMPONENT_PREFIX), (size_t)(slash - ref) - strlen(COMPONENT_PREFIX)) : NULL;
	return name && fsck_wanted(fsck, name);
}

static int add_roots(struct fsck *fsck)
{
	int r = 0;

	/* Components first: what they share with others is then told by the component's own path. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; r == 0 && i < fsck->refs.count; i++) {
			const struct ref_file *ref = &fsck->refs.refs[i];
			bool ours = strncmp(ref->name, COMPONENT_PREFIX, strlen(COMPONENT_PREFIX)) == 0;

			if (ref->problem || ours != (round == 0) || !is_wanted_ref(fsck, ref->name))
				continue;
			fsck->report->refs++;
			r = reach_add(&fsck->reach, &ref->oid, ours ? RAW_COMMIT : RAW_NONE, ref->name, false);
		}
	}
	return r;
}

/* After all that is needed has been walked over: what they share with it is needed. */
static int add_others(struct fsck *fsck)
{
	int r = 0;

	for (size_t i = 0; r == 0 && fsck_all_git(fsck) && i < fsck->refs.other_count; i++)
		r = reach_add(&fsck->reach, &fsck->refs.others[i], RAW_NONE, "a reflog, or HEAD", true);
	return r;
}

static void walk_progress(void *arg, uint64_t objects, uint64_t bytes)
{
	fsck_progress(arg, "walk over commits and trees", objects, bytes);
}

/* ---- each copy ---- */

struct verification {
	struct fsck *fsck;
	size_t first; /* of the copies that are looked at now */
	pthread_mutex_t lock; /* guards contents and the states of what is reached */
	atomic_uint_fast64_t bytes;
};

/* The first copy that is whole says what a blob holds. */
static void note_content(struct verification *verification, const struct oid *oid, const struct raw_object *object)
{
	struct fsck *fsck = verification->fsck;
	size_t number;

	if (!oid_set_find(&fsck->reach.ids, oid, &number))
		return;
	if (object->kind == RAW_BLOB) {
		struct hash128 hash = hash128_of(object->data, object->size);
		SCOPED_LOCK(&verification->lock);

		if (!fsck->contents[number].known)
			fsck->contents[number] = (struct fsck_content){ hash, object->size, true };
	} else {
		SCOPED_LOCK(&verification->lock);

		if (fsck->reach.items[number].kind == RAW_BLOB && fsck->reach.items[number].state == REACH_WHOLE)
			fsck->reach.items[number].state = REACH_OTHER_KIND;
	}
}

static int verify_copy(void *arg, size_t index, struct error *err)
{
	struct verification *verification = arg;
	struct fsck *fsck = verification->fsck;
	size_t copy = verification->first + index;
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	struct oid oid = inventory_copy_at(fsck->inventory, copy).oid;
	int r;

	if (!fsck_all_git(fsck) && !reach_has(&fsck->reach, &oid))
		return 0;
	r = inventory_read_copy(fsck->inventory, copy, OBJECT_BYTES_MAX, &object);
	if (r == -ENOMEM)
		return error_errno(err, ENOMEM, "read the objects of '%s'", fsck->git_path);
	fsck->copy_bad[copy] = r < 0 && r != -E2BIG; /* larger than what can be served, and for plain git to know */
	if (r < 0)
		return 0;
	atomic_fetch_add(&verification->bytes, object.size);
	note_content(verification, &oid, &object);
	return 0;
}

static int verify_copies(struct fsck *fsck, struct error *err)
{
	struct verification verification = { .fsck = fsck, .lock = PTHREAD_MUTEX_INITIALIZER };
	int r = 0;

	for (size_t at = 0; r == 0 && at < fsck->inventory->copies; at += FSCK_STRETCH) {
		size_t left = fsck->inventory->copies - at;
		struct parallel parallel;

		verification.first = at;
		parallel_begin(&parallel, left < FSCK_STRETCH ? left : FSCK_STRETCH, verify_copy, &verification);
		r = parallel_end(&parallel, err);
		fsck_progress(fsck, "check of git's objects", at, atomic_load(&verification.bytes));
	}
	fsck->report->copies = fsck->inventory->copies;
	return r;
}

/* ---- what came of it ---- */

/* An object has no copy that is whole: then who needs it is not told that in other words. */
static int settle_states(struct fsck *fsck)
{
	for (size_t copy = 0; copy < fsck->inventory->copies; copy++) {
		struct oid oid = inventory_copy_at(fsck->inventory, copy).oid;
		size_t number;

		if (!fsck->copy_bad[copy])
			continue;
		if (oid_set_add(&fsck->bad, &oid, NULL) < 0)
			return -ENOMEM;
		if (!oid_set_find(&fsck->reach.ids, &oid, &number))
			continue;
		fsck->reach.items[number].copy_damaged = true;
		if (fsck->reach.items[number].kind == RAW_BLOB && !fsck->contents[number].known &&
			fsck->reach.items[number].state == REACH_WHOLE)
			fsck->reach.items[number].state = REACH_DAMAGED;
	}
	/* What only we can read, for the index is damaged, is none of git's. */
	for (size_t i = 0; i < fsck->inventory->pack_count; i++) {
		const struct inventory_pack *pack = &fsck->inventory->packs[i];

		for (uint32_t n = 0; pack->unreadable && pack->file && n < pack->file->count; n++)
			if (oid_set_add(&fsck->bad, &pack->file->items[n].oid, NULL) < 0)
				return -ENOMEM;
	}
	for (size_t i = 0; i < fsck->reach.ids.count; i++)
		if (fsck->reach.items[i].state != REACH_WHOLE && oid_set_add(&fsck->bad, &fsck->reach.ids.ids[i], NULL) < 0)
			return -ENOMEM;
	return 0;
}

static int walk(struct fsck *fsck, int (*add)(struct fsck *fsck), struct error *err)
{
	int r = add(fsck);

	if (r < 0)
		return error_errno(err, -r, "walk over the objects of '%s'", fsck->git_path);
	return reach_walk(&fsck->reach, fsck->inventory, walk_progress, fsck, err);
}

int fsck_git(struct fsck *fsck, struct error *err)
{
	int r = walk(fsck, add_roots, err);

	if (r == 0)
		r = walk(fsck, add_others, err);
	if (r < 0)
		return r;
	fsck->report->git_objects = fsck->reach.ids.count;
	fsck->copy_bad = calloc(fsck->inventory->copies + 1, sizeof *fsck->copy_bad);
	fsck->contents = calloc(fsck->reach.ids.count + 1, sizeof *fsck->contents);
	if (!fsck->copy_bad || !fsck->contents)
		return out_of_memory(err);
	r = verify_copies(fsck, err);
	if (r < 0)
		return r;
	return settle_states(fsck) < 0 ? out_of_memory(err) : 0;
}
