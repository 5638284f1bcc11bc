/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Criterion's tests without Criterion's runner, for ThreadSanitizer: the runner's shared arena lies at
 * addresses that TSan forbids. One child a test; the functions of the library that the test macros call
 * are defined here, and win.
 */

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
/* Absent from a program without suites. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));
static const struct criterion_test *current;
static int failures; /* in this test's process */

static const struct criterion_suite *suite_of(const struct criterion_test *test)
{
	for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++)
		if (*suite && strcmp((*suite)->name, test->category) == 0)
			return *suite;
	return NULL;
}

void criterion_internal_test_setup(void)
{
	const struct criterion_suite *suite = suite_of(current);

	if (suite && suite->data && suite->data->init)
		suite->data->init();
	if (current->data->init)
		current->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
	fn();
}

void criterion_internal_test_teardown(void)
{
	const struct criterion_suite *suite = suite_of(current);

	if (current->data->fini)
		current->data->fini();
	if (suite && suite->data && suite->data->fini)
		suite->data->fini();
}

void cri_asserts_passed_incr(void)
{
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
	if (!stats->passed)
		failures++; /* an expectation goes on after it */
}

void criterion_abort_test(void)
{
	_exit(1);
}

int main(int argc, char **argv)
{
	int failed = 0, count = 0;

	for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
		int status = 0;
		pid_t pid;

		if (!*test || !(*test)->test || (*test)->data->disabled)
			continue;
		count++;
		current = *test;
		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			current->test();
			fflush(NULL);
			exit(failures ? 1 : 0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
			failed++;
			fprintf(stderr, "[FAIL] %s::%s: status %#x\n", current->category, current->name, (unsigned)status);
		}
	}
	fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: 0\n", count, count - failed,
		failed);
	return failed > 0;
}
