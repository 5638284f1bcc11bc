/* SPDX-License-Identifier: Apache-2.0 */
/* A patch of a commit that was made with plain git. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/baseline.h"
#include "store/edits.h"
#include "store/patch_internal.h"
#include "store/stack.h"
#include "store/tree_cursor.h"
#include "store/view.h"

/* Commits looked at for one that we know, and what they may have together. */
#define ANCESTORS_MAX 4096u
#define ANCESTOR_BYTES_MAX (64u << 20)

struct oid_list {
	struct oid *oids; /* owned */
	size_t count, alloc;
};

static void oid_list_release(struct oid_list *list)
{
	free(list->oids);
}

static bool oid_list_has(const struct oid_list *list, const struct oid *oid)
{
	for (size_t i = 0; i < list->count; i++)
		if (oid_equal(&list->oids[i], oid))
			return true;
	return false;
}

static int oid_list_add(struct oid_list *list, const struct oid *oid, struct error *err)
{
	if (list->count == list->alloc) {
		size_t alloc = list->alloc ? list->alloc * 2 : 16;
		struct oid *oids = reallocarray(list->oids, alloc, sizeof *oids);

		if (!oids)
			return error_set(err, -ENOMEM, "out of memory");
		list->oids = oids;
		list->alloc = alloc;
	}
	list->oids[list->count++] = *oid;
	return 0;
}

/* ---- the parent ---- */

struct search {
	struct store *store;
	const struct component *component;
	const struct patch_list *list;
	struct oid_list bases; /* the component's, newest first */
};

/* What a commit stands on. */
struct standing {
	struct oid parent, parent_tree; /* a base or a patch */
	struct oid tree; /* what the commit was made from: the parent's, or that of a composition over it */
	bool on_composition;
};

static void search_release(struct search *search)
{
	oid_list_release(&search->bases);
}

/* The newest base and those that it grew from. */
static int search_bases(struct search *search, struct error *err)
{
	const struct component *component = search->component;
	struct oid at = component->base;

	for (;;) {
		cleanup_commit struct commit commit = { 0 };
		int r = repo_commit_read(search->store->repo, &at, &commit, err);

		if (r < 0)
			return error_prefix(err, r, "base of '%s'", component->name);
		if (!commit_is_base(&commit))
			return 0;
		r = oid_list_add(&search->bases, &at, err);
		if (r < 0 || commit.parent_count == 0)
			return r;
		at = commit.parents[0];
	}
}

static bool search_knows(const struct search *search, const struct oid *oid)
{
	return oid_list_has(&search->bases, oid) || patch_find_commit(search->list, oid);
}

/* Is COMMIT what some of the patches compose to? Then its first parent is a base. */
static int is_composition(const struct search *search, const struct commit *commit, bool *ret, struct error *err)
{
	cleanup_free struct stack *stack = calloc(1, sizeof *stack);
	int r;

	*ret = false;
	if (commit->parent_count < 2 || !oid_list_has(&search->bases, &commit->parents[0]))
		return 0;
	if (!stack)
		return error_set(err, -ENOMEM, "out of memory");
	r = stack_read(search->store, search->component, search->list, &commit->id, stack, err);
	*ret = r == 0 && stack->known;
	return r;
}

/* The nearest along the first parents; *RET_FOUND false where they end. */
static int search_first_parents(const struct search *search, const struct oid *from, struct standing *ret,
	bool *ret_found, struct error *err)
{
	struct oid at = *from;
	uint64_t bytes = 0;

	*ret_found = false;
	for (size_t i = 0; i < ANCESTORS_MAX && bytes <= ANCESTOR_BYTES_MAX; i++) {
		cleanup_commit struct commit commit = { 0 };
		int r = repo_commit_read(search->store->repo, &at, &commit, err);

		bytes += commit.size;
		if (r == 0)
			r = is_composition(search, &commit, &ret->on_composition, err);
		if (r < 0 || commit.parent_count == 0)
			return r;
		at = commit.parents[0];
		if (search_knows(search, &at)) {
			ret->parent = at;
			ret->tree = commit.tree;
			*ret_found = true;
			return 0;
		}
	}
	return 0;
}

/* The nearest by any way, breadth-first. */
static int search_all_parents(const struct search *search, const struct oid *from, struct oid *ret,
	bool *ret_found, struct error *err)
{
	CLEANUP(oid_list_release) struct oid_list queue = { NULL, 0, 0 };
	int r = oid_list_add(&queue, from, err);
	uint64_t bytes = 0;

	*ret_found = false;
	for (size_t i = 0; r == 0 && i < queue.count && bytes <= ANCESTOR_BYTES_MAX; i++) {
		cleanup_commit struct commit commit = { 0 };

		r = repo_commit_read(search->store->repo, &queue.oids[i], &commit, err);
		bytes += commit.size;
		for (size_t j = 0; r == 0 && j < commit.parent_count; j++) {
			if (search_knows(search, &commit.parents[j])) {
				*ret = commit.parents[j];
				*ret_found = true;
				return 0;
			}
			if (queue.count < ANCESTORS_MAX && !oid_list_has(&queue, &commit.parents[j]))
				r = oid_list_add(&queue, &commit.parents[j], err);
		}
	}
	return r;
}

