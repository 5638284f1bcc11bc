/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/base/path.h"
#include "store/git/internal.h"

/* A pair of directories that is being walked; either tree may be NULL: that side has none. */
struct frame {
	struct tree *old_tree, *new_tree;
	size_t old_next, new_next;
	size_t path_len; /* of the directory's own path, with its final '/' */
};

/* The stack is on the heap and grows with the depth: a hostile tree costs no C stack. */
struct walk {
	struct repo *repo;
	const char *skip;
	bool trusted;
	tree_compare_fn fn;
	void *arg;
	struct frame *frames;
	size_t depth, alloc;
	uint64_t seen; /* entries of all trees read */
	struct strbuf path;
};

static void walk_pop(struct walk *walk)
{
	struct frame *frame = &walk->frames[--walk->depth];

	tree_free(frame->old_tree);
	tree_free(frame->new_tree);
}

static void walk_release(struct walk *walk)
{
	while (walk->depth > 0)
		walk_pop(walk);
	free(walk->frames);
	strbuf_release(&walk->path);
}

/* The directory that is being read, for messages: without the '/' at its end. */
#define SHOW_DIRECTORY(walk) (directory_show((walk), (char[SHOWN_MAX]){ "" }))
static const char *directory_show(const struct walk *walk, char shown[SHOWN_MAX])
{
	size_t len = strlen(text_show(walk->path.len ? strbuf_text(&walk->path) : ".", shown));

	if (shown[len - 1] == '/')
		shown[len - 1] = '\0';
	return shown;
}

static int check_entry(const struct walk *walk, const struct tree_entry *entry, struct error *err)
{
	const char *dir = strbuf_text(&walk->path); /* ends in '/', or is "" */
	const char *problem;

	if (entry->mode == TREE_MODE_COMMIT)
		return error_set(err, -EBADMSG, "'%s%s': a submodule is not allowed", SHOW(dir),
			SHOW(entry->name));
	if (!tree_mode_known(entry->mode))
		return error_set(err, -EBADMSG, "'%s%s': mode %o is none that git has", SHOW(dir),
			SHOW(entry->name), entry->mode);
	if (walk->trusted)
		return 0;
	problem = path_name_problem(entry->name, strlen(entry->name));
	if (problem)
		return error_set(err, -EBADMSG, "'%s%s': %s is not allowed", SHOW(dir), SHOW(entry->name),
			problem);
	if (walk->path.len + strlen(entry->name) > PATH_LENGTH_MAX)
		return error_set(err, -EBADMSG, "'%s%s': a path longer than %d bytes", SHOW(dir),
			SHOW(entry->name), PATH_LENGTH_MAX);
	return 0;
}

static bool walk_skips(const struct walk *walk, const char *name)
{
	return walk->path.len == 0 && walk->skip && strcmp(walk->skip, name) == 0;
}

/* The tree of the directory that walk->path names (NULL: none), its entries checked. */
static int walk_read(struct walk *walk, const struct oid *oid, struct tree **ret, struct error *err)
{
	cleanup_tree struct tree *tree = NULL;
	int rc;

	*ret = NULL;
	if (!oid)
		return 0;
	rc = repo_tree_read(walk->repo, oid, &tree, err);
	if (rc < 0) /* whatever names a tree that is not there or too large is broken itself */
		return error_prefix(err, rc == -ENOENT || rc == -E2BIG ? -EBADMSG : rc, "'%s'",
			SHOW_DIRECTORY(walk));
	walk->seen += tree_count(tree);
	if (walk->seen > TREE_WALK_MAX)
		return error_set(err, -EBADMSG, "'%s': more than %u entries", SHOW_DIRECTORY(walk),
			TREE_WALK_MAX);
	for (size_t i = 0; i < tree_count(tree); i++) {
		struct tree_entry entry = tree_at(tree, i);

		if (walk_skips(walk, entry.name))
			continue;
		rc = check_entry(walk, &entry, err);
		if (rc < 0)
			return rc;
	}
	*ret = TAKE_PTR(tree);
	return 0;
}

