/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal: each entry by itself, and against its neighbours.
 *
 * What is no finding: an entry "refused" has switched nothing. The daemon writes down what plain git has switched as soon as it has
 * the store's lock, and a command that had it first has written its own entry before: so the two stand the other way round. What plain
 * git switches while nothing is mounted is written down by nobody; then the next entry comes from a commit that no other
 * entry has, which is told as a warning, for it is so.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/fsck_active.h"
#include "store/fsck_internal.h"
#include "store/journal.h"

#define ENTRIES_MAX 10000000u
#define NEIGHBOURS 64u /* so many entries may stand between two that belong together */

struct record {
	struct oid id, from, served; /* SERVED: from then on */
	int64_t time_us;
	bool refused, switched, healed;
};

struct records {
	struct record *items; /* owned; newest first */
	size_t count, alloc;
};

static void records_release(struct records *records)
{
	free(records->items);
}

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

static int add_record(struct records *records, const struct journal_entry *entry)
{
	struct record *record;

	if (records->count == records->alloc) {
		size_t alloc = records->alloc ? records->alloc * 2 : 64;
		struct record *items = reallocarray(records->items, alloc, sizeof *items);

		if (!items)
			return -ENOMEM;
		records->items = items;
		records->alloc = alloc;
	}
	record = &records->items[records->count++];
	*record = (struct record){ .id = entry->id, .from = entry->from, .time_us = entry->time_us,
		.refused = strcmp(entry->action, "refused") == 0, .switched = strcmp(entry->action, "switched") == 0,
		.healed = strcmp(entry->action, "healed") == 0 };
	record->served = record->refused ? entry->from : entry->to;
	return 0;
}

/* ---- one entry ---- */

static int check_entry(struct fsck *fsck, const struct commit *commit, const struct record *record, struct error *err)
{
	cleanup_commit struct commit target = { 0 };
	const struct oid *served;
	int r;

	if (commit->parent_count < 1 || commit->parent_count > 2)
		return error_set(err, -EBADMSG, "it has %zu parents, and an entry has the one before it and the commit that is served",
			commit->parent_count);
	served = &commit->parents[commit->parent_count - 1];
	if (!oid_equal(served, &record->served))
		return error_set(err, -EBADMSG, "its last parent is not the commit that it says is served from then on");
	r = repo_commit_read(fsck->store->repo, served, &target, err);
	if (r < 0)
		return r;
	if (!oid_equal(&target.tree, &commit->tree))
		return error_set(err, -EBADMSG, "its tree is not that of the commit that it says is served from then on");
	return 0;
}

static int tell_entry(struct fsck *fsck, const char *name, const struct oid *id, int rc, const struct error *problem, struct error *err)
{
	char hex[OID_HEX_LENGTH + 1];
	int whole;

	if (fsck_is_fatal(rc))
		return error_set(err, rc, "%s", problem->message);
	whole = fsck_is_whole(fsck, id);
	oid_to_hex(id, hex);
	if (whole < 0 || (whole && fsck_add(fsck, FSCK_ERROR,
					   FSCK_TEXT("journal", name, hex, "nothing mends a journal: it is what it is, and to be explained", false), "%s",
					   problem->message) < 0))
		return out_of_memory(err);
	return 0;
}

/* 1: there is one before it, *AT now; 0: that was the first, or nothing is known of what was before. */
static int read_entry(struct fsck *fsck, const char *name, struct oid *at, struct records *records, struct error *err)
{
	cleanup_commit struct commit commit = { 0 };
	cleanup_journal_entry struct journal_entry entry = { 0 };
	struct error problem = ERROR_INIT;
	int r = repo_commit_read(fsck->store->repo, at, &commit, &problem);

	if (r < 0)
		return tell_entry(fsck, name, at, r, &problem, err);
	fsck->report->entries++;
	r = journal_parse(&commit, &entry, &problem);
	if (r == 0 && add_record(records, &entry) < 0)
		return out_of_memory(err);
	if (r == 0)
		r = check_entry(fsck, &commit, &records->items[records->count - 1], &problem);
	if (r < 0)
		r = tell_entry(fsck, name, at, r, &problem, err);
	if (r < 0 || commit.parent_count < 2)
		return r;
	*at = commit.parents[0];
	return 1;
}

/* ---- one after another ---- */

/* Does an entry nearby know the commit as what was served? */
static bool is_known(const struct records *records, size_t index, const struct oid *commit)
{
	size_t first = index > NEIGHBOURS ? index - NEIGHBOURS : 0;

	for (size_t i = first; i < records->count && i <= index + NEIGHBOURS; i++)
		if (i != index && (oid_equal(&records->items[i].served, commit)))
			return true;
	return false;
}

