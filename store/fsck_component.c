/* SPDX-License-Identifier: Apache-2.0 */
/* One component: its bases, its patches, what is active, and the metadata of all of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/fsck_internal.h"
#include "store/patch_internal.h"
#include "store/stack.h"
#include "store/tree_meta.h"
#include "store/view.h"

struct look {
	struct fsck *fsck;
	const char *name;
	struct component *component;
	struct patch_list patches;
	struct oid_set metas; /* blobs of metadata that were parsed */
};

static void look_release(struct look *look)
{
	component_freep(&look->component);
	patch_list_release(&look->patches);
	oid_set_release(&look->metas);
}

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

/*
 * PROBLEM, with code RC, of something that COMMIT leads to: told, where no damaged object explains it. 0, or what keeps us from
 * going on.
 */
static int tell(struct look *look, const char *kind, const char *subject, const struct oid *commit, int rc, const char *remedy,
	const struct error *problem, struct error *err)
{
	int whole;

	if (fsck_is_fatal(rc))
		return error_set(err, rc, "%s", problem->message);
	whole = commit ? fsck_is_whole(look->fsck, commit) : 1;
	if (whole < 0)
		return out_of_memory(err);
	if (whole && fsck_add(look->fsck, FSCK_ERROR, FSCK_TEXT(kind, look->name, subject, remedy, false), "%s", problem->message) < 0)
		return out_of_memory(err);
	return 0;
}

/* ---- bases ---- */

static int check_base_commit(const struct look *look, const struct commit *commit, struct error *err)
{
	cleanup_free char *owner = trailer_get(commit->message, "Component", 0);

	if (!commit_is_base(commit))
		return error_set(err, -EBADMSG, "it lacks the trailer 'Kind: base'");
	if (!owner || strcmp(owner, look->name) != 0)
		return error_set(err, -EBADMSG, "it is a base of component '%.80s'", owner ? owner : "");
	if (commit->parent_count > 1)
		return error_set(err, -EBADMSG, "it has %zu parents, and a base has the one before it or none", commit->parent_count);
	return 0;
}

static int check_bases(struct look *look, struct error *err)
{
	struct oid at = look->component->base;
	char hex[OID_HEX_LENGTH + 1];

	for (unsigned i = 0; i < BASE_CHAIN_MAX; i++) {
		cleanup_commit struct commit commit = { 0 };
		struct error problem = ERROR_INIT;
		int r = repo_commit_read(look->fsck->store->repo, &at, &commit, &problem);

		if (r == 0)
			r = check_base_commit(look, &commit, &problem);
		oid_to_hex(&at, hex);
		if (r < 0)
			return tell(look, "commit", hex, &at, r, "the base before it is not what it should be: nothing mends that", &problem, err);
		if (commit.parent_count == 0)
			return 0;
		at = commit.parents[0];
	}
	return 0;
}

/* ---- metadata ---- */

/* PATH, below `.veneer/meta`, is a directory's where its last name is reserved. */
static char *path_of_meta(const char *path, bool *ret_of_directory)
{
	size_t len = strlen(path), suffix = strlen(META_DIRECTORY);

	*ret_of_directory = strcmp(path, PATH_RESERVED) == 0 || (len > suffix && strcmp(path + len - suffix, META_DIRECTORY) == 0);
	if (!*ret_of_directory)
		return strdup(path);
	return len > suffix ? strndup(path, len - suffix) : strdup("");
}

static int check_meta(void *arg, const char *path, const struct tree_entry *old_entry, const struct tree_entry *new_entry,
	struct error *err)
{
	struct look *look = arg;
	cleanup_meta struct meta meta = META_INIT;
	cleanup_free char *file = NULL;
	bool of_directory;
	int r = new_entry ? oid_set_add(&look->metas, &new_entry->oid, NULL) : 0;

	if (r <= 0)
		return r < 0 ? error_errno(err, -r, "'%s'", path) : 0;
	file = path_of_meta(path, &of_directory);
	if (!file)
		return error_errno(err, ENOMEM, "'%s'", path);
	return tree_meta_read(look->fsck->store->repo, &new_entry->oid, of_directory, file, &meta, err);
}

