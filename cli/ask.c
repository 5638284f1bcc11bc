/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ask.h"

#include <errno.h>

#define LOST_TRIES 20 /* workers that are killed over one request */

static bool is_lost(int r)
{
	return r == -ECONNRESET || r == -EPIPE;
}

int ask_until_answered(const struct target *target, struct control **control, struct json_object *question, struct json_object **ret_reply,
	struct error *err)
{
	struct error problem = ERROR_INIT; /* of the last attempt: an earlier one's is no failure */
	int r = control_call(*control, question, target->lock_fd, ret_reply, &problem);

	for (int tries = 0; is_lost(r) && tries < LOST_TRIES; tries++) {
		struct control *next = NULL;

		store_lock_doubt(target->lock_fd);
		if (control_open(target->store, control_name(*control), &next, NULL) < 0)
			break;
		control_close(*control);
		*control = next;
		r = control_call(*control, question, target->lock_fd, ret_reply, &problem);
	}
	/* It may be at it still, with the same lock: that is not given back in order by this process. */
	if (r == -ETIMEDOUT)
		store_lock_doubt(target->lock_fd);
	return r < 0 ? error_set(err, r, "%s", problem.message) : 0;
}
