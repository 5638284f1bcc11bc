/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_VIEW_H
#define VENEER_STORE_VIEW_H

/*
 * The view: the immutable trie of the paths that differ between an active commit and its base, and
 * nothing else; its size is the patch's. It is flat: one array of entries in breadth-first order, the
 * children of a directory contiguous and sorted by name (memcmp, shorter first), so that a lookup is a
 * binary search; names and attributes stand in memory of the view's own.
 *
 * Calling sequence:
 *   view_load()      commit → trie, everything that can be wrong is found here and named;
 *   view_complete()  materialise the objects, and fill in what entries inherit from the base's files;
 *   then it may be published and is never written again, but for what ends (view_end()). view_ref()/view_unref() count its users.
 *
 * Loading reads the store alone and depends on nothing else: view_copy() makes a second view of one that is not completed yet,
 * to be completed for itself.
 *
 * Threads: after view_complete() any number may read.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "store/base/error.h"
#include "store/base/hash.h"
#include "store/component.h"
#include "store/meta.h"
#include "store/object_blocks.h"
#include "store/store.h"

struct view;

enum view_kind {
	VIEW_THROUGH,	/* a directory that only leads to entries: itself as the base has it (which may lack it) */
	VIEW_DELETED,	/* nothing here, whatever the base has */
	VIEW_FILE,
	VIEW_SYMLINK,
	VIEW_DIRECTORY, /* a directory in its own right: new, or with metadata; the base's entries show through where it has one */
	VIEW_SPECIAL,	/* fifo, socket, device */
};

#define VIEW_NONE UINT32_MAX

struct view_entry {
	const char *name; /* NUL-terminated */
	uint32_t name_length;
	uint32_t parent;	/* index; VIEW_NONE for the root (index 0) */
	uint32_t first_child;	/* index */
	uint32_t child_count;
	enum view_kind kind;
	unsigned present;	/* enum meta_keys that are given or completed; all, but for VIEW_DIRECTORY over a base directory */
	mode_t mode;		/* type and permissions, as st_mode */
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	uint64_t size;		/* bytes of the file, length of the target */
	dev_t device;		/* st_rdev */
	struct oid blob;	/* file, symlink */
	struct hash128 object;	/* file: its address */
	const struct object_blocks *blocks; /* file, once completed: what its blocks hash to; NULL where it needs none. Counted by the view */
	const char *target;	/* symlink, NUL-terminated */
	const struct meta_xattr *xattrs;
	size_t xattr_count;
	struct hash128 identity; /* of (path, content, metadata): equal identity, equal entry; for directories of the path alone */
};

/*
 * Build the view of COMMIT over the base that it stands on. Checks: names, depth, symlink targets
 * (1…4095 bytes, no NUL), no entry beneath a symlink or file, meta blobs, presence and type of every
 * object read. -EBADMSG naming path and reason. Does not touch the base directory or objects/. Metadata
 * that a commit of plain git has left as it was is read as store/plain_git.h says.
 */
int view_load(struct store *store, const struct oid *commit, struct view **ret, struct error *err);
/* The same for the component NAME: -EINVAL where the base is another's. */
int view_load_of(struct store *store, const char *name, const struct oid *commit, struct view **ret,
	struct error *err);
/*
 * The same of a commit that was served until just now, and is to be served again whatever has become of a file or two of it: a blob
 * that git has lost is of the size that it had, and view_complete() leaves an object that is damaged and cannot be made again as it is
 * (the log says so): who reads it gets an error.
 */
int view_load_served(struct store *store, const char *name, const struct oid *commit, struct view **ret, struct error *err);
/* What view_load checks, of any tree over any base tree, for commits at the door. */
int view_check(struct store *store, const struct oid *base_tree, const struct oid *tree, struct error *err);
/* And that the base beneath BASEFD is what BASE_TREE has on record of it, wherever TREE differs. -ESTALE, naming a path. */
int view_check_over(struct store *store, const struct oid *base_tree, const struct oid *tree, int basefd, struct error *err);
/*
 * Another view that says what VIEW says, which is loaded and not completed: it may be completed, and VIEW stays as it is.
 * Keeps VIEW alive. -ENOMEM.
 */
int view_copy(struct view *view, struct view **ret);
/*
 * Ready to serve: every VIEW_FILE has its object on disk, verified against its blob, durable; every key
 * that is not present is taken from the base file of the same type at that path beneath BASEFD, else
 * the defaults. A THROUGH directory that the base lacks and that leads to something becomes a VIEW_DIRECTORY (root:root
 * 0755, the commit's time); one that the base lacks and that leads to deletions alone stays. -EBADMSG: a
 * path passes through a symlink of the base. After a failure the view is only good for view_unref().
 */
int view_complete(struct view *view, struct store *store, int basefd, struct error *err);

struct view *view_ref(struct view *view);
void view_unref(struct view *view); /* NULL is fine */
static inline void view_unrefp(struct view **view)
{
	view_unref(*view);
}
#define cleanup_view __attribute__((cleanup(view_unrefp)))

