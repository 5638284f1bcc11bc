/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_POLICY_H
#define VENEER_STORE_POLICY_H

/*
 * What a machine's owner has decided for a component: STORE/policy/NAME, one "key value" a line, `#` begins a comment. A file, so that
 * a fleet tool can drop it in.
 *
 *     base-change retire|hold|fail      the base is changed beneath a patch that is applied:
 *        retire   the newer base wins: the whole patch is taken off (default)
 *        hold     the patch goes on hiding what is beneath it
 *        fail     patched paths cannot be replaced or removed (EROFS); a patch that does not fit is neither applied nor mounted, and one
 *                 beneath which the base is changed around the mount is served on, and said to fail
 *
 * Error handling: a file that cannot be read or holds anything else is an error that names file and line: nothing is guessed. After a
 * crash: the old file or the new one.
 */

#include "store/base/error.h"
#include "store/store.h"

#define POLICY_BYTES_MAX 65536u

enum base_change { BASE_CHANGE_RETIRE, BASE_CHANGE_HOLD, BASE_CHANGE_FAIL };

struct policy {
	enum base_change base_change;
};

/* "retire", …; and back: -EINVAL. */
const char *base_change_name(enum base_change change);
int base_change_parse(const char *name, enum base_change *ret);

/* The defaults where there is no file. */
int policy_load(struct store *store, const char *component, struct policy *ret, struct error *err);
/* Store locked. */
int policy_save(struct store *store, const char *component, const struct policy *policy, struct error *err);

#endif
