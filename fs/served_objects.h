/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SERVED_OBJECTS_H
#define VENEER_FS_SERVED_OBJECTS_H

/*
 * Which objects a daemon may yet open: those of its view, and those of nodes that the kernel knows, whatever view they came from.
 * Handed over as a file without a name, for there may be many: records of SERVED_RECORD_BYTES, the blob's id and then the object's
 * address.
 *
 * Threads: any, beside requests. A node that is made meanwhile is of the view, before or after.
 */

#include "fs/overlay.h"
#include "store/gc.h"
#include "store/store.h"

#define SERVED_RECORD_BYTES 36u
#define SERVED_RECORDS_MAX (1u << 25)

/* The daemon's side: an fd of all of them. */
int served_objects_list(struct overlay *overlay, int *ret_fd, struct error *err);
/*
 * The command's side: asks the daemon of NAME; none where there is no daemon. -EBUSY: there is one, and it does not answer. An
 * in_use of struct gc_options.
 */
int served_objects_ask(struct store *store, const char *name, struct gc_use **ret, size_t *ret_count, struct error *err);

#endif