/* Enter the directory that walk->path names. */
static int walk_push(struct walk *walk, const struct oid *a, const struct oid *b, struct error *err)
{
	const size_t depth_max = walk->trusted ? TREE_DEPTH_MAX : PATH_DEPTH_MAX;
	struct frame *frame;
	int rc;

	if (walk->depth >= depth_max) /* entries lie one deeper */
		return error_set(err, -EBADMSG, "'%s': nested deeper than %zu directories",
			SHOW_DIRECTORY(walk), depth_max);
	if (walk->depth == walk->alloc) {
		size_t alloc = walk->alloc ? walk->alloc * 2 : 16;
		struct frame *frames = reallocarray(walk->frames, alloc, sizeof *frames);

		if (!frames)
			return error_errno(err, ENOMEM, "'%s'", SHOW_DIRECTORY(walk));
		walk->frames = frames;
		walk->alloc = alloc;
	}
	frame = &walk->frames[walk->depth];
	*frame = (struct frame){ .path_len = walk->path.len };
	walk->depth++; /* from here on walk_release() frees what is read */
	rc = walk_read(walk, a, &frame->old_tree, err);
	return rc < 0 ? rc : walk_read(walk, b, &frame->new_tree, err);
}

/* The next name of the frame and what either side has there (mode 0: nothing). False: none is left. */
static bool frame_next(struct frame *frame, struct tree_entry *ret_old, struct tree_entry *ret_new)
{
	bool has_old = frame->old_tree && frame->old_next < tree_count(frame->old_tree);
	bool has_new = frame->new_tree && frame->new_next < tree_count(frame->new_tree);
	struct tree_entry old_entry = { .mode = 0 }, new_entry = { .mode = 0 };
	int order = has_old ? -1 : 1;

	if (!has_old && !has_new)
		return false;
	if (has_old)
		old_entry = tree_by_name(frame->old_tree, frame->old_next);
	if (has_new)
		new_entry = tree_by_name(frame->new_tree, frame->new_next);
	if (has_old && has_new)
		order = strcmp(old_entry.name, new_entry.name);
	if (order <= 0)
		frame->old_next++;
	else
		old_entry = (struct tree_entry){ .mode = 0 };
	if (order >= 0)
		frame->new_next++;
	else
		new_entry = (struct tree_entry){ .mode = 0 };
	*ret_old = old_entry;
	*ret_new = new_entry;
	return true;
}

static bool is_file(const struct tree_entry *entry)
{
	return entry->mode != 0 && entry->mode != TREE_MODE_DIRECTORY;
}

/* One name of the top frame: tell of a file that differs, then enter a directory that does. */
static int walk_step(struct walk *walk, const struct tree_entry *old_entry, const struct tree_entry *new_entry,
	struct error *err)
{
	const char *name = old_entry->mode ? old_entry->name : new_entry->name;
	const struct oid *old_dir = old_entry->mode == TREE_MODE_DIRECTORY ? &old_entry->oid : NULL;
	const struct oid *new_dir = new_entry->mode == TREE_MODE_DIRECTORY ? &new_entry->oid : NULL;
	int rc;

	if (walk_skips(walk, name))
		return 0;
	if (old_entry->mode == new_entry->mode && oid_equal(&old_entry->oid, &new_entry->oid))
		return 0;
	strbuf_addstr(&walk->path, name);
	if (strbuf_failed(&walk->path))
		return error_errno(err, ENOMEM, "'%s'", SHOW(name));
	if (is_file(old_entry) || is_file(new_entry)) {
		rc = walk->fn(walk->arg, strbuf_text(&walk->path), is_file(old_entry) ? old_entry : NULL,
			is_file(new_entry) ? new_entry : NULL, err);
		if (rc != 0)
			return rc;
	}
	if (!old_dir && !new_dir)
		return 0;
	strbuf_addch(&walk->path, '/');
	if (strbuf_failed(&walk->path))
		return error_errno(err, ENOMEM, "'%s'", SHOW(name));
	return walk_push(walk, old_dir, new_dir, err);
}

static const struct oid *zero_to_null(const struct oid *oid)
{
	return oid && oid_is_zero(oid) ? NULL : oid;
}

int repo_tree_compare(struct repo *repo, const struct oid *a, const struct oid *b, const char *skip,
	bool trusted, tree_compare_fn fn, void *arg, struct error *err)
{
	CLEANUP(walk_release) struct walk walk = {
		.repo = repo, .skip = skip, .trusted = trusted, .fn = fn, .arg = arg, .path = STRBUF_INIT
	};
	int rc;

	a = zero_to_null(a);
	b = zero_to_null(b);
	if (a && b && oid_equal(a, b))
		return 0;
	rc = walk_push(&walk, a, b, err);
	while (rc == 0 && walk.depth > 0) {
		struct frame *frame = &walk.frames[walk.depth - 1];
		struct tree_entry old_entry, new_entry;

		strbuf_truncate(&walk.path, frame->path_len);
		if (frame_next(frame, &old_entry, &new_entry))
			rc = walk_step(&walk, &old_entry, &new_entry, err);
		else
			walk_pop(&walk);
	}
	return rc;
}
