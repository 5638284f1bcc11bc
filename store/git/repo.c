/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/path.h"
#include "store/base/tree_remove.h"
#include "store/git/internal.h"

/* A fresh repository is some twenty small files; one call makes them all durable. */
static int repo_sync(const char *path, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", path);
	return syncfs(fd) < 0 ? error_errno(err, errno, "sync '%s'", path) : 0;
}

static int open_parent(const char *path, int *ret, struct error *err)
{
	cleanup_free char *copy = strdup(path);
	char *slash = copy ? strrchr(copy, '/') : NULL;

	if (!copy)
		return error_errno(err, ENOMEM, "make the repository '%s'", path);
	if (slash)
		*slash = '\0';
	*ret = open(!slash ? "." : *copy ? copy : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? error_errno(err, errno, "open the directory of '%s'", path) : 0;
}

/*
 * Durable before it gets the name that makes it a repository: a power cut in between could leave some of its files empty, and what libgit2
 * leaves when it is cut short (a lock of the configuration) would be in the way of every later attempt.
 */
static int repo_publish(const char *made, const char *path, struct error *err)
{
	cleanup_close int parent = -EBADF;
	int rc = open_parent(path, &parent, err);

	if (rc == 0)
		rc = repo_sync(made, err);
	if (rc == 0 && rename(made, path) < 0)
		rc = error_errno(err, errno, "put '%s' in its place", path);
	if (rc < 0)
		return rc;
	rc = io_sync_dir(parent);
	if (rc == 0)
		return 0;
	/* It failed: then it is not there, as far as it is in our hands. */
	if (rename(path, made) < 0)
		return error_errno(err, -rc, "sync the directory of '%s' (which is there now)", path);
	return error_errno(err, -rc, "sync the directory of '%s'", path);
}

int repo_prepare(struct error *err)
{
	return library_start(err);
}

/* At MADE, for PATH. */
static int repo_make_at(const char *made, const char *path, struct error *err)
{
	git_repository_init_options options;
	git_repository *git = NULL;
	int rc;

	libgit2.repository_init_options_init(&options, GIT_REPOSITORY_INIT_OPTIONS_VERSION);
	options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR;
	options.initial_head = "main";
	options.description = "store of veneer; refs/veneer/ names what is served";
	rc = libgit2.repository_init_ext(&git, made, &options);
	libgit2.repository_free(git);
	return rc < 0 ? git_failure(err, rc, -EIO, "make the repository '%s'", path) : 0;
}

/*
 * Plain git names a loose object before its content is on the disk unless it is told otherwise; a ref that we move a moment later may lead to
 * it, and outlive it.
 */
static int repo_configure(const char *made, struct error *err)
{
	static const char section[] = "[core]\n\tfsync = loose-object\n";
	cleanup_free char *path = path_join(made, "config");
	cleanup_close int fd = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW) : -EBADF;
	int rc;

	if (!path)
		return error_errno(err, ENOMEM, "configure the repository '%s'", made);
	rc = fd < 0 ? -errno : io_write(fd, section, sizeof section - 1);
	return rc < 0 ? error_errno(err, -rc, "write '%s'", path) : 0;
}

static int repo_make(const char *path, struct error *err)
{
	cleanup_free char *made = NULL;
	int rc;

	if (asprintf(&made, "%s" REPO_UNFINISHED, path) < 0) {
		made = NULL;
		return error_errno(err, ENOMEM, "make the repository '%s'", path);
	}
	rc = tree_remove(AT_FDCWD, made); /* of one that was cut short */
	if (rc < 0)
		return error_errno(err, -rc, "remove '%s'", made);
	rc = repo_make_at(made, path, err);
	if (rc == 0)
		rc = repo_configure(made, err);
	return rc < 0 ? rc : repo_publish(made, path, err);
}

int repo_complete(const char *path, struct error *err)
{
	int rc = library_start(err);

	if (rc == 0)
		rc = repo_make_at(path, path, err);
	return rc < 0 ? rc : repo_sync(path, err);
}

int repo_init(const char *path, struct error *err)
{
	git_repository *git = NULL;
	int rc = library_start(err);

	if (rc < 0)
		return rc;
	rc = libgit2.repository_open_bare(&git, path);
	libgit2.repository_free(git);
	return rc < 0 ? repo_make(path, err) : 0;
}

/* The backend (or the errno of making it, RC) becomes the odb's. */
static int odb_add(struct repo *repo, int rc, git_odb_backend *backend, int priority, struct error *err)
{
	if (rc < 0)
		return error_errno(err, -rc, "open the objects of '%s'", repo->path);
	rc = libgit2.odb_add_backend(repo->odb, backend, priority);
	if (rc < 0) {
		backend->free(backend);
		return git_failure(err, rc, -EIO, "open the objects of '%s'", repo->path);
	}
	return 0;
}

