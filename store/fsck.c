/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fsck.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/fsck_internal.h"

#define COMPONENT_PREFIX "refs/veneer/"

/* ---- findings ---- */

static void finding_release(struct fsck_finding *finding)
{
	free(finding->subject);
	free(finding->component);
	free(finding->problem);
	free(finding->remedy);
}

void fsck_report_release(struct fsck_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		finding_release(&report->findings[i]);
	free(report->findings);
	free(report->healed);
	*report = (struct fsck_report)FSCK_REPORT_INIT;
}

static void count_finding(struct fsck_report *report, enum fsck_severity severity, bool repaired)
{
	if (repaired)
		report->repaired++;
	else if (severity == FSCK_ERROR)
		report->errors++;
	else
		report->warnings++;
}

static int copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int finding_fill(struct fsck_finding *finding, const struct fsck_text *text)
{
	int r = copy_text(text->subject, &finding->subject);

	if (r == 0)
		r = copy_text(text->component, &finding->component);
	return r < 0 ? r : copy_text(text->remedy, &finding->remedy);
}

int fsck_add(struct fsck *fsck, enum fsck_severity severity, const struct fsck_text *text, const char *problem, ...)
{
	struct fsck_report *report = fsck->report;
	struct fsck_finding finding = { .kind = text->kind, .severity = severity, .repaired = text->repaired };
	va_list args;
	int n, r;

	count_finding(report, severity, text->repaired);
	if (report->count == FSCK_FINDINGS_MAX)
		return 0;
	if (report->count == report->alloc) {
		size_t alloc = report->alloc ? report->alloc * 2 : 16;
		struct fsck_finding *findings = reallocarray(report->findings, alloc, sizeof *findings);

		if (!findings)
			return -ENOMEM;
		report->findings = findings;
		report->alloc = alloc;
	}
	va_start(args, problem);
	n = vasprintf(&finding.problem, problem, args);
	va_end(args);
	if (n < 0)
		finding.problem = NULL;
	r = n < 0 ? -ENOMEM : finding_fill(&finding, text);
	if (r < 0) {
		finding_release(&finding);
		return r;
	}
	report->findings[report->count++] = finding;
	return 0;
}

bool fsck_is_fatal(int rc)
{
	static const int fatal[] = { ENOMEM, ENOSPC, EDQUOT, EROFS, EMFILE, ENFILE, EACCES, EPERM, ETIMEDOUT };

	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		if (rc == -fatal[i])
			return true;
	return false;
}

void fsck_progress(struct fsck *fsck, const char *what, uint64_t done, uint64_t bytes)
{
	if (fsck->options->progress)
		fsck->options->progress(fsck->options->progress_arg, what, done, bytes);
}

bool fsck_wanted(const struct fsck *fsck, const char *name)
{
	if (!fsck->options->names)
		return true;
	for (const char *const *wanted = fsck->options->names; name && *wanted; wanted++)
		if (strcmp(*wanted, name) == 0)
			return true;
	return false;
}

/* To mend is to know who else needs it. */
bool fsck_all_git(const struct fsck *fsck)
{
	return !fsck->options->names || fsck->options->repair;
}

int fsck_is_whole(struct fsck *fsck, const struct oid *commit)
{
	cleanup_reach struct reach reach = REACH_INIT;
	int r;

	if (fsck->bad.count == 0)
		return 1;
	r = reach_add(&reach, commit, RAW_COMMIT, "", false);
	if (r == 0)
		r = reach_walk(&reach, fsck->inventory, NULL, NULL, NULL);
	if (r < 0)
		return r;
	for (size_t i = 0; i < reach.ids.count; i++)
		if (oid_set_find(&fsck->bad, &reach.ids.ids[i], NULL))
			return 0;
	return 1;
}

const struct fsck_content *fsck_content_of(const struct fsck *fsck, const struct oid *blob)
{
	size_t number;

	if (!fsck->contents || !oid_set_find(&fsck->reach.ids, blob, &number) || !fsck->contents[number].known)
		return NULL;
	return &fsck->contents[number];
}

