/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/git/internal.h"

/*
 * A few small objects (a journal entry is three) become loose files: a pack each would make thousands
 * of packs, and every lookup slower. The same trade as git's fetch.unpackLimit.
 */
#define BATCH_LOOSE_COUNT 16u
#define BATCH_LOOSE_BYTES (1u << 20)

/* ---- the map ---- */

static size_t batch_slot(const struct batch *batch, const struct oid *oid)
{
	size_t slot;

	memcpy(&slot, oid->id, sizeof slot);
	for (slot &= batch->slot_count - 1; batch->slots[slot]; slot = (slot + 1) & (batch->slot_count - 1))
		if (oid_equal(&batch->objects[batch->slots[slot] - 1].oid, oid))
			break;
	return slot;
}

const struct batch_object *batch_find(const struct batch *batch, const struct oid *oid)
{
	uint32_t index;

	if (batch->count == 0)
		return NULL;
	index = batch->slots[batch_slot(batch, oid)];
	return index ? &batch->objects[index - 1] : NULL;
}

/* Room for one more, with the map at most half full. */
static int batch_grow(struct batch *batch)
{
	struct batch_object *objects;
	size_t alloc = batch->alloc ? batch->alloc * 2 : 64;
	uint32_t *slots;

	if (batch->count < batch->alloc)
		return 0;
	objects = reallocarray(batch->objects, alloc, sizeof *objects);
	if (!objects)
		return -ENOMEM;
	batch->objects = objects;
	slots = calloc(alloc * 2, sizeof *slots);
	if (!slots)
		return -ENOMEM;
	free(batch->slots);
	batch->slots = slots;
	batch->slot_count = alloc * 2;
	batch->alloc = alloc;
	for (size_t i = 0; i < batch->count; i++)
		batch->slots[batch_slot(batch, &batch->objects[i].oid)] = (uint32_t)(i + 1);
	return 0;
}

static void batch_clear(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++)
		free(batch->objects[i].data);
	if (batch->count > 0)
		memset(batch->slots, 0, batch->slot_count * sizeof *batch->slots);
	batch->count = 0;
	batch->bytes = 0;
}

void batch_release(struct batch *batch)
{
	batch_clear(batch);
	free(batch->objects);
	free(batch->slots);
	*batch = (struct batch){ .open = false };
}

/* ---- what libgit2 sees of it ---- */

struct batch_backend {
	git_odb_backend base; /* first: libgit2 hands back its address */
	const struct batch *batch;
};

static const struct batch_object *backend_find(git_odb_backend *backend, const git_oid *id)
{
	struct oid oid = oid_from_git(id);

	return batch_find(((struct batch_backend *)backend)->batch, &oid);
}

static int backend_read(void **ret_data, size_t *ret_size, git_object_t *ret_type,
	git_odb_backend *backend, const git_oid *id)
{
	const struct batch_object *object = backend_find(backend, id);
	char *data;

	if (!object)
		return GIT_ENOTFOUND;
	data = libgit2.odb_backend_data_alloc(backend, object->size + 1);
	if (!data)
		return GIT_ERROR;
	if (object->size > 0)
		memcpy(data, object->data, object->size);
	data[object->size] = '\0';
	*ret_data = data;
	*ret_size = object->size;
	*ret_type = object->type;
	return 0;
}

static int backend_read_header(size_t *ret_size, git_object_t *ret_type, git_odb_backend *backend,
	const git_oid *id)
{
	const struct batch_object *object = backend_find(backend, id);

	if (!object)
		return GIT_ENOTFOUND;
	*ret_size = object->size;
	*ret_type = object->type;
	return 0;
}

static int backend_exists(git_odb_backend *backend, const git_oid *id)
{
	return backend_find(backend, id) != NULL;
}

static void backend_free(git_odb_backend *backend)
{
	free(backend);
}

int batch_backend_new(const struct batch *batch, git_odb_backend **ret)
{
	struct batch_backend *backend = calloc(1, sizeof *backend);

	if (!backend)
		return -ENOMEM;
	libgit2.odb_init_backend(&backend->base, GIT_ODB_BACKEND_VERSION);
	backend->base.read = backend_read;
	backend->base.read_header = backend_read_header;
	backend->base.exists = backend_exists;
	backend->base.free = backend_free;
	backend->batch = batch;
	*ret = &backend->base;
	return 0;
}

/* ---- writing ---- */

