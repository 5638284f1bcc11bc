/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_UNIT_SCENE_H
#define VENEER_TESTS_UNIT_SCENE_H

/*
 * For the tests of patches, stacks and views: a store with one component, "app" 1.0, whose base is made
 * by a few lines of shell; patches made by a script that changes a copy of the base, or by plain git;
 * and a view as text.
 */

#include "tests/unit/source_support.h"

#include <errno.h>

#include "store/base/io.h"
#include "store/component.h"
#include "store/object.h"
#include "store/patch.h"
#include "store/stack.h"
#include "store/view.h"

struct scene {
	struct bench bench; /* in its directory: store/, base/, and for a while target/ and checkout/ */
	struct component *component;
	int basefd;
};

static inline struct scene scene_make(const char *script)
{
	struct scene scene = { .bench = bench_make(), .basefd = -EBADF };
	struct component_spec spec = { .name = "app", .base_version = "1.0" };
	char text[8192];

	repo_batch_abort(scene.bench.store->repo);
	snprintf(text, sizeof text, "mkdir base; cd base; %s", script);
	bench_run(&scene.bench, text);
	spec.directory = path_in(scene.bench.dir, "base");
	must_pass(component_add(scene.bench.store, &spec, NULL, NULL, &err));
	must_pass(component_load(scene.bench.store, "app", &scene.component, &err));
	scene.basefd = bench_open(&scene.bench, "base");
	return scene;
}

static inline void scene_remove(struct scene *scene)
{
	close(scene->basefd);
	component_free(scene->component);
	bench_remove(&scene->bench);
}

#define scene_auto __attribute__((cleanup(scene_remove))) struct scene

/* A patch of what SCRIPT makes of a copy of the base. */
static inline int scene_patch_spec(struct scene *scene, const char *script, const struct patch_spec *spec,
	struct oid *ret, struct error *error)
{
	struct store *store = scene->bench.store;
	cleanup_changeset struct changeset set = CHANGESET_INIT;
	cleanup_free char *label = NULL;
	cleanup_close int targetfd = -EBADF;
	char text[8192];
	int r;

	snprintf(text, sizeof text, "rm -rf target; cp -a base target; cd target; %s", script);
	bench_run(&scene->bench, text);
	targetfd = bench_open(&scene->bench, "target");
	must_pass(repo_batch_begin(store->repo, &err));
	r = source_directory(store, scene->basefd, targetfd, &set, error);
	if (r == 0)
		r = patch_create(store, scene->component, scene->basefd, &set, spec, &label, ret, error);
	repo_batch_abort(store->repo);
	if (r == 0 && spec->label)
		cr_assert_str_eq(label, spec->label);
	return r;
}

static inline struct oid scene_patch(struct scene *scene, const char *label, const char *script)
{
	struct patch_spec spec = { .message = "a change", .label = label };
	struct oid commit;

	must_pass(scene_patch_spec(scene, script, &spec, &commit, &err));
	return commit;
}

/* What SCRIPT commits in plain git's checkout of REV. $GIT_DIR is the store's for it, too. */
static inline struct oid scene_commit(struct scene *scene, const char *rev, const char *script)
{
	struct oid commit;
	char text[8192];

	snprintf(text, sizeof text,
		"export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org "
		"GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.org GIT_AUTHOR_DATE='1600000000 +0000' "
		"GIT_COMMITTER_DATE='1600000000 +0000'; git=$PWD/store/git; rm -rf checkout; git -C $git worktree prune; "
		"git -C $git worktree add -q --detach $PWD/checkout %s; cd checkout; %s\n"
		"git add -A; git diff --cached --quiet || git commit -qm 'by hand'; git update-ref refs/heads/plain HEAD",
		rev, script);
	bench_run(&scene->bench, text);
	must_pass(repo_resolve(scene->bench.store->repo, "refs/heads/plain", &commit, &err));
	return commit;
}

static inline int scene_adopt_spec(struct scene *scene, const struct oid *commit, const struct patch_spec *spec,
	struct oid *ret, struct error *error)
{
	cleanup_free char *label = NULL;
	int r;

	must_pass(repo_batch_begin(scene->bench.store->repo, &err));
	r = patch_create_from_commit(scene->bench.store, scene->component, scene->basefd, commit, spec, &label,
		ret, error);
	repo_batch_abort(scene->bench.store->repo);
	return r;
}

