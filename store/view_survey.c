/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the base has at each path of a view: looked at once, for all who must know: what an entry inherits, which hard links a view
 * hides, which nodes the kernel knows the directories by. Most of a switch's time is these system calls, hence the threads.
 */
#include <errno.h>
#include <stdlib.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"
#include "store/base/path_cursor.h"
#include "store/view_internal.h"

/* So many entries are worth a thread. */
#define PIECE_ENTRIES 128u

struct survey {
	const struct view *view;
	struct view_found *found;
	int basefd;
	bool directories; /* alone */
};

/* No such path, or one that leads through a file or a symlink: then what stands above it has been found to be one. */
static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

static int look(const struct survey *survey, struct path_cursor *base, uint32_t index, struct strbuf *path, struct error *err)
{
	struct stat st;
	int r;

	strbuf_reset(path);
	view_path(survey->view, index, path);
	if (strbuf_failed(path))
		return error_set(err, -ENOMEM, "out of memory");
	r = path_cursor_stat(base, strbuf_text(path), &st);
	if (r == 0)
		survey->found[index] = (struct view_found){ .device = st.st_dev, .inode = st.st_ino, .type = st.st_mode & S_IFMT,
			.links = st.st_nlink, .mode = st.st_mode & 07777, .uid = st.st_uid, .gid = st.st_gid,
			.size = (uint64_t)st.st_size, .mtime = st.st_mtim, .ctime = st.st_ctim };
	else if (!is_absent(r))
		return error_errno(err, -r, "look at '%s' in the base", strbuf_text(path));
	return 0;
}

static int look_at_range(void *arg, size_t from, size_t to, struct error *err)
{
	const struct survey *survey = arg;
	CLEANUP(path_cursor_release) struct path_cursor base = PATH_CURSOR_INIT(survey->basefd);
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	int r = 0;

	for (size_t i = from; i < to && r == 0; i++)
		if (!survey->directories || view_kind_is_directory(survey->view->entries[i].kind))
			r = look(survey, &base, (uint32_t)i, &path, err);
	return r;
}

static int survey_run(const struct view *view, int basefd, bool directories, struct view_found **ret, struct error *err)
{
	struct survey survey = { view, calloc(view->count, sizeof *survey.found), basefd, directories };
	int r;

	if (!survey.found)
		return error_set(err, -ENOMEM, "out of memory");
	r = parallel_run(view->count, PIECE_ENTRIES, look_at_range, &survey, err);
	if (r < 0)
		free(survey.found);
	else
		*ret = survey.found;
	return r;
}

int view_look_again(struct view *view, int basefd, struct error *err)
{
	struct view_found *found = NULL;
	int r = survey_run(view, basefd, false, &found, err);

	free(view->found);
	view->found = found;
	return r;
}

int view_look_at_directories(const struct view *view, int basefd, struct view_found **ret, struct error *err)
{
	return survey_run(view, basefd, true, ret, err);
}
