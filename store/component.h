/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_COMPONENT_H
#define VENEER_STORE_COMPONENT_H

/*
 * A component: a name for one directory, and its base commit, whose trailers say all there is to say:
 *
 *     Kind: base
 *     Component: NAME
 *     Base-Version: 3.0.20
 *     Directory: /usr/lib/x86_64-linux-gnu     (absolute, canonical)
 *     Root: /                                  (the system image that it is part of)
 *     Snapshot: touched | full
 *
 * refs/veneer/NAME/base is the newest base commit. A `touched` base grows: creating a patch adds the
 * base content of every path that it touches; the grown base commit has the one before as parent.
 * The invariant that all commands keep: active = stack_compose(base, stack of active).
 */

#include <stdbool.h>

#include "store/base/error.h"
#include "store/store.h"

#define COMPONENT_NAME_MAX 64
#define COMPONENT_VERSION_MAX 128
/* What commit_find_base() looks at: no more patches in a row than twice the longest stack, of a few KiB each. */
#define BASE_SEARCH_MAX 1024u
#define BASE_SEARCH_BYTES (8u << 20)
#define BASE_CHAIN_MAX 1000000u /* bases of one component */
#define REF_NAME_MAX 256

enum snapshot_kind { SNAPSHOT_TOUCHED, SNAPSHOT_FULL };

struct component {
	char *name;
	char *directory;    /* absolute, canonical */
	char *root;	    /* absolute, canonical; "/" for the running system */
	char *base_version; /* "" where none was given */
	enum snapshot_kind snapshot;
	struct oid base;      /* newest base commit */
	struct oid base_tree; /* its tree */
	struct oid active;    /* what is served now */
};

/* Letters, digits, '.', '_', '-', '+'; begins with a letter or digit; no "..", no ".lock" at the end. 0 or -EINVAL. */
int component_check_name(const char *name, struct error *err);

struct component_spec {
	const char *name;
	const char *directory;	  /* must exist, be a directory, hold no store and lie in no store */
	const char *root;	  /* NULL: "/"; DIRECTORY must lie beneath it */
	const char *base_version; /* NULL: "" */
	enum snapshot_kind snapshot;
};
/* Progress of a full snapshot: called now and then. */
typedef void (*progress_fn)(void *arg, uint64_t done_files, uint64_t done_bytes);
/*
 * Declare a component: writes the base commit, then the refs active and base, then a first journal
 * entry. Store locked. -EEXIST: there is one of this name (or one on this directory); -EINVAL: a name,
 * version or path that cannot be (control characters, a blank at the end), "/", DIRECTORY not beneath
 * ROOT, the store inside DIRECTORY or the other way round; -ENOENT, -ENOTDIR.
 * Where the journal alone failed, the message says that the component is declared.
 * After a crash: without the ref base there is no component, and it may be declared again.
 */
int component_add(struct store *store, const struct component_spec *spec, progress_fn progress, void *arg,
	struct error *err);
/* Everything that component_add() would refuse for what SPEC says; nothing is written. */
int component_add_check(struct store *store, const struct component_spec *spec, struct error *err);
/* -ENOENT: no such component (the message names those there are). */
int component_load(struct store *store, const char *name, struct component **ret, struct error *err);
void component_free(struct component *component);
static inline void component_freep(struct component **component)
{
	if (*component)
		component_free(*component);
}
#define cleanup_component __attribute__((cleanup(component_freep)))

/* Names of all components, sorted; NULL-terminated, one allocation each and the array: string_list_free(). */
int component_list(struct store *store, char ***ret, size_t *ret_count, struct error *err);
void string_list_free(char **list);
static inline void string_list_freep(char ***list)
{
	if (*list)
		string_list_free(*list);
}

/* "refs/veneer/NAME/LEAF" */
void component_ref(const char *name, const char *leaf, char ref[REF_NAME_MAX]);

/*
 * Write a base commit of COMPONENT (its name, directory, root, version and snapshot kind count) with TREE,
 * over the base commit PARENT (NULL: the first one). TIME in seconds since the epoch. In a batch; moves no ref.
 */
int component_write_base(struct store *store, const struct component *component, const struct oid *tree,
	const struct oid *parent, int64_t time, struct oid *ret, struct error *err);

/* Is BASE the component's newest base, or one that it has grown from? */
int component_owns_base(struct store *store, const struct component *component, const struct oid *base,
	bool *ret, struct error *err);
/* Is COMMIT a base commit (trailer `Kind: base`)? */
bool commit_is_base(const struct commit *commit);
/* The base commit that COMMIT stands on: itself, or the first base on its first-parent chain (limited in
 * commits and in their bytes; what lies below that base does not count). -EBADMSG: none. */
int commit_find_base(struct store *store, const struct oid *commit, struct oid *ret_base,
	struct oid *ret_base_tree, struct error *err);

#endif