static int check_name(void *arg, const char *path, const struct tree_entry *old_entry, const struct tree_entry *new_entry,
	struct error *err)
{
	return 0; /* the walk has looked at the names */
}

/* All of the newest base, of which a view looks only at what a patch touches. */
static int check_base_tree(struct look *look, struct error *err)
{
	struct repo *repo = look->fsck->store->repo;
	struct error problem = ERROR_INIT;
	struct oid meta;
	char hex[OID_HEX_LENGTH + 1];
	int r = repo_tree_compare(repo, NULL, &look->component->base_tree, PATH_RESERVED, false, check_name, NULL, &problem);

	if (r == 0)
		r = tree_meta_root(repo, &look->component->base_tree, &meta, &problem);
	if (r == 0)
		r = repo_tree_compare(repo, NULL, &meta, NULL, true, check_meta, look, &problem);
	if (r == 0)
		return 0;
	oid_to_hex(&look->component->base, hex);
	return tell(look, "commit", hex, &look->component->base, r, "record the base anew, with 'veneer add NAME DIR --base-version V'", &problem,
		err);
}

/* ---- views ---- */

/* What metadata says of an object, against what the blob beside it holds. */
static int check_object_line(struct look *look, const struct view *view, uint32_t index, const char *subject, struct error *err)
{
	const struct view_entry *entry = view_at(view, index);
	const struct fsck_content *content = fsck_content_of(look->fsck, &entry->blob);
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	char says[HASH128_HEX_LENGTH + 1], is[HASH128_HEX_LENGTH + 1];
	int r;

	if (!content || !(entry->present & META_OBJECT) || (hash128_equal(&entry->object, &content->hash) && entry->size == content->size))
		return 0;
	view_path(view, index, &path);
	hash128_to_hex(&entry->object, says);
	hash128_to_hex(&content->hash, is);
	r = fsck_add(look->fsck, FSCK_ERROR,
		FSCK_TEXT("metadata", look->name, subject, "it cannot be served: make the patch anew, and delete this one", false),
		"'%s': its metadata has the object xxh3-128:%s, its content is xxh3-128:%s", strbuf_text(&path), says, is);
	return r < 0 || strbuf_failed(&path) ? out_of_memory(err) : 0;
}

static int check_view(struct look *look, const struct oid *commit, const char *subject, const char *who, bool active, struct error *err)
{
	cleanup_view struct view *view = NULL;
	struct error problem = ERROR_INIT;
	int r = view_load_of(look->fsck->store, look->name, commit, &view, &problem);

	if (r < 0) /* what is active was told with its ref */
		return active ? 0 : tell(look, "patch", subject, commit, r, "make the patch anew, and delete this one", &problem, err);
	for (uint32_t i = 0; r == 0 && i < view_count(view); i++) {
		const struct view_entry *entry = view_at(view, i);
		const struct fsck_content *content = entry->kind == VIEW_FILE ? fsck_content_of(look->fsck, &entry->blob) : NULL;
		struct fsck_need need = { .blob = entry->blob, .component = look->name, .must = entry->present & META_OBJECT };

		if (!content)
			continue;
		r = check_object_line(look, view, i, subject, err);
		need.object = content->hash;
		need.size = content->size;
		if (r == 0 && (need.must || active) && fsck_add_need(look->fsck, &need, who) < 0)
			r = out_of_memory(err);
	}
	return r;
}

/* ---- patches ---- */

static int check_patch(struct look *look, const char *ref, const char *label, const struct oid *oid, struct error *err)
{
	struct error problem = ERROR_INIT;
	cleanup_free char *who = NULL;
	int r = patch_verify(look->fsck->store, look->name, label, oid, &problem);

	if (r < 0)
		return tell(look, "patch", ref, oid, r, "delete it with 'git update-ref -d', or give it its own name back", &problem, err);
	if (asprintf(&who, "patch '%s' of '%s'", label, look->name) < 0) {
		who = NULL;
		return out_of_memory(err);
	}
	return check_view(look, oid, ref, who, false, err);
}

