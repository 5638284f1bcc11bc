/* SPDX-License-Identifier: Apache-2.0 */
#include <git2/refs.h>
#include <string.h>

#include "store/git/internal.h"

DEFINE_GIT_CLEANUP(reference_iterator_free, git_reference_iterator *);

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

struct ref_list {
	char **names;
	size_t count, alloc;
};

static void ref_list_release(struct ref_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
}

static int ref_list_add(struct ref_list *list, const char *name)
{
	if (list->count == list->alloc) {
		size_t alloc = list->alloc ? list->alloc * 2 : 16;
		char **names = reallocarray(list->names, alloc, sizeof *names);

		if (!names)
			return -ENOMEM;
		list->names = names;
		list->alloc = alloc;
	}
	list->names[list->count] = strdup(name);
	return list->names[list->count] ? (list->count++, 0) : -ENOMEM;
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int ref_list_load(struct repo *repo, const char *prefix, struct ref_list *list, struct error *err)
{
	CLEANUP(git_reference_iterator_freep) git_reference_iterator *iterator = NULL;
	const char *name;
	int rc = libgit2.reference_iterator_new(&iterator, repo->git);

	while (rc == 0 && (rc = libgit2.reference_next_name(&name, iterator)) == 0)
		if (strncmp(name, prefix, strlen(prefix)) == 0 && ref_list_add(list, name) < 0)
			return error_errno(err, ENOMEM, "refs of '%s'", repo->path);
	if (rc != GIT_ITEROVER)
		return git_failure(err, rc, -EBADMSG, "refs of '%s'", repo->path);
	if (list->count > 1)
		qsort(list->names, list->count, sizeof *list->names, name_compare);
	return 0;
}

int repo_refs_each(struct repo *repo, const char *prefix, ref_fn fn, void *arg, struct error *err)
{
	CLEANUP(ref_list_release) struct ref_list list = { NULL, 0, 0 };
	int rc = ref_list_load(repo, prefix, &list, err);

	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		struct oid oid;

		rc = repo_ref_read(repo, list.names[i], &oid, err);
		if (rc == -ENOENT) { /* deleted meanwhile, or a symbolic ref that leads nowhere */
			rc = 0;
			continue;
		}
		if (rc == 0)
			rc = fn(arg, list.names[i], &oid, err);
	}
	return rc;
}
