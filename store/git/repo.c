/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <git2/sys/repository.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/git/internal.h"

/*
 * The daemon's memory and descriptors are bounded (it runs under `ulimit -n 1024`), so are those that
 * libgit2 may keep: parsed objects, mapped parts of packs, open packs.
 */
#define LIBRARY_CACHE_BYTES (8 << 20)
#define LIBRARY_WINDOW_BYTES (4u << 20)
#define LIBRARY_MAPPED_BYTES (32u << 20)
#define LIBRARY_OPEN_PACKS 64u

/*
 * libgit2's settings belong to the process, and setting them while another thread reads them is a
 * race: they are set once, before the first handle, and libgit2 stays until the process ends.
 */
static void library_configure(void)
{
	static const int levels[] = { GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM,
		GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL };

	git_libgit2_init();
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
	git_libgit2_opts(GIT_OPT_SET_TEMPLATE_PATH, "");
	git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
	git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 1);
	git_libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, (ssize_t)LIBRARY_CACHE_BYTES);
	git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, (size_t)LIBRARY_WINDOW_BYTES);
	git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, (size_t)LIBRARY_MAPPED_BYTES);
	git_libgit2_opts(GIT_OPT_SET_MWINDOW_FILE_LIMIT, (size_t)LIBRARY_OPEN_PACKS);
}

void library_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, library_configure);
}

/* A fresh repository is some twenty small files; one call makes them all durable. */
static int repo_sync(const char *path, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "open '%s'", path);
	if (syncfs(fd) < 0)
		return error_errno(err, errno, "sync '%s'", path);
	return 0;
}

int repo_init(const char *path, struct error *err)
{
	git_repository_init_options options;
	git_repository *git = NULL;
	int rc;

	library_start();
	rc = git_repository_open_bare(&git, path);
	git_repository_free(git);
	if (rc == 0)
		return 0;
	git = NULL;
	git_repository_init_options_init(&options, GIT_REPOSITORY_INIT_OPTIONS_VERSION);
	/* One that a crash left half-made is completed. */
	options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR;
	options.initial_head = "main";
	options.description = "store of veneer; refs/veneer/ names what is served";
	rc = git_repository_init_ext(&git, path, &options);
	git_repository_free(git);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "make the repository '%s'", path);
	return repo_sync(path, err);
}

/* The backend (or the errno of making it, RC) becomes the odb's. */
static int odb_add(struct repo *repo, int rc, git_odb_backend *backend, int priority, struct error *err)
{
	if (rc < 0)
		return error_errno(err, -rc, "open the objects of '%s'", repo->path);
	rc = git_odb_add_backend(repo->odb, backend, priority);
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

	if (asprintf(&objects, "%sobjects", git_repository_commondir(repo->git)) < 0) {
		objects = NULL;
		return error_errno(err, ENOMEM, "open the repository '%s'", repo->path);
	}
	repo->objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (repo->objects_fd < 0)
		return error_errno(err, errno, "open '%s'", objects);
	rc = git_odb_new(&repo->odb);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "open the objects of '%s'", repo->path);
	rc = batch_backend_new(&repo->batch, &backend);
	rc = odb_add(repo, rc, backend, PRIORITY_BATCH, err);
	if (rc < 0)
		return rc;
	rc = git_odb_backend_pack(&backend, objects);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "open the packs of '%s'", repo->path);
	rc = odb_add(repo, 0, backend, PRIORITY_PACKED, err);
	if (rc < 0)
		return rc;
	rc = loose_backend_new(repo->objects_fd, &backend);
	rc = odb_add(repo, rc, backend, PRIORITY_LOOSE, err);
	if (rc < 0)
		return rc;
	rc = git_repository_set_odb(repo->git, repo->odb);
	if (rc < 0)
		return git_failure(err, rc, -EIO, "open the objects of '%s'", repo->path);
	return 0;
}

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
	library_start();
	rc = git_repository_open_bare(&repo->git, path);
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "open the repository '%s'", path);
	rc = repo_open_odb(repo, err);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(repo);
	return 0;
}

void repo_free(struct repo *repo)
{
	if (!repo)
		return;
	git_odb_free(repo->odb);
	git_repository_free(repo->git);
	batch_release(&repo->batch);
	if (repo->objects_fd >= 0)
		close(repo->objects_fd);
	free(repo->path);
	free(repo);
}
