/* SPDX-License-Identifier: Apache-2.0 */
/* The directories of a store, and what lies about in them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"
#include "store/base/tree_remove.h"
#include "store/blobmap.h"
#include "store/fingerprint.h"
#include "store/fsck_internal.h"

#define SANDBOX_PREFIX "record-" /* fs/sandbox_internal.h */
#define TEMPORARY_PREFIX ".tmp-" /* store/base/io.c, store/object_write.c */

/* ---- directories ---- */

struct place {
	const char *name; /* "": the store itself */
	bool closed; /* nobody else may look into it */
	bool made; /* by whoever opens the store */
	bool optional;
};

static const struct place places[] = {
	{ "", true, false, false },
	{ "git", false, false, false },
	{ "objects", true, true, false },
	{ "cache", true, true, false },
	{ "run", true, true, false },
	{ "policy", true, false, true },
	{ "reserve", true, false, true },
};

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

static int check_place_owner(struct fsck *fsck, const char *path, const struct stat *st, struct error *err)
{
	cleanup_free char *remedy = NULL;

	if (st->st_uid == geteuid())
		return 0;
	if (asprintf(&remedy, "run 'chown %u %s' once it is known who changed it", (unsigned)geteuid(), path) < 0)
		return out_of_memory(err);
	return fsck_add(fsck, FSCK_ERROR, FSCK_TEXT("directory", NULL, path, remedy, false), "it belongs to uid %u, not to you (uid %u)",
		       (unsigned)st->st_uid, (unsigned)geteuid()) < 0 ?
		out_of_memory(err) : 0;
}

static int check_place_mode(struct fsck *fsck, const char *path, int fd, const struct stat *st, struct error *err)
{
	cleanup_free char *remedy = NULL;
	bool repaired = fsck->options->repair;

	if (!(st->st_mode & 077))
		return 0;
	if (repaired && fchmod(fd, 0700) < 0)
		return error_errno(err, errno, "set the mode of '%s'", path);
	if (asprintf(&remedy, repaired ? "its mode is 0700 now" : "run 'chmod 0700 %s'", path) < 0)
		return out_of_memory(err);
	return fsck_add(fsck, FSCK_ERROR, FSCK_TEXT("directory", NULL, path, remedy, repaired), "it is open to others (mode %04o)",
		       (unsigned)st->st_mode & 07777) < 0 ?
		out_of_memory(err) : 0;
}

/* What can be made again is no loss; without its repository there is no store. */
static int missing_place(struct fsck *fsck, const struct place *place, const char *path, struct error *err)
{
	bool repaired = fsck->options->repair && place->made;
	const char *remedy = repaired ? "made" : place->made ? "the next command makes it" : "bring it back from a backup";

	if (place->optional)
		return 0;
	if (repaired && mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make '%s'", path);
	return fsck_add(fsck, place->made && strcmp(place->name, "objects") != 0 ? FSCK_WARNING : FSCK_ERROR,
		       FSCK_TEXT("directory", NULL, path, remedy, repaired), "it is missing") < 0 ?
		out_of_memory(err) : 0;
}

static int check_place(struct fsck *fsck, const struct place *place, const char *store_path, struct error *err)
{
	cleanup_free char *path = *place->name ? path_join(store_path, place->name) : strdup(store_path);
	cleanup_close int fd = -EBADF;
	struct stat st;
	int r;

	if (!path)
		return out_of_memory(err);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (*place->name ? O_NOFOLLOW : 0));
	if (fd < 0 && errno == ENOENT)
		return missing_place(fsck, place, path, err);
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return fsck_add(fsck, FSCK_ERROR, FSCK_TEXT("directory", NULL, path, "see what it is, and take it away", false),
			       "it is no directory") < 0 ?
			out_of_memory(err) : 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open '%s'", path);
	r = check_place_owner(fsck, path, &st, err);
	return r == 0 && place->closed ? check_place_mode(fsck, path, fd, &st, err) : r;
}

/* The store itself has to be there: else it is no store, and nothing is looked at. */
int fsck_places(struct fsck *fsck, const char *path, struct error *err)
{
	struct store *store = NULL;
	int r = store_open_damaged(path, &store, err);

	store_free(store);
	for (size_t i = 0; r == 0 && !fsck->options->names && i < ARRAY_SIZE(places); i++)
		r = check_place(fsck, &places[i], path, err);
	return r;
}

/* ---- what lies about ---- */

static bool is_old(const struct stat *st, int64_t seconds)
{
	return st->st_mtime + seconds < time(NULL);
}

/* NAME in DIRECTORY (DIRFD): told, and with --repair removed. */
static int leftover(struct fsck *fsck, int dirfd, const char *directory, const char *name, const char *what, struct error *err)
{
	cleanup_free char *path = path_join(directory, name);
	bool repaired = fsck->options->repair;
	int r;

	if (!path)
		return out_of_memory(err);
	if (repaired) {
		r = tree_remove(dirfd, name);
		if (r < 0 && r != -ENOENT)
			return error_errno(err, -r, "remove '%s'", path);
	}
	return fsck_add(fsck, FSCK_WARNING, FSCK_TEXT("leftover", NULL, path, repaired ? "removed" : "'veneer fsck --repair' removes it", repaired),
		       "%s", what) < 0 ?
		out_of_memory(err) : 0;
}

