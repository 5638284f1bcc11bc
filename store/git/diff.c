/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/base/path.h"
#include "store/git/internal.h"

#define DIFF_BLOB_MAX (16 << 20) /* larger ones are shown as binary */
#define DIFF_STAT_COLUMNS 100

#define COLOR_BOLD "\033[1m"
#define COLOR_RED "\033[31m"
#define COLOR_GREEN "\033[32m"
#define COLOR_CYAN "\033[36m"
#define COLOR_RESET "\033[m"

DEFINE_GIT_CLEANUP(diff_stats_free, git_diff_stats *);

/* Text on its way out, gathered into lines. */
struct printer {
	diff_text_fn fn;
	void *arg;
	bool color;
	struct strbuf line;
	int rc; /* the first failure, ours or the caller's */
};

static void printer_release(struct printer *printer)
{
	strbuf_release(&printer->line);
}

static int printer_line(struct printer *printer)
{
	if (printer->rc == 0 && strbuf_failed(&printer->line))
		printer->rc = -ENOMEM;
	if (printer->rc == 0 && printer->line.len > 0)
		printer->rc = printer->fn(printer->arg, printer->line.buf, printer->line.len);
	strbuf_reset(&printer->line);
	return printer->rc;
}

/* TEXT, each line of it in COLOR ("": none) and behind PREFIX (0: none). */
static int printer_add(struct printer *printer, const char *color, char prefix, const char *text, size_t len)
{
	if (!printer->color)
		color = "";
	while (len > 0 && printer->rc == 0) {
		const char *newline = memchr(text, '\n', len);
		size_t part = newline ? (size_t)(newline - text) : len;

		if (part > 0 || prefix) {
			strbuf_addstr(&printer->line, color);
			if (prefix)
				strbuf_addch(&printer->line, prefix);
			strbuf_add(&printer->line, text, part);
			if (*color)
				strbuf_addstr(&printer->line, COLOR_RESET);
		}
		if (!newline)
			break;
		strbuf_addch(&printer->line, '\n');
		printer_line(printer);
		text += part + 1;
		len -= part + 1;
	}
	return printer->rc;
}

/* ---- formats ---- */

static int patch_line(const git_diff_delta *delta, const git_diff_hunk *hunk, const git_diff_line *line,
	void *arg)
{
	struct printer *printer = arg;

	switch (line->origin) {
	case GIT_DIFF_LINE_ADDITION:
		return printer_add(printer, COLOR_GREEN, '+', line->content, line->content_len);
	case GIT_DIFF_LINE_DELETION:
		return printer_add(printer, COLOR_RED, '-', line->content, line->content_len);
	case GIT_DIFF_LINE_CONTEXT:
		return printer_add(printer, "", ' ', line->content, line->content_len);
	case GIT_DIFF_LINE_FILE_HDR:
		return printer_add(printer, COLOR_BOLD, 0, line->content, line->content_len);
	case GIT_DIFF_LINE_HUNK_HDR:
		return printer_add(printer, COLOR_CYAN, 0, line->content, line->content_len);
	}
	return printer_add(printer, "", 0, line->content, line->content_len);
}

static int print_patch(git_diff *diff, struct printer *printer)
{
	return libgit2.diff_print(diff, GIT_DIFF_FORMAT_PATCH, patch_line, printer);
}

/* "path | 12 ++++----": the signs at the end of a line in their colours. */
static void stat_line(struct printer *printer, const char *text, size_t len)
{
	size_t signs = len, minus;

	while (signs > 0 && text[signs - 1] == '-')
		signs--;
	minus = signs;
	while (signs > 0 && text[signs - 1] == '+')
		signs--;
	if (signs == 0 || text[signs - 1] != ' ')
		signs = minus = len;
	printer_add(printer, "", 0, text, signs);
	printer_add(printer, COLOR_GREEN, 0, text + signs, minus - signs);
	printer_add(printer, COLOR_RED, 0, text + minus, len - minus);
	printer_add(printer, "", 0, "\n", 1);
}