static inline struct oid scene_adopt(struct scene *scene, const struct oid *commit, const char *label)
{
	struct patch_spec spec = { .message = "by hand", .label = label };
	struct oid patch;

	must_pass(scene_adopt_spec(scene, commit, &spec, &patch, &err));
	return patch;
}

/* The composition of LABELS ("a c"), each applied in turn to an empty stack. */
static inline int scene_compose_try(struct scene *scene, const char *labels, struct oid *ret, struct error *error)
{
	struct store *store = scene->bench.store;
	cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;
	struct stack stack = { .known = true };
	int r;

	must_pass(patch_list_load(store, scene->component, &list, &err));
	for (const char *at = labels; *at;) {
		char label[PATCH_LABEL_MAX + 1];
		size_t len = strcspn(at, " ");
		bool changed;

		snprintf(label, sizeof label, "%.*s", (int)len, at);
		r = stack_add(&list, &stack, label, &changed, error);
		if (r < 0)
			return r;
		at += len + (at[len] == ' ');
	}
	must_pass(repo_batch_begin(store->repo, &err));
	r = stack_compose(store, scene->component, &list, &stack, ret, error);
	if (r < 0) {
		repo_batch_abort(store->repo);
		return r;
	}
	must_pass(repo_batch_commit(store->repo, &err));
	return 0;
}

static inline struct oid scene_compose(struct scene *scene, const char *labels)
{
	struct oid commit;

	must_pass(scene_compose_try(scene, labels, &commit, &err));
	return commit;
}

static inline struct view *scene_view(struct scene *scene, const struct oid *commit)
{
	struct view *view;

	must_pass(view_load(scene->bench.store, commit, &view, &err));
	must_pass(view_complete(view, scene->bench.store, scene->basefd, &err));
	return view;
}

/* ---- a view as text ---- */

static inline void describe_served(const struct scene *scene, const struct view_entry *entry, struct strbuf *sb)
{
	char path[OBJECT_PATH_LENGTH + 1];

	if (entry->kind == VIEW_SYMLINK)
		strbuf_addf(sb, " -> %s", entry->target);
	if (entry->kind != VIEW_FILE)
		return;
	object_path(&entry->object, path);
	strbuf_addstr(sb, " '");
	must_pass(io_read_file_at(scene->bench.store->objects_fd, path, 1 << 20, sb, &err));
	strbuf_addstr(sb, "'");
}

static inline void describe_entries(const struct scene *scene, const struct view *view, uint32_t index,
	struct strbuf *sb)
{
	const struct view_entry *entry = view_at(view, index);

	if (index != 0 || entry->kind != VIEW_THROUGH) {
		strbuf_addf(sb, "%c ", "t-flds"[entry->kind]);
		view_path(view, index, sb);
	}
	if (entry->kind != VIEW_THROUGH && entry->kind != VIEW_DELETED) {
		if (entry->present & META_MODE)
			strbuf_addf(sb, " %o", (unsigned)entry->mode);
		if (entry->present & META_UID)
			strbuf_addf(sb, " %u:%u", (unsigned)entry->uid, (unsigned)entry->gid);
		if (entry->present & META_MTIME)
			strbuf_addf(sb, " @%jd", (intmax_t)entry->mtime.tv_sec);
		for (size_t i = 0; i < entry->xattr_count; i++)
			strbuf_addf(sb, " +%s", entry->xattrs[i].name);
		describe_served(scene, entry, sb);
	}
	if (index != 0 || entry->kind != VIEW_THROUGH)
		strbuf_addch(sb, '\n');
	for (uint32_t i = 0; i < entry->child_count; i++)
		describe_entries(scene, view, entry->first_child + i, sb);
}

/*
 * One line an entry, in order: "t dir" (only leads on) · "- path" (deleted) · "f path MODE UID:GID @MTIME
 * +XATTR… 'content'" · "l … -> target" · "d …" · "s …"; keys that are not present are left out.
 */
static inline void expect_view(struct scene *scene, const struct oid *commit, const char *wanted)
{
	cleanup_view struct view *view = scene_view(scene, commit);
	cleanup_strbuf struct strbuf is = STRBUF_INIT;

	strbuf_addstr(&is, "");
	describe_entries(scene, view, 0, &is);
	cr_assert_str_eq(strbuf_text(&is), wanted, "is:\n%swanted:\n%s", strbuf_text(&is), wanted);
}

#endif
