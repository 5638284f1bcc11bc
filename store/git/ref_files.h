/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_REF_FILES_H
#define VENEER_GIT_REF_FILES_H

/*
 * All refs of a repository as they stand in its files (gitrepository-layout(5)), those included that cannot be read: libgit2 passes
 * over them in silence. And all other ids that keep objects alive: HEAD and its like, and reflogs.
 *
 * Threads: one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/git/repo.h"

#define REF_FILES_MAX 1000000u
#define REF_FILE_BYTES_MAX 4096u
#define PACKED_REFS_BYTES_MAX (256u << 20)
#define REFLOG_BYTES_MAX (256u << 20)

/* From which age on a lock file is a dead process's: git holds one for milliseconds. A crash must not block a ref for ever. */
#define REF_LOCK_STALE_SECONDS 5
/* Of a lock file whose last change was at CHANGED_S, at NOW_S. One of the future was written before the clock was set back. */
static inline bool ref_lock_is_stale(int64_t changed_s, int64_t now_s)
{
	return changed_s + REF_LOCK_STALE_SECONDS < now_s || changed_s > now_s + REF_LOCK_STALE_SECONDS;
}

struct ref_file {
	char *name; /* owned; "refs/…" */
	struct oid oid; /* zero where PROBLEM is set */
	char *problem; /* owned; why it names nothing; NULL: it does */
	bool loose; /* a file of its own, which may hide one of packed-refs */
};

struct ref_files {
	struct ref_file *refs; /* owned; in the order of names */
	size_t count, alloc;
	struct oid *others; /* owned; ids that HEAD and its like and reflogs name, which need not be there */
	size_t other_count, other_alloc;
	char **locks; /* owned; paths below the repository of *.lock files older than REF_LOCK_STALE_SECONDS */
	size_t lock_count;
	bool has_worktrees; /* plain git works here with an index, which keeps objects alive that nothing else names */
};
#define REF_FILES_INIT { NULL, 0, 0, NULL, 0, 0, NULL, 0, false }
void ref_files_release(struct ref_files *files);
#define cleanup_ref_files __attribute__((cleanup(ref_files_release)))

/* PATH: of the repository. */
int ref_files_load(const char *path, struct ref_files *ret, struct error *err);
/*
 * The names alone of those that begin with PREFIX ("refs/veneer/"), in order; nothing else of *RET is set but LOOSE. What is neither a file
 * nor a symlink to one is passed over. -EBADMSG: packed-refs is damaged.
 */
int ref_files_names(const char *path, const char *prefix, struct ref_files *ret, struct error *err);
/* NULL: there is none. */
const struct ref_file *ref_files_find(const struct ref_files *files, const char *name);
/* Does each ref of A name the same in B, and the other way round? */
bool ref_files_equal(const struct ref_files *a, const struct ref_files *b);

#endif
