/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CONTROL_H
#define VENEER_FS_CONTROL_H

/*
 * The control socket of a mounted component: STORE/run/NAME.sock, a SOCK_SEQPACKET socket that root
 * alone may use (0700 store, SO_PEERCRED checked). One JSON object a packet, at most
 * CONTROL_PACKET_MAX bytes, answered by one:
 *
 *     {"operation":"transition","kind":"apply","names":["a"],"all":false}
 *                              kinds and names as in struct transition_request. Comes with the store's lock as a
 *                              file descriptor (SCM_RIGHTS), which the daemon keeps until it is done. With "id" (a number): asked again with
 *                              the same one, because the worker was killed, it is not done twice
 *     {"operation":"status"}   see control_status_keys in docs/man/veneer.8
 *     {"operation":"policy"}   the policy was written anew (store/policy.h)
 *     {"operation":"refresh"}  the kernel forgets what it knows of the base: "directories", "names" and "files" are counted. Comes with
 *                              the store's lock, too
 *     {"operation":"takeover","format":"…"}
 *                              another program is to serve the component: comes with a socket (SCM_RIGHTS) by which that program hears the rest, see
 *                              fs/handover.h
 *     {"operation":"heal","objects":["0123…"]}
 *                              those objects (XXH3-128, 32 digits) were damaged or may be: each that is served is read, from memory and
 *                              from the disk, and made again where it is not whole; and the descriptors that the worker keeps of
 *                              it are let go of, so that it is right whoever has made it again. Answered when that is done: "healed" (now),
 *                              "failed" and "unknown" (not served) are counted. Without "objects": the scrub begins a round at once, as fast
 *                              as can be; nobody waits for its end. For 'fsck', which repairs by object_heal() (store/object.h)
 *     {"operation":"base"}     the answer brings the O_PATH fd of the base directory along (SCM_RIGHTS)
 *     {"operation":"objects"}  the answer brings a list of the objects along that the daemon may yet open (fs/served_objects.h)
 *     {"operation":"detach"}   the mount was taken off: the socket is closed when this is answered, no ref is watched
 *
 *     {"ok":true, …}   or   {"ok":false,"code":ERRNO,"error":"sentence"}
 *
 * "transition" answers "row" and "text", see transition_perform(). Whoever answers on the socket holds STORE/run/NAME.lock;
 * a command that switches what is not mounted holds it too, so that no daemon starts meanwhile.
 */

#include <json-c/json.h>

#include "store/base/error.h"
#include "store/store.h"

#define CONTROL_PACKET_MAX 65536

struct control; /* a client's connection */

/* -ENOENT: the component is not mounted (no socket, or nobody listens on it). */
int control_open(struct store *store, const char *name, struct control **ret, struct error *err);
void control_close(struct control *control);
const char *control_name(const struct control *control); /* of the component; borrowed */
static inline void control_closep(struct control **control)
{
	if (*control)
		control_close(*control);
}
#define cleanup_control __attribute__((cleanup(control_closep)))

/*
 * Send REQUEST (borrowed), with PASSED_FD (borrowed; -EBADF: none) along, and wait for the answer. {"ok":false} becomes its
 * code and message in ERR. The answer, owned by the caller (json_object_put), in *RET_REPLY, which may be NULL.
 * -ETIMEDOUT, -ECONNRESET: whether it was done is not known; the connection is good for nothing more.
 */
int control_call(struct control *control, struct json_object *request, int passed_fd,
	struct json_object **ret_reply, struct error *err);

/* How long control_call() waits for an answer. */
void control_set_timeout(struct control *control, int timeout_ms);

/* The fd that came with the last answer (to "base" or "objects"), now the caller's; -EBADF: none came. */
int control_take_fd(struct control *control);

/* {"operation":OPERATION}, called. */
int control_simple(struct control *control, const char *operation, struct json_object **ret_reply,
	struct error *err);

/*
 * The right to answer for component NAME, or to switch it where nobody does: STORE/run/NAME.lock. RUN_FD: the store's.
 * An fd for control_unlock(); -ETIMEDOUT: another's.
 */
int control_lock(int run_fd, const char *name, int timeout_ms, struct error *err);
/* LOCK_FD -EBADF: nothing. */
void control_unlock(int run_fd, const char *name, int lock_fd);

#endif
