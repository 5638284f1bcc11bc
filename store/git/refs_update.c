/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Refs are written by our own code: what libgit2 writes it cannot take back, and on a full disk it must be taken back without room. Each
 * ref's new value is on the disk, in its lock file, before the first ref moves; the move exchanges the two names, so that the old value stays in
 * the lock file until all is done. To undo it is to exchange them again.
 */

#include <fcntl.h>
#include <git2/refs.h>
#include <git2/transaction.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"
#include "store/git/ref_files.h"

/* How long a ref that another process has locked is waited for. Of ours it shows at once that the process is dead, of git's by their age. */
#define REF_LOCK_WAIT_MS 10000
#define REF_LOCK_RETRY_MS 20

/* Of our locks, and so of our refs. git's can be written to by their owner: that tells them apart. */
#define REF_MODE 0444
#define LOCK_SUFFIX ".lock"
#define REF_DEPTH_MAX 8u /* directories below refs/veneer that are looked into */

/* How far a ref is. */
enum held_state {
	HELD_NOTHING,
	HELD_LOCKED,	/* the lock file has the new value */
	HELD_EXCHANGED, /* the ref has the new value, the lock file the old one */
	HELD_REPLACED,	/* the ref has the new value; this filesystem cannot exchange */
	HELD_MADE,	/* the ref has the new value; there was no file of it */
};

struct held {
	const struct ref_update *update;
	enum held_state state;
	int directory, fd;	   /* of the ref; of its lock file, with flock(2) on it */
	int before_fd;		   /* of the ref's file, with flock(2) on it: the lock file is that one when they are exchanged; -EBADF: there is none */
	char *lock, *leaf;	   /* owned; names in the directory */
	bool existed;		   /* the ref, loose or packed */
	struct oid before;	   /* then its value */
	git_transaction *deletion; /* a ref that is to be deleted is libgit2's: packed refs are rewritten */
};

struct held_list {
	struct repo *repo;
	struct held *held;
	size_t count;
};

static void held_release(struct held *held)
{
	if (held->deletion)
		libgit2.transaction_free(held->deletion); /* unlocks what is not committed */
	/* The ref's file by now, which whoever has the lock next is to have, too. */
	if (held->state == HELD_EXCHANGED) {
		close(held->fd);
		held->fd = -EBADF;
	}
	/* Whatever it holds now. What cannot be removed is broken by whoever comes next. */
	if (held->state != HELD_NOTHING && held->state != HELD_MADE && held->state != HELD_REPLACED)
		unlinkat(held->directory, held->lock, 0);
	cleanup_closep(&held->fd);
	cleanup_closep(&held->before_fd);
	cleanup_closep(&held->directory);
	free(held->lock);
	free(held->leaf);
}

static void held_list_release(struct held_list *list)
{
	for (size_t i = list->count; i-- > 0;)
		held_release(&list->held[i]);
	free(list->held);
}

/* ---- locking ---- */

