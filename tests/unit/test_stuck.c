/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <signal.h>
#include <sys/wait.h>

#include "fs/stuck.h"

/* Who lives, who waits for something that a signal ends, and who has ended neither is stuck nor lingers. */
Test(stuck, who_is_not)
{
	pid_t child = fork();
	siginfo_t info;

	if (child == 0) {
		pause();
		_exit(0);
	}
	cr_assert_not(process_is_stuck(getpid()));
	cr_assert_not(process_lingers(getpid()));
	cr_assert_not(process_is_stuck(child));
	cr_assert_not(process_lingers(child));
	kill(child, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	cr_assert_not(process_is_stuck(child));
	cr_assert_not(process_lingers(child));
	waitpid(child, NULL, 0);
	cr_assert_not(process_lingers(child));
}

/* A parent of vfork(2) sleeps uninterruptibly until its child is done: stuck, but nobody has killed it. */
Test(stuck, who_sleeps_deeply)
{
	pid_t parent = fork();
	int status;

	if (parent == 0) {
		if (vfork() == 0) {
			sleep(2);
			_exit(0);
		}
		_exit(0);
	}
	usleep(200000);
	cr_assert(process_is_stuck(parent));
	cr_assert_not(process_lingers(parent));
	waitpid(parent, &status, 0);
}
