/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_REPO_H
#define VENEER_GIT_REPO_H

/*
 * The git repository of a store. This folder is the only user of libgit2; nothing of libgit2 shows
 * in this header.
 *
 * Calling sequence:
 *   repo_init() once for a new store, then repo_open(). Reads at any time. Writes (blobs, trees,
 *   commits) between repo_batch_begin() and repo_batch_commit(): they are held in memory, readable
 *   at once through the same handle, and reach the disk as one pack (a handful of small ones as loose
 *   objects), fsynced, by repo_batch_commit(); nothing is on disk before. A batch that grows past REPO_BATCH_BYTES is flushed to a pack by
 *   itself. Only then may a ref that leads to them be moved, by repo_refs_update().
 *
 * Error handling: 0 or a negative errno, message in ERR naming the id, path or ref. -ENOENT: no such
 *   object, path or ref. -E2BIG: larger than the limit given. -EBADMSG: an object that is corrupt or
 *   is not of the wanted type. -EAGAIN: a ref had another value than expected.
 *
 * After a crash: packs without refs may lie about (harmless, git gc removes them); a ref is the old
 *   or the new one. GIT_OPT_ENABLE_FSYNC_GITDIR and strict hash verification are on; system and user
 *   configuration are never read, the repository's owner is not checked (the store is 0700).
 *
 * Threads: one handle, one thread at a time; several handles on one repository are fine.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/base/strbuf.h"

struct oid {
	uint8_t id[20]; /* SHA-1 */
};
#define OID_HEX_LENGTH 40

struct repo;

void oid_to_hex(const struct oid *oid, char hex[OID_HEX_LENGTH + 1]);
int oid_from_hex(const char *hex, size_t len, struct oid *ret); /* exactly 40 lower-case digits; or -EINVAL */
bool oid_equal(const struct oid *a, const struct oid *b);
bool oid_is_zero(const struct oid *oid);

/* Load now what the first call of the next two would load, which may lie under a mount later. -EOPNOTSUPP: it is not installed. */
int repo_prepare(struct error *err);
#define REPO_UNFINISHED ".new"
/*
 * A bare repository at PATH (the directory may exist, empty), durable once its directory is synced. Not an error where it is one
 * already. One caller at a time.
 * After a crash: it is there whole or not at all; PATH REPO_UNFINISHED may be left, and goes with the next call.
 */
int repo_init(const char *path, struct error *err);
/* What of such a repository is missing at PATH (HEAD, its configuration, directories) is made again; what is there stays. */
int repo_complete(const char *path, struct error *err);
int repo_open(const char *path, struct repo **ret, struct error *err);
void repo_free(struct repo *repo);
static inline void repo_freep(struct repo **repo)
{
	if (*repo)
		repo_free(*repo);
}
#define cleanup_repo __attribute__((cleanup(repo_freep)))

/* ---- batches ---- */

#define REPO_BATCH_BYTES (64u << 20)
int repo_batch_begin(struct repo *repo, struct error *err);
int repo_batch_commit(struct repo *repo, struct error *err);
void repo_batch_abort(struct repo *repo); /* forget what is not flushed; no batch: does nothing */

/*
 * To see what comes of writing something: what is written between these is readable meanwhile and
 * forgotten at the end, in the open batch or, where there is none, in one of its own. (Past
 * REPO_BATCH_BYTES there is a pack that no ref leads to, as after a crash.)
 */
struct repo_trial {
	bool own_batch;
	size_t count;
	unsigned flushes;
};
int repo_trial_begin(struct repo *repo, struct repo_trial *ret, struct error *err);
void repo_trial_end(struct repo *repo, const struct repo_trial *trial);

/* ---- blobs ---- */

int repo_blob_write(struct repo *repo, const void *data, size_t size, struct oid *ret, struct error *err);
/* The rest of FD (SIZE bytes as fstat said; more or fewer is -EAGAIN: it changes while being read). */
int repo_blob_write_fd(struct repo *repo, int fd, uint64_t size, struct oid *ret, struct error *err);
/*
 * The same in two steps: what is to become a blob is read and hashed (blob_draft_copy(), blob_draft_read()), then written
 * (repo_blob_put()). Threads: the first step needs no handle; any number of threads may be at it.
 */
struct blob_draft {
	void *data; /* owned; NULL once it is written */
	size_t size; /* bytes of it; until it is read: the room there is */
	struct oid oid;
};
#define BLOB_DRAFT_INIT { NULL, 0, { { 0 } } }
/* Room for SIZE bytes, for who wants it made by another thread than reads. */
int blob_draft_reserve(struct blob_draft *draft, uint64_t size, struct error *err);
/* RET is empty or reserved, and to be released also on failure. */
int blob_draft_copy(const void *data, size_t size, struct blob_draft *ret, struct error *err);
/* The rest of FD, as for repo_blob_write_fd(). */
int blob_draft_read(int fd, uint64_t size, struct blob_draft *ret, struct error *err);
/* The data become the batch's, also on failure; size and oid stay. */
int repo_blob_put(struct repo *repo, struct blob_draft *draft, struct error *err);
void blob_draft_release(struct blob_draft *draft);
#define cleanup_blob_draft __attribute__((cleanup(blob_draft_release)))

