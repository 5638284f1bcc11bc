/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_SOURCE_H
#define VENEER_STORE_SOURCE_H

/*
 * What the sources of changesets and the baselines share: looking at one entry of a directory on disk.
 *
 * An entry is opened O_PATH and never through a symlink, so that looking at it does nothing to it: a
 * fifo does not block, a device is not touched. Only a regular file is then opened for reading, by
 * its O_PATH fd (through /proc/self/fd), hence the very inode that was looked at.
 *
 * Error handling: -EAGAIN, naming the path: the file changed while it was read.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "store/base/error.h"
#include "store/changeset.h"
#include "store/meta.h"
#include "store/store.h"

/* The names in one directory, without "." and "..", in the order of strcmp(3). */
struct source_names {
	char **names; /* owned, each of them too */
	size_t count;
};
#define SOURCE_NAMES_INIT { NULL, 0 }
#define SOURCE_NAMES_MAX 4000000u /* names of one directory */

/* Of the directory that DIRFD names (O_PATH is enough); PATH is for messages. */
int source_names_read(int dirfd, const char *path, struct source_names *ret, struct error *err);
void source_names_release(struct source_names *names);
bool source_names_contain(const struct source_names *names, const char *name);
#define cleanup_source_names __attribute__((cleanup(source_names_release)))

struct source_entry {
	int fd; /* O_PATH; -EBADF: there is nothing */
	struct stat st;
};
#define SOURCE_ENTRY_INIT { .fd = -EBADF }

/* PATH beneath ROOTFD; 0 or a negative errno. source_entry_find(): where nothing is, 0 and fd stays -EBADF. */
int source_entry_open(int rootfd, const char *path, struct source_entry *ret);
int source_entry_find(int rootfd, const char *path, struct source_entry *ret, struct error *err);
void source_entry_release(struct source_entry *entry);
#define cleanup_source_entry __attribute__((cleanup(source_entry_release)))

static inline bool source_entry_is(const struct source_entry *entry, mode_t type)
{
	return entry->fd >= 0 && (entry->st.st_mode & S_IFMT) == type;
}

/* mode, owner, mtime, type where git has none, and all attributes, into the fresh META. */
int source_entry_meta(const struct source_entry *entry, const char *path, struct meta *meta,
	struct error *err);
/* A reading fd of a regular file, at its beginning. */
int source_entry_read(const struct source_entry *entry, const char *path, struct error *err);
/* The content of a regular file or the target of a symlink, as blob_draft_read() and blob_draft_copy(). Threads: any, several at once. */
int source_entry_draft(const struct source_entry *entry, const char *path, struct blob_draft *ret,
	struct error *err);
/* Into the open batch: repo_blob_put() with PATH in the message. */
int source_draft_put(struct store *store, struct blob_draft *draft, const char *path, struct error *err);

/* Type, mode (not of symlinks), owner and attributes are the same; times do not count. */
int source_metadata_equal(const struct source_entry *a, const struct source_entry *b, const char *path,
	bool *ret, struct error *err);
/* Bytes, symlink target or device number are the same; true for all else of one type. */
int source_content_equal(const struct source_entry *a, const struct source_entry *b, const char *path,
	bool *ret, struct error *err);
/* The SIZE bytes from the beginning of two files. */
int source_bytes_equal(int fd_a, int fd_b, uint64_t size, const char *path, bool *ret, struct error *err);

/* SIZE bytes from the beginning of FD become blob, size and object of CHANGE, and an object of the store. */
int source_put_file(struct store *store, int fd, uint64_t size, struct change *change, struct error *err);
/* The entry as a change at PATH; borrowed in *RET (may be NULL) until the next. */
int source_add_entry(struct changeset *set, struct store *store, const struct source_entry *entry,
	const char *path, struct change **ret, struct error *err);

#endif
