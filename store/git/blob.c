/* SPDX-License-Identifier: Apache-2.0 */
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
