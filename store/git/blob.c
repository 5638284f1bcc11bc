/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"

/* ---- writing ---- */

void blob_draft_release(struct blob_draft *draft)
{
	free(draft->data);
	*draft = (struct blob_draft)BLOB_DRAFT_INIT;
}

int blob_draft_reserve(struct blob_draft *draft, uint64_t size, struct error *err)
{
	void *data;

	if (size >= SIZE_MAX)
		return error_errno(err, EFBIG, "blob of %llu bytes", (unsigned long long)size);
	if (draft->data && draft->size >= size)
		return 0;
	data = realloc(draft->data, size + 1);
	if (!data)
		return error_errno(err, ENOMEM, "blob of %llu bytes", (unsigned long long)size);
	draft->data = data;
	draft->size = size;
	return 0;
}

static int draft_hash(struct blob_draft *draft, size_t size, struct error *err)
{
	draft->size = size;
	return repo_blob_id(draft->data, size, &draft->oid, err);
}

int blob_draft_copy(const void *data, size_t size, struct blob_draft *ret, struct error *err)
{
	int rc = blob_draft_reserve(ret, size, err);

	if (rc < 0)
		return rc;
	if (size > 0)
		memcpy(ret->data, data, size);
	return draft_hash(ret, size, err);
}

int blob_draft_read(int fd, uint64_t size, struct blob_draft *ret, struct error *err)
{
	char beyond;
	ssize_t got, more;
	int rc = blob_draft_reserve(ret, size, err);

	if (rc < 0)
		return rc;
	got = io_read(fd, ret->data, size);
	more = got < 0 ? got : io_read(fd, &beyond, 1);
	if (more < 0)
		return error_errno(err, (int)-more, "read a file of %llu bytes", (unsigned long long)size);
	if ((uint64_t)got != size || more != 0)
		return error_set(err, -EAGAIN, "a file of %llu bytes has %s while it was read",
			(unsigned long long)size, more ? "grown" : "shrunk");
	return draft_hash(ret, size, err);
}

int repo_blob_put(struct repo *repo, struct blob_draft *draft, struct error *err)
{
	return batch_put_hashed(repo, GIT_OBJECT_BLOB, TAKE_PTR(draft->data), draft->size, &draft->oid, err);
}

int repo_blob_write(struct repo *repo, const void *data, size_t size, struct oid *ret, struct error *err)
{
	cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;
	int rc = blob_draft_copy(data, size, &draft, err);

	if (rc == 0)
		rc = repo_blob_put(repo, &draft, err);
	if (rc == 0)
		*ret = draft.oid;
	return rc;
}

int repo_blob_write_fd(struct repo *repo, int fd, uint64_t size, struct oid *ret, struct error *err)
{
	cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;
	int rc = blob_draft_read(fd, size, &draft, err);

	if (rc == 0)
		rc = repo_blob_put(repo, &draft, err);
	if (rc == 0)
		*ret = draft.oid;
	return rc;
}

/* ---- reading ---- */

int repo_blob_read(struct repo *repo, const struct oid *oid, uint64_t limit, struct strbuf *sb,
	struct error *err)
{
	CLEANUP(git_odb_object_freep) git_odb_object *object = NULL;
	int rc;

	rc = object_read(repo, oid, GIT_OBJECT_BLOB, limit, &object, err);
	if (rc < 0)
		return rc;
	strbuf_add(sb, libgit2.odb_object_data(object), libgit2.odb_object_size(object));
	if (strbuf_failed(sb))
		return error_errno(err, ENOMEM, "blob '%s'", OID_HEX(oid));
	return 0;
}

struct blob {
	git_odb_object *object; /* owned; NULL: the batch has it */
	const void *data;
	size_t size;
};

/* What is written and not on disk yet was hashed when it came. */
static bool blob_from_batch(const struct repo *repo, const struct oid *oid, uint64_t limit, struct blob *blob)
{
	const struct batch_object *object = batch_find(&repo->batch, oid);

	if (!object || object->type != GIT_OBJECT_BLOB || object->size > limit)
		return false;
	blob->data = object->data;
	blob->size = object->size;
	return true;
}

int repo_blob_open(struct repo *repo, const struct oid *oid, uint64_t limit, struct blob **ret,
	struct error *err)
{
	cleanup_blob struct blob *blob = calloc(1, sizeof *blob);
	int rc;

	if (!blob)
		return error_errno(err, ENOMEM, "blob '%s'", OID_HEX(oid));
	if (!blob_from_batch(repo, oid, limit, blob)) {
		rc = object_read(repo, oid, GIT_OBJECT_BLOB, limit, &blob->object, err);
		if (rc < 0)
			return rc;
		blob->data = libgit2.odb_object_data(blob->object);
		blob->size = libgit2.odb_object_size(blob->object);
	}
	*ret = TAKE_PTR(blob);
	return 0;
}

const void *blob_data(const struct blob *blob)
{
	return blob->size > 0 ? blob->data : "";
}

size_t blob_size(const struct blob *blob)
{
	return blob->size;
}

void blob_free(struct blob *blob)
{
	if (!blob)
		return;
	if (blob->object)
		libgit2.odb_object_free(blob->object);
	free(blob);
}

int repo_blob_size(struct repo *repo, const struct oid *oid, uint64_t *ret, struct error *err)
{
	return object_header(repo, oid, GIT_OBJECT_BLOB, ret, err);
}

int repo_blob_id(const void *data, size_t size, struct oid *ret, struct error *err)
{
	git_oid id;
	int rc = library_start(err);

	if (rc < 0)
		return rc;
	rc = libgit2.odb_hash(&id, size ? data : "", size, GIT_OBJECT_BLOB);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "hash a blob of %zu bytes", size);
	*ret = oid_from_git(&id);
	return 0;
}
