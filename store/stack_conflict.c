/* SPDX-License-Identifier: Apache-2.0 */
/* Which patches of a stack cannot stand together: one sorted sweep over all paths that they touch. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/stack_internal.h"

#define CONFLICT_PATHS_SHOWN 10u

/* One path that one layer touches. */
struct touch {
	const struct difference *difference;
	size_t layer;
};

/* Those of one path: consecutive in the sorted list. */
struct span {
	size_t begin, end;
};

struct sweep {
	struct repo *repo;
	const struct stack_layer *layers;
	size_t layer_count;
	bool *related;	       /* owned; layer_count × layer_count */
	struct touch *touches; /* owned */
	size_t touch_count;
	/* What was found. */
	bool *guilty; /* owned; layers in conflict */
	struct strbuf paths;
	size_t path_count;
};

static void sweep_release(struct sweep *sweep)
{
	free(sweep->related);
	free(sweep->touches);
	free(sweep->guilty);
	strbuf_release(&sweep->paths);
}

static int touch_compare(const void *a, const void *b)
{
	const struct touch *x = a, *y = b;
	int order = path_compare(x->difference->path, y->difference->path);

	if (order != 0)
		return order;
	return x->layer < y->layer ? -1 : x->layer > y->layer;
}

static int sweep_prepare(struct sweep *sweep, const struct patch_list *patches, struct error *err)
{
	size_t count = sweep->layer_count, at = 0;

	for (size_t i = 0; i < count; i++)
		sweep->touch_count += sweep->layers[i].differences.count;
	sweep->related = calloc(count * count, sizeof *sweep->related);
	sweep->guilty = calloc(count, sizeof *sweep->guilty);
	sweep->touches = calloc(sweep->touch_count + 1, sizeof *sweep->touches);
	if (!sweep->related || !sweep->guilty || !sweep->touches)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		const struct patch *a = sweep->layers[i].patch;
		struct superseded superseded;

		superseded_find(patches, a, &superseded);
		for (size_t j = 0; j < count; j++) {
			const struct patch *b = sweep->layers[j].patch;

			if (i == j || superseded_has(&superseded, b) || patch_builds_on(patches, a, b))
				sweep->related[i * count + j] = sweep->related[j * count + i] = true;
		}
		for (size_t j = 0; j < sweep->layers[i].differences.count; j++)
			sweep->touches[at++] = (struct touch){ &sweep->layers[i].differences.items[j], i };
	}
	qsort(sweep->touches, sweep->touch_count, sizeof *sweep->touches, touch_compare);
	return 0;
}

static bool makes_directory(const struct difference *difference)
{
	return !difference->content_changed && difference->meta_changed && difference->meta[1].mode != 0 &&
		difference->meta_of_directory[1];
}

/* Both make or change a directory, and differ in its time at most. 1, 0 or a negative errno. */
static int directories_agree(const struct sweep *sweep, const struct difference *a, const struct difference *b,
	struct error *err)
{
	cleanup_meta struct meta x = META_INIT, y = META_INIT;
	const unsigned untimed = ~(unsigned)META_MTIME;
	int r;

	if (!makes_directory(a) || !makes_directory(b))
		return 0;
	if (oid_equal(&a->meta[1].oid, &b->meta[1].oid))
		return 1;
	r = tree_meta_read(sweep->repo, &a->meta[1].oid, true, a->path, &x, err);
	if (r == 0)
		r = tree_meta_read(sweep->repo, &b->meta[1].oid, true, b->path, &y, err);
	if (r < 0)
		return r;
	return (x.present & untimed) == (y.present & untimed) && x.mode == y.mode && x.uid == y.uid &&
		x.gid == y.gid && meta_xattrs_equal(&x, &y);
}

/* Nothing of another patch can stand beneath: a file is put there, or a directory taken away. */
static bool closes(const struct difference *difference)
{
	if (difference->content_changed && difference->content[1].mode != 0)
		return true;
	if (!difference->meta_changed)
		return false;
	if (difference->meta[1].mode != 0)
		return !difference->meta_of_directory[1];
	return difference->meta[0].mode != 0 && difference->meta_of_directory[0];
}

