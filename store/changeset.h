/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_CHANGESET_H
#define VENEER_STORE_CHANGESET_H

/*
 * The common language of all sources of patches (--from, --deb, --upper): what shall stand at which
 * path, or that nothing shall. Sources write blobs into the repository's batch and say here which;
 * the changeset is then laid over a base tree by patch_create().
 */

#include <stddef.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/git/repo.h"
#include "store/meta.h"
#include "store/store.h"

#define CHANGESET_PATHS_MAX 1000000u

enum change_kind {
	CHANGE_DELETE,	  /* nothing at this path: a file, or a whole directory */
	CHANGE_FILE,	  /* regular file: blob */
	CHANGE_SYMLINK,	  /* blob holds the target */
	CHANGE_DIRECTORY, /* a directory, new or with new metadata */
	CHANGE_SPECIAL,	  /* fifo, socket, device: meta.type */
};

struct change {
	char *path; /* owned; component-relative */
	enum change_kind kind;
	struct oid blob;    /* file, symlink */
	uint64_t size;	    /* bytes of the blob */
	struct meta meta;   /* owned */
	bool cancelled;	    /* no change, nor what was said before; until changeset_sort() */
	bool ignore_mtime;  /* a difference in mtime alone is no change */
};

struct changeset {
	struct change *changes; /* owned; sorted by path_compare, unique, after changeset_sort() */
	size_t count, alloc;
};

#define CHANGESET_INIT { NULL, 0, 0 }
void changeset_release(struct changeset *set);
#define cleanup_changeset __attribute__((cleanup(changeset_release)))

/* Append an empty change at PATH (copied, checked by path_check); borrowed in *RET until the next call. -E2BIG beyond the limit. */
int changeset_add(struct changeset *set, const char *path, enum change_kind kind, struct change **ret,
	struct error *err);
/* Take back what was said of PATH so far. */
int changeset_cancel(struct changeset *set, const char *path, struct error *err);
/* Sort; of two changes at one path the later added wins. Sources call it last. */
int changeset_sort(struct changeset *set, struct error *err);

/*
 * One path of a directory on disk as a change: reads PATH beneath ROOTFD (no symlink is followed):
 * content into a blob (also made an object of the store, so that meta.object stands), metadata and
 * xattrs. -ENOENT: nothing there.
 */
int changeset_add_from_disk(struct changeset *set, struct store *store, int rootfd, const char *path,
	struct error *err);

/* ---- sources: each fills SET against the component's directory on disk (BASEFD) ---- */

/* Everything in which the directory tree at DIRFD differs from BASEFD (mtime alone is no difference). */
int source_directory(struct store *store, int basefd, int dirfd, struct changeset *set, struct error *err);

/*
 * What the .deb FILE would install below the component. Paths are resolved through the image's own
 * symlinks and what is diverted in it (dpkg-divert(1)), as dpkg would. LEFT_OUT is called for each path
 * outside the component. A file that is the same to the letter, metadata and mtime included, is no
 * change, and takes back what an earlier copy of it was. Existing directories stay as they are.
 * -EINVAL: not a .deb; -ENOENT: nothing of it lies under the component.
 */
typedef void (*left_out_fn)(void *arg, const char *path);
int source_deb(struct store *store, const char *root, const char *directory, int basefd,
	const char *file, struct changeset *set, left_out_fn left_out, void *arg, struct error *err);

/* An overlayfs upper layer: whiteouts (0:0 devices, xattr), opaque directories. Redirects and metacopies
 * are followed beneath BASEFD. */
int source_upper(struct store *store, int basefd, int upperfd, struct changeset *set, struct error *err);

#endif
