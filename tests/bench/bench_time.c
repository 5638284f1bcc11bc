/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bench_time [--root DIR | --directory DIR] [--count N] [--output FILE] [--then FILE TEXT] -- COMMAND [ARGUMENT]...
 *
 * Runs COMMAND (with an absolute path, or found in PATH) N times and prints nanoseconds a run, from before fork to after wait:
 * what a user waits for. --root: inside that system image. --directory: there. --output: its standard output goes there instead of to /dev/null.
 * --then: at once opens FILE afresh, reads it, requires that it begins with TEXT, and prints a second number, the time
 * of that: what the first reader after a switch waits for. A command that fails, or content that is not the
 * expected one, ends it with exit status 1.
 */

#include <getopt.h>
#include <sys/wait.h>

#include "tests/bench/bench.h"

struct request {
	const char *root;
	const char *directory;
	const char *output;
	const char *then_file;
	const char *then_text;
	unsigned long count;
	char **command;
};

static bool request_parse(int argc, char **argv, struct request *request)
{
	static const struct option options[] = {
		{ "root", required_argument, NULL, 'r' },   { "count", required_argument, NULL, 'c' },
		{ "output", required_argument, NULL, 'o' }, { "then", required_argument, NULL, 't' },
		{ "directory", required_argument, NULL, 'd' }, { 0 },
	};
	int option;

	*request = (struct request){ .count = 1, .output = "/dev/null" };
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			request->root = optarg;
			break;
		case 'd':
			request->directory = optarg;
			break;
		case 'c':
			request->count = bench_number(optarg);
			break;
		case 'o':
			request->output = optarg;
			break;
		case 't':
			if (optind >= argc)
				return false;
			request->then_file = optarg;
			request->then_text = argv[optind++];
			break;
		default:
			return false;
		}
	}
	request->command = argv + optind;
	return request->count > 0 && optind < argc;
}

/* OUTPUT is opened before the root changes. */
static void command_exec(const struct request *request, int output)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0)
		bench_fail(errno, "redirecting");
	if (request->root && (chroot(request->root) < 0 || chdir("/") < 0))
		bench_fail(errno, "%s", request->root);
	if (request->directory && chdir(request->directory) < 0)
		bench_fail(errno, "%s", request->directory);
	execvp(request->command[0], request->command);
	bench_fail(errno, "%s", request->command[0]);
}

static void command_run(const struct request *request, int output)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		bench_fail(errno, "fork");
	if (pid == 0)
		command_exec(request, output);
	if (waitpid(pid, &status, 0) < 0)
		bench_fail(errno, "%s", request->command[0]);
	if (status != 0) {
		fprintf(stderr, "'%s' failed: wait status 0x%x\n", request->command[0], (unsigned)status);
		exit(1);
	}
}

static uint64_t content_check(const char *path, const char *text)
{
	uint64_t start = bench_now_ns();
	char buffer[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
	int saved = errno;
	uint64_t end;

	close(fd);
	end = bench_now_ns();
	if (n < 0)
		bench_fail(saved, "%s", path);
	if ((size_t)n < strlen(text) || memcmp(buffer, text, strlen(text)) != 0)
		bench_fail(EBADMSG, "'%s' does not begin with '%s'", path, text);
	return end - start;
}

int main(int argc, char **argv)
{
	struct request request;
	uint64_t start;

	if (!request_parse(argc, argv, &request)) {
		fprintf(stderr, "usage: bench_time [--root DIR | --directory DIR] [--count N] [--output FILE] [--then FILE TEXT] "
				"-- COMMAND [ARGUMENT]...\n");
		return 2;
	}
	cleanup_close int output = open(request.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (output < 0)
		bench_fail(errno, "%s", request.output);
	start = bench_now_ns();
	for (unsigned long i = 0; i < request.count; i++)
		command_run(&request, output);
	start = bench_now_ns() - start;
	if (request.then_file) {
		uint64_t then = content_check(request.then_file, request.then_text);

		printf("%.1f\t%.1f\n", (double)start / (double)request.count, (double)then);
		return 0;
	}
	bench_print(start, request.count);
	return 0;
}
