/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/passthrough.h"

#include "fs/kernel_abi.h"

static int backing_make(struct session *session, uint64_t id, int32_t *ret_backing)
{
	cleanup_fdref struct fdref file = FDREF_INIT;
	struct abi_backing_map map = { 0 };
	int r = overlay_open(session->overlay, id, FD_READ, &file), backing;

	if (r < 0)
		return r;
	map.fd = file.fd;
	backing = session_backing_open(session, &map);
	if (backing < 0)
		return backing;
	*ret_backing = backing;
	return 0;
}

int passthrough_open(struct session *session, uint64_t id, int32_t *ret_backing)
{
	struct node_table *nodes = overlay_nodes(session->overlay);
	int32_t backing = 0, surplus = 0;
	int r = node_backing_use(nodes, id, &backing);

	if (r < 0)
		return r;
	if (!backing) {
		r = backing_make(session, id, &backing);
		if (r < 0) {
			passthrough_release(session, id);
			return r;
		}
		backing = node_backing_offer(nodes, id, backing, &surplus);
		if (surplus)
			session_backing_close(session, surplus);
	}
	*ret_backing = backing;
	return 0;
}

void passthrough_release(struct session *session, uint64_t id)
{
	int32_t backing = node_backing_drop(overlay_nodes(session->overlay), id);

	if (backing)
		session_backing_close(session, backing);
}
