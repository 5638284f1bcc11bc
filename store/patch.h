/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_PATCH_H
#define VENEER_STORE_PATCH_H

/*
 * Patches: commits at refs/veneer/NAME/patches/LABEL. Facts are trailers of the message:
 * Component, Base-Version, Label, Sequence, Fixes, Supersedes, Restart, Reboot (repeatable where that
 * makes sense). The parent is the base it was made for, or the patch it builds on; its preimage at a
 * path is the parent's entry there; a path in the parent and not in the patch is a deletion.
 */

#include <stdbool.h>
#include <stdint.h>

#include "store/base/error.h"
#include "store/changeset.h"
#include "store/component.h"

#define PATCH_LABEL_MAX 32
#define PATCH_MESSAGE_MAX (64u << 10) /* bytes, trailers included */
#define PATCH_VALUES_MAX 512u	      /* of Fixes, of Supersedes, of Restart */

struct patch {
	char *label;
	struct oid commit, tree, parent;
	uint64_t sequence; /* 0: the commit does not say */
	int64_t time;	   /* committer's, seconds */
	char *base_version; /* as the commit says; "" otherwise */
	char *subject;
	char *body; /* without subject and trailers; may be "" */
	char *author;
	char **fixes, **supersedes, **restart; /* NULL-terminated, never NULL */
	bool reboot;
};

struct patch_list {
	struct patch *patches; /* in order of sequence, then time, then label: the last is the newest */
	size_t count;
	/* Refs below patches/ that are no patch, or are past a limit: left out, so that the others can be used. */
	size_t broken;
	char *problem; /* owned; what is wrong with the first of them, its label named; NULL: none */
};
#define PATCH_LIST_INIT { .patches = NULL, .count = 0, .broken = 0, .problem = NULL }
void patch_list_release(struct patch_list *list);
#define cleanup_patch_list __attribute__((cleanup(patch_list_release)))

/* What cannot be read as a patch is left out and counted. */
int patch_list_load(struct store *store, const struct component *component, struct patch_list *ret,
	struct error *err);
/* Borrowed, or NULL. */
const struct patch *patch_find(const struct patch_list *list, const char *label);
const struct patch *patch_find_commit(const struct patch_list *list, const struct oid *commit);
/* Does another patch of the list supersede it? */
bool patch_is_superseded(const struct patch_list *list, const struct patch *patch);

struct patch_spec {
	const char *message;
	const char *label; /* NULL: the next free one of a, b, …, z, aa, … */
	const char *const *fixes, *const *supersedes, *const *restart; /* NULL-terminated or NULL */
	bool reboot;
};

/*
 * What patch_create() would refuse of SPEC, whatever the changes: a label that is taken, a message that cannot
 * be, and so on; for who has long work to do first.
 */
int patch_check_spec(struct store *store, const struct component *component, const struct patch_spec *spec,
	struct error *err);

/*
 * Make a patch of SET over the component's newest base. In this order: the base grows where it lacks
 * touched paths, the patch commit, then in one transaction the refs patches/LABEL, base, and active
 * (recomposed over the grown base: it serves the same). Changes equal to the base are dropped; -ENODATA:
 * nothing is left. BASEFD is the component's own directory, beneath any mount. In a batch (the one in
 * which SET's blobs were written), which is committed here, before the refs move; after a failure
 * the caller aborts it. Where active moves, the journal has an entry "recomposed". Store locked.
 * -EEXIST: the label is taken.
 */
int patch_create(struct store *store, struct component *component, int basefd,
	const struct changeset *set, const struct patch_spec *spec, char **ret_label,
	struct oid *ret_commit, struct error *err);

/*
 * Make a patch of a commit made with plain git: its tree is checked as apply would check it
 * (view_check), its parent becomes the nearest base or patch of this component among its ancestors, its
 * message SPEC's (NULL: its own) with our trailers; author and time of COMMIT stay. The base grows and
 * the batch is committed as above. Where it was made on a composition, what it changed over that is
 * laid over the composition's base; -EEXIST: the composed patches touch the same.
 */
int patch_create_from_commit(struct store *store, struct component *component, int basefd,
	const struct oid *commit, const struct patch_spec *spec, char **ret_label,
	struct oid *ret_commit, struct error *err);

/*
 * a, b, …, z, aa, … after the greatest label of that form in use (words that are far ahead of the
 * number of patches do not count). LABEL has PATCH_LABEL_MAX + 1 bytes.
 */
void patch_next_label(const struct patch_list *list, char *label);

#endif
