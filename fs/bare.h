/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_BARE_H
#define VENEER_FS_BARE_H

/*
 * A process that is to serve a mount must not have its own program and libraries mapped from under it: for a page of them it would ask
 * itself. One that mounts has mapped them before; one that goes on with a mount has not. So it begins anew, in a mount namespace of its own in which
 * veneer's mounts are taken off, and returns to the namespace that it came from: what it has mapped by then is of the bare directories.
 *
 * Needs CAP_SYS_ADMIN, one thread, and nothing open yet.
 */

#include "store/base/error.h"

/*
 * Returns once there is nothing of this process under any of veneer's mounts; before that, if there is, it executes its own program again,
 * with the same arguments. -EDEADLK: so there is, all the same.
 */
int bare_begin(struct error *err);

/* Has this process anything mapped that lies on a mount of veneer's? -EDEADLK: it has. */
int bare_check(struct error *err);

#endif
