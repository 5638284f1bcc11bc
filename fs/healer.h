/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_HEALER_H
#define VENEER_FS_HEALER_H

/*
 * What becomes of a damaged object of a mounted component, whoever has found it: a request, an activation, the scrub (fs/scrub.h), or
 * another process that says so over the control socket. It is made again from git, in place where it can be; then by a thread of its own
 * the descriptors that may be of the damaged file are let go of, and the journal gets an entry "healed". What the kernel has in the page
 * cache of the mount is right all the while: it was compared when it was read (overlay_read()).
 *
 * What cannot be healed is remembered, said in the log (once in HEALER_LOG_SECONDS for each), and by health.
 *
 * Calling sequence: healer_new(), for those who find damage; healer_start(), once there is a session: until then what is found is
 * healed, and told of later; healer_stop() before the session goes; healer_free() after the overlay.
 *
 * Locks: one that guards the store it heals from, held while it heals: it alone. One for what is to be told, held for no call.
 * Threads: any number heal, one after another.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/session.h"
#include "store/base/hash.h"
#include "store/git/repo.h"

#define HEALER_LOG_SECONDS 60
#define HEALER_LOST_MAX 64u	/* objects that are remembered as not to be healed */
#define HEALER_SHOWN_SECONDS (24 * 3600) /* health says that there was something to heal */

struct worker_state;
struct healer;

/* STORE_PATH, NAME (the component's) and STATE are borrowed. NULL: out of memory. */
struct healer *healer_new(const char *store_path, const char *name, struct worker_state *state);
int healer_start(struct healer *healer, struct session *session, struct error *err);
/* What was found before is written down first, where the store's lock can be had at once. NULL: nothing. */
void healer_stop(struct healer *healer);
void healer_free(struct healer *healer); /* NULL: nothing */

/*
 * Heal the object HASH, of SIZE bytes, that of BLOB, where it is damaged; CAUSE ("by the scrub") is for the journal. 1: it was damaged,
 * and is whole; 0: it is whole; or a negative errno: it is not, and the log says so. Not from within a batch of the journal's store.
 */
int healer_heal(struct healer *healer, const struct hash128 *hash, const struct oid *blob, uint64_t size, const char *cause);
/* An object_heal_fn; ARG is the healer. What could not be healed is not tried again at once where that takes long. */
int healer_heal_for_reader(void *arg, const struct hash128 *hash, const struct oid *blob, uint64_t size);
/* COUNT objects were found damaged and healed on the way to something else; TEXT says what they were. They were not served. */
void healer_note(struct healer *healer, unsigned count, const char *text, const char *cause);
/* HASH was healed by another process: what is held of it is let go of. */
void healer_forget(struct healer *healer, const struct hash128 *hash);
/* HASH was looked at and is whole: if it could not be healed before, that is over. */
void healer_is_whole(struct healer *healer, const struct hash128 *hash);

/* false: nothing to say. Else HEALTH is "damaged: …" or "healed: …". */
bool healer_health(struct healer *healer, char *health, size_t size);
/* The keys "healed" and "healed_at". */
void healer_add_state(struct healer *healer, struct json_object *row);

#endif