/* The lock of a process that is dead, or that is taken for dead: 0 where it was removed. */
static int lock_break_stale(int directory, const char *lock)
{
	cleanup_close int fd = openat(directory, lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat opened, named;

	if (fd < 0 || fstat(fd, &opened) < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	if ((opened.st_mode & 0222) && !ref_lock_is_stale(opened.st_mtime, time(NULL)))
		return -EBUSY;
	if (fstatat(directory, lock, &named, AT_SYMLINK_NOFOLLOW) < 0 || named.st_ino != opened.st_ino)
		return 0;
	return unlinkat(directory, lock, 0) < 0 ? -errno : 0;
}

static bool is_our_lock(int directory, const char *name)
{
	size_t length = strlen(name), suffix = strlen(LOCK_SUFFIX);
	struct stat st;

	return length > suffix && strcmp(name + length - suffix, LOCK_SUFFIX) == 0 &&
		fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && !(st.st_mode & 0222);
}

static void break_locks_at(int parent, const char *name, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!directory) {
		cleanup_closep(&fd);
		return;
	}
	while ((entry = readdir(directory))) {
		if (is_our_lock(fd, entry->d_name))
			lock_break_stale(fd, entry->d_name);
		else if (depth > 0 && entry->d_name[0] != '.') /* no ref begins with one */
			break_locks_at(fd, entry->d_name, depth - 1);
	}
}

void repo_locks_break(struct repo *repo, const char *directory)
{
	cleanup_close int fd = open(repo->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		break_locks_at(fd, directory, REF_DEPTH_MAX);
}

/* Ours, with flock(2) on it, or -EEXIST. */
static int lock_make(int directory, const char *lock)
{
	cleanup_close int fd = openat(directory, lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, REF_MODE);
	struct stat opened, named;

	if (fd < 0)
		return -errno;
	/* Between the two calls it may have been taken for a dead process's. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &opened) < 0 || fstatat(directory, lock, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
		opened.st_ino != named.st_ino)
		return -EEXIST;
	return TAKE_FD(fd);
}

static int lock_acquire_ref(struct held *held, struct error *err)
{
	static const struct timespec pause = { .tv_nsec = REF_LOCK_RETRY_MS * 1000000L };
	int fd = lock_make(held->directory, held->lock);

	for (int waited_ms = 0; fd == -EEXIST && waited_ms < REF_LOCK_WAIT_MS; waited_ms += REF_LOCK_RETRY_MS) {
		if (lock_break_stale(held->directory, held->lock) < 0)
			nanosleep(&pause, NULL);
		fd = lock_make(held->directory, held->lock);
	}
	if (fd < 0)
		return error_errno(err, -fd, "lock ref '%s'", held->update->name);
	held->fd = fd;
	held->state = HELD_LOCKED;
	return 0;
}

/*
 * What the ref's file is now will be the lock file, and is to be held like one. Who has moved the ref before, and has not done yet
 * with what he moves along with it, holds it still.
 */
static int hold_before(struct held *held, struct error *err)
{
	static const struct timespec pause = { .tv_nsec = REF_LOCK_RETRY_MS * 1000000L };
	int rc;

	held->before_fd = openat(held->directory, held->leaf, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (held->before_fd < 0)
		return 0; /* none, or nothing that can be a lock: the move tells */
	rc = flock(held->before_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	for (int waited_ms = 0; rc == -EWOULDBLOCK && waited_ms < REF_LOCK_WAIT_MS; waited_ms += REF_LOCK_RETRY_MS) {
		nanosleep(&pause, NULL);
		rc = flock(held->before_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	}
	return rc == -EWOULDBLOCK ? error_errno(err, EBUSY, "lock ref '%s'", held->update->name) : 0;
}

/* ---- preparing: all that may fail for want of room ---- */

/* The directories above the ref, made (and made durable) where they are missing; the last one is HELD's. */
static int make_directories(const struct repo *repo, struct held *held, struct error *err)
{
	const char *name = held->update->name, *at = name, *slash;
	cleanup_close int fd = open(repo->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", repo->path);
	for (; (slash = strchr(at, '/')) != NULL; at = slash + 1) {
		cleanup_free char *part = strndup(at, (size_t)(slash - at));
		int next, rc = 0;

		if (!part)
			return error_errno(err, ENOMEM, "ref '%s'", name);
		next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next < 0 && errno == ENOENT) {
			rc = mkdirat(fd, part, 0777) < 0 && errno != EEXIST ? -errno : io_sync_dir(fd);
			if (rc < 0)
				return error_errno(err, -rc, "ref '%s': make the directory '%s'", name, part);
			next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		}
		if (next < 0)
			return error_errno(err, errno, "ref '%s': open '%s'", name, part);
		close(fd);
		fd = next;
	}
	held->directory = TAKE_FD(fd);
	held->leaf = strdup(at);
	if (!held->leaf || asprintf(&held->lock, "%s" LOCK_SUFFIX, at) < 0) {
		held->lock = NULL;
		return error_errno(err, ENOMEM, "ref '%s'", name);
	}
	return 0;
}

/* What the ref is now, and whether it may be moved. */
static int check_value(struct repo *repo, struct held *held, struct error *err)
{
	const struct ref_update *update = held->update;
	struct error problem = ERROR_INIT;
	int rc = repo_ref_read(repo, update->name, &held->before, &problem);

	held->existed = rc == 0;
	if (rc == -ENOENT)
		held->before = (struct oid){ { 0 } };
	else if (rc < 0)
		return update->check ? error_set(err, rc, "%s", problem.message) : 0; /* broken: it is replaced */
	if (!update->check || oid_equal(&held->before, &update->old_oid))
		return 0;
	if (!held->existed)
		return error_set(err, -EAGAIN, "ref '%s' is gone, expected %s: try again", update->name,
			OID_HEX(&update->old_oid));
	return error_set(err, -EAGAIN, "ref '%s' is at %s, expected %s: try again", update->name,
		OID_HEX(&held->before), oid_is_zero(&update->old_oid) ? "none" : OID_HEX(&update->old_oid));
}

/* An id and a newline into the lock file, durable. */
static int write_value(int fd, const struct oid *value)
{
	char line[OID_HEX_LENGTH + 2];
	int rc;

	oid_to_hex(value, line);
	line[OID_HEX_LENGTH] = '\n';
	rc = io_write(fd, line, OID_HEX_LENGTH + 1);
	return rc == 0 && fsync(fd) < 0 ? -errno : rc;
}

static int prepare_deletion(struct repo *repo, struct held *held, struct error *err)
{
	const char *name = held->update->name;
	cleanup_close int fd = open(repo->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = libgit2.transaction_new(&held->deletion, repo->git);

	/* Deleting rewrites the packed refs. */
	if (fd >= 0)
		lock_break_stale(fd, "packed-refs" LOCK_SUFFIX);
	if (rc == 0)
		rc = libgit2.transaction_lock_ref(held->deletion, name);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "lock ref '%s'", name);
	rc = check_value(repo, held, err);
	if (rc < 0)
		return rc;
	rc = libgit2.transaction_remove(held->deletion, name);
	return rc < 0 ? git_failure(err, rc, -EIO, "ref '%s'", name) : 0;
}

static int prepare(struct repo *repo, struct held *held, struct error *err)
{
	const struct ref_update *update = held->update;
	int rc, valid = 0;

	if (libgit2.reference_name_is_valid(&valid, update->name) < 0 || !valid)
		return error_set(err, -EINVAL, "'%s' is no name for a ref", SHOW(update->name));
	if (oid_is_zero(&update->new_oid))
		return prepare_deletion(repo, held, err);
	rc = make_directories(repo, held, err);
	if (rc == 0)
		rc = lock_acquire_ref(held, err);
	if (rc == 0)
		rc = hold_before(held, err);
	if (rc == 0)
		rc = check_value(repo, held, err);
	if (rc < 0)
		return rc;
	if (!repo_object_exists(repo, &update->new_oid))
		return error_set(err, -ENOENT, "ref '%s': object '%s' is missing", update->name, OID_HEX(&update->new_oid));
	rc = write_value(held->fd, &update->new_oid);
	return rc < 0 ? error_errno(err, -rc, "write ref '%s'", update->name) : 0;
}

/* ---- moving ---- */

/* git leaves an empty directory where refs were below a name; anything else that is no file is not ours to replace. */
static int make_way(const struct held *held)
{
	struct stat st;

	if (fstatat(held->directory, held->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return 0;
	return unlinkat(held->directory, held->leaf, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int move(struct held *held)
{
	int rc = make_way(held);
	struct stat st;

	if (rc < 0)
		return rc;
	/* As a lock file it is ours, whoever wrote it: after a crash that is seen at once. */
	if (held->before_fd >= 0 && fstat(held->before_fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0222))
		fchmod(held->before_fd, REF_MODE);
	if (renameat2(held->directory, held->lock, held->directory, held->leaf, RENAME_EXCHANGE) == 0) {
		held->state = HELD_EXCHANGED;
		return 0;
	}
	if (errno != ENOENT && errno != EINVAL && errno != ENOSYS)
		return -errno;
	rc = errno == ENOENT ? HELD_MADE : HELD_REPLACED;
	if (renameat(held->directory, held->lock, held->directory, held->leaf) < 0)
		return -errno;
	held->state = (enum held_state)rc;
	return 0;
}

static bool same_directory(const struct held *a, const struct held *b)
{
	struct stat first, second;

	return a->directory >= 0 && b->directory >= 0 && fstat(a->directory, &first) == 0 && fstat(b->directory, &second) == 0 &&
		first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* In the order given. Refs that lie side by side become durable together: between them a crash leaves a prefix. */
static int move_all(struct held_list *list, struct error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		struct held *held = &list->held[i];
		int rc = 0;

		if (held->deletion) {
			rc = libgit2.transaction_commit(held->deletion);
			if (rc < 0)
				return git_failure(err, rc, -EIO, "delete ref '%s'", held->update->name);
			continue;
		}
		rc = move(held);
		if (rc == 0 && (i + 1 == list->count || !same_directory(held, &list->held[i + 1])) && fsync(held->directory) < 0)
			rc = -errno;
		if (rc < 0)
			return error_errno(err, -rc, "write ref '%s'", held->update->name);
	}
	return 0;
}

/* ---- undoing ---- */

/* Without RENAME_EXCHANGE the old value must be written again. */
static int write_back(struct held *held)
{
	cleanup_close int fd = lock_make(held->directory, held->lock);
	int rc;

	if (fd < 0)
		return fd;
	rc = write_value(fd, &held->before);
	if (rc == 0 && renameat(held->directory, held->lock, held->directory, held->leaf) < 0)
		rc = -errno;
	if (rc < 0)
		unlinkat(held->directory, held->lock, 0);
	return rc;
}

static int undo_one(struct held *held)
{
	int rc = 0;

	if (held->state == HELD_EXCHANGED)
		rc = renameat2(held->directory, held->lock, held->directory, held->leaf, RENAME_EXCHANGE) < 0 ? -errno : 0;
	else if (held->state == HELD_MADE) /* a packed one shows again */
		rc = unlinkat(held->directory, held->leaf, 0) < 0 ? -errno : 0;
	else if (held->state == HELD_REPLACED)
		rc = held->existed ? write_back(held) : unlinkat(held->directory, held->leaf, 0) < 0 ? -errno : 0;
	else
		return 0;
	if (rc == 0 && held->state == HELD_EXCHANGED)
		held->state = HELD_LOCKED;
	/* That it is durable cannot be had from a disk that fails; a crash leaves the old value or the new. */
	if (rc == 0)
		fsync(held->directory);
	return rc;
}

/* Returns CODE, with what could not be undone. */
static int undo_all(struct held_list *list, int code, struct error *err)
{
	for (size_t i = list->count; i-- > 0;) {
		int rc = undo_one(&list->held[i]);

		if (rc < 0)
			return error_prefix(err, code, "ref '%s' could not be set back (%s)", list->held[i].update->name, error_text(-rc));
	}
	return code;
}

int repo_refs_update(struct repo *repo, const struct ref_update *updates, size_t count, struct error *err)
{
	CLEANUP(held_list_release) struct held_list list = { repo, calloc(count + 1, sizeof(struct held)), 0 };
	int rc;

	if (!list.held)
		return error_errno(err, ENOMEM, "update %zu refs", count);
	for (size_t i = 0; i < count; i++) {
		list.held[i] = (struct held){ .update = &updates[i], .directory = -EBADF, .fd = -EBADF, .before_fd = -EBADF };
		list.count++;
		rc = prepare(repo, &list.held[i], err);
		if (rc < 0)
			return rc;
	}
	rc = move_all(&list, err);
	return rc < 0 ? undo_all(&list, rc, err) : 0;
}
