/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_ALIASES_H
#define VENEER_FS_ALIASES_H

/*
 * Names that the kernel may know a node by besides the one that the node table has: hard links, and what a file was called
 * before it was renamed around the mount. A notice is sent by name, so each has to be remembered until the node is forgotten.
 * Directories need none: the kernel has one name of each, and moves it.
 *
 * That the kernel has dropped a name by itself is not seen: an alias too many costs a notice, and nothing else.
 *
 * Each is a record in the arena of names, and a reference to it in the region SHARED_ALIASES; all else is made anew from these.
 *
 * Threads: the owner's lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/arena.h"

struct aliases;

/* SHARED and NAMES are borrowed. NULL: out of memory. */
struct aliases *aliases_new(struct shared *shared, struct arena *names);
void aliases_free(struct aliases *aliases); /* NULL is fine; what is in the region stays */
/*
 * Between arena_new() and arena_recover(): take over what is in the region, of those nodes that LIVES says are. 0 or -ENOMEM.
 */
int aliases_recover(struct aliases *aliases, bool (*lives)(void *arg, uint64_t node), void *arg);

/* NODE is known as NAME in directory PARENT, too; once, however often it is said. 0, -ENOMEM or -ENOSPC. */
int aliases_add(struct aliases *aliases, uint64_t node, uint64_t parent, const char *name);
/* No longer; nothing where it was not. */
void aliases_drop(struct aliases *aliases, uint64_t node, uint64_t parent, const char *name);
/* NODE is gone. */
void aliases_forget(struct aliases *aliases, uint64_t node);
size_t aliases_count(const struct aliases *aliases);

/* Calls FN for each, in no order; FN changes none. Non-zero of FN ends it and is returned. */
typedef int (*aliases_fn)(void *arg, uint64_t node, uint64_t parent, const char *name);
int aliases_each(const struct aliases *aliases, aliases_fn fn, void *arg);

#endif