static int check_patches(struct look *look, struct error *err)
{
	const struct ref_files *refs = &look->fsck->refs;
	char prefix[REF_NAME_MAX];
	int r = 0;

	component_ref(look->name, "patches/", prefix);
	for (size_t i = 0; r == 0 && i < refs->count; i++) {
		const struct ref_file *ref = &refs->refs[i];
		const char *label = ref->name + strlen(prefix);

		if (strncmp(ref->name, prefix, strlen(prefix)) != 0 || ref->problem || patch_check_label(label, NULL) < 0)
			continue;
		r = check_patch(look, ref->name, label, &ref->oid, err);
		fsck_progress(look->fsck, "check of patches", i, 0);
	}
	return r;
}

/* ---- what is active ---- */

/* Are all that it was composed of patches still? One whose ref was deleted is shown by its id from then on, and that is all. */
static bool parents_are_patches(const struct look *look, const struct commit *commit)
{
	for (size_t i = 1; i < commit->parent_count; i++)
		if (!patch_find_commit(&look->patches, &commit->parents[i]))
			return false;
	return commit->parent_count > 1;
}

static int check_composition(struct look *look, const char *ref, struct error *err)
{
	const struct oid *active = &look->component->active;
	cleanup_commit struct commit commit = { 0 };
	cleanup_free char *kind = NULL;
	struct error problem = ERROR_INIT;
	struct stack stack = { .known = false };
	int r = repo_commit_read(look->fsck->store->repo, active, &commit, &problem);

	kind = r == 0 ? trailer_get(commit.message, "Kind", 0) : NULL;
	if (r == 0 && (!kind || strcmp(kind, "composition") != 0))
		return 0;
	if (r == 0)
		r = stack_read(look->fsck->store, look->component, &look->patches, active, &stack, &problem);
	if (r < 0)
		return tell(look, "composition", ref, active, r, NULL, &problem, err);
	if (stack.known)
		return 0;
	if (!parents_are_patches(look, &commit))
		r = fsck_add(look->fsck, FSCK_WARNING,
			FSCK_TEXT("composition", look->name, ref, "its patches are known by their ids only: 'veneer revert --all' returns to the base", false),
			"it is a composition of patches of which not all have a ref any more");
	else
		r = fsck_add(look->fsck, FSCK_ERROR,
			FSCK_TEXT("composition", look->name, ref, "return to the base with 'veneer revert --all', and apply the patches", false),
			"composing its base and its patches gives another commit");
	return r < 0 ? out_of_memory(err) : 0;
}

static int check_active(struct look *look, struct error *err)
{
	char ref[REF_NAME_MAX];
	cleanup_free char *who = NULL;
	int r;

	component_ref(look->name, "active", ref);
	if (asprintf(&who, "what is active of '%s'", look->name) < 0) {
		who = NULL;
		return out_of_memory(err);
	}
	r = check_view(look, &look->component->active, ref, who, true, err);
	return r < 0 ? r : check_composition(look, ref, err);
}

/* Without base or active: that was told with the refs. */
static int tell_unloaded(struct look *look, int rc, const struct error *problem, struct error *err)
{
	struct repo *repo = look->fsck->store->repo;
	char base[REF_NAME_MAX], active[REF_NAME_MAX];
	struct oid oid, ignored;

	component_ref(look->name, "base", base);
	component_ref(look->name, "active", active);
	if (repo_ref_read(repo, active, &ignored, NULL) < 0 || repo_ref_read(repo, base, &oid, NULL) < 0)
		return fsck_is_fatal(rc) ? error_set(err, rc, "%s", problem->message) : 0;
	return tell(look, "component", look->name, &oid, rc, "nothing mends its base commit: bring it back from a backup, or declare it anew",
		problem, err);
}

int fsck_component(struct fsck *fsck, const char *name, struct error *err)
{
	CLEANUP(look_release) struct look look = { .fsck = fsck, .name = name, .patches = PATCH_LIST_INIT, .metas = OID_SET_INIT };
	struct error problem = ERROR_INIT;
	int r = component_load(fsck->store, name, &look.component, &problem);

	if (r < 0)
		return tell_unloaded(&look, r, &problem, err);
	r = patch_list_load(fsck->store, look.component, &look.patches, err);
	if (r == 0)
		r = check_bases(&look, err);
	if (r == 0)
		r = check_base_tree(&look, err);
	if (r == 0)
		r = check_patches(&look, err);
	return r < 0 ? r : check_active(&look, err);
}