static int print_stat(git_diff *diff, struct printer *printer)
{
	CLEANUP(git_diff_stats_freep) git_diff_stats *stats = NULL;
	git_buf buf = { 0 };
	int rc;

	if (libgit2.diff_num_deltas(diff) == 0)
		return 0;
	rc = libgit2.diff_get_stats(&stats, diff);
	if (rc == 0)
		rc = libgit2.diff_stats_to_buf(&buf, stats, GIT_DIFF_STATS_FULL | GIT_DIFF_STATS_INCLUDE_SUMMARY,
			DIFF_STAT_COLUMNS);
	for (const char *at = buf.ptr; rc == 0 && at && *at;) {
		size_t len = strcspn(at, "\n");

		stat_line(printer, at, len);
		at += len + (at[len] == '\n');
	}
	libgit2.buf_dispose(&buf);
	return rc;
}

static int print_name_status(git_diff *diff, struct printer *printer)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < libgit2.diff_num_deltas(diff) && printer->rc == 0; i++) {
		const git_diff_delta *delta = libgit2.diff_get_delta(diff, i);

		strbuf_reset(&text);
		strbuf_addf(&text, "%c\t%s\n", libgit2.diff_status_char(delta->status), SHOW(delta->new_file.path));
		if (strbuf_failed(&text))
			return printer->rc = -ENOMEM;
		printer_add(printer, "", 0, text.buf, text.len);
	}
	return printer->rc;
}

/* ---- what is compared ---- */

/* Leave out what git cannot say, which stands below the reserved name. */
static int leave_out_meta(const git_diff *diff, const git_diff_delta *delta, const char *pathspec, void *arg)
{
	return path_is_beneath(delta->new_file.path, PATH_RESERVED);
}

static int diff_tree(struct repo *repo, const struct oid *oid, git_tree **ret, struct error *err)
{
	git_oid id;
	int rc;

	*ret = NULL;
	if (!oid || oid_is_zero(oid))
		return 0;
	id = oid_to_git(oid);
	rc = libgit2.tree_lookup(ret, repo->git, &id);
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "tree '%s'", OID_HEX(oid));
	return 0;
}

static int diff_make(struct repo *repo, const struct oid *tree_a, const struct oid *tree_b,
	const struct diff_options *options, git_diff **ret, struct error *err)
{
	CLEANUP(git_tree_freep) git_tree *a = NULL;
	CLEANUP(git_tree_freep) git_tree *b = NULL;
	git_diff_options git;
	int rc;

	rc = diff_tree(repo, tree_a, &a, err);
	if (rc == 0)
		rc = diff_tree(repo, tree_b, &b, err);
	if (rc < 0)
		return rc;
	libgit2.diff_options_init(&git, GIT_DIFF_OPTIONS_VERSION);
	git.flags |= GIT_DIFF_DISABLE_PATHSPEC_MATCH; /* paths are literal */
	if (options->format == DIFF_NAME_STATUS)
		git.flags |= GIT_DIFF_INCLUDE_TYPECHANGE;
	git.context_lines = options->context_lines;
	git.max_size = DIFF_BLOB_MAX;
	git.pathspec.strings = (char **)options->paths; /* not written to */
	git.pathspec.count = options->paths ? options->path_count : 0;
	if (!options->include_meta)
		git.notify_cb = leave_out_meta;
	rc = libgit2.diff_tree_to_tree(ret, repo->git, a, b, &git);
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "compare trees in '%s'", repo->path);
	return 0;
}

int repo_diff_print(struct repo *repo, const struct oid *tree_a, const struct oid *tree_b,
	const struct diff_options *options, diff_text_fn fn, void *arg, struct error *err)
{
	static int (*const formats[])(git_diff *, struct printer *) = {
		[DIFF_PATCH] = print_patch, [DIFF_STAT] = print_stat, [DIFF_NAME_STATUS] = print_name_status
	};
	CLEANUP(printer_release) struct printer printer = {
		.fn = fn, .arg = arg, .color = options->color, .line = STRBUF_INIT
	};
	CLEANUP(git_diff_freep) git_diff *diff = NULL;
	int rc;

	rc = diff_make(repo, tree_a, tree_b, options, &diff, err);
	if (rc < 0)
		return rc;
	rc = formats[options->format](diff, &printer);
	if (rc == 0)
		rc = printer_line(&printer);
	if (printer.rc == -ENOMEM)
		return error_errno(err, ENOMEM, "print differences");
	if (printer.rc != 0)
		return printer.rc;
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "print differences in '%s'", repo->path);
	return 0;
}
