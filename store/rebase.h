/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_REBASE_H
#define VENEER_STORE_REBASE_H

/*
 * A base that has moved: the package manager has put another version into the directory. What the base commit has on record is
 * recorded anew, as a base commit of its own with the old one as parent, so that patches can be made for the version of today. Those
 * that were made for the one before stay what they are, stand on the base that they were made for, and are not applied any more
 * (stack_compose(), -ESTALE).
 */

#include "store/component.h"

/*
 * Record the base of COMPONENT anew as VERSION. BASEFD: its own directory, beneath any mount. Moves the refs base and active (composed
 * anew; journal "rebased"); component->base, base_tree, base_version and active follow. *RET_CHANGED false: the record and the version
 * are what they were. -ESTALE, naming a path: a patch that is applied was made for what the base does not hold any more. Store
 * locked; no batch open.
 * After a crash: the old base or the new one.
 */
int component_rebase(struct store *store, struct component *component, int basefd, const char *version, progress_fn progress,
	void *arg, bool *ret_changed, struct error *err);

#endif
