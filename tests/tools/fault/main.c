/* SPDX-License-Identifier: Apache-2.0 */

/*
 * fault [OPTION…] --beneath DIR [--] COMMAND…
 * fault [OPTION…] --beneath DIR --attach PID
 *
 * Runs COMMAND, or takes hold of a running process, and counts the durable calls (fault.h) on what lies beneath DIR that it, its
 * threads and the processes it starts make. The N-th can be made to fail, or to be the last thing that happens. The idea is that of
 * SQLite's tests (its page "How SQLite Is Tested": crash and I/O error testing), at the edge of the kernel, where no library can get around it.
 *
 *   --kill N             all of them are killed before the N-th call is done
 *   --kill-after N       … when it has been done
 *   --fail N=ERRNO       it is not done, and returns ERRNO (ENOSPC, EIO, EDQUOT, EMFILE, EROFS, EACCES)
 *   --fail-from N=ERRNO  so does it, and all later ones that need room: a full disk
 *   --short N            it writes half of what it should
 *   --list FILE          each call, in the order of their beginning: "N NAME PATH [-> PATH]"
 *   --report FILE        a last line, "count N", and, where that is so, "reached" (default: nowhere)
 *
 * With --attach it prints "attached" when it has hold of every thread, and lets go at SIGTERM.
 *
 * Exit status: COMMAND's, 128 and its signal where one ended it (137 also where it was killed here); 0 for --attach; 125 where the N-th
 * call was never made; 124 where it cannot be done at all (also wrong usage).
 */

#include "tests/tools/fault/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/cleanup.h"

#define STATUS_CANNOT 124
#define STATUS_NOT_REACHED 125
#define THREADS_MAX 4096
#define FILTER_CALLS_MAX 200

#if defined(__x86_64__)
#define AUDIT_ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define AUDIT_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

enum fault_kind { FAULT_NONE, FAULT_KILL, FAULT_KILL_AFTER, FAULT_FAIL, FAULT_FAIL_FROM, FAULT_SHORT };

static struct {
	enum fault_kind kind;
	unsigned long target; /* the N-th */
	int error;
	char root[PATH_MAX];
	FILE *list;
	const char *report;
	pid_t attached; /* 0: a command is run */
} options;

static struct {
	unsigned long count;
	bool reached, killing;
	pid_t command;
	int status;
	pid_t last; /* the thread whose call is the last one (kill-after) */
	pid_t threads[THREADS_MAX];
	size_t thread_count;
} state;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("fault: ", stderr);
	vfprintf(stderr, format, arguments);
	fputs("\n", stderr);
	va_end(arguments);
	exit(STATUS_CANNOT);
}

/* ---- who is traced ---- */

static void thread_add(pid_t thread)
{
	for (size_t i = 0; i < state.thread_count; i++)
		if (state.threads[i] == thread)
			return;
	if (state.thread_count == THREADS_MAX)
		die("more than %d threads", THREADS_MAX);
	state.threads[state.thread_count++] = thread;
}

static void thread_remove(pid_t thread)
{
	for (size_t i = 0; i < state.thread_count; i++)
		if (state.threads[i] == thread)
			state.threads[i] = state.threads[--state.thread_count];
}

/* A thread's id serves as well as its process's: the signal is for the whole of it. */
static void kill_all(void)
{
	state.killing = true;
	for (size_t i = 0; i < state.thread_count; i++)
		kill(state.threads[i], SIGKILL);
}

/* ---- a call ---- */

static void list_call(const struct durable_call *durable)
{
	if (!options.list)
		return;
	fprintf(options.list, "%lu %s %s%s%s\n", state.count, durable->call->name, durable->path, *durable->path2 ? " -> " : "", durable->path2);
	fflush(options.list);
}

static void refuse(pid_t thread)
{
	int r = registers_refuse(thread, options.error);

	if (r < 0 && r != -ESRCH)
		die("cannot make a call fail: %s", strerror(-r));
	state.reached = true;
}

static void shorten(pid_t thread, const struct call *call, const uint64_t arguments[CALL_ARGUMENTS])
{
	if (call->length == NO_ARGUMENT || arguments[call->length] < 2)
		return;
	registers_set_argument(thread, call->length, arguments[call->length] / 2);
	state.reached = true;
}

