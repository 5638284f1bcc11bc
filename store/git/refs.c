/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <git2/refs.h>
#include <git2/transaction.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"
#include "store/git/ref_files.h"

/* How long a ref that another process has locked is waited for. */
#define REF_LOCK_WAIT_MS 10000
#define REF_LOCK_RETRY_MS 20

DEFINE_GIT_CLEANUP(signature_free, git_signature *);
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

/* ---- locking ---- */

static void lock_break_stale(struct repo *repo, const char *name)
{
	cleanup_free char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/%s.lock", repo->path, name) < 0) {
		path = NULL;
		return;
	}
	if (lstat(path, &st) == 0 && st.st_mtime + REF_LOCK_STALE_SECONDS < time(NULL))
		unlink(path);
}

static int ref_lock(struct repo *repo, git_transaction *transaction, const char *name, struct error *err)
{
	static const struct timespec pause = { .tv_nsec = REF_LOCK_RETRY_MS * 1000000L };
	int rc;

	for (int waited_ms = 0;; waited_ms += REF_LOCK_RETRY_MS) {
		rc = libgit2.transaction_lock_ref(transaction, name);
		if (rc != GIT_ELOCKED || waited_ms >= REF_LOCK_WAIT_MS)
			break;
		lock_break_stale(repo, name);
		nanosleep(&pause, NULL);
	}
	if (rc < 0)
		return git_failure(err, rc, -EIO, "lock ref '%s'", SHOW(name));
	return 0;
}

static int ref_check(struct repo *repo, const struct ref_update *update, struct error *err)
{
	struct oid now = { { 0 } };
	int rc;

	if (!update->check)
		return 0;
	rc = repo_ref_read(repo, update->name, &now, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (oid_equal(&now, &update->old_oid))
		return 0;
	if (oid_is_zero(&now))
		return error_set(err, -EAGAIN, "ref '%s' is gone, expected %s: try again", update->name,
			OID_HEX(&update->old_oid));
	return error_set(err, -EAGAIN, "ref '%s' is at %s, expected %s: try again", update->name,
		OID_HEX(&now), oid_is_zero(&update->old_oid) ? "none" : OID_HEX(&update->old_oid));
}

/* ---- writing ---- */

/*
 * The directories above the ref, made durable: libgit2 syncs only the one that holds the file, and a
 * crash could take a new one away with all that is in it.
 */
static int ref_make_directories(struct repo *repo, const char *name, struct error *err)
{
	cleanup_close int fd = open(repo->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *at = name, *slash;

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", repo->path);
	for (; (slash = strchr(at, '/')) != NULL; at = slash + 1) {
		cleanup_free char *part = strndup(at, (size_t)(slash - at));
		int next, rc = 0;

		if (!part)
			return error_errno(err, ENOMEM, "ref '%s'", name);
		if (mkdirat(fd, part, 0777) == 0)
			rc = io_sync_dir(fd);
		else if (errno != EEXIST)
			rc = -errno;
		if (rc < 0)
			return error_errno(err, -rc, "ref '%s': make the directory '%s'", name, part);
		next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next < 0)
			return error_errno(err, errno, "ref '%s': open '%s'", name, part);
		close(fd);
		fd = next;
	}
	return 0;
}

/*
 * One transaction a ref: libgit2 commits the refs of a single one in the order of a hash table, and
 * the order given is what makes a crash between two of them harmless.
 */
struct ref_locks {
	git_transaction **transactions;
	size_t count;
};

static void ref_locks_release(struct ref_locks *locks)
{
	for (size_t i = 0; i < locks->count; i++)
		libgit2.transaction_free(locks->transactions[i]); /* unlocks what is not committed */
	free(locks->transactions);
}

static int ref_prepare(struct repo *repo, git_transaction *transaction, const struct ref_update *update,
	const git_signature *signature, struct error *err)
{
	bool delete = oid_is_zero(&update->new_oid);
	git_oid id = oid_to_git(&update->new_oid);
	int rc, valid = 0;

	if (libgit2.reference_name_is_valid(&valid, update->name) < 0 || !valid)
		return error_set(err, -EINVAL, "'%s' is no name for a ref", SHOW(update->name));
	if (delete) /* which rewrites the packed refs */
		lock_break_stale(repo, "packed-refs");
	rc = delete ? 0 : ref_make_directories(repo, update->name, err);
	if (rc < 0)
		return rc;
	rc = ref_lock(repo, transaction, update->name, err);
	if (rc < 0)
		return rc;
	rc = ref_check(repo, update, err);
	if (rc < 0)
		return rc;
	if (delete) {
		rc = libgit2.transaction_remove(transaction, update->name);
	} else {
		if (!repo_object_exists(repo, &update->new_oid))
			return error_set(err, -ENOENT, "ref '%s': object '%s' is missing", update->name,
				OID_HEX(&update->new_oid));
		rc = libgit2.transaction_set_target(transaction, update->name, &id, signature, "veneer");
	}
	if (rc < 0)
		return git_failure(err, rc, -EIO, "ref '%s'", update->name);
	return 0;
}

int repo_refs_update(struct repo *repo, const struct ref_update *updates, size_t count, struct error *err)
{
	CLEANUP(ref_locks_release) struct ref_locks locks = { calloc(count + 1, sizeof(git_transaction *)), 0 };
	CLEANUP(git_signature_freep) git_signature *signature = NULL;
	int rc;

	if (!locks.transactions)
		return error_errno(err, ENOMEM, "update %zu refs", count);
	rc = libgit2.signature_new(&signature, "veneer", "veneer@localhost", (git_time_t)time(NULL), 0);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "update %zu refs", count);
	for (size_t i = 0; i < count; i++) {
		rc = libgit2.transaction_new(&locks.transactions[i], repo->git);
		if (rc < 0)
			return git_failure(err, rc, -EIO, "ref '%s'", updates[i].name);
		locks.count++;
		rc = ref_prepare(repo, locks.transactions[i], &updates[i], signature, err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < count; i++) {
		rc = libgit2.transaction_commit(locks.transactions[i]);
		if (rc < 0)
			return git_failure(err, rc, -EIO, "write ref '%s' (%zu of %zu were written)",
				updates[i].name, i, count);
	}
	return 0;
}
