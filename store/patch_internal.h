/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_PATCH_INTERNAL_H
#define VENEER_STORE_PATCH_INTERNAL_H

/* What the ways to make a patch share: patch_create.c (of a changeset), patch_commit.c (of a commit); and rebase.c. */

#include "store/patch.h"

/* A component's name's letters, at most PATCH_LABEL_MAX, none of 'active', 'base' and 'HEAD'; -EINVAL. */
int patch_check_label(const char *label, struct error *err);

/* Can the patch LABEL of component NAME, at commit OID, be read? -EBADMSG: what patch_list_load() leaves out, and a label that it contradicts. */
int patch_verify(struct store *store, const char *name, const char *label, const struct oid *oid, struct error *err);

/* A patch that is about to be written. */
struct patch_draft {
	const struct patch_spec *spec;
	char *message; /* owned; without our trailers */
	struct patch_list list; /* of the component, as it was before */
	char label[PATCH_LABEL_MAX + 1];
	uint64_t sequence;
};
#define PATCH_DRAFT_INIT { .list = PATCH_LIST_INIT }
void patch_draft_release(struct patch_draft *draft);
#define cleanup_patch_draft __attribute__((cleanup(patch_draft_release)))

/*
 * Everything about a new patch that does not depend on its content: label, sequence, message, what it
 * supersedes. MESSAGE is taken where SPEC has none.
 */
int patch_draft_begin(struct store *store, const struct component *component, const struct patch_spec *spec,
	const char *message, struct patch_draft *ret, struct error *err);
/* SPEC's tree, parents, author and time, with the draft's message: the patch commit. In a batch. */
int patch_draft_write(struct store *store, const struct component *component, const struct patch_draft *draft,
	const struct commit_spec *commit, struct oid *ret, struct error *err);
/*
 * Make it known: COMMIT becomes the patch, BASE (with BASE_TREE) the component's base, active is
 * composed anew over it; the batch is committed, the refs move, the journal tells of active.
 */
int patch_draft_publish(struct store *store, struct component *component, const struct patch_draft *draft,
	const struct oid *commit, const struct oid *base, const struct oid *base_tree, struct error *err);

/* A base commit that takes the place of the newest one, and a patch that comes with it. */
struct base_publication {
	const struct oid *base, *base_tree;
	const char *base_version; /* NULL: as it was */
	const char *action;	  /* for the journal, where active is another commit afterwards */
	const char *label;	  /* of the patch; NULL: none */
	const struct oid *patch;
};
/* Compose active over it, commit the batch, move the refs, the journal's with them. component->base, base_tree and active follow. */
int base_publish(struct store *store, struct component *component, const struct patch_list *list,
	const struct base_publication *publication, struct error *err);

#endif