static int read_parent(const struct search *search, struct standing *standing, struct error *err)
{
	cleanup_commit struct commit parent = { 0 };
	int r = repo_commit_read(search->store->repo, &standing->parent, &parent, err);

	if (r < 0)
		return r;
	standing->parent_tree = parent.tree;
	if (!standing->on_composition)
		standing->tree = parent.tree;
	return 0;
}

static int find_standing(const struct search *search, const struct commit *commit, struct standing *ret,
	struct error *err)
{
	const struct patch *patch = patch_find_commit(search->list, &commit->id);
	const struct component *component = search->component;
	char hex[OID_HEX_LENGTH + 1];
	bool found, composition;
	int r;

	oid_to_hex(&commit->id, hex);
	if (patch)
		return error_set(err, -EEXIST, "commit '%.12s' is patch '%s' already", hex, patch->label);
	if (oid_list_has(&search->bases, &commit->id))
		return error_set(err, -ENODATA, "commit '%.12s' is a base of '%s', not a change of it", hex,
			component->name);
	r = is_composition(search, commit, &composition, err);
	if (r == 0 && composition)
		return error_set(err, -ENODATA, "commit '%.12s' is a composition of patches of '%s', not a change of it",
			hex, component->name);
	if (r == 0)
		r = search_first_parents(search, &commit->id, ret, &found, err);
	if (r == 0 && !found)
		r = search_all_parents(search, &commit->id, &ret->parent, &found, err);
	if (r < 0)
		return r;
	if (found)
		return read_parent(search, ret, err);
	return error_set(err, -EINVAL,
		"commit '%.12s' stands on no base and no patch of '%s': make it in a worktree of refs/veneer/%s/base",
		hex, component->name, component->name);
}

/* ---- the tree ---- */

/* Both are the patch's: what it stands on, and the newest base once it has grown by what the patch touches. */
struct ground {
	struct oid parent, parent_tree;
	struct oid base, base_tree;
};

/* The paths of DIFFERENCES that are put, for baseline_touch(); what is deleted is on record. */
static int touched_paths(const struct differences *differences, struct changeset *set, struct error *err)
{
	for (size_t i = 0; i < differences->count; i++) {
		const struct difference *difference = &differences->items[i];
		bool puts_content = difference->content_changed && difference->content[1].mode != 0;
		bool puts_meta = difference->meta_changed && difference->meta[1].mode != 0;
		struct change *change;
		int r;

		if (*difference->path == '\0' || !(puts_content || puts_meta))
			continue;
		r = changeset_add(set, difference->path,
			!puts_content && difference->meta_of_directory[1] ? CHANGE_DIRECTORY : CHANGE_FILE, &change,
			err);
		if (r < 0)
			return r;
	}
	return changeset_sort(set, err);
}

/*
 * A patch on a base that lacks one of the touched paths gets the grown newest base as its parent, for a
 * patch's preimage is its parent's entry. One on a patch stays there.
 */
static int prepare_ground(struct store *store, const struct component *component, int basefd,
	const struct differences *differences, bool on_base, struct ground *ground,
	struct error *err)
{
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	struct oid recorded;
	int r = touched_paths(differences, &set, err);

	ground->base = component->base;
	ground->base_tree = component->base_tree;
	if (r == 0 && on_base) {
		r = baseline_touch(store, basefd, &ground->parent_tree, &set, &recorded, err);
		if (r == 0 && oid_equal(&recorded, &ground->parent_tree))
			return 0;
	}
	if (r == 0)
		r = baseline_touch(store, basefd, &component->base_tree, &set, &ground->base_tree, err);
	if (r == 0 && !oid_equal(&ground->base_tree, &component->base_tree))
		r = component_write_base(store, component, &ground->base_tree, &component->base, time(NULL),
			&ground->base, err);
	if (r == 0 && on_base) {
		ground->parent = ground->base;
		ground->parent_tree = ground->base_tree;
	}
	return r;
}

/* A file that the commit adds over one that its parent had not on record and the grown base has. */
static bool adds_over_file(const struct difference *difference, const struct tree_entry *there)
{
	return difference->content_changed && difference->content[0].mode == 0 && difference->content[1].mode != 0 &&
		there->mode != 0 && there->mode != TREE_MODE_DIRECTORY;
}