static void on_call(pid_t thread, int64_t number, const uint64_t arguments[CALL_ARGUMENTS])
{
	static struct durable_call durable;
	bool now;

	if (state.killing || !call_examine(thread, options.root, number, arguments, &durable))
		return;
	now = ++state.count == options.target;
	list_call(&durable);
	if (options.kind == FAULT_FAIL_FROM && state.count >= options.target && (now || call_needs_room(&durable))) {
		refuse(thread);
	} else if (now && options.kind == FAULT_FAIL) {
		refuse(thread);
	} else if (now && options.kind == FAULT_SHORT) {
		shorten(thread, durable.call, arguments);
	} else if (now && options.kind == FAULT_KILL_AFTER) {
		state.last = thread;
	} else if (now && options.kind == FAULT_KILL) {
		state.reached = true;
		kill_all();
	}
}

/* ---- stops ---- */

static void go_on(pid_t thread, int signal)
{
	bool each_call = options.attached != 0 || thread == state.last;

	ptrace(each_call ? PTRACE_SYSCALL : PTRACE_CONT, thread, NULL, (void *)(uintptr_t)signal);
}

static void on_system_call(pid_t thread)
{
	struct __ptrace_syscall_info info = { 0 };

	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof info, &info) < 0)
		return; /* killed meanwhile */
	if (info.op == PTRACE_SYSCALL_INFO_SECCOMP) {
		on_call(thread, (int64_t)info.seccomp.nr, (const uint64_t *)info.seccomp.args);
	} else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && options.attached) {
		on_call(thread, (int64_t)info.entry.nr, (const uint64_t *)info.entry.args);
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && thread == state.last) {
		state.reached = true;
		kill_all();
	}
}

static void on_stop(pid_t thread, int status)
{
	int signal = WSTOPSIG(status), event = status >> 16;

	thread_add(thread);
	if (state.killing)
		kill(thread, SIGKILL);
	if (event == PTRACE_EVENT_STOP && (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)) {
		ptrace(PTRACE_LISTEN, thread, NULL, NULL);
		return;
	}
	if (event == PTRACE_EVENT_SECCOMP || (event == 0 && signal == (SIGTRAP | 0x80)))
		on_system_call(thread);
	go_on(thread, event == 0 && signal != (SIGTRAP | 0x80) ? signal : 0);
}

static void on_report(pid_t thread, int status)
{
	if (WIFSTOPPED(status)) {
		on_stop(thread, status);
		return;
	}
	thread_remove(thread);
	if (thread == state.command)
		state.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Till nobody is left, or till SIGTERM. */
static void follow(const sigset_t *signals)
{
	for (;;) {
		int status, signal;
		pid_t thread;

		while ((thread = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
			on_report(thread, status);
		if (thread < 0 || state.thread_count == 0)
			return;
		if (sigwait(signals, &signal) == 0 && signal == SIGTERM) {
			if (!options.attached)
				kill_all();
			else
				return;
		}
	}
}

/* ---- begin ---- */

#define TRACE_OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACESECCOMP)

static int seize(pid_t thread, long more)
{
	if (ptrace(PTRACE_SEIZE, thread, NULL, (void *)(TRACE_OPTIONS | more)) < 0)
		return -errno;
	thread_add(thread);
	return 0;
}

/* The kernel stops at these calls alone: everything else runs at its own speed. */
static void install_filter(void)
{
	static struct sock_filter program[FILTER_CALLS_MAX + 6];
	const int *numbers;
	size_t count = call_numbers(&numbers), at = 0;

	if (count > FILTER_CALLS_MAX)
		die("more calls than a filter has room for");
	program[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCHITECTURE, 1, 0);
	program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++)
		program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)numbers[i], (uint8_t)(count - i), 0);
	program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){ (unsigned short)at, program }) < 0 &&
		(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
			prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){ (unsigned short)at, program }) < 0))
		die("no seccomp filter: %s", strerror(errno));
}

