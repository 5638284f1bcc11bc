/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_INTERNAL_H
#define VENEER_GIT_INTERNAL_H

/*
 * What the files of this folder share: the handle, the batch, and the way from libgit2's errors to ours.
 *
 * Objects are written by our own code, never by libgit2's writers: batch_put() hashes, keeps the bytes
 * in memory and hands them back to libgit2 through an odb backend that is asked before those on disk.
 */

/* The backends of the odb, the first one asked first: ours for the batch, libgit2's for packs, ours for loose objects. */
enum { PRIORITY_LOOSE = 1, PRIORITY_PACKED, PRIORITY_BATCH };

#include <stdarg.h>

#include "store/base/cleanup.h"
#include "store/git/library.h"
#include "store/git/repo.h"

/* ---- the handle (repo.c) ---- */

struct batch_object {
	struct oid oid;
	git_object_t type;
	size_t size;
	void *data; /* owned */
};

/* In order of writing, which puts every object behind those that it names. */
struct batch {
	bool open;
	struct batch_object *objects;
	size_t count, alloc;
	uint32_t *slots; /* open addressing by the first bytes of the id: index + 1, 0 is free */
	size_t slot_count; /* a power of two */
	uint64_t bytes;
	unsigned flushes; /* how often it was emptied onto the disk */
};

struct repo {
	char *path; /* owned */
	git_repository *git;
	git_odb *odb;
	int objects_fd; /* the directory objects/ */
	git_odb_backend *on_disk[2]; /* borrowed from ODB: packs, loose objects */
	struct timespec packs_changed; /* the directory of packs, when ODB was opened; 0: it may have changed since */
	struct batch batch;
};

/*
 * Where packs have come or gone, the odb is opened anew: libgit2 goes on reading a pack that was removed while it had it open, and
 * would say that an object is there which is there for nobody else (docs/decisions/gc.md). The batch is empty.
 */
int repo_refresh(struct repo *repo, struct error *err);

/* ---- ids and errors (oid.c) ---- */

git_oid oid_to_git(const struct oid *oid);
struct oid oid_from_git(const git_oid *oid);
#define OID_HEX(oid) (oid_hex((oid), (char[OID_HEX_LENGTH + 1]){ "" }))
const char *oid_hex(const struct oid *oid, char *hex); /* returns HEX */

/*
 * RC of a libgit2 call that failed, as an errno: what libgit2 tells apart, else FALLBACK. The message is
 * the formatted one, ": ", libgit2's own.
 */
