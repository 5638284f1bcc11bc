/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include "fs/worker_state.h"

/* What has ended is of one commit, and nothing of it is left for the next. */
Test(worker_state, ended)
{
	struct shared *shared = shared_new();
	struct worker_state *state = worker_state_of(shared);
	const struct oid one = { { 1 } }, two = { { 2 } };

	worker_state_none_ended(state, &one);
	for (uint32_t i = 0; i < 10; i++)
		worker_state_ended(state, i * 3);
	cr_assert_eq(atomic_load(&state->ended_count), 10);
	cr_assert_eq(state->ended[4], 13);
	worker_state_none_ended(state, &two);
	cr_assert_eq(memcmp(&state->ended_of, &two, sizeof two), 0);
	cr_assert_eq(atomic_load(&state->ended_count), 0);
	for (size_t i = 0; i < 10; i++)
		cr_assert_eq(state->ended[i], 0);
	/* More than there is room for are counted, and not written. */
	for (uint32_t i = 0; i < WORKER_ENDED_MAX + 5; i++)
		worker_state_ended(state, i);
	cr_assert_eq(atomic_load(&state->ended_count), WORKER_ENDED_MAX + 5);
	cr_assert_eq(state->ended[WORKER_ENDED_MAX - 1], WORKER_ENDED_MAX);
	cr_assert_eq(mailbox_is_full(&state->mailboxes[0]), false, "what lies behind is as it was");
	worker_state_none_ended(state, &one);
	shared_free(shared);
}
