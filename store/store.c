/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"
#include "store/object.h"

#define STORE_MODE 0700
#define STORE_REPOSITORY "git"

static const char *const directories[] = { "objects", "cache", "run" };

/* mkdir -p for an absolute or relative path as the user gave it: symlinks are followed, as anywhere on a command line. */
static int make_parents(const char *path, struct error *err)
{
	cleanup_free char *copy = strdup(path);

	if (!copy)
		return error_errno(err, ENOMEM, "make '%s'", path);
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return error_errno(err, errno, "make directory '%s'", copy);
		*slash = '/';
	}
	return 0;
}

/* Ours, and closed to everyone else: what is in it is trusted. */
static int check_owner(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "stat '%s'", path);
	if (st.st_uid != geteuid())
		return error_set(err, -EACCES, "the store '%s' belongs to uid %u, not to you (uid %u)", path,
			(unsigned)st.st_uid, (unsigned)geteuid());
	return 0;
}

static int check_closed(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "stat '%s'", path);
	if (st.st_mode & 077)
		return error_set(err, -EACCES,
			"the store '%s' is open to others (mode %04o): run 'chmod 0700 %s'", path,
			(unsigned)st.st_mode & 07777, path);
	return 0;
}

static int check_path(const char *path, struct error *err)
{
	if (*path == '\0')
		return error_set(err, -EINVAL, "the store's path is empty");
	if (strnlen(path, PATH_MAX) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "the store's path is longer than %d bytes", PATH_MAX - 1);
	return 0;
}

/* An empty directory may become a store (lost+found: a filesystem of its own); anything else is someone's. */
static int check_vacant(int fd, const char *path, struct error *err)
{
	cleanup_closedir DIR *dir = NULL;
	cleanup_close int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *entry;

	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir)
		return error_errno(err, errno, "read '%s'", path);
	copy = -EBADF;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			strcmp(entry->d_name, "lost+found") != 0)
			return error_set(err, -ENOTEMPTY, "'%s' is not empty and not a store", path);
	return 0;
}