/* Appended to SB; -E2BIG beyond LIMIT bytes, checked before inflating. */
int repo_blob_read(struct repo *repo, const struct oid *oid, uint64_t limit, struct strbuf *sb,
	struct error *err);
/* The same without a copy, which a large one would cost. In a batch: until the next thing is written there. */
struct blob;
int repo_blob_open(struct repo *repo, const struct oid *oid, uint64_t limit, struct blob **ret,
	struct error *err);
const void *blob_data(const struct blob *blob);
size_t blob_size(const struct blob *blob);
void blob_free(struct blob *blob);
static inline void blob_freep(struct blob **blob)
{
	if (*blob)
		blob_free(*blob);
}
#define cleanup_blob __attribute__((cleanup(blob_freep)))
int repo_blob_size(struct repo *repo, const struct oid *oid, uint64_t *ret, struct error *err);
/* The id that this content would have as a blob; writes nothing. */
int repo_blob_id(const void *data, size_t size, struct oid *ret, struct error *err);

/* ---- trees ---- */

/* Modes of tree entries, as git has them. */
#define TREE_MODE_DIRECTORY 0040000u
#define TREE_MODE_FILE 0100644u
#define TREE_MODE_EXECUTABLE 0100755u
#define TREE_MODE_SYMLINK 0120000u
#define TREE_MODE_COMMIT 0160000u /* a submodule: always refused by what reads patches */

struct tree_entry {
	const char *name; /* borrowed from the tree; not checked by path_name_problem() */
	uint32_t mode;
	struct oid oid;
};
struct tree; /* one tree object, read */

int repo_tree_read(struct repo *repo, const struct oid *oid, struct tree **ret, struct error *err);
size_t tree_count(const struct tree *tree);
struct tree_entry tree_at(const struct tree *tree, size_t index); /* git's order */
/* false: no such name */
bool tree_find(const struct tree *tree, const char *name, struct tree_entry *ret);
void tree_free(struct tree *tree);
static inline void tree_freep(struct tree **tree)
{
	if (*tree)
		tree_free(*tree);
}
#define cleanup_tree __attribute__((cleanup(tree_freep)))

/* The entry at PATH (not "") below the tree ROOT; -ENOENT. ret->name is NULL. */
int repo_tree_lookup(struct repo *repo, const struct oid *root, const char *path,
	struct tree_entry *ret, struct error *err);

/* One change for repo_tree_edit(): an entry put at a path, or (mode 0) the entry there removed. */
struct tree_change {
	const char *path; /* relative, good by path syntax; any names, ".veneer" included */
	uint32_t mode;	  /* one of TREE_MODE_FILE, _EXECUTABLE, _SYMLINK; 0: remove file or whole subtree */
	struct oid oid;
};
/*
 * The tree that results from BASE (NULL or zero: empty) with CHANGES, which are sorted here in place
 * (by path_compare). A file put where a directory was replaces it, and the other way round; trees left
 * empty vanish; removing what is not there is no error. Directories without a change are not read.
 * Two changes at one path, or something put beneath a file that another puts: -EINVAL. Needs a batch.
 */
int repo_tree_edit(struct repo *repo, const struct oid *base, struct tree_change *changes, size_t count,
	struct oid *ret, struct error *err);

/*
 * Walk what differs between trees A and B (either NULL or zero: empty). Subtrees of equal id are not
 * read. FN is called for each path at which a non-directory entry differs: OLD_ENTRY or NEW_ENTRY is
 * NULL where that side has no file there. A non-zero return of FN ends the walk and is returned.
 * Names are checked (path_name_problem) and the depth limited to PATH_DEPTH_MAX unless TRUSTED (which
 * allows ".veneer" as a name, and a depth of TREE_DEPTH_MAX, for walks of or below `.veneer/meta`);
 * SKIP (may be NULL) names an entry of the top level that is passed over. -EBADMSG: a submodule, a bad
 * name, too deep, more than TREE_WALK_MAX entries, or a missing or corrupt tree: the path is named.
 */
#define TREE_WALK_MAX 4000000u
#define TREE_DEPTH_MAX 260u /* PATH_DEPTH_MAX, ".veneer/meta/" in front and "/.veneer" behind */
typedef int (*tree_compare_fn)(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *err);
int repo_tree_compare(struct repo *repo, const struct oid *a, const struct oid *b, const char *skip,
	bool trusted, tree_compare_fn fn, void *arg, struct error *err);

/* The id of the empty tree; needs a batch the first time it is written. */
int repo_tree_empty(struct repo *repo, struct oid *ret, struct error *err);

/* ---- commits ---- */

