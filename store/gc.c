/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/component.h"
#include "store/gc_internal.h"

void gc_report_release(struct gc_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->rows[i].name);
	free(report->rows);
	*report = (struct gc_report)GC_REPORT_INIT;
}

int gc_add_row(struct gc *gc, const char *kind, const char *name, uint64_t bytes, const char *reason)
{
	struct gc_report *report = gc->report;

	if (report->count == report->alloc) {
		size_t alloc = report->alloc ? report->alloc * 2 : 64;
		struct gc_row *rows = reallocarray(report->rows, alloc, sizeof *rows);

		if (!rows)
			return -ENOMEM;
		report->rows = rows;
		report->alloc = alloc;
	}
	report->rows[report->count] = (struct gc_row){ kind, strdup(name), bytes, reason };
	return report->rows[report->count].name ? (report->count++, 0) : -ENOMEM;
}

void gc_progress(struct gc *gc, const char *what, uint64_t done, uint64_t bytes)
{
	if (gc->options->progress)
		gc->options->progress(gc->options->progress_arg, what, done, bytes);
}

static void gc_release(struct gc *gc)
{
	repack_release(&gc->repack);
	reach_release(&gc->young);
	reach_release(&gc->reach);
	inventory_free(gc->inventory);
	ref_files_release(&gc->refs);
	free(gc->uses);
	for (size_t i = 0; i < gc->unneeded_count; i++)
		free(gc->unneeded[i].path);
	free(gc->unneeded);
}

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "look for what is not needed");
}

/* ---- what daemons use ---- */

/* Each component that has a ref, and each that has a socket: one whose refs were deleted may be mounted still. */
static int each_daemon(struct gc *gc, int (*fn)(struct gc *gc, const char *name, struct error *err), struct error *err)
{
	CLEANUP(string_list_freep) char **names = NULL;
	size_t count;
	int r = component_list(gc->store, &names, &count, err);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = fn(gc, names[i], err);
	return r < 0 ? r : gc_each_socket(gc, (const char *const *)names, fn, err);
}

static int add_uses(struct gc *gc, const char *name, struct error *err)
{
	cleanup_free struct gc_use *uses = NULL;
	struct gc_use *all;
	size_t count = 0;
	int r = gc->options->in_use(gc->store, name, &uses, &count, err);

	if (r < 0 || count == 0)
		return r;
	all = reallocarray(gc->uses, gc->use_count + count, sizeof *all);
	if (!all)
		return out_of_memory(err);
	gc->uses = all;
	memcpy(all + gc->use_count, uses, count * sizeof *uses);
	gc->use_count += count;
	return 0;
}

/* ---- what is needed ---- */

static void walk_progress(void *arg, uint64_t objects, uint64_t bytes)
{
	gc_progress(arg, "walk over what is needed", objects, bytes);
}

static int add_refs(struct gc *gc)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < gc->refs.count; i++)
		if (!gc->refs.refs[i].problem)
			r = reach_add(&gc->reach, &gc->refs.refs[i].oid, RAW_NONE, gc->refs.refs[i].name, false);
	return r;
}

/* What somebody names who can do without it. */
static int add_others(struct gc *gc)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < gc->refs.other_count; i++)
		r = reach_add(&gc->reach, &gc->refs.others[i], RAW_NONE, "a reflog, or HEAD", true);
	for (size_t i = 0; r == 0 && i < gc->use_count; i++)
		if (!oid_is_zero(&gc->uses[i].blob))
			r = reach_add(&gc->reach, &gc->uses[i].blob, RAW_BLOB, "a mounted component", true);
	return r;
}