static int batch_flush(struct repo *repo, struct error *err)
{
	struct batch *batch = &repo->batch;
	int rc;

	if (batch->count == 0)
		return 0;
	if (batch->count <= BATCH_LOOSE_COUNT && batch->bytes <= BATCH_LOOSE_BYTES)
		rc = loose_write(repo->objects_fd, batch, err);
	else
		rc = pack_write(repo->objects_fd, batch, err);
	if (rc < 0)
		return error_prefix(err, rc, "'%s/objects'", repo->path);
	rc = libgit2.odb_refresh(repo->odb);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "read the new objects of '%s'", repo->path);
	batch_clear(batch);
	batch->flushes++;
	return 0;
}

static int batch_add(struct batch *batch, const struct oid *oid, git_object_t type, void *data,
	size_t size)
{
	int rc = batch_grow(batch);

	if (rc < 0)
		return rc;
	batch->objects[batch->count++] =
		(struct batch_object){ .oid = *oid, .type = type, .size = size, .data = data };
	batch->slots[batch_slot(batch, oid)] = (uint32_t)batch->count;
	batch->bytes += size;
	return 0;
}

/* Not libgit2's own answer: it also knows what it has cached of a batch that was aborted since. */
static bool is_stored(const struct repo *repo, const struct oid *oid, const git_oid *id)
{
	if (batch_find(&repo->batch, oid))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(repo->on_disk); i++)
		if (repo->on_disk[i]->exists(repo->on_disk[i], id))
			return true;
	return false;
}

bool repo_object_stored(struct repo *repo, const struct oid *oid)
{
	git_oid id = oid_to_git(oid);

	return is_stored(repo, oid, &id);
}

int batch_put_hashed(struct repo *repo, git_object_t type, void *data, size_t size, const struct oid *oid,
	struct error *err)
{
	cleanup_free void *owned = data;
	git_oid id = oid_to_git(oid);
	int rc;

	if (!repo->batch.open)
		return error_set(err, -EINVAL, "write to '%s': no batch is open", repo->path);
	/* The odb was refreshed when the batch began; our own flushes refresh it as well. */
	if (is_stored(repo, oid, &id))
		return 0;
	rc = batch_add(&repo->batch, oid, type, data, size);
	if (rc < 0)
		return error_errno(err, -rc, "object '%s'", OID_HEX(oid));
	TAKE_PTR(owned);
	return repo->batch.bytes > REPO_BATCH_BYTES ? batch_flush(repo, err) : 0;
}

int batch_put(struct repo *repo, git_object_t type, void *data, size_t size, struct oid *ret,
	struct error *err)
{
	cleanup_free void *owned = data;
	struct oid oid;
	git_oid id;
	int rc;

	rc = libgit2.odb_hash(&id, data ? data : "", size, type);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "hash an object for '%s'", repo->path);
	oid = oid_from_git(&id);
	rc = batch_put_hashed(repo, type, TAKE_PTR(owned), size, &oid, err);
	if (rc == 0)
		*ret = oid;
	return rc;
}

int repo_batch_begin(struct repo *repo, struct error *err)
{
	int rc;

	if (repo->batch.open)
		return error_set(err, -EINVAL, "'%s': a batch is open already", repo->path);
	rc = repo_refresh(repo, err);
	if (rc < 0)
		return rc;
	repo->batch.open = true;
	return 0;
}

int repo_batch_commit(struct repo *repo, struct error *err)
{
	int rc;

	if (!repo->batch.open)
		return error_set(err, -EINVAL, "commit to '%s': no batch is open", repo->path);
	rc = batch_flush(repo, err);
	if (rc < 0)
		return rc;
	batch_release(&repo->batch);
	return 0;
}

void repo_batch_abort(struct repo *repo)
{
	batch_release(&repo->batch);
}

/* ---- trials ---- */

int repo_trial_begin(struct repo *repo, struct repo_trial *ret, struct error *err)
{
	bool own_batch = !repo->batch.open;
	int rc = own_batch ? repo_batch_begin(repo, err) : 0;

	if (rc == 0)
		*ret = (struct repo_trial){ own_batch, repo->batch.count, repo->batch.flushes };
	return rc;
}

/* The last one in is the first one out: so no search for another one passed over its slot. */
static void batch_forget_last(struct batch *batch)
{
	struct batch_object *object = &batch->objects[batch->count - 1];

	batch->slots[batch_slot(batch, &object->oid)] = 0;
	batch->bytes -= object->size;
	free(object->data);
	batch->count--;
}

void repo_trial_end(struct repo *repo, const struct repo_trial *trial)
{
	struct batch *batch = &repo->batch;
	size_t keep = batch->flushes == trial->flushes ? trial->count : 0;

	if (trial->own_batch) {
		repo_batch_abort(repo);
		return;
	}
	while (batch->count > keep)
		batch_forget_last(batch);
}