struct landing {
	struct tree_cursor content, meta; /* of the ground's tree */
	struct edits edits; /* of the commit's */
};

static void landing_release(struct landing *landing)
{
	tree_cursor_release(&landing->content);
	tree_cursor_release(&landing->meta);
	edits_release(&landing->edits);
}

/* A file that is added without x says nothing of the bits of one that could not be seen. */
static int land(struct landing *landing, struct difference *difference, struct error *err)
{
	struct tree_side meta = { 0 };
	struct tree_entry there;
	bool of_directory;
	int r = tree_cursor_find(&landing->content, difference->path, &there, err);

	if (r < 0 || !adds_over_file(difference, &there))
		return r;
	difference->content[0] = (struct tree_side){ there.mode, there.oid };
	if (there.mode == TREE_MODE_EXECUTABLE && difference->content[1].mode == TREE_MODE_FILE)
		difference->content[0].mode = TREE_MODE_FILE;
	if (difference->meta_changed)
		return 0;
	r = tree_meta_find(&landing->meta, difference->path, &meta, &of_directory, err);
	if (r < 0 || meta.mode == 0 || of_directory)
		return r;
	return edits_add_meta(&landing->edits, difference->path, false, meta.mode, &meta.oid, err);
}

/*
 * DIFFERENCES as they would be if the commit had seen GROUND: what was on disk already is changed, not
 * added, and keeps its metadata unless the commit gives its own. *TREE, the commit's, gets that
 * metadata where plain git would have left it.
 */
static int land_all(struct repo *repo, const struct oid *ground, struct differences *differences,
	struct oid *tree, struct error *err)
{
	CLEANUP(landing_release) struct landing landing = { .edits = EDITS_INIT };
	struct oid meta;
	int r = tree_meta_root(repo, ground, &meta, err);

	if (r < 0)
		return r;
	tree_cursor_init(&landing.content, repo, ground);
	tree_cursor_init(&landing.meta, repo, &meta);
	for (size_t i = 0; r == 0 && i < differences->count; i++)
		r = land(&landing, &differences->items[i], err);
	if (r == 0 && landing.edits.count > 0)
		r = repo_tree_edit(repo, tree, landing.edits.changes, landing.edits.count, tree, err);
	return r;
}

/* What was made on a composition is laid over the base alone, so it may know nothing of the patches. */
static int check_apart(struct store *store, const struct component *component, const struct oid *base_tree,
	const struct oid *composed_tree, const struct differences *differences, struct error *err)
{
	cleanup_pool struct pool pool = POOL_INIT;
	cleanup_differences struct differences composed = DIFFERENCES_INIT;
	const char *path;
	int r = differences_collect(store->repo, &pool, base_tree, composed_tree, &composed, err);

	if (r < 0)
		return r;
	path = differences_overlap(&composed, differences);
	if (!path)
		return 0;
	return error_set(err, -EEXIST,
		"it stands on a composition, and changes '%s', as the patches do: make it in a worktree of refs/veneer/%s/base or of the patch that it shall build on",
		path, component->name);
}

/*
 * What TREE is over BASE_TREE, seen over the grown base GROWN: what the patch touches and the base of the patch below had not on record
 * is on record there.
 */
static int check_over_grown(struct store *store, const struct oid *base_tree, const struct oid *tree, int64_t time,
	const struct oid *grown, int basefd, struct error *err)
{
	cleanup_pool struct pool pool = POOL_INIT;
	cleanup_differences struct differences differences = DIFFERENCES_INIT;
	cleanup_edits struct edits edits = EDITS_INIT;
	struct oid composed;
	int r = view_check(store, base_tree, tree, err);

	if (r == 0)
		r = differences_collect(store->repo, &pool, base_tree, tree, &differences, err);
	if (r == 0)
		r = edits_of_differences(store->repo, &differences, tree, time, &edits, err);
	if (r == 0)
		r = repo_tree_edit(store->repo, grown, edits.changes, edits.count, &composed, err);
	return r < 0 ? r : view_check_over(store, grown, &composed, basefd, err);
}

/* The differences of COMMIT to what it was made from, laid over the parent that the patch gets; checked as a view. */
static int make_tree(struct store *store, const struct component *component, int basefd,
	const struct commit *commit, const struct standing *standing, bool on_base, struct ground *ground,
	struct oid *ret, struct error *err)
{
	cleanup_pool struct pool pool = POOL_INIT;
	cleanup_differences struct differences differences = DIFFERENCES_INIT;
	cleanup_edits struct edits edits = EDITS_INIT;
	struct oid base, base_tree, tree = commit->tree;
	int r = commit_find_base(store, &ground->parent, &base, &base_tree, err);

