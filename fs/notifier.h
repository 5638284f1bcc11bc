/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_NOTIFIER_H
#define VENEER_FS_NOTIFIER_H

/*
 * A thread that tells the kernel of nodes whose pages it must forget, on behalf of handlers: a handler must
 * not send a notice itself, for the kernel may wait in it for that handler's own answer (fuse.rst).
 *
 * Calling sequence: notifier_new() → notifier_add(), from any thread → notifier_free(), which ends the thread once
 * the notice that is being sent is through; what waits then is dropped.
 */

#include <stdint.h>

struct notifier;

typedef int (*notifier_fn)(void *arg, uint64_t id);

/* TELL is called in the thread of the notifier, with no lock held. 0, -ENOMEM or another negative errno. */
int notifier_new(notifier_fn tell, void *arg, struct notifier **ret);
void notifier_free(struct notifier *notifier); /* NULL is fine */
/* Never waits. -ENOMEM: ID will not be told. */
int notifier_add(struct notifier *notifier, uint64_t id);

#endif