int fsck_add_need(struct fsck *fsck, const struct fsck_need *need, const char *who)
{
	if (fsck->need_count == fsck->need_alloc) {
		size_t alloc = fsck->need_alloc ? fsck->need_alloc * 2 : 64;
		struct fsck_need *needs = reallocarray(fsck->needs, alloc, sizeof *needs);

		if (!needs)
			return -ENOMEM;
		fsck->needs = needs;
		fsck->need_alloc = alloc;
	}
	fsck->needs[fsck->need_count] = *need;
	fsck->needs[fsck->need_count++].who = (uint32_t)fsck->texts.len;
	strbuf_addstr(&fsck->texts, who);
	strbuf_addch(&fsck->texts, '\0');
	return strbuf_failed(&fsck->texts) ? -ENOMEM : 0;
}

/* ---- which components there are ---- */

static int add_name(struct fsck *fsck, const char *name, size_t len, size_t *count)
{
	char **names;

	for (size_t i = 0; i < *count; i++)
		if (strlen(fsck->names[i]) == len && memcmp(fsck->names[i], name, len) == 0)
			return 0;
	names = reallocarray(fsck->names, *count + 2, sizeof *names);
	if (!names)
		return -ENOMEM;
	fsck->names = names;
	names[*count] = strndup(name, len);
	if (!names[*count])
		return -ENOMEM;
	names[++*count] = NULL;
	return 0;
}

/* Each name below refs/veneer/ that can be one; the others are told of with the refs. */
static int list_names(struct fsck *fsck, struct error *err)
{
	size_t count = 0;

	fsck->names = calloc(1, sizeof *fsck->names);
	if (!fsck->names)
		return error_errno(err, ENOMEM, "list the components");
	for (size_t i = 0; i < fsck->refs.count; i++) {
		const char *ref = fsck->refs.refs[i].name, *name = ref + strlen(COMPONENT_PREFIX), *slash;
		cleanup_free char *copy = NULL;

		if (strncmp(ref, COMPONENT_PREFIX, strlen(COMPONENT_PREFIX)) != 0 || !(slash = strchr(name, '/')))
			continue;
		copy = strndup(name, (size_t)(slash - name));
		if (!copy)
			return error_errno(err, ENOMEM, "list the components");
		if (component_check_name(copy, NULL) < 0 || !fsck_wanted(fsck, copy))
			continue;
		if (add_name(fsck, name, (size_t)(slash - name), &count) < 0)
			return error_errno(err, ENOMEM, "list the components");
	}
	return 0;
}

static int check_names(const struct fsck *fsck, struct error *err)
{
	for (const char *const *wanted = fsck->options->names; wanted && *wanted; wanted++) {
		bool found = false;

		for (char **name = fsck->names; *name; name++)
			found |= strcmp(*name, *wanted) == 0;
		if (!found)
			return error_set(err, -ENOENT, "there is no component '%.80s'", *wanted);
	}
	return 0;
}

/* ---- one look ---- */

static void forget_git(struct fsck *fsck)
{
	ref_files_release(&fsck->refs);
	inventory_free(fsck->inventory);
	fsck->inventory = NULL;
	reach_release(&fsck->reach);
	free(fsck->copy_bad);
	fsck->copy_bad = NULL;
	free(fsck->contents);
	fsck->contents = NULL;
	oid_set_release(&fsck->bad);
	string_list_free(fsck->names);
	fsck->names = NULL;
}

static void fsck_release(struct fsck *fsck)
{
	forget_git(fsck);
	store_free(fsck->store);
	free(fsck->git_path);
	free(fsck->needs);
	strbuf_release(&fsck->texts);
	store_unlock(fsck->lock_fd);
}

/* A repository that cannot be opened may lack something that is always the same: then it is completed. */
static int open_repository(struct fsck *fsck, struct error *err)
{
	struct error problem = ERROR_INIT;
	int r = store_open_repository(fsck->store, &problem);
	bool repaired = false;

	if (r == 0)
		return 0;
	if (fsck->options->repair && repo_complete(fsck->git_path, err) == 0)
		repaired = store_open_repository(fsck->store, err) == 0;
	r = fsck_add(fsck, FSCK_ERROR,
		FSCK_TEXT("store", NULL, fsck->git_path,
			repaired ? "completed" :
				   "'veneer fsck --repair' completes it where that can be; else bring it back from a backup",
			repaired),
		"%s", problem.message);
	return r < 0 ? error_errno(err, -r, "note what is wrong") : 0;
}