int git_failure(struct error *err, int rc, int fallback, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* TEXT for a message: control characters as \ooo, cut (with an ellipsis) where SHOWN is full. Returns SHOWN. */
#define SHOWN_MAX 300
#define SHOW(text) (text_show((text), (char[SHOWN_MAX]){ "" }))
const char *text_show(const char *text, char shown[SHOWN_MAX]);

/* ---- objects (object.c) ---- */

/* -ENOENT, -EBADMSG (another type, corrupt), -E2BIG beyond LIMIT, which is checked before it is read. */
int object_header(struct repo *repo, const struct oid *oid, git_object_t type, uint64_t *ret_size,
	struct error *err);
int object_read(struct repo *repo, const struct oid *oid, git_object_t type, uint64_t limit,
	git_odb_object **ret, struct error *err);

/* ---- the batch (batch.c) and what it becomes (pack.c, loose.c, deflated.c, durable.c) ---- */

/* Borrowed until the batch changes; NULL: it is not in there. */
const struct batch_object *batch_find(const struct batch *batch, const struct oid *oid);
int batch_backend_new(const struct batch *batch, git_odb_backend **ret);
/* DATA (malloc'd, SIZE bytes) becomes the batch's, also on failure. -EINVAL: no batch is open. */
int batch_put(struct repo *repo, git_object_t type, void *data, size_t size, struct oid *ret,
	struct error *err);
/* The same for what is hashed already: to OID. */
int batch_put_hashed(struct repo *repo, git_object_t type, void *data, size_t size, const struct oid *oid,
	struct error *err);
void batch_release(struct batch *batch);

/* Write the objects below objects/ (a directory's fd) so that they are durable when it returns. */
int pack_write(int objects_fd, const struct batch *batch, struct error *err);
int loose_write(int objects_fd, const struct batch *batch, struct error *err);

/*
 * The same for what is not in memory at once: COUNT objects, each put as a zlib stream. After _commit() the pack is durable, and named
 * by its hash; before it there is nothing of it on disk that has a name. -EFBIG: an object would lie beyond 2 GiB.
 */
#define PACK_OFFSET_DELTA 6u
#define PACK_BYTES_MAX 0x7fffffffu /* where the last object of a pack may begin */
struct pack_writer;
int pack_writer_begin(int objects_fd, size_t count, struct pack_writer **ret, struct error *err);
void pack_writer_free(struct pack_writer *writer);
DEFINE_CLEANUP(pack_writer_free, struct pack_writer *);
/* TYPE as in the pack, SIZE before it was compressed. */
int pack_writer_put(struct pack_writer *writer, const struct oid *oid, unsigned type, uint64_t size, const void *deflated,
	size_t deflated_size, struct error *err);
/* A delta over what was put at BASE_OFFSET (pack_writer_offset(), before it was put). */
int pack_writer_put_delta(struct pack_writer *writer, const struct oid *oid, uint64_t base_offset, uint64_t size,
	const void *deflated, size_t deflated_size, struct error *err);
uint64_t pack_writer_offset(const struct pack_writer *writer); /* of what is put next */
int pack_writer_commit(struct pack_writer *writer, struct oid *ret, struct error *err);
/* Reads loose objects below objects/ (the fd is duplicated); loose_read.c. */
int loose_backend_new(int objects_fd, git_odb_backend **ret);

/*
 * A file that is there whole or not at all: written without a name, then published.
 * After a crash: no trace, or the complete file.
 */
struct durable;
int durable_begin(int dirfd, struct durable **ret);
void durable_write(struct durable *file, const void *data, size_t len); /* errors are sticky */
uint64_t durable_offset(const struct durable *file);
void durable_crc_begin(struct durable *file);
uint32_t durable_crc(const struct durable *file);
/* Append the SHA-1 of all bytes so far, and tell it. */
void durable_trailer(struct durable *file, struct oid *ret);
/* fsync, then the name; one that exists already has the same bytes, for names are hashes of them. */
int durable_publish(struct durable *file, const char *name);
void durable_free(struct durable *file);
DEFINE_CLEANUP(durable_free, struct durable *);

/* ---- compressed objects (deflated.c) ---- */

/* One object as a zlib stream (RFC 1950). */
struct deflated {
	void *data; /* owned */
	size_t size;
};
void deflated_release(struct deflated *deflated);

struct deflater;
struct deflater *deflater_new(void); /* NULL: out of memory */
void deflater_free(struct deflater *deflater);
DEFINE_CLEANUP(deflater_free, struct deflater *);
/* 0 or -ENOMEM */
int deflater_run(struct deflater *deflater, const void *data, size_t size, struct deflated *ret);

/* ---- trees (tree.c) ---- */

#define TREE_BYTES_MAX (256u << 20) /* one tree object */

/* Like tree_at() and tree_find(), in the order of strcmp() on names, which is path_compare()'s. */
struct tree_entry tree_by_name(const struct tree *tree, size_t index);
bool tree_mode_known(uint32_t mode);

/* ---- shared by several ---- */

/* As DEFINE_CLEANUP, for a function of libgit2: makes git_foo_freep. */
#define DEFINE_GIT_CLEANUP(function, type) \
	static inline void git_##function##p(type *pointer) \
	{ \
		if (*pointer) \
			libgit2.function(*pointer); \
	} \
	struct error

DEFINE_GIT_CLEANUP(odb_object_free, git_odb_object *);
DEFINE_GIT_CLEANUP(object_free, git_object *);
DEFINE_GIT_CLEANUP(commit_free, git_commit *);
DEFINE_GIT_CLEANUP(tree_free, git_tree *);
DEFINE_GIT_CLEANUP(reference_free, git_reference *);
DEFINE_GIT_CLEANUP(diff_free, git_diff *);

#endif
