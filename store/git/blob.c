/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"

int repo_blob_write(struct repo *repo, const void *data, size_t size, struct oid *ret, struct error *err)
{
	void *copy = NULL;

	if (size > 0) {
		copy = malloc(size);
		if (!copy)
			return error_errno(err, ENOMEM, "blob of %zu bytes", size);
		memcpy(copy, data, size);
	}
	return batch_put(repo, GIT_OBJECT_BLOB, copy, size, ret, err);
}

int repo_blob_write_fd(struct repo *repo, int fd, uint64_t size, struct oid *ret, struct error *err)
{
	cleanup_free char *data = NULL;
	char beyond;
	ssize_t got, more;

	if (size >= SIZE_MAX)
		return error_errno(err, EFBIG, "blob of %llu bytes", (unsigned long long)size);
	data = malloc(size + 1);
	if (!data)
		return error_errno(err, ENOMEM, "blob of %llu bytes", (unsigned long long)size);
	got = io_read(fd, data, size);
	more = got < 0 ? got : io_read(fd, &beyond, 1);
	if (more < 0)
		return error_errno(err, (int)-more, "read a file of %llu bytes", (unsigned long long)size);
	if ((uint64_t)got != size || more != 0)
		return error_set(err, -EAGAIN, "a file of %llu bytes has %s while it was read",
			(unsigned long long)size, more ? "grown" : "shrunk");
	return batch_put(repo, GIT_OBJECT_BLOB, TAKE_PTR(data), size, ret, err);
}

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
