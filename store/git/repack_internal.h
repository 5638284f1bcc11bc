/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_REPACK_INTERNAL_H
#define VENEER_GIT_REPACK_INTERNAL_H

/* Between repack.c and repack_mend.c. */

#include "store/git/inventory.h"

/* All files of a pack, its index first, which makes it none. */
int pack_unlink(int pack_fd, const char *stem, struct error *err);
/* Before packs are removed: what names them besides themselves. */
int packs_forget(const struct inventory *inventory, struct error *err);

#endif
