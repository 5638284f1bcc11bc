/* SPDX-License-Identifier: Apache-2.0 */
#include <git2/refs.h>

#include "store/git/internal.h"
#include "store/git/ref_files.h"

/* ---- reading ---- */

int repo_ref_read(struct repo *repo, const char *name, struct oid *ret, struct error *err)
{
	git_oid id;
	int rc = libgit2.reference_name_to_id(&id, repo->git, name);

	if (rc == GIT_ENOTFOUND)
		return error_set(err, -ENOENT, "no ref '%s'", SHOW(name));
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "ref '%s'", SHOW(name));
	*ret = oid_from_git(&id);
	return 0;
}

/*
 * libgit2's iterator ends at the first symlink below refs/, in silence, as if there were no more; and it gives names that it does not
 * read then. git passes over such names, and so is it here.
 */
static bool is_valid(const char *name)
{
	int valid = 0;

	return libgit2.reference_name_is_valid(&valid, name) == 0 && valid;
}

int repo_refs_each(struct repo *repo, const char *prefix, ref_fn fn, void *arg, struct error *err)
{
	cleanup_ref_files struct ref_files files = REF_FILES_INIT;
	int rc = ref_files_names(repo->path, prefix, &files, err);

	for (size_t i = 0; rc == 0 && i < files.count; i++) {
		const char *name = files.refs[i].name;
		struct oid oid;

		if (!is_valid(name))
			continue;
		rc = repo_ref_read(repo, name, &oid, err);
		/* Deleted meanwhile, a symbolic ref that leads nowhere, or none that can be read: fsck names it. */
		if (rc == -ENOENT || rc == -EBADMSG) {
			rc = 0;
			continue;
		}
		if (rc == 0)
			rc = fn(arg, name, &oid, err);
	}
	return rc;
}
