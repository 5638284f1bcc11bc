/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_NOTIFIER_H
#define VENEER_FS_NOTIFIER_H

/*
 * A thread that tells the kernel of nodes whose pages it must forget, on behalf of handlers: a handler must
 * not send a notice itself, for the kernel may wait in it for that handler's own answer (fuse.rst).
 *
 * Calling sequence: notifier_new() → notifier_add(), from any thread → notifier_free(), which ends the thread once
 * the notice that is being sent is through; what waits then is dropped.
 *
 * After a crash: what waits, and what was being sent, is in struct notifier_kept, and sent by the next worker's notifier.
 */

#include <stdint.h>

#define NOTIFIER_KEPT 1024u

struct notifier;

/* In memory that outlives the process (fs/shared.h). */
struct notifier_kept {
	uint64_t ids[NOTIFIER_KEPT]; /* in no order; 0: free */
	uint32_t lost; /* more waited than there is room for: anything may be stale */
};

typedef int (*notifier_fn)(void *arg, uint64_t id);

/* TELL is called in the thread of the notifier, with no lock held. KEPT is borrowed; NULL: none. 0, -ENOMEM or another negative errno. */
int notifier_new(notifier_fn tell, void *arg, struct notifier_kept *kept, struct notifier **ret);
void notifier_free(struct notifier *notifier); /* NULL is fine */
/* Never waits. -ENOMEM: ID will not be told. */
int notifier_add(struct notifier *notifier, uint64_t id);

#endif
