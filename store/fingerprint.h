/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_FINGERPRINT_H
#define VENEER_STORE_FINGERPRINT_H

/*
 * What a file of a base holds, known by what stat(2) says of it: device, inode, size, mtime and ctime, as git's index does
 * (Documentation/technical/racy-git.txt of git). Whoever writes a file changes its ctime, so one whose fingerprint is known need
 * not be read again to know whether a patch still fits it. But for who stores through a shared mapping: the ctime is of the first store after
 * a write-back, as for git.
 *
 * The content is named by the id that it has as a blob, for that is what the tree of a base commit says.
 *
 * A clock has a grain: what is written twice within one tick has one ctime. So nothing is remembered of a file that was changed
 * less than FINGERPRINT_SETTLE_SECONDS before it was looked at (or in the future).
 *
 * Kept in cache/fingerprints: records of FINGERPRINT_RECORD_BYTES, the last of them their XXH3-128; written whole.
 *
 * Calling sequence: fingerprints_new(); then, for each round, fingerprints_read(), find and put, fingerprints_save().
 *
 * Error handling: it is a cache. What cannot be read is not known, what cannot be written is not remembered.
 *
 * After a crash: the file as it was before or after (rename), or a torn one, which its hash gives away.
 *
 * Threads: one at a time.
 */

#include <stdbool.h>
#include <sys/stat.h>

#include "store/git/repo.h"

#define FINGERPRINT_FILE "fingerprints"
#define FINGERPRINT_RECORD_BYTES 84u
#define FINGERPRINT_SETTLE_SECONDS 2
#define FINGERPRINT_RECORDS_MAX (1u << 17)

struct fingerprints;

/* CACHE_FD, the directory cache/, is borrowed and must outlive it. NULL: out of memory. */
struct fingerprints *fingerprints_new(int cache_fd);
void fingerprints_free(struct fingerprints *fingerprints); /* NULL is fine */
/* What is in the file, where it is another one than was read last: other processes write it, too. */
void fingerprints_read(struct fingerprints *fingerprints);
/* The blob that a regular file with these attributes is. false: not known. */
bool fingerprints_find(struct fingerprints *fingerprints, const struct stat *st, struct oid *ret);
/* A regular file that had the attributes ST both before and after it was read is BLOB. */
void fingerprints_put(struct fingerprints *fingerprints, const struct stat *st, const struct oid *blob);
/* Is the file whole? 0 (also where there is none), or -EBADMSG. */
int fingerprints_check(int cache_fd, struct error *err);
/* Write what was put since the last time. */
void fingerprints_save(struct fingerprints *fingerprints);

#endif
