/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_RECOVER_H
#define VENEER_STORE_RECOVER_H

#include "store/store.h"

/*
 * After whoever wrote to the store last was killed, or the machine was: what he had named but not yet made durable becomes durable before
 * anybody builds on it, a switch that he did not come to write down is written down, and his temporary files are removed. All of it is
 * safe to do at any time, and does nothing where there is nothing to do; store_lock() calls it, for only then the store is nobody else's.
 * PATH is the store's: it is opened anew, for the caller's own handle may be in another thread's hands.
 */
int store_recover(const char *path, struct error *err);

/* Of one component: where its journal does not end with what is active, an entry says so. Store locked. */
int journal_complete(struct store *store, const char *component, struct error *err);

/* The reason of an entry that was written so, by whoever came next. */
#define RECOVER_REASON "found afterwards: who moved the ref ended before it was written down"

#endif