static int look_at_git(struct fsck *fsck, struct error *err)
{
	bool changed = false;
	int r = ref_files_load(fsck->git_path, &fsck->refs, err);

	if (r == 0)
		r = inventory_load(fsck->git_path, true, &fsck->inventory, err);
	if (r == 0)
		r = list_names(fsck, err);
	if (r == 0)
		r = check_names(fsck, err);
	if (r == 0)
		r = fsck_git(fsck, err);
	if (r == 0)
		r = fsck_mend(fsck, &changed, err);
	return r < 0 ? r : changed;
}

/* What was mended is seen with new eyes; nothing is mended a second time. */
static int look_at_git_again(struct fsck *fsck, struct error *err)
{
	struct fsck_report discarded = FSCK_REPORT_INIT, *report = fsck->report;
	int r;

	forget_git(fsck);
	repo_free(fsck->store->repo);
	fsck->store->repo = NULL;
	r = store_open_repository(fsck->store, err);
	if (r < 0)
		return r;
	fsck->report = &discarded;
	r = ref_files_load(fsck->git_path, &fsck->refs, err);
	if (r == 0)
		r = inventory_load(fsck->git_path, true, &fsck->inventory, err);
	if (r == 0)
		r = list_names(fsck, err);
	if (r == 0)
		r = fsck_git(fsck, err);
	fsck->report = report;
	fsck_report_release(&discarded);
	return r;
}

static int look_at_components(struct fsck *fsck, struct error *err)
{
	int r = fsck_refs(fsck, err);

	for (char **name = fsck->names; r == 0 && *name; name++) {
		r = fsck_component(fsck, *name, err);
		if (r == 0)
			r = fsck_journal(fsck, *name, err);
	}
	return r < 0 ? r : fsck_objects(fsck, err);
}

static int look(struct fsck *fsck, const char *path, struct error *err)
{
	int r = fsck->options->names ? 0 : fsck_leftovers(fsck, err);

	fsck->git_path = path_join(fsck->store->path, "git");
	if (!fsck->git_path)
		return error_errno(err, ENOMEM, "look at '%s'", path);
	if (r == 0)
		r = open_repository(fsck, err);
	if (r < 0 || !fsck->store->repo)
		return r;
	r = look_at_git(fsck, err);
	if (r > 0)
		r = look_at_git_again(fsck, err);
	return r < 0 ? r : look_at_components(fsck, err);
}

/* LOCKED: the store's lock is held meanwhile. */
static int run_once(const char *path, const struct fsck_options *options, bool locked, struct fsck_report *ret, struct error *err)
{
	CLEANUP(fsck_release) struct fsck fsck = { .options = options, .report = ret, .lock_fd = -EBADF, .refs = REF_FILES_INIT,
		.reach = REACH_INIT, .bad = OID_SET_INIT, .texts = STRBUF_INIT };
	int r = fsck_places(&fsck, path, err);

	if (r == 0)
		r = store_open_damaged(path, &fsck.store, err);
	if (r == 0 && locked) {
		fsck.lock_fd = store_lock(fsck.store, STORE_LOCK_TIMEOUT_MS, err);
		/* Where nobody can write, nothing changes meanwhile. */
		r = fsck.lock_fd < 0 && (fsck.lock_fd != -EROFS || options->repair) ? fsck.lock_fd : 0;
	}
	return r < 0 ? r : look(&fsck, path, err);
}

int fsck_run(const char *store_path, const struct fsck_options *options, struct fsck_report *ret, struct error *err)
{
	cleanup_fsck_report struct fsck_report report = FSCK_REPORT_INIT;
	struct error first = ERROR_INIT;
	int r = run_once(store_path, options, options->repair, &report, &first);

	if (!options->repair && r != -ENOENT && (r < 0 || report.count > 0)) {
		fsck_report_release(&report);
		first = (struct error)ERROR_INIT;
		r = run_once(store_path, options, true, &report, &first);
	}
	if (r < 0)
		return error_set(err, r, "%s", first.message);
	*ret = report;
	report = (struct fsck_report)FSCK_REPORT_INIT;
	return 0;
}