/* An init that was cut short has left at least this, and may be run again. */
static bool looks_like_store(int fd)
{
	struct stat st;

	return fstatat(fd, "objects", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* The directory PATH, ours and closed, made where it is missing. */
static int init_directory(const char *path, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -EBADF;
	int r = make_parents(path, err);

	if (r < 0)
		return r;
	if (mkdir(path, STORE_MODE) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make directory '%s'", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open '%s'", path);
	r = check_owner(fd, path, err);
	if (r < 0)
		return r;
	if (!looks_like_store(fd)) {
		r = check_vacant(fd, path, err);
		if (r == 0 && fchmod(fd, STORE_MODE) < 0)
			r = error_errno(err, errno, "set the mode of '%s'", path);
	} else {
		r = check_closed(fd, path, err);
	}
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int store_init(const char *path, bool *ret_existed, struct error *err)
{
	cleanup_free char *canonical = NULL, *repository = NULL;
	cleanup_close int fd = -EBADF;
	bool existed;
	struct stat st;
	int r = check_path(path, err);

	if (r == 0)
		r = init_directory(path, &fd, err);
	if (r < 0)
		return r;
	/* Two at once would clear away each other's work. */
	if (flock(fd, LOCK_EX) < 0)
		return error_errno(err, errno, "lock '%s'", path);
	canonical = realpath(path, NULL);
	repository = canonical ? path_join(canonical, STORE_REPOSITORY) : NULL;
	if (!repository)
		return error_errno(err, errno, "resolve '%s'", path);
	existed = fstatat(fd, STORE_REPOSITORY "/HEAD", &st, AT_SYMLINK_NOFOLLOW) == 0;
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		if (mkdirat(fd, directories[i], STORE_MODE) < 0 && errno != EEXIST)
			return error_errno(err, errno, "make '%s/%s'", path, directories[i]);
	if (fsync(fd) < 0)
		return error_errno(err, errno, "sync '%s'", path);
	/* The last step: it is a store when it has a repository. */
	r = repo_init(repository, err);
	if (r < 0)
		return error_prefix(err, r, "make the store '%s'", path);
	*ret_existed = existed;
	return 0;
}

/* ---- open ---- */

static struct store *store_new(void)
{
	struct store *store = calloc(1, sizeof *store);

	if (store)
		store->fd = store->objects_fd = store->cache_fd = store->run_fd = -EBADF;
	return store;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void store_free(struct store *store)
{
	if (!store)
		return;
	if (store->repo)
		repo_free(store->repo);
	object_batch_abort(store);
	strbuf_release(&store->healed);
	strbuf_release(&store->missing);
	blobmap_free(store->blobs);
	fingerprints_free(store->fingerprints);
	close_fd(store->run_fd);
	close_fd(store->cache_fd);
	close_fd(store->objects_fd);
	close_fd(store->fd);
	for (size_t i = 0; i < ARRAY_SIZE(store->compositions); i++)
		strbuf_release(&store->compositions[i].inputs);
	free(store->path);
	free(store);
}

static int no_store(const char *path, struct error *err)
{
	return error_set(err, -ENOENT, "there is no store at '%s': run 'veneer --store %s init'", path, path);
}

/* A directory of the store. What can be rebuilt may have been cleared away, and is made again. */
static int open_directory(struct store *store, const char *name, int *ret, struct error *err)
{
	int fd;

	if (mkdirat(store->fd, name, STORE_MODE) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make '%s/%s'", store->path, name);
	fd = openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_errno(err, errno, "open '%s/%s'", store->path, name);
	*ret = fd;
	return 0;
}

int store_open_directories(const char *path, struct store **ret, struct error *err)
{
	cleanup_store struct store *store = store_new();
	struct stat st;
	int r = check_path(path, err);

	if (r < 0)
		return r;
	if (!store)
		return error_errno(err, ENOMEM, "open the store '%s'", path);
	store->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->fd < 0)
		return errno == ENOENT ? no_store(path, err) : error_errno(err, errno, "open the store '%s'", path);
	r = check_owner(store->fd, path, err);
	if (r == 0)
		r = check_closed(store->fd, path, err);
	if (r < 0)
		return r;
	if (fstatat(store->fd, STORE_REPOSITORY, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return no_store(path, err);
	store->path = realpath(path, NULL);
	if (!store->path)
		return error_errno(err, errno, "resolve '%s'", path);
	r = open_directory(store, "objects", &store->objects_fd, err);
	if (r == 0)
		r = open_directory(store, "cache", &store->cache_fd, err);
	if (r == 0)
		r = open_directory(store, "run", &store->run_fd, err);
	if (r < 0)
		return error_prefix(err, r, "open the store '%s'", path);
	*ret = TAKE_PTR(store);
	return 0;
}

/* -EBADF: it is not there, or no directory. */
static int open_if_there(const struct store *store, const char *name)
{
	int fd = openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -EBADF : fd;
}

int store_open_damaged(const char *path, struct store **ret, struct error *err)
{
	cleanup_store struct store *store = store_new();
	struct stat st;
	int r = check_path(path, err);

	if (r < 0)
		return r;
	if (!store)
		return error_errno(err, ENOMEM, "open the store '%s'", path);
	store->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->fd < 0)
		return errno == ENOENT ? no_store(path, err) : error_errno(err, errno, "open the store '%s'", path);
	if (fstatat(store->fd, STORE_REPOSITORY, &st, AT_SYMLINK_NOFOLLOW) < 0 && !looks_like_store(store->fd))
		return no_store(path, err);
	store->path = realpath(path, NULL);
	if (!store->path)
		return error_errno(err, errno, "resolve '%s'", path);
	store->objects_fd = open_if_there(store, "objects");
	store->cache_fd = open_if_there(store, "cache");
	store->run_fd = open_if_there(store, "run");
	*ret = TAKE_PTR(store);
	return 0;
}

int store_open_repository(struct store *store, struct error *err)
{
	cleanup_free char *repository = NULL;
	int r = 0;

	if (!store->blobs)
		store->blobs = blobmap_new(store->cache_fd);
	if (!store->fingerprints)
		store->fingerprints = fingerprints_new(store->cache_fd);
	repository = path_join(store->path, STORE_REPOSITORY);
	if (!store->blobs || !store->fingerprints || !repository)
		return error_errno(err, ENOMEM, "open the store '%s'", store->path);
	if (!store->repo)
		r = repo_open(repository, &store->repo, err);
	return r < 0 ? error_prefix(err, r, "open the store '%s'", store->path) : 0;
}

int store_open(const char *path, struct store **ret, struct error *err)
{
	cleanup_store struct store *store = NULL;
	int r = store_open_directories(path, &store, err);

	if (r == 0)
		r = store_open_repository(store, err);
	if (r == 0)
		*ret = TAKE_PTR(store);
	return r;
}
