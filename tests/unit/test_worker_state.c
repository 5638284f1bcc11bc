/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <signal.h>
#include <sys/wait.h>

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

/* Who writes there waits until the one before him is gone, threads and all. */
Test(worker_state, one_owner)
{
	struct shared *shared = shared_new();
	struct worker_state *state = worker_state_of(shared);
	int status, ends[2];
	pid_t first, second;
	char c;

	cr_assert_eq(pipe(ends), 0);
	first = fork();
	if (first == 0) {
		if (worker_state_own(shared) < 0 || write(ends[1], "1", 1) != 1)
			_exit(1);
		pause();
	}
	cr_assert_eq(read(ends[0], &c, 1), 1);
	second = fork();
	if (second == 0) {
		int r = worker_state_own(shared);

		state->workers = 2;
		_exit(r != 0);
	}
	usleep(50000);
	cr_assert_eq(waitpid(second, &status, WNOHANG), 0, "it did not wait");
	cr_assert_eq(state->workers, 0);
	kill(first, SIGKILL);
	cr_assert_eq(waitpid(second, &status, 0), second);
	cr_assert_eq(status, 0);
	cr_assert_eq(state->workers, 2);
	waitpid(first, NULL, 0);
	shared_free(shared);
}
