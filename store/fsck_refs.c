/* SPDX-License-Identifier: Apache-2.0 */
/* What each ref names, and which refs a component has. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/fsck_internal.h"
#include "store/fsck_active.h"
#include "store/patch_internal.h"

#define COMPONENT_PREFIX "refs/veneer/"
#define PATCHES_PREFIX "patches/"

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

/* What is wrong with what REF names; "" for nothing. In SB. */
static int describe_target(const struct fsck *fsck, const struct ref_file *ref, struct strbuf *sb)
{
	const struct reach_item *item;
	char hex[OID_HEX_LENGTH + 1];
	size_t number;

	strbuf_addstr(sb, ref->problem ? ref->problem : "");
	if (ref->problem || !oid_set_find(&fsck->reach.ids, &ref->oid, &number))
		return strbuf_failed(sb) ? -ENOMEM : 0;
	item = &fsck->reach.items[number];
	oid_to_hex(&ref->oid, hex);
	if (item->state == REACH_MISSING)
		strbuf_addf(sb, "it names '%s', which is missing", hex);
	else if (item->state == REACH_OTHER_KIND || (item->state == REACH_WHOLE && item->kind != RAW_COMMIT))
		strbuf_addf(sb, "it names '%s', which is a %s and no commit", hex, raw_kind_name(item->kind));
	else if (item->state != REACH_WHOLE && !item->copy_damaged) /* a damaged copy is told by itself */
		strbuf_addf(sb, "it names '%s', which cannot be read", hex);
	return strbuf_failed(sb) ? -ENOMEM : 0;
}

/* LEAF: what follows the component's name. */
static bool is_known_leaf(const char *leaf)
{
	struct error ignored = ERROR_INIT;

	if (strncmp(leaf, PATCHES_PREFIX, strlen(PATCHES_PREFIX)) == 0)
		return patch_check_label(leaf + strlen(PATCHES_PREFIX), &ignored) == 0;
	return strcmp(leaf, "base") == 0 || strcmp(leaf, "active") == 0 || strcmp(leaf, "journal") == 0;
}

static const char remedy_ref[] =
	"see 'git reflog' and 'git fsck --lost-found' in the store's git directory, then 'git update-ref'; or delete it with 'git update-ref -d'";

/* Of no component: of plain git's, or a name that is none. */
static int check_foreign(struct fsck *fsck, const struct ref_file *ref)
{
	cleanup_strbuf struct strbuf problem = STRBUF_INIT;
	bool ours = strncmp(ref->name, COMPONENT_PREFIX, strlen(COMPONENT_PREFIX)) == 0;
	size_t number;

	if (ours)
		return fsck_add(fsck, FSCK_WARNING, FSCK_TEXT("ref", NULL, ref->name, "see what it is, and delete it with 'git update-ref -d'", false),
			"no component can have this name");
	if (!ref->problem && oid_set_find(&fsck->reach.ids, &ref->oid, &number) && fsck->reach.items[number].state == REACH_WHOLE)
		return 0; /* a tag of whatever: plain git's */
	if (describe_target(fsck, ref, &problem) < 0)
		return -ENOMEM;
	return problem.len ? fsck_add(fsck, FSCK_ERROR, FSCK_TEXT("ref", NULL, ref->name, remedy_ref, false), "%s", strbuf_text(&problem)) : 0;
}

/* "NAME" and "LEAF" of refs/veneer/NAME/LEAF; false: it is no ref of a component. */
static bool split_ref(const char *ref, char **ret_name, const char **ret_leaf)
{
	const char *name = ref + strlen(COMPONENT_PREFIX), *slash;

	*ret_name = NULL;
	if (strncmp(ref, COMPONENT_PREFIX, strlen(COMPONENT_PREFIX)) != 0 || !(slash = strchr(name, '/')))
		return false;
	*ret_name = strndup(name, (size_t)(slash - name));
	*ret_leaf = slash + 1;
	return *ret_name && component_check_name(*ret_name, NULL) == 0;
}

static int check_ref(struct fsck *fsck, const struct ref_file *ref)
{
	cleanup_strbuf struct strbuf problem = STRBUF_INIT;
	cleanup_free char *name = NULL;
	const char *leaf;

	if (!split_ref(ref->name, &name, &leaf))
		return fsck->options->names ? 0 : check_foreign(fsck, ref);
	if (!fsck_wanted(fsck, name))
		return 0;
	if (!is_known_leaf(leaf))
		return fsck_add(fsck, FSCK_WARNING,
			FSCK_TEXT("ref", name, ref->name, "see what it is, and delete it with 'git update-ref -d'", false),
			"a component has no ref of this name");
	if (strcmp(leaf, "active") == 0 || strcmp(leaf, "base") == 0)
		return 0; /* with the component */
	if (describe_target(fsck, ref, &problem) < 0)
		return -ENOMEM;
	return problem.len ? fsck_add(fsck, FSCK_ERROR, FSCK_TEXT("ref", name, ref->name, remedy_ref, false), "%s", strbuf_text(&problem)) : 0;
}

/* ---- base and active ---- */

static bool is_good(const struct fsck *fsck, const struct ref_file *ref)
{
	size_t number;

	return ref && !ref->problem && oid_set_find(&fsck->reach.ids, &ref->oid, &number) &&
		fsck->reach.items[number].state == REACH_WHOLE && fsck->reach.items[number].kind == RAW_COMMIT;
}

