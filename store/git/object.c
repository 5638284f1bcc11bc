/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/internal.h"

static int object_failure(struct error *err, int rc, const struct oid *oid)
{
	if (rc == GIT_ENOTFOUND)
		return error_set(err, -ENOENT, "object '%s' is missing", OID_HEX(oid));
	return git_failure(err, rc, -EBADMSG, "object '%s'", OID_HEX(oid));
}

int object_header(struct repo *repo, const struct oid *oid, git_object_t type, uint64_t *ret_size,
	struct error *err)
{
	git_oid id = oid_to_git(oid);
	git_object_t found;
	size_t size;
	int rc;

	rc = libgit2.odb_read_header(&size, &found, repo->odb, &id);
	if (rc < 0)
		return object_failure(err, rc, oid);
	if (found != type)
		return error_set(err, -EBADMSG, "object '%s' is a %s where a %s is wanted", OID_HEX(oid),
			libgit2.object_type2string(found), libgit2.object_type2string(type));
	*ret_size = size;
	return 0;
}

int object_read(struct repo *repo, const struct oid *oid, git_object_t type, uint64_t limit,
	git_odb_object **ret, struct error *err)
{
	CLEANUP(git_odb_object_freep) git_odb_object *object = NULL;
	git_oid id = oid_to_git(oid);
	uint64_t size;
	int rc;

	rc = object_header(repo, oid, type, &size, err);
	if (rc < 0)
		return rc;
	if (size > limit)
		return error_set(err, -E2BIG, "object '%s' has %llu bytes, more than the %llu allowed",
			OID_HEX(oid), (unsigned long long)size, (unsigned long long)limit);
	rc = libgit2.odb_read(&object, repo->odb, &id);
	if (rc < 0)
		return object_failure(err, rc, oid);
	/* A header may lie about what follows; libgit2's buffers have the length that was inflated. */
	if (libgit2.odb_object_type(object) != type || libgit2.odb_object_size(object) != size)
		return error_set(err, -EBADMSG, "object '%s' is not what its header says", OID_HEX(oid));
	*ret = TAKE_PTR(object);
	return 0;
}

int repo_object_exists(struct repo *repo, const struct oid *oid)
{
	git_oid id = oid_to_git(oid);

	return libgit2.odb_exists(repo->odb, &id) == 1;
}
