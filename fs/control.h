/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CONTROL_H
#define VENEER_FS_CONTROL_H

/*
 * The control socket of a mounted component: STORE/run/NAME.sock, a SOCK_SEQPACKET socket that root
 * alone may use (0700 store, SO_PEERCRED checked). One JSON object a packet, at most
 * CONTROL_PACKET_MAX bytes, answered by one:
 *
 *     {"operation":"prepare","commit":"HEX"}   load, verify, complete; keep it ready. Nothing is switched.
 *                                              "changed_paths": how many would be served differently
 *     {"operation":"switch","commit":"HEX"}    publish it (prepared or not), tell the kernel, answer
 *     {"operation":"status"}                   see control_status_keys in docs/man/veneer.8
 *     {"operation":"base"}                     the answer brings the O_PATH fd of the base directory along (SCM_RIGHTS)
 *     {"operation":"detach"}                   the mount was taken off: close the socket, watch no ref
 *
 *     {"ok":true, …}   or   {"ok":false,"code":ERRNO,"error":"sentence"}
 *
 * "switch" answers "changed_paths" too, "published_nanoseconds" (from request to the swapped pointer)
 * and "nanoseconds" (to the kernel told).
 */

#include <json-c/json.h>

#include "store/base/error.h"
#include "store/store.h"

#define CONTROL_PACKET_MAX 65536

struct control; /* a client's connection */

/* -ENOENT: the component is not mounted (no socket, or nobody listens on it). */
int control_open(struct store *store, const char *name, struct control **ret, struct error *err);
void control_close(struct control *control);
static inline void control_closep(struct control **control)
{
	if (*control)
		control_close(*control);
}
#define cleanup_control __attribute__((cleanup(control_closep)))

/*
 * Send REQUEST (borrowed), wait at most TIMEOUT_MS for the answer. {"ok":false} becomes its code and message in ERR.
 * The answer, owned by the caller (json_object_put), in *RET_REPLY, which may be NULL.
 */
int control_call(struct control *control, struct json_object *request, int timeout_ms,
	struct json_object **ret_reply, struct error *err);

/* The fd that came with the last answer (to "base"), now the caller's; -EBADF: none came. */
int control_take_fd(struct control *control);

/* {"operation":OPERATION} with "commit" where COMMIT is not NULL, called. */
int control_simple(struct control *control, const char *operation, const struct oid *commit,
	struct json_object **ret_reply, struct error *err);

#endif