static int check_order(struct fsck *fsck, const char *name, const struct records *records, size_t index)
{
	const struct record *record = &records->items[index];
	char hex[OID_HEX_LENGTH + 1], from[OID_HEX_LENGTH + 1];
	int r = 0;

	oid_to_hex(&record->id, hex);
	oid_to_hex(&record->from, from);
	if (index + 1 == records->count)
		return 0;
	if (record->time_us + FSCK_JOURNAL_BACKWARD_SECONDS * 1000000ll < record[1].time_us)
		r = fsck_add(fsck, FSCK_WARNING, FSCK_TEXT("journal", name, hex, "the clock was set back, or the entry was written elsewhere", false),
			"it is %lld seconds older than the entry before it", (long long)((record[1].time_us - record->time_us) / 1000000));
	/* What was healed was nothing that could be served. */
	if (r == 0 && !record->healed && !oid_is_zero(&record->from) && !oid_equal(&record->from, &record[1].served) && !is_known(records, index, &record->from))
		r = fsck_add(fsck, FSCK_WARNING,
			FSCK_TEXT("journal", name, hex,
				"it was switched to by other means while nothing was mounted, or the journal lacks an entry", false),
			"it leaves commit '%.12s', and no entry says since when that was active", from);
	return r;
}

/*
 * What was served last, as the journal knows it. A move that the daemon has written down after the command's that followed it is no
 * news: the entry before it leaves what it came to.
 */
static const struct oid *served_last(const struct records *records)
{
	size_t i = 0;

	while (i + 1 < records->count && records->items[i].switched && oid_equal(&records->items[i].served, &records->items[i + 1].from) &&
		!oid_equal(&records->items[i].from, &records->items[i + 1].served))
		i++;
	return &records->items[i].served;
}

/* FROM NULL: not known. */
static int append_entry(struct fsck *fsck, const char *name, const struct oid *from, const struct oid *to, const char *action,
	const char *reason, struct error *err)
{
	cleanup_free char *labels = fsck_labels(fsck, name, to);
	struct journal_entry entry = { .to = *to, .action = (char *)action, .labels = labels, .reason = (char *)reason };

	if (!labels)
		return out_of_memory(err);
	if (from)
		entry.from = *from;
	return journal_append(fsck->store, name, &entry, err);
}

static int check_newest(struct fsck *fsck, const char *name, const struct oid *active, const struct records *records, struct error *err)
{
	const struct oid *served = served_last(records);
	char is[OID_HEX_LENGTH + 1], was[OID_HEX_LENGTH + 1], ref[REF_NAME_MAX];
	bool repaired = fsck->options->repair;
	int r;

	if (oid_equal(served, active) || oid_equal(&records->items[0].served, active))
		return 0;
	if (repaired) {
		r = append_entry(fsck, name, served, active, "switched",
			"found by fsck: switched by other means, or power was lost before it was written down", err);
		if (r < 0)
			return r;
	}
	oid_to_hex(served, was);
	oid_to_hex(active, is);
	component_ref(name, "journal", ref);
	r = fsck_add(fsck, FSCK_WARNING,
		FSCK_TEXT("journal", name, ref, repaired ? "an entry 'switched' was added" : "'veneer fsck --repair' adds an entry", repaired),
		"its newest entry says that '%.12s' is active, and '%.12s' is: switched by other means, or power was lost before it was written down",
		was, is);
	return r < 0 ? out_of_memory(err) : 0;
}

/* A crash in the middle of `veneer add` leaves none, too. */
static int tell_none(struct fsck *fsck, const char *name, const char *ref, const struct oid *active, struct error *err)
{
	bool repaired = fsck->options->repair;
	int r = repaired ? append_entry(fsck, name, NULL, active, "healed", "there was no journal", err) : 0;

	if (r < 0)
		return r;
	r = fsck_add(fsck, FSCK_WARNING,
		FSCK_TEXT("journal", name, ref,
			repaired ? "begun anew" :
				   "'veneer fsck --repair' begins a new one; an old one may be found with 'git fsck --lost-found'",
			repaired),
		"there is none");
	return r < 0 ? out_of_memory(err) : 0;
}

int fsck_journal(struct fsck *fsck, const char *name, struct error *err)
{
	CLEANUP(records_release) struct records records = { NULL, 0, 0 };
	char ref[REF_NAME_MAX];
	struct oid at, active;
	int r = 1;

	component_ref(name, "active", ref);
	if (repo_ref_read(fsck->store->repo, ref, &active, NULL) < 0)
		return 0; /* told with the refs */
	component_ref(name, "journal", ref);
	/* One that is there and cannot be read was told with the refs. */
	if (repo_ref_read(fsck->store->repo, ref, &at, NULL) < 0)
		return ref_files_find(&fsck->refs, ref) ? 0 : tell_none(fsck, name, ref, &active, err);
	while (r > 0 && records.count < ENTRIES_MAX) {
		r = read_entry(fsck, name, &at, &records, err);
		fsck_progress(fsck, "check of journals", records.count, 0);
	}
	for (size_t i = 0; r == 0 && i < records.count; i++)
		if (check_order(fsck, name, &records, i) < 0)
			r = out_of_memory(err);
	return r < 0 || records.count == 0 ? r : check_newest(fsck, name, &active, &records, err);
}