/* What is needed and cannot be followed may need what we would take for needless. */
static int check_whole(struct gc *gc, struct error *err)
{
	for (size_t i = 0; i < gc->refs.count; i++)
		if (gc->refs.refs[i].problem)
			return error_set(err, -EBADMSG, "ref '%s': %s: run 'veneer fsck --repair' first; nothing was removed",
				gc->refs.refs[i].name, gc->refs.refs[i].problem);
	for (size_t i = 0; i < gc->reach.ids.count; i++) {
		const struct reach_item *item = &gc->reach.items[i];
		char hex[OID_HEX_LENGTH + 1];

		if (item->state == REACH_WHOLE || item->optional)
			continue;
		oid_to_hex(&gc->reach.ids.ids[i], hex);
		return error_set(err, -EBADMSG, "object '%s', which is needed, is %s: run 'veneer fsck --repair' first; nothing was removed", hex,
			item->state == REACH_MISSING ? "missing" : "damaged");
	}
	return 0;
}

static int add_one_young(struct gc *gc, const struct oid *oid, int64_t changed_s)
{
	return changed_s < gc->older_than_s ? 0 : reach_add(&gc->young, oid, RAW_NONE, "", true);
}

/*
 * What somebody is about to name names others, and that he was about to write those and has found them need not be: `git commit-tree` is told
 * the tree. (git, too, keeps what its young objects lead to.)
 */
static int add_young(struct gc *gc)
{
	const struct inventory *inventory = gc->inventory;
	int r = 0;

	gc->young.known = &gc->reach;
	for (size_t i = 0; r == 0 && i < inventory->loose.count; i++)
		r = add_one_young(gc, &inventory->loose.ids[i], inventory->loose_facts[i].changed_s);
	for (size_t i = 0; i < inventory->pack_count; i++) {
		const struct inventory_pack *pack = &inventory->packs[i];

		for (uint32_t n = 0; r == 0 && pack->file && n < pack->file->count; n++)
			r = add_one_young(gc, &pack->file->items[n].oid, pack->changed_s);
	}
	return r;
}

static int walk(struct gc *gc, int (*add)(struct gc *gc), struct reach *reach, struct error *err)
{
	int r = add(gc);

	return r < 0 ? error_errno(err, -r, "look for what is needed") : reach_walk(reach, gc->inventory, walk_progress, gc, err);
}

/* The refs first, then what there is: so whatever a ref names is there. */
static int mark(struct gc *gc, struct error *err)
{
	int r = ref_files_load(gc->git_path, &gc->refs, err);

	if (r == 0)
		r = each_daemon(gc, add_uses, err);
	if (r == 0)
		r = inventory_load(gc->git_path, false, &gc->inventory, err);
	if (r == 0)
		r = walk(gc, add_refs, &gc->reach, err);
	if (r == 0)
		r = walk(gc, add_others, &gc->reach, err);
	if (r == 0)
		r = walk(gc, add_young, &gc->young, err);
	return r < 0 ? r : check_whole(gc, err);
}

/* ---- rows ---- */

static int add_pack_rows(struct gc *gc)
{
	const struct repack *repack = &gc->repack;
	int r = 0;

	for (size_t i = 0; r == 0 && i < gc->inventory->pack_count; i++)
		if (repack->packs[i])
			r = gc_add_row(gc, "pack", gc->inventory->packs[i].stem, gc->inventory->packs[i].size, "what is needed of it is in a new pack");
	return r;
}

static int add_dropped_rows(struct gc *gc)
{
	const struct oid_set *dropped = &gc->repack.dropped;
	int r = 0;

	for (size_t i = 0; r == 0 && i < dropped->count; i++) {
		char hex[OID_HEX_LENGTH + 1];
		uint64_t bytes = 0;
		size_t number;

		oid_to_hex(&dropped->ids[i], hex);
		if (oid_set_find(&gc->inventory->loose, &dropped->ids[i], &number))
			bytes = gc->inventory->loose_facts[number].size;
		r = gc_add_row(gc, "git-object", hex, bytes, "nothing leads to it");
	}
	return r;
}