	if (r == 0)
		r = differences_collect(store->repo, &pool, &standing->tree, &commit->tree, &differences, err);
	if (r < 0)
		return r;
	if (differences.count == 0)
		return error_set(err, -ENODATA, "nothing differs from what it stands on");
	if (standing->on_composition)
		r = check_apart(store, component, &base_tree, &standing->tree, &differences, err);
	if (r < 0)
		return r;
	r = prepare_ground(store, component, basefd, &differences, on_base, ground, err);
	if (r == 0 && on_base)
		r = land_all(store->repo, &ground->parent_tree, &differences, &tree, err);
	if (r == 0)
		r = edits_of_differences(store->repo, &differences, &tree, commit->time, &edits, err);
	if (r == 0)
		r = repo_tree_edit(store->repo, &ground->parent_tree, edits.changes, edits.count, ret, err);
	if (r < 0)
		return r;
	if (oid_equal(ret, &ground->parent_tree))
		return error_set(err, -ENODATA, "nothing differs from what it stands on");
	/* Not before: metadata that plain git left untouched may be wrong until it is written anew. */
	if (on_base)
		return view_check_over(store, &ground->parent_tree, ret, basefd, err);
	return check_over_grown(store, &base_tree, ret, commit->time, &ground->base_tree, basefd, err);
}

/* "Name <mail>" in two; what is empty or odd becomes "unknown". */
static int split_author(const char *author, char **ret_name, char **ret_mail)
{
	const char *mail = strrchr(author, '<');
	size_t name_len = mail ? (size_t)(mail - author) : strlen(author);
	size_t mail_len = mail ? strcspn(mail + 1, ">") : 0;

	while (name_len > 0 && author[name_len - 1] == ' ')
		name_len--;
	*ret_name = name_len > 0 ? strndup(author, name_len) : strdup("unknown");
	*ret_mail = mail_len > 0 ? strndup(mail + 1, mail_len) : strdup("unknown");
	return *ret_name && *ret_mail ? 0 : -ENOMEM;
}

static int write_and_publish(struct store *store, struct component *component, const struct patch_draft *draft,
	const struct commit *commit, const struct ground *ground, const struct oid *tree, struct oid *ret,
	struct error *err)
{
	cleanup_free char *name = NULL, *mail = NULL;
	struct commit_spec spec = { .tree = *tree, .parents = &ground->parent, .parent_count = 1,
		.time = commit->time };
	struct oid written;
	int r = split_author(commit->author ? commit->author : "", &name, &mail);

	if (r < 0)
		return error_set(err, r, "out of memory");
	spec.name = name;
	spec.mail = mail;
	r = patch_draft_write(store, component, draft, &spec, &written, err);
	/* Of the trees and blobs that it leads to most are plain git's, who does not see to it that they are on the disk. */
	if (r == 0 && syncfs(store->fd) < 0)
		r = error_errno(err, errno, "sync the store '%s'", store->path);
	if (r == 0)
		r = patch_draft_publish(store, component, draft, &written, &ground->base, &ground->base_tree, err);
	if (r == 0)
		*ret = written;
	return r;
}

int patch_create_from_commit(struct store *store, struct component *component, int basefd,
	const struct oid *commit, const struct patch_spec *spec, char **ret_label,
	struct oid *ret_commit, struct error *err)
{
	cleanup_patch_draft struct patch_draft draft = PATCH_DRAFT_INIT;
	CLEANUP(search_release)
	struct search search = { .store = store, .component = component, .list = &draft.list };
	cleanup_commit struct commit facts = { 0 };
	cleanup_free char *label = NULL;
	struct standing standing = { .on_composition = false };
	struct ground ground;
	struct oid tree;
	int r = repo_commit_read(store->repo, commit, &facts, err);

	if (r == 0)
		r = patch_draft_begin(store, component, spec, facts.message, &draft, err);
	if (r == 0)
		r = search_bases(&search, err);
	if (r == 0)
		r = find_standing(&search, &facts, &standing, err);
	if (r < 0)
		return r;
	ground.parent = standing.parent;
	ground.parent_tree = standing.parent_tree;
	r = make_tree(store, component, basefd, &facts, &standing, oid_list_has(&search.bases, &standing.parent),
		&ground, &tree, err);
	if (r < 0) {
		char hex[OID_HEX_LENGTH + 1];

		oid_to_hex(commit, hex);
		return error_prefix(err, r, "commit '%.12s'", hex);
	}
	label = strdup(draft.label);
	if (!label)
		return error_set(err, -ENOMEM, "out of memory");
	r = write_and_publish(store, component, &draft, &facts, &ground, &tree, ret_commit, err);
	if (r == 0)
		*ret_label = TAKE_PTR(label);
	return r;
}