#define COMMIT_MESSAGE_MAX (1u << 20)
#define COMMIT_PARENTS_MAX 1024u
struct commit {
	struct oid id, tree;
	size_t parent_count;
	struct oid *parents; /* owned */
	char *message;	     /* owned, whole, trailers included */
	char *author;	     /* owned: "Name <mail>" */
	int64_t time;	     /* committer's, seconds since the epoch */
	int offset_minutes;  /* committer's zone */
	uint64_t size;	     /* bytes of the object */
};
/* -EBADMSG: corrupt, message beyond COMMIT_MESSAGE_MAX, more than COMMIT_PARENTS_MAX parents. */
int repo_commit_read(struct repo *repo, const struct oid *oid, struct commit *ret, struct error *err);
void commit_release(struct commit *commit);
#define cleanup_commit __attribute__((cleanup(commit_release)))

struct commit_spec {
	struct oid tree;
	const struct oid *parents;
	size_t parent_count;
	const char *message;		   /* a final newline is added where it lacks */
	const char *name, *mail;	   /* author and committer; NULL: "veneer", "veneer@localhost" */
	int64_t time;			   /* seconds since the epoch, zone +0000 */
};
int repo_commit_write(struct repo *repo, const struct commit_spec *spec, struct oid *ret,
	struct error *err);

/*
 * What REV names, peeled to a commit: a full or abbreviated id, a ref name, and git's ~ and ^ and @{}
 * forms. -ENOENT: nothing; -EINVAL: ambiguous or malformed.
 */
int repo_resolve(struct repo *repo, const char *rev, struct oid *ret, struct error *err);
/* 1: it is there, of whatever type; 0: it is not. */
int repo_object_exists(struct repo *repo, const struct oid *oid);
/* In a batch: was it there when the batch began, or put since? What a batch that was aborted had is not. */
bool repo_object_stored(struct repo *repo, const struct oid *oid);

/* ---- trailers: git-interpret-trailers(1) ---- */

/* The value of the N-th (from 0) trailer KEY (without colon, any case) of MESSAGE; the caller frees it. NULL: none. */
char *trailer_get(const char *message, const char *key, size_t n);
/* All values of one key, in one pass: trailer_walk_begin(), then _next() until it is not 1. MESSAGE is borrowed. */
struct trailer_walk {
	const char *at, *end;
};
void trailer_walk_begin(struct trailer_walk *walk, const char *message);
/* 1: the next value is *RET, which the caller frees; 0: there is none; -ENOMEM. */
int trailer_walk_next(struct trailer_walk *walk, const char *key, char **ret);
/* Append "KEY: VALUE" to a message under construction (a blank line is put before the first one). Newlines in VALUE become spaces. */
void trailer_add(struct strbuf *message, const char *key, const char *value);
/* The message without its trailers: subject and body, no newline at the end. The caller frees it. */
char *message_body(const char *message);

/* ---- refs ---- */

int repo_ref_read(struct repo *repo, const char *name, struct oid *ret, struct error *err);

struct ref_update {
	const char *name;
	struct oid new_oid;	   /* zero: delete */
	bool check;		   /* then the ref must now be OLD_OID (zero: must not exist), or -EAGAIN */
	struct oid old_oid;
};
/*
 * All of them or none: every ref is locked and checked first, and its new value written and fsynced beside it; then they
 * move, in the order given, by renames, which need no room on the disk. What fails then is undone in the same way; where that
 * fails too, the message says so.
 * After a crash: a prefix of the list has moved: order them so that each prefix is a good state. A lock that another process holds
 * is waited for; one of ours whose process is dead is broken at once, one of git's when it is older than some seconds.
 */
int repo_refs_update(struct repo *repo, const struct ref_update *updates, size_t count, struct error *err);

/* Remove the locks of refs below DIRECTORY ("refs/veneer") that dead processes of ours have left: they would be in plain git's way. */
void repo_locks_break(struct repo *repo, const char *directory);

/* Each ref whose name begins with PREFIX, in order of names; non-zero of FN ends and is returned. */
typedef int (*ref_fn)(void *arg, const char *name, const struct oid *oid, struct error *err);
int repo_refs_each(struct repo *repo, const char *prefix, ref_fn fn, void *arg, struct error *err);

/* ---- differences for people ---- */

enum diff_format { DIFF_PATCH, DIFF_STAT, DIFF_NAME_STATUS };
struct diff_options {
	enum diff_format format;
	const char *const *paths; /* pathspecs, literal prefixes; NULL: all */
	size_t path_count;
	bool include_meta; /* show .veneer/ as well */
	bool color;
	unsigned context_lines;
};
/* Text is handed out in lines as it is made. */
typedef int (*diff_text_fn)(void *arg, const char *text, size_t len);
int repo_diff_print(struct repo *repo, const struct oid *tree_a, const struct oid *tree_b,
	const struct diff_options *options, diff_text_fn fn, void *arg, struct error *err);

#endif