/* A file that holds nonsense would be taken for a ref that somebody else is about to write. */
static int write_ref(struct fsck *fsck, const struct ref_file *broken, const char *name, const struct oid *oid, struct error *err)
{
	const struct ref_update update = { .name = name, .new_oid = *oid };

	if (broken && broken->problem && broken->loose) {
		cleanup_free char *path = path_join(fsck->git_path, name);

		if (!path)
			return error_errno(err, ENOMEM, "ref '%s'", name);
		if (unlink(path) < 0 && errno != ENOENT)
			return error_errno(err, errno, "remove '%s'", path);
	}
	return repo_refs_update(fsck->store->repo, &update, 1, err);
}

/* BROKEN NULL: it is missing. */
static int describe_broken(const struct fsck *fsck, const struct ref_file *broken, const char *missing, struct strbuf *sb)
{
	if (broken)
		return describe_target(fsck, broken, sb);
	strbuf_addstr(sb, missing);
	return strbuf_failed(sb) ? -ENOMEM : 0;
}

/* The base that active stands on is the newest: whenever the base grows, active is composed anew over it. */
static int find_active_base(struct fsck *fsck, const char *name, struct oid *ret)
{
	char ref[REF_NAME_MAX];
	struct oid active, tree;
	int r;

	component_ref(name, "active", ref);
	r = repo_ref_read(fsck->store->repo, ref, &active, NULL);
	return r < 0 ? r : commit_find_base(fsck->store, &active, ret, &tree, NULL);
}

/* Is there nothing of component NAME but what is active? So it is where `add`, which writes that ref first, was cut short. */
static bool has_only_active(const struct fsck *fsck, const char *name)
{
	char prefix[REF_NAME_MAX], active[REF_NAME_MAX];

	component_ref(name, "", prefix);
	component_ref(name, "active", active);
	for (size_t i = 0; i < fsck->refs.count; i++) {
		const char *ref = fsck->refs.refs[i].name;

		if (strncmp(ref, prefix, strlen(prefix)) == 0 && strcmp(ref, active) != 0)
			return false;
	}
	return true;
}

static int check_base(struct fsck *fsck, const char *name, const struct ref_file *base, struct error *err)
{
	cleanup_strbuf struct strbuf problem = STRBUF_INIT;
	struct oid found = { { 0 } };
	char ref[REF_NAME_MAX];
	bool repaired = false;
	int r;

	if (is_good(fsck, base))
		return 0;
	component_ref(name, "base", ref);
	if (describe_broken(fsck, base, "it is missing: without it there is no such component", &problem) < 0)
		return out_of_memory(err);
	if (problem.len == 0)
		return 0; /* its commit is damaged, and told already */
	if (fsck->options->repair && find_active_base(fsck, name, &found) == 0) {
		r = write_ref(fsck, base, ref, &found, err);
		if (r < 0)
			return r;
		repaired = true;
	}
	r = fsck_add(fsck, has_only_active(fsck, name) ? FSCK_WARNING : FSCK_ERROR,
		FSCK_TEXT("ref", name, ref, repaired ? "set to the base that 'active' stands on" :
			fsck->options->repair ? remedy_ref : "'veneer fsck --repair' sets it to the base that 'active' stands on", repaired),
		"%s", strbuf_text(&problem));
	return r < 0 ? out_of_memory(err) : 0;
}

static int check_active(struct fsck *fsck, const char *name, const struct ref_file *active, struct error *err)
{
	cleanup_strbuf struct strbuf problem = STRBUF_INIT;
	cleanup_free char *done = NULL;
	char ref[REF_NAME_MAX];
	int r = fsck_active_problem(fsck, name, is_good(fsck, active) ? &active->oid : NULL, &problem, err);

	if (r < 0)
		return r;
	component_ref(name, "active", ref);
	if (!is_good(fsck, active) && describe_broken(fsck, active, "it is missing", &problem) < 0)
		return out_of_memory(err);
	if (is_good(fsck, active) && problem.len == 0)
		return 0;
	if (problem.len == 0)
		strbuf_addstr(&problem, "its commit is damaged");
	if (fsck->options->repair) {
		struct oid choice;
		bool of_base;

		r = fsck_active_choose(fsck, name, &choice, &of_base, err);
		if (r > 0)
			r = write_ref(fsck, active, ref, &choice, err);
		else if (r == 0)
			r = 1; /* there is nothing to choose */
		if (r == 0)
			r = fsck_active_note(fsck, name, is_good(fsck, active) ? &active->oid : NULL, &choice, strbuf_text(&problem), of_base, &done, err);
		if (r < 0)
			return r;
	}
	r = fsck_add(fsck, FSCK_ERROR,
		FSCK_TEXT("ref", name, ref, done ? done : fsck->options->repair ? remedy_ref :
			"'veneer fsck --repair' sets it to the newest commit of the journal that can be loaded, else to the base", done != NULL),
		"%s", strbuf_text(&problem));
	return r < 0 ? out_of_memory(err) : 0;
}

static int check_component(struct fsck *fsck, const char *name, struct error *err)
{
	char base[REF_NAME_MAX], active[REF_NAME_MAX];
	int r;

	component_ref(name, "base", base);
	component_ref(name, "active", active);
	/* In this order: a base that is lost is found by what is active, which may have been set anew. */
	r = check_active(fsck, name, ref_files_find(&fsck->refs, active), err);
	return r < 0 ? r : check_base(fsck, name, ref_files_find(&fsck->refs, base), err);
}

int fsck_refs(struct fsck *fsck, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < fsck->refs.count; i++)
		r = check_ref(fsck, &fsck->refs.refs[i]);
	if (r < 0)
		return out_of_memory(err);
	for (char **name = fsck->names; r == 0 && *name; name++)
		r = check_component(fsck, *name, err);
	return r;
}