/*
 * An odb of our own making, for the sake of the batch and of loose_read.c. Alternates are not part of
 * it: all that a store serves lies in the store.
 */
static int repo_open_odb(struct repo *repo, struct error *err)
{
	cleanup_free char *objects = NULL;
	git_odb_backend *backend = NULL;
	int rc;

	if (asprintf(&objects, "%sobjects", libgit2.repository_commondir(repo->git)) < 0) {
		objects = NULL;
		return error_errno(err, ENOMEM, "open the repository '%s'", repo->path);
	}
	repo->objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (repo->objects_fd < 0)
		return error_errno(err, errno, "open '%s'", objects);
	rc = libgit2.odb_new(&repo->odb);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "open the objects of '%s'", repo->path);
	rc = batch_backend_new(&repo->batch, &backend);
	rc = odb_add(repo, rc, backend, PRIORITY_BATCH, err);
	if (rc < 0)
		return rc;
	rc = libgit2.odb_backend_pack(&backend, objects);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "open the packs of '%s'", repo->path);
	rc = odb_add(repo, 0, backend, PRIORITY_PACKED, err);
	if (rc < 0)
		return rc;
	repo->on_disk[0] = backend;
	rc = loose_backend_new(repo->objects_fd, &backend);
	rc = odb_add(repo, rc, backend, PRIORITY_LOOSE, err);
	if (rc < 0)
		return rc;
	repo->on_disk[1] = backend;
	rc = libgit2.repository_set_odb(repo->git, repo->odb);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "open the objects of '%s'", repo->path);
	return 0;
}

/* ---- packs that come and go ---- */

/* A clock has a grain: what changed twice within one tick has one time. So a directory that changed just now may yet have changed since. */
#define PACKS_SETTLE_SECONDS 2

/* When the directory of packs changed last; 0: that is not known, or it may have changed since in the same tick. */
static struct timespec packs_changed(const struct repo *repo)
{
	const struct timespec unknown = { 0, 0 };
	struct timespec now;
	struct stat st;

	clock_gettime(CLOCK_REALTIME, &now);
	if (fstatat(repo->objects_fd, "pack", &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ctim.tv_sec + PACKS_SETTLE_SECONDS > now.tv_sec)
		return unknown;
	return st.st_ctim;
}

static bool packs_unchanged(const struct repo *repo, const struct timespec *now)
{
	return now->tv_sec != 0 && now->tv_sec == repo->packs_changed.tv_sec && now->tv_nsec == repo->packs_changed.tv_nsec;
}

static int repo_reopen_odb(struct repo *repo, struct error *err)
{
	struct repo old = *repo;
	int rc;

	repo->odb = NULL;
	repo->objects_fd = -EBADF;
	rc = repo_open_odb(repo, err);
	if (rc < 0) {
		libgit2.odb_free(repo->odb);
		cleanup_closep(&repo->objects_fd);
		*repo = old;
		return rc;
	}
	libgit2.odb_free(old.odb);
	cleanup_closep(&old.objects_fd);
	return 0;
}

int repo_refresh(struct repo *repo, struct error *err)
{
	struct timespec now = packs_changed(repo);
	int rc;

	if (packs_unchanged(repo, &now))
		return 0; /* loose objects are looked for each time */
	rc = repo_reopen_odb(repo, err);
	if (rc == 0)
		repo->packs_changed = now;
	return rc;
}

/* ---- a handle ---- */

int repo_open(const char *path, struct repo **ret, struct error *err)
{
	cleanup_repo struct repo *repo = calloc(1, sizeof *repo);
	int rc;

	if (!repo)
		return error_errno(err, ENOMEM, "open the repository '%s'", path);
	repo->objects_fd = -EBADF;
	repo->path = strdup(path);
	if (!repo->path)
		return error_errno(err, ENOMEM, "open the repository '%s'", path);
	rc = library_start(err);
	if (rc < 0)
		return rc;
	rc = libgit2.repository_open_bare(&repo->git, path);
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "open the repository '%s'", path);
	rc = repo_open_odb(repo, err);
	if (rc < 0)
		return rc;
	repo->packs_changed = packs_changed(repo);
	*ret = TAKE_PTR(repo);
	return 0;
}

void repo_free(struct repo *repo)
{
	if (!repo)
		return;
	libgit2.odb_free(repo->odb);
	libgit2.repository_free(repo->git);
	batch_release(&repo->batch);
	if (repo->objects_fd >= 0)
		close(repo->objects_fd);
	free(repo->path);
	free(repo);
}