static int add_git_rows(struct gc *gc)
{
	const struct repack *repack = &gc->repack;
	char count[32];
	int r = add_dropped_rows(gc);

	if (r == 0)
		r = add_pack_rows(gc);
	snprintf(count, sizeof count, "%zu", repack->loose_packed);
	if (r == 0 && repack->loose_packed > 0)
		r = gc_add_row(gc, "loose", count, 0, "loose objects that are in a new pack");
	gc->report->git_objects = repack->dropped.count;
	gc->report->packs = repack->pack_count;
	gc->report->loose = repack->loose_packed + repack->loose_dropped;
	return r;
}

/* ---- one round ---- */

static int plan(struct gc *gc, struct error *err)
{
	const struct repack_options options = { .older_than_s = gc->older_than_s, .keep_unreachable = gc->refs.has_worktrees,
		.young = &gc->young };
	int r = gc_plan_objects(gc, err);

	if (r == 0)
		r = repack_plan(gc->inventory, &gc->reach, &options, &gc->repack, err);
	if (r == 0 && add_git_rows(gc) < 0)
		r = out_of_memory(err);
	return r;
}

static bool refs_stand_still(struct gc *gc, int *ret_rc, struct error *err)
{
	cleanup_ref_files struct ref_files now = REF_FILES_INIT;

	*ret_rc = ref_files_load(gc->git_path, &now, err);
	return *ret_rc == 0 && ref_files_equal(&now, &gc->refs);
}

static void write_progress(void *arg, uint64_t objects, uint64_t bytes)
{
	gc_progress(arg, "new pack", objects, bytes);
}

static int sweep(struct gc *gc, struct error *err)
{
	int r = gc_remove_objects(gc, err);

	if (r == 0)
		r = repack_remove(&gc->repack, err);
	return r < 0 ? r : gc_leftovers(gc, err);
}

/* What the new packs take is known when they are written; before that it is what is kept of the old ones at most. */
static void count_freed(struct gc *gc)
{
	const struct repack *repack = &gc->repack;

	gc->report->new_packs = repack->written_count;
	gc->report->kept = repack->objects_kept;
	if (repack->bytes_before > repack->bytes_after)
		gc->report->freed += repack->bytes_before - repack->bytes_after;
}

/* 1: the refs have moved, and it has to be looked at again. */
static int run_once(struct store *store, const struct gc_options *options, const char *git_path, struct gc_report *report,
	struct error *err)
{
	CLEANUP(gc_release) struct gc gc = { .store = store, .options = options, .report = report, .git_path = git_path,
		.older_than_s = (int64_t)time(NULL) - (int64_t)options->grace_seconds, .refs = REF_FILES_INIT, .reach = REACH_INIT, .young = REACH_INIT,
		.repack = { .dropped = OID_SET_INIT } };
	int r = mark(&gc, err);

	if (r == 0)
		r = plan(&gc, err);
	if (r == 0 && options->dry_run) {
		gc.repack.bytes_after = gc_estimate_kept(&gc);
		r = gc_leftovers(&gc, err);
	} else if (r == 0) {
		if (!repack_is_nothing(&gc.repack))
			r = repack_write(&gc.repack, write_progress, &gc, err);
		if (r == 0 && !refs_stand_still(&gc, &r, err))
			return r < 0 ? r : 1;
		if (r == 0)
			r = sweep(&gc, err);
	}
	if (r == 0)
		count_freed(&gc);
	return r;
}

int gc_run(struct store *store, const struct gc_options *options, struct gc_report *ret, struct error *err)
{
	cleanup_free char *git_path = path_join(store->path, "git");

	if (!git_path)
		return out_of_memory(err);
	for (int round = 0; round < GC_ROUNDS_MAX; round++) {
		cleanup_gc_report struct gc_report report = GC_REPORT_INIT;
		int r = run_once(store, options, git_path, &report, err);

		if (r < 0)
			return r;
		if (r > 0)
			continue;
		*ret = report;
		report = (struct gc_report)GC_REPORT_INIT;
		return 0;
	}
	return error_set(err, -EBUSY, "the refs of '%s' have moved each time that they were looked at: nothing was removed; try again", git_path);
}
