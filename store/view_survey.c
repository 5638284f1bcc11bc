/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the base has at each path of a view: looked at once, for all who must know: what an entry inherits, which hard links a view
 * hides, which nodes the kernel knows the directories by. Most of a switch's time is these system calls, hence the threads, and
 * one call a path: its ancestors are paths of the view, too, and what lies behind one that is no directory does not count. Where
 * names are changed while we look, overlay_changes() tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "store/base/cleanup.h"
#include "store/base/parallel.h"
#include "store/view_internal.h"

/* So many entries are worth a thread. */
#define PIECE_ENTRIES 128u

struct survey {
	const struct view *view;
	struct view_found *found;
	int basefd;
};

/* No such path, or one that leads through a file or in circles: then what stands above it has been found to be no directory. */
static bool is_absent(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP;
}

/* May look through a symlink: drop_unreachable() sees to that. */
static int look(const struct survey *survey, uint32_t index, struct strbuf *path, struct error *err)
{
	struct stat st;

	strbuf_reset(path);
	view_path(survey->view, index, path);
	if (strbuf_failed(path))
		return error_set(err, -ENOMEM, "out of memory");
	if (fstatat(survey->basefd, strbuf_text(path), &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) == 0)
		survey->found[index] = (struct view_found){ st.st_dev, st.st_ino, st.st_mode & S_IFMT, st.st_nlink };
	else if (!is_absent(errno))
		return error_errno(err, errno, "look at '%s' in the base", strbuf_text(path));
	return 0;
}

static int look_at_range(void *arg, size_t from, size_t to, struct error *err)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	int r = 0;

	for (size_t i = from; i < to && r == 0; i++)
		r = look(arg, (uint32_t)i, &path, err);
	return r;
}

/* Only what directories lead to is in the base. In breadth-first order a parent comes before its children. */
static void drop_unreachable(const struct survey *survey)
{
	for (size_t i = 1; i < survey->view->count; i++)
		if (!S_ISDIR(survey->found[survey->view->entries[i].parent].type))
			survey->found[i] = (struct view_found){ .type = 0 };
}

int view_survey(struct view *view, int basefd, struct error *err)
{
	struct survey survey = { view, calloc(view->count, sizeof *survey.found), basefd };
	int r;

	if (!survey.found)
		return error_set(err, -ENOMEM, "out of memory");
	r = parallel_run(view->count, PIECE_ENTRIES, look_at_range, &survey, err);
	if (r < 0) {
		free(survey.found);
		return r;
	}
	drop_unreachable(&survey);
	free(view->found);
	view->found = survey.found;
	return 0;
}

int view_look_again(struct view *view, int basefd, struct error *err)
{
	return view_survey(view, basefd, err);
}
