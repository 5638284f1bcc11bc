/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SCRUB_H
#define VENEER_FS_SCRUB_H

/*
 * The scrub: a thread that reads the objects of what is served from the disk, slowly, and hands what is damaged to fs/healer.h, so
 * that rot is found before somebody needs the bytes. It reads past the page cache where the filesystem can (object_verify_disk()), at
 * a bounded rate, as an idle process (SCHED_IDLE, and idle for the disk). A round goes through all objects in the order of their
 * hashes; one begins when the component is mounted, and SCRUB_ROUND_SECONDS after the last one began. Its place is known to the next
 * worker, which goes on there.
 *
 * Calling sequence: scrub_start() once there is a session; scrub_stop() before it goes.
 *
 * Locks: its own, held for no call. While it is idle for the processor it takes none that a request needs.
 * Threads: any number ask.
 */

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/healer.h"
#include "store/view.h"

#define SCRUB_BYTES_PER_SECOND (8ull << 20) /* unless asked otherwise */
#define SCRUB_RATE_MAX (1ull << 40)
#define SCRUB_ROUND_SECONDS (6 * 3600)

/* ---- what there is to read ---- */

struct scrub_object {
	struct hash128 hash;
	struct oid blob;
	uint64_t size;
};
struct scrub_list {
	struct scrub_object *objects; /* owned; in the order of their hashes, each once */
	size_t count;
};
#define SCRUB_LIST_INIT { NULL, 0 }
void scrub_list_release(struct scrub_list *list);
#define cleanup_scrub_list __attribute__((cleanup(scrub_list_release)))
/* The objects of VIEW (completed; NULL: none). 0 or -ENOMEM. */
int scrub_list_make(const struct view *view, struct scrub_list *ret);
/* The first after PLACE; NULL: none. */
const struct scrub_object *scrub_list_after(const struct scrub_list *list, const struct hash128 *place);
/* How long to wait, in milliseconds, where BYTES have been read in ELAPSED_NS and RATE bytes a second are allowed. */
uint64_t scrub_wait_ms(uint64_t bytes, uint64_t elapsed_ns, uint64_t rate);

/* ---- the thread ---- */

struct worker_state;
struct scrub;

/* RATE: bytes a second; 0: only when somebody asks. OBJECTS_FD, HEALER and STATE are borrowed. */
int scrub_start(uint64_t rate, int objects_fd, struct session *session, struct healer *healer, struct worker_state *state,
	struct scrub **ret, struct error *err);
void scrub_stop(struct scrub *scrub); /* NULL: nothing */
/* Begin a round now, and read it as fast as can be; one that goes on is begun anew. */
void scrub_now(struct scrub *scrub);
/* The keys "scrub" and "scrubbed_at". */
void scrub_add_state(struct scrub *scrub, struct json_object *row);

#endif
