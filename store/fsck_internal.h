/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_FSCK_INTERNAL_H
#define VENEER_STORE_FSCK_INTERNAL_H

/*
 * What the parts of fsck share. In the order in which they work: fsck_places.c (directories, leftovers), fsck_git.c (refs' targets and
 * all copies of all objects) and fsck_mend.c (those again), fsck_refs.c, fsck_component.c, fsck_journal.c, fsck_objects.c.
 */

#include "store/base/hash.h"
#include "store/fsck.h"
#include "store/git/inventory.h"
#include "store/git/reach.h"
#include "store/git/ref_files.h"

/* What a blob that is reached holds. */
struct fsck_content {
	struct hash128 hash;
	uint64_t size;
	bool known;
};

/* An object that is to be there. */
struct fsck_need {
	struct hash128 object;
	uint64_t size;
	struct oid blob;
	const char *component; /* borrowed from fsck->names */
	bool must; /* else it is made when it is first served */
	bool healed; /* it was missing or damaged, and is made again */
	uint32_t who; /* offset in fsck->texts: "active of 'app'" */
};

struct fsck {
	const struct fsck_options *options;
	struct fsck_report *report; /* borrowed */
	struct store *store; /* owned; repo NULL: it cannot be opened */
	char *git_path; /* owned */
	int lock_fd;
	struct ref_files refs;
	struct inventory *inventory; /* owned; NULL: it cannot be listed */
	struct reach reach;
	uint8_t *copy_bad; /* owned; for each copy of the inventory */
	struct fsck_content *contents; /* owned; for each of reach.ids */
	struct oid_set bad; /* what cannot be read, or not for sure: things that need it are not told once more */
	char **names; /* owned, NULL-terminated: components */
	struct fsck_need *needs; /* owned */
	size_t need_count, need_alloc;
	struct strbuf texts;
};

/* ---- findings (fsck.c) ---- */

struct fsck_text {
	const char *kind, *component, *subject, *remedy;
	bool repaired;
};
/* 0 or -ENOMEM. The texts are copied. */
int fsck_add(struct fsck *fsck, enum fsck_severity severity, const struct fsck_text *text, const char *problem, ...)
	__attribute__((format(printf, 4, 5)));
#define FSCK_TEXT(...) (&(const struct fsck_text){ __VA_ARGS__ })
/* RC is a failure to look or to mend that is told as such: always for lack of memory, full disks and the like. */
bool fsck_is_fatal(int rc);
void fsck_progress(struct fsck *fsck, const char *what, uint64_t done, uint64_t bytes);
/* Is NAME among those asked for? NULL: something of no component. */
bool fsck_wanted(const struct fsck *fsck, const char *name);
/* Are all refs and objects of git looked at, not only those of the components asked for? */
bool fsck_all_git(const struct fsck *fsck);
/* Can all be read that leads from COMMIT? 1, 0, or -ENOMEM. */
int fsck_is_whole(struct fsck *fsck, const struct oid *commit);
/* The number of a blob's content in fsck->contents; NULL: not known. */
const struct fsck_content *fsck_content_of(const struct fsck *fsck, const struct oid *blob);

/* ---- the parts; each returns 0 or a failure to go on ---- */

int fsck_places(struct fsck *fsck, const char *path, struct error *err); /* before there is a store */
int fsck_leftovers(struct fsck *fsck, struct error *err);
int fsck_git(struct fsck *fsck, struct error *err);
int fsck_mend(struct fsck *fsck, bool *ret_changed, struct error *err);
int fsck_refs(struct fsck *fsck, struct error *err);
int fsck_component(struct fsck *fsck, const char *name, struct error *err);
int fsck_journal(struct fsck *fsck, const char *name, struct error *err);
int fsck_objects(struct fsck *fsck, struct error *err);

int fsck_add_need(struct fsck *fsck, const struct fsck_need *need, const char *who);

#endif