/* What the base had at the path of an entry when the view was completed. */
struct view_found {
	dev_t device;
	ino_t inode;
	mode_t type; /* S_IFMT; 0: nothing was there, and the rest says nothing */
	nlink_t links;
	mode_t mode; /* the permissions */
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec mtime, ctime;
};
/* NULL: the view is not completed. */
const struct view_found *view_found_at(const struct view *view, uint32_t index);
/*
 * Look at the base beneath BASEFD once more. The view is completed and nobody else uses it yet. After a failure it is as if it had
 * never been looked at: view_found_at() is NULL.
 */
int view_look_again(struct view *view, int basefd, struct error *err);
/*
 * What the base has now at each directory (VIEW_THROUGH, VIEW_DIRECTORY) of a view that is in use: an array in the order of entries,
 * which the caller frees. It says nothing of the other entries.
 */
int view_look_at_directories(const struct view *view, int basefd, struct view_found **ret, struct error *err);

/*
 * ---- does it still fit the base? ----
 *
 * A patch is served only while the base holds what the patch was made for: its preimages, which the base commit has on record. Each
 * path of the view (but for directories, which are seen through) is compared with what the base has there, by content and type:
 * what the base has on record (it fits), what the view serves there itself (it is in the base already), or something else.
 */
enum view_fit {
	VIEW_FITS,     /* the base is as recorded; or in part as recorded, in part as the view has it */
	VIEW_ABSORBED, /* the base has all that the view would change */
	VIEW_CHANGED,  /* the base has something else at one path at least */
};
/*
 * *RET_PATH (the caller frees it) is the first path that has changed, where some has; else NULL. The base is looked at once more where
 * the view has not been completed. Files whose content is not known by their fingerprint are read.
 */
int view_fit(struct view *view, struct store *store, int basefd, enum view_fit *ret, char **ret_path, struct error *err);

/*
 * A path (the caller frees it) that VIEW adds, where the base has nothing, and where SERVED (NULL: none) has something that has ended:
 * somebody has removed it, and the base does not tell. *RET NULL: there is none. VIEW has been looked at (completed, or view_fit()). 0 or
 * -ENOMEM.
 */
int view_find_removed(const struct view *view, const struct view *served, char **ret);

/*
 * From now on the base shows at entry INDEX, whatever else the view says: it was changed there, and a newer base wins. For a
 * directory: its metadata alone. The one thing of a published view that changes, and it never changes back. Any thread.
 */
void view_end(const struct view *view, uint32_t index);
bool view_is_ended(const struct view *view, uint32_t index);
/* Has view_end() been called for any? */
bool view_any_ended(const struct view *view);
/* How often view_end() has been called of each by now: view_count() numbers, which the caller frees. NULL: out of memory. */
unsigned *view_ended_now(const struct view *view);
/* Do two entries at one path serve the same, metadata aside? */
bool view_serves_same(const struct view_entry *a, const struct view_entry *b);
/*
 * What has ended in FROM ends in TO, where that has the same at that path; but for what has not ended once more since SETTLED was taken
 * (view_ended_now(FROM); NULL: nothing is settled). Thus no view that is published forgets what the base has shown already. *RET_ANY: something has ended by this. 0 or
 * -ENOMEM.
 */
int view_carry_ended(const struct view *from, const struct view *to, const unsigned *settled, bool *ret_any);
/* view_child() as it is served: VIEW_NONE for what has ended, but for a directory. */
uint32_t view_served_child(const struct view *view, uint32_t index, const char *name, size_t len);
/* The kind of an entry as it is served: a directory that has ended is a way through. Not for others that have ended. */
enum view_kind view_served_kind(const struct view *view, uint32_t index);

const struct oid *view_commit(const struct view *view);
const struct oid *view_base(const struct view *view); /* the base commit */
size_t view_count(const struct view *view); /* entries, the root included */
size_t view_bytes(const struct view *view); /* memory that it takes */
const struct view_entry *view_at(const struct view *view, uint32_t index); /* 0 is the root */
/* The child of directory INDEX called NAME; VIEW_NONE. */
uint32_t view_child(const struct view *view, uint32_t index, const char *name, size_t len);
/* The entry at a relative path; VIEW_NONE where the view has none. */
uint32_t view_lookup(const struct view *view, const char *path);
/* The path of an entry, appended to SB. */
void view_path(const struct view *view, uint32_t index, struct strbuf *sb);

/*
 * Each path that is served differently by OLD and NEW (either may be NULL: the bare base), in order of
 * paths (path_compare). Both completed, or neither. OLD_INDEX or NEW_INDEX is VIEW_NONE where that view has no entry.
 * Reported are: an entry on one side alone (a deletion too), entries of another kind, content or
 * metadata, or that have ended. Not reported: THROUGH entries against THROUGH or none. Where one side has a directory and
 * the other a file, a deletion or nothing, the path is reported and then each entry beneath it, against
 * VIEW_NONE; entries of the *base* beneath it, which appear or vanish with it, are not: what was known of
 * the whole subtree is stale. PATH is valid during the call; non-zero of FN ends the walk and is
 * returned; -ENOMEM.
 */
typedef int (*view_diff_fn)(void *arg, const char *path, uint32_t old_index, uint32_t new_index);
int view_diff(const struct view *old, const struct view *new, view_diff_fn fn, void *arg);
/* How many paths view_diff() reports. */
int view_diff_count(const struct view *old, const struct view *new, uint64_t *ret);

#endif
