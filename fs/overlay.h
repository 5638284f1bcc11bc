/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_OVERLAY_H
#define VENEER_FS_OVERLAY_H

/*
 * The overlay: the base directory with a view laid over it, as nodes. Knows nothing of FUSE requests
 * and is tested without a mount.
 *
 * Calling sequence: overlay_new() with the base opened O_PATH before the mount. Each handler that
 * answers with names or nodes brackets itself, reply included, with overlay_enter()/overlay_leave():
 * one view for its whole length. overlay_publish() swaps the view; overlay_drain() then waits for
 * those who entered before, after which the kernel can be told: nothing of the old view can reach
 * it any more.
 *
 * Error handling: 0 or a negative errno, which is the answer to the kernel; no messages.
 * Locks: none is held across a system call on the base. A request never waits for a switch.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fs/fdcache.h"
#include "fs/node.h"
#include "store/object.h"
#include "store/policy.h"
#include "store/view.h"

struct overlay;
struct hidden;
struct shared;
struct keeper;

/* The object of a patched file is missing or damaged, as a request has found: make it again from git. 0: it is whole. */
typedef int (*object_heal_fn)(void *arg, const struct hash128 *object, const struct oid *blob, uint64_t size);

/*
 * What happened to the base beneath the view: told by the request that did it, which waits for nobody. PATH is valid during the call;
 * PID and UID are the caller's, 0 where they are not known.
 */
enum overlay_event {
	OVERLAY_REPLACED, /* what a patch hides, or would add, is something else now: made, replaced, moved there */
	OVERLAY_REMOVED,
	OVERLAY_WRITTEN, /* a file that a patch hides is about to be written, by another name or by who has it open */
	OVERLAY_REFUSED, /* a patched file was to be written in place: EROFS */
	OVERLAY_UNSEEN,	 /* never told by a request: the base may have changed otherwise. PATH is what is known of the cause */
};
typedef void (*overlay_event_fn)(void *arg, enum overlay_event event, const char *path, pid_t pid, uid_t uid);

struct overlay_config {
	struct shared *shared; /* borrowed: where what the kernel knows outlives this process; NULL: it does not */
	struct keeper *keeper; /* borrowed; and descriptors of files without a name; NULL: they do not */
	int base_fd;	 /* O_PATH, borrowed; everything of the base is reached beneath it */
	int objects_fd;	 /* the store's objects/, borrowed */
	bool deny_write; /* every change is EROFS */
	size_t fd_capacity;
	object_heal_fn heal; /* NULL: none */
	void *heal_arg;
	overlay_event_fn event; /* NULL: nobody listens */
	void *event_arg;
};

/* VIEW (counted) is the first; NULL: the bare base. 0, or a negative errno; -EIO: what is in SHARED is of another base. */
int overlay_new(const struct overlay_config *config, struct view *view, struct overlay **ret);
void overlay_free(struct overlay *overlay);

struct node_table *overlay_nodes(struct overlay *overlay);
struct fdcache *overlay_fds(struct overlay *overlay);
/* FN hears of each node that is forgotten, under the node table's lock; NULL: nobody. While no requests are served. */
void overlay_on_forget(struct overlay *overlay, node_reap_fn fn, void *arg);
bool overlay_denies_write(const struct overlay *overlay);

/* ---- one view for the length of a request ---- */

struct overlay_guard {
	struct overlay *overlay;
	const struct view *view; /* NULL: the bare base. Good until overlay_leave() */
	const struct hidden *hidden; /* hard links that VIEW hides; NULL: none */
	unsigned generation;
	pid_t pid; /* of the caller, for whoever is told of what he does to the base; 0: not known */
	uid_t uid;
};
void overlay_enter(struct overlay *overlay, struct overlay_guard *ret);
void overlay_leave(struct overlay_guard *guard);
#define cleanup_overlay_guard __attribute__((cleanup(overlay_leave)))

/* Swap the view for VIEW (counted by the overlay; NULL: the bare base). One caller at a time, who has drained before. Returns
 * the old one: its count is the caller's. Where the base cannot be asked which hard links VIEW hides, links count as there. */
struct view *overlay_publish(struct overlay *overlay, struct view *view);
/* To whoever listens: the base may have changed unseen, and CAUSE says how. */
void overlay_tell_unseen(struct overlay *overlay, const char *cause);
/* How names that the view hides are replaced and removed from now on (store/policy.h); retire until it is called. */
void overlay_set_base_change(struct overlay *overlay, enum base_change base_change);
/*
 * How many times names in the base were made, moved or removed through the mount (modulo 2^32). Where it is the same before a view
 * is completed and after those who entered before have left, what the view found in the base is still there.
 */
