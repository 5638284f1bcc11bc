/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/state_format.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/handover.h"
#include "fs/node_internal.h"
#include "fs/worker_state.h"
#include "store/base/cleanup.h"

static char text[STATE_FORMAT_MAX];

static void write_text(void)
{
	const size_t layout[] = { sizeof(struct node), offsetof(struct node, key), offsetof(struct node, place), offsetof(struct node, content),
		sizeof(struct node_key), sizeof(struct worker_state), offsetof(struct worker_state, init), offsetof(struct worker_state, io),
		 offsetof(struct worker_state, ended), offsetof(struct worker_state, mailboxes),
		sizeof(struct mailbox), offsetof(struct mailbox, credits), offsetof(struct mailbox, packet), MAILBOX_PACKET_MAX, MAILBOXES,
		NODE_SLOT_BITS, handover_packet_bytes() };
	size_t length = (size_t)snprintf(text, sizeof text, "%u", STATE_FORMAT_NUMBER);

	for (size_t i = 0; i < ARRAY_SIZE(layout) && length < sizeof text; i++)
		length += (size_t)snprintf(text + length, sizeof text - length, "-%zx", layout[i]);
	for (int i = 0; i < SHARED_REGIONS && length < sizeof text; i++)
		length += (size_t)snprintf(text + length, sizeof text - length, "-%zx", shared_size((enum shared_region)i));
}

const char *state_format(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, write_text);
	return text;
}