static int stray(struct fsck *fsck, const char *directory, const char *name, struct error *err)
{
	cleanup_free char *path = path_join(directory, name);

	if (!path)
		return out_of_memory(err);
	return fsck_add(fsck, FSCK_WARNING, FSCK_TEXT("stray", NULL, path, "see what it is, and take it away", false),
		       "nothing of this name belongs here") < 0 ?
		out_of_memory(err) : 0;
}

/* A directory of `veneer record` that nobody has locked. */
static bool is_abandoned(int dirfd, const char *name)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

typedef int (*entry_fn)(struct fsck *fsck, int dirfd, const char *directory, const char *name, const struct stat *st,
	struct error *err);

static int each_entry(struct fsck *fsck, int fd, const char *directory, entry_fn fn, struct error *err)
{
	int copy = fd < 0 ? -EBADF : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int r = 0;

	if (fd < 0)
		return 0;
	if (!dir) {
		r = error_errno(err, errno, "read '%s'", directory);
		cleanup_closep(&copy);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
			fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0)
			r = fn(fsck, fd, directory, entry->d_name, &st, err);
		else if (is_old(&st, FSCK_LEFTOVER_SECONDS))
			r = leftover(fsck, fd, directory, entry->d_name, "a temporary file that was left behind", err);
	}
	return r;
}

static int look_at_top(struct fsck *fsck, int dirfd, const char *directory, const char *name, const struct stat *st, struct error *err)
{
	if (strcmp(name, "lock") == 0 || strcmp(name, "lost+found") == 0)
		return 0;
	if (strcmp(name, "git" REPO_UNFINISHED) == 0)
		return leftover(fsck, dirfd, directory, name, "of a 'veneer init' that was cut short", err);
	for (size_t i = 1; i < ARRAY_SIZE(places); i++)
		if (strcmp(name, places[i].name) == 0)
			return 0;
	return stray(fsck, directory, name, err);
}

static int look_at_run(struct fsck *fsck, int dirfd, const char *directory, const char *name, const struct stat *st, struct error *err)
{
	/* Sockets and their locks are the daemons', who know of one that was killed by what it left. */
	if (strncmp(name, SANDBOX_PREFIX, strlen(SANDBOX_PREFIX)) != 0 || !S_ISDIR(st->st_mode) || !is_abandoned(dirfd, name))
		return 0;
	return leftover(fsck, dirfd, directory, name, "of a 'veneer record' that was killed", err);
}

static int bad_cache(struct fsck *fsck, int dirfd, const char *directory, const char *name, const char *problem, struct error *err)
{
	cleanup_free char *path = path_join(directory, name);
	bool repaired = fsck->options->repair;

	if (!path)
		return out_of_memory(err);
	if (repaired && unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove '%s'", path);
	return fsck_add(fsck, FSCK_WARNING,
		       FSCK_TEXT("cache", NULL, path, repaired ? "removed: it is made again" : "'veneer fsck --repair' removes it: it is made again",
			       repaired),
		       "%s", problem) < 0 ?
		out_of_memory(err) : 0;
}

static int look_at_cache(struct fsck *fsck, int dirfd, const char *directory, const char *name, const struct stat *st, struct error *err)
{
	struct error problem = ERROR_INIT;
	int r = 0;

	if (strcmp(name, BLOBMAP_FILE) == 0)
		r = blobmap_check(dirfd, &problem);
	else if (strcmp(name, FINGERPRINT_FILE) == 0)
		r = fingerprints_check(dirfd, &problem);
	if (r == -ENOMEM)
		return out_of_memory(err);
	return r < 0 ? bad_cache(fsck, dirfd, directory, name, problem.message, err) : 0;
}

static int nothing_else(struct fsck *fsck, int dirfd, const char *directory, const char *name, const struct stat *st, struct error *err)
{
	return 0;
}

int fsck_leftovers(struct fsck *fsck, struct error *err)
{
	const struct store *store = fsck->store;
	cleanup_close int policy_fd = openat(store->fd, "policy", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	const struct {
		int fd;
		const char *name;
		entry_fn fn;
	} directories[] = {
		{ store->fd, "", look_at_top },
		{ store->run_fd, "run", look_at_run },
		{ store->cache_fd, "cache", look_at_cache },
		{ policy_fd, "policy", nothing_else },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(directories); i++) {
		cleanup_free char *path = *directories[i].name ? path_join(store->path, directories[i].name) : strdup(store->path);

		if (!path)
			return out_of_memory(err);
		r = each_entry(fsck, directories[i].fd, path, directories[i].fn, err);
	}
	return r;
}