static void begin_command(char **command, const sigset_t *unblocked)
{
	int gate[2];
	char byte;

	if (pipe2(gate, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	state.command = fork();
	if (state.command < 0)
		die("fork: %s", strerror(errno));
	if (state.command == 0) {
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 1)
			_exit(STATUS_CANNOT);
		sigprocmask(SIG_SETMASK, unblocked, NULL);
		install_filter();
		execvp(command[0], command);
		die("cannot run '%s': %s", command[0], strerror(errno));
	}
	close(gate[0]);
	if (seize(state.command, PTRACE_O_EXITKILL) < 0)
		die("cannot trace '%s': %s", command[0], strerror(errno));
	if (write(gate[1], "g", 1) != 1)
		die("cannot start '%s'", command[0]);
	close(gate[1]);
}

/* Threads that are made meanwhile are found in another round. */
static void begin_attached(void)
{
	char path[64];
	size_t before;

	snprintf(path, sizeof path, "/proc/%d/task", (int)options.attached);
	do {
		cleanup_closedir DIR *directory = opendir(path);
		const struct dirent *entry;

		before = state.thread_count;
		while (directory && (entry = readdir(directory))) {
			pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);

			if (thread > 0 && seize(thread, 0) == 0)
				ptrace(PTRACE_INTERRUPT, thread, NULL, NULL);
		}
	} while (state.thread_count > before);
	if (state.thread_count == 0)
		die("cannot trace process %d: %s", (int)options.attached, strerror(errno));
	puts("attached");
	fflush(stdout);
}

/* ---- the command line ---- */

static unsigned long parse_count(const char *text, char **ret_rest)
{
	unsigned long value;

	errno = 0;
	value = strtoul(text, ret_rest, 10);
	if (errno || *ret_rest == text || value == 0)
		die("'%s' is no number of a call", text);
	return value;
}

static int parse_errno(const char *name)
{
	static const struct {
		const char *name;
		int error;
	} known[] = { { "ENOSPC", ENOSPC }, { "EIO", EIO }, { "EDQUOT", EDQUOT }, { "EMFILE", EMFILE }, { "EROFS", EROFS }, { "EACCES", EACCES } };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].error;
	die("'%s' is no error it knows", name);
}

static void set_fault(enum fault_kind kind, const char *text)
{
	bool named = kind == FAULT_FAIL || kind == FAULT_FAIL_FROM;
	char *rest;

	if (options.kind != FAULT_NONE)
		die("one fault at a time");
	options.kind = kind;
	options.target = parse_count(text, &rest);
	if (*rest != (named ? '=' : '\0'))
		die("'%s' is no %s", text, named ? "N=ERRNO" : "N");
	if (named)
		options.error = parse_errno(rest + 1);
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = { { "kill", 1, NULL, FAULT_KILL }, { "kill-after", 1, NULL, FAULT_KILL_AFTER },
		{ "fail", 1, NULL, FAULT_FAIL }, { "fail-from", 1, NULL, FAULT_FAIL_FROM }, { "short", 1, NULL, FAULT_SHORT },
		{ "list", 1, NULL, 'l' }, { "report", 1, NULL, 'r' }, { "beneath", 1, NULL, 'b' }, { "attach", 1, NULL, 'a' }, { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "+", known, NULL)) != -1) {
		if (c == 'l' && !(options.list = fopen(optarg, "we")))
			die("'%s': %s", optarg, strerror(errno));
		else if (c == 'r')
			options.report = optarg;
		else if (c == 'b' && !realpath(optarg, options.root))
			die("'%s': %s", optarg, strerror(errno));
		else if (c == 'a')
			options.attached = (pid_t)strtol(optarg, NULL, 10);
		else if (c == '?')
			exit(STATUS_CANNOT);
		else if (c < FAULT_SHORT + 1)
			set_fault((enum fault_kind)c, optarg);
	}
	if (!*options.root)
		die("--beneath DIR is missing");
	if ((options.attached > 0) == (optind < argc))
		die("either a command or --attach PID");
}

static void write_report(void)
{
	cleanup_fclose FILE *file = options.report ? fopen(options.report, "we") : NULL;

	if (file)
		fprintf(file, "count %lu\n%s", state.count, state.reached ? "reached\n" : "");
}

int main(int argc, char **argv)
{
	sigset_t signals, before;

	parse(argc, argv);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, &before);
	if (options.attached)
		begin_attached();
	else
		begin_command(argv + optind, &before);
	follow(&signals);
	write_report();
	if (options.kind != FAULT_NONE && !state.reached)
		return STATUS_NOT_REACHED;
	return state.status;
}