unsigned overlay_changes(const struct overlay *overlay);
/* May the last publish have taken away a directory of the base, or given one back? */
bool overlay_turns_directories(struct overlay *overlay);
/* Wait until each request that entered before the last publish has left; false after TIMEOUT_MS. */
bool overlay_drain(struct overlay *overlay, int timeout_ms);
/* A counted reference to the current view; NULL: the bare base. */
struct view *overlay_view(struct overlay *overlay);
/* Calls FN for each node of the base whose number of links the last publish changed. By the caller of overlay_publish(). */
typedef void (*overlay_node_fn)(void *arg, uint64_t id);
void overlay_each_relinked(struct overlay *overlay, overlay_node_fn fn, void *arg);

/* ---- reading ---- */

/* What is looked up: the node's id and its attributes. */
struct overlay_entry {
	uint64_t id;
	struct stat st;
};

/* Counts one look-up of the node in *RET (overlay_forget()). -ENOENT, -ENAMETOOLONG, -ESTALE, … */
int overlay_lookup(struct overlay_guard *guard, uint64_t parent, const char *name, struct overlay_entry *ret);
void overlay_forget(struct overlay *overlay, uint64_t id, uint64_t count);
int overlay_getattr(struct overlay_guard *guard, uint64_t id, struct stat *ret);
/* The target appended to SB. */
int overlay_readlink(struct overlay *overlay, uint64_t id, struct strbuf *sb);
/* An fd for the bytes of a regular file (or for fsync of a directory), read only or for reading and writing (-EROFS where patched). */
int overlay_open(struct overlay *overlay, uint64_t id, enum fd_kind kind, struct fdref *ret);
/*
 * overlay_open() to read the bytes FROM…TO-1. *RET_SIZE: the file's, if it was opened just now; else UINT64_MAX. What is read whole
 * is not kept open: who has read it has it in memory.
 */
int overlay_open_to_read(struct overlay *overlay, uint64_t id, uint64_t from, uint64_t to, struct fdref *ret, uint64_t *ret_size);
/*
 * Bytes FROM…FROM+SIZE-1 of a regular file into BUF: how many there were, or a negative errno. What a patch serves is compared with what
 * was found when its object was hashed; where it differs the object is made again (heal), and then it is right or -EIO. Of a file
 * that has more than a block and came here without its blocks (memory was short) only what is read whole is known.
 */
ssize_t overlay_read(struct overlay *overlay, uint64_t id, void *buf, uint64_t from, size_t size);
bool overlay_is_patched(struct overlay *overlay, uint64_t id);
/* overlay_open() to read, for a file that the kernel is going to read by itself: what a patch serves has the right length, at least. */
int overlay_open_to_pass(struct overlay *overlay, uint64_t id, struct fdref *ret);
/* Sizes and results as getxattr(2) and listxattr(2): SIZE 0 asks for the size. TRUSTED: list "trusted." names. */
ssize_t overlay_getxattr(struct overlay_guard *guard, uint64_t id, const char *name, void *value, size_t size);
ssize_t overlay_listxattr(struct overlay_guard *guard, uint64_t id, char *list, size_t size, bool trusted);

/* ---- where a directory stands, for the modules of the overlay ---- */

struct overlay_place {
	char *path;	     /* owned; component-relative */
	uint32_t view_index; /* of the directory; VIEW_NONE: nothing of the view is in it */
	bool gone;	     /* the view took the directory away: it has no entries */
};
void overlay_place_release(struct overlay_place *place);
#define cleanup_place __attribute__((cleanup(overlay_place_release)))
int overlay_place(struct overlay_guard *guard, uint64_t id, struct overlay_place *ret);
/* Did the view take directory ID away? What is not in it now may be there after a switch that names nothing in it. */
bool overlay_is_gone(struct overlay_guard *guard, uint64_t id);

/* An O_PATH fd of a base directory (-ENOENT for one that only the view has), or of any node (overlay_open_path). */
int overlay_base_directory(struct overlay *overlay, uint64_t id, struct fdref *ret);
int overlay_open_path(struct overlay *overlay, uint64_t id, struct fdref *ret);

/*
 * The entry NAME of a place, resolved without a node: from the view, else from the base (BASE_FD: the
 * directory's fd, or negative: it has none). *RET_CONTENT (counted) is set where it is the view's.
 */
int overlay_resolve(struct overlay_guard *guard, const struct overlay_place *place, int base_fd,
	const char *name, struct stat *ret_st, struct node_key *ret_key, struct content **ret_content);

/* overlay_lookup() for many names of one directory, whose place and base fd (negative: none) the caller has. */
int overlay_lookup_at(struct overlay_guard *guard, uint64_t parent, const struct overlay_place *place,
	int base_fd, const char *name, struct overlay_entry *ret);

/* The same for NAME of directory PARENT, which was just made and is FD: of the base, and not of the view. */
int overlay_lookup_made(struct overlay_guard *guard, uint64_t parent, const char *name, int fd, struct overlay_entry *ret);

#endif
