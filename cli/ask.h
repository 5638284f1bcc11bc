/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_ASK_H
#define VENEER_CLI_ASK_H

#include "fs/control.h"
#include "store/target.h"

/*
 * control_call() with the store's lock, which TARGET has. A worker that is killed loses its connections, and not what it was asked: the next one is asked again
 * (and knows by the number of a transition whether that was done). *CONTROL is another one then.
 */
int ask_until_answered(const struct target *target, struct control **control, struct json_object *question, struct json_object **ret_reply,
	struct error *err);

#endif