static void sweep_report(struct sweep *sweep, const struct touch *a, const struct touch *b, bool *reported)
{
	const char *path = b->difference->path;

	sweep->guilty[a->layer] = sweep->guilty[b->layer] = true;
	if (*reported)
		return;
	*reported = true;
	if (sweep->path_count++ < CONFLICT_PATHS_SHOWN)
		strbuf_addf(&sweep->paths, "%s'%s'", sweep->path_count > 1 ? ", " : "", path);
}

/* All touches of one path against each other, and against those of one ANCESTOR of it. */
static int sweep_span(struct sweep *sweep, struct span span, struct span ancestor, bool *reported,
	struct error *err)
{
	bool same = span.begin == ancestor.begin;

	for (size_t i = ancestor.begin; i < ancestor.end; i++) {
		const struct touch *above = &sweep->touches[i];

		if (!same && !closes(above->difference))
			continue;
		for (size_t j = same ? i + 1 : span.begin; j < span.end; j++) {
			const struct touch *touch = &sweep->touches[j];
			int r = 0;

			if (sweep->related[above->layer * sweep->layer_count + touch->layer])
				continue;
			if (same)
				r = directories_agree(sweep, above->difference, touch->difference, err);
			if (r < 0)
				return r;
			if (r == 0)
				sweep_report(sweep, above, touch, reported);
		}
	}
	return 0;
}

static bool is_ancestor(const char *ancestor, const char *path)
{
	size_t len = strlen(ancestor);

	return len == 0 || (strncmp(path, ancestor, len) == 0 && path[len] == '/');
}

static int sweep_run(struct sweep *sweep, struct error *err)
{
	struct span open[PATH_DEPTH_MAX + 2]; /* touched ancestors of the path at hand, and itself */
	size_t depth = 0;

	for (size_t at = 0; at < sweep->touch_count;) {
		const char *path = sweep->touches[at].difference->path;
		bool reported = false; /* this path */
		struct span span = { at, at };

		while (span.end < sweep->touch_count &&
			strcmp(sweep->touches[span.end].difference->path, path) == 0)
			span.end++;
		while (depth > 0 && !is_ancestor(sweep->touches[open[depth - 1].begin].difference->path, path))
			depth--;
		open[depth++] = span;
		for (size_t i = 0; i < depth; i++) {
			int r = sweep_span(sweep, span, open[i], &reported, err);

			if (r < 0)
				return r;
		}
		at = span.end;
	}
	return 0;
}

static int conflict_error(const struct sweep *sweep, struct error *err)
{
	cleanup_strbuf struct strbuf labels = STRBUF_INIT, more = STRBUF_INIT;

	for (size_t i = 0; i < sweep->layer_count; i++)
		if (sweep->guilty[i])
			strbuf_addf(&labels, "%s'%s'", labels.len ? ", " : "", sweep->layers[i].patch->label);
	if (sweep->path_count > CONFLICT_PATHS_SHOWN)
		strbuf_addf(&more, " and %zu more", sweep->path_count - CONFLICT_PATHS_SHOWN);
	return error_set(err, -EEXIST,
		"patches %s conflict, for neither builds on nor supersedes the other and both touch %.1400s%s",
		strbuf_text(&labels), strbuf_text(&sweep->paths), strbuf_text(&more));
}

int stack_check_conflicts(struct repo *repo, const struct patch_list *patches,
	const struct stack_layer *layers, size_t count, struct error *err)
{
	CLEANUP(sweep_release)
	struct sweep sweep = { .repo = repo, .layers = layers, .layer_count = count, .paths = STRBUF_INIT };
	int r;

	if (count < 2)
		return 0;
	r = sweep_prepare(&sweep, patches, err);
	if (r == 0)
		r = sweep_run(&sweep, err);
	if (r < 0)
		return r;
	return sweep.path_count > 0 ? conflict_error(&sweep, err) : 0;
}
