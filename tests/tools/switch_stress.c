/* SPDX-License-Identifier: Apache-2.0 */

/*
 * switch_stress DIR COUNT SECONDS COMMAND…: switches a mounted directory COUNT times while four
 * clients open, stat, read, map, list and execute what is in it, and judges every single observation.
 *
 * Even COMMANDs lead from state A to state B, odd ones back; they are taken in turn and run by
 * /bin/sh. A command returns when the switch is done. The directory holds, in state A:
 *
 *     patched/0 … patched/7    64 KiB + 4321 × N bytes of 'A'; in state B 128 KiB + 1234 × N of 'B'
 *     patched/run              the program `tagged` with tag A or B
 *     patched/only             only in state B
 *     plain/0 … plain/7        64 KiB of 'U' in both
 *     plain/run                tagged U
 *
 * The history of states is shared memory: `step` is even (2k) while state k is settled and odd (2k + 1)
 * while the switch from k to k + 1 runs. A client notes the step before and after it looks: what it
 * saw must be one of the states in between, so once a switch has returned, nobody may see the old one
 * at a fresh open; and all bytes of one opened file must be of one state. Any errno is a failure,
 * but for ENOENT of patched/only in state A.
 *
 * Prints one line of counts, or the first thing that went wrong. Exit 0 only where nothing did. The run
 * ends early, and says so, when SECONDS are over.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/cleanup.h"

#define CLIENTS 4
#define FILES 8
#define COUNT_MAX 1000000

extern char **environ;

struct shared {
	atomic_uint step;      /* see above; written by the driver alone */
	atomic_bool stop;
	atomic_bool failed;    /* set once, by who writes MESSAGE */
	char message[512];
	atomic_ulong opens, stats, listings, runs;
};

static const char *root;
static struct shared *shared;

__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
	bool expected = false;

	if (atomic_compare_exchange_strong(&shared->failed, &expected, true)) {
		va_list args;

		va_start(args, format);
		vsnprintf(shared->message, sizeof shared->message, format, args);
		va_end(args);
	}
	atomic_store(&shared->stop, true);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t size_of(char state, unsigned file)
{
	if (state == 'U')
		return 65536;
	return state == 'A' ? 65536 + 4321u * file : 131072 + 1234u * file;
}

/* May STATE have been seen by someone who looked between steps BEFORE and AFTER? */
static bool state_possible(char state, unsigned before, unsigned after)
{
	/* State k is 'A' where k is even. Settled or in transition: k … */
	for (unsigned k = before / 2; k <= (after + 1) / 2; k++)
		if (state == (k % 2 ? 'B' : 'A'))
			return true;
	return false;
}

static void check_state(const char *what, const char *path, char state, bool patched, unsigned before)
{
	unsigned after = atomic_load(&shared->step);

	if (patched ? !state_possible(state, before, after) : state != 'U')
		report("%s '%s' showed state %c, between steps %u and %u", what, path, state, before, after);
}

static bool check_bytes(const char *path, const char *bytes, size_t len, char state)
{
	if (bytes[0] == state && memcmp(bytes, bytes + 1, len - 1) == 0)
		return true;
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != state) {
			report("'%s': byte %zu of %zu is '%c' in a file of state %c", path, i, len,
				bytes[i], state);
			return false;
		}
	return true;
}

/* Open afresh; read in odd pieces or map; all of it must be one state, and a possible one. */
static void look_into_file(const char *path, unsigned file, bool patched, bool by_map)
{
	static char buffer[256 * 1024];
	unsigned before = atomic_load(&shared->step);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t total = 0;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0) {
		report("open '%s': %s", path, strerror(errno));
		return;
	}
	if (fstat(fd, &st) < 0) {
		report("fstat '%s': %s", path, strerror(errno));
		return;
	}
	if (by_map) {
		char *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

		if (map == MAP_FAILED) {
			report("mmap '%s': %s", path, strerror(errno));
			return;
		}
		total = (size_t)st.st_size < sizeof buffer ? (size_t)st.st_size : sizeof buffer;
		memcpy(buffer, map, total);
		munmap(map, (size_t)st.st_size);
	} else {
		while (total < sizeof buffer && (n = read(fd, buffer + total, 9973)) > 0)
			total += (size_t)n;
		if (n < 0) {
			report("read '%s': %s", path, strerror(errno));
			return;
		}
	}
	if (!total || !check_bytes(path, buffer, total, buffer[0]))
		return;
	if (total != size_of(buffer[0], file) || (size_t)st.st_size != total)
		report("'%s': %zu bytes of state %c, fstat says %lld", path, total, buffer[0],
			(long long)st.st_size);
	check_state("open and read of", path, buffer[0], patched, before);
	atomic_fetch_add(&shared->opens, 1);
}

static void look_at_stat(const char *path, unsigned file, bool patched)
{
	unsigned before = atomic_load(&shared->step);
	struct stat st;
	char state = '?';

	if (stat(path, &st) < 0) {
		report("stat '%s': %s", path, strerror(errno));
		return;
	}
	for (const char *candidate = patched ? "AB" : "U"; *candidate; candidate++)
		if ((size_t)st.st_size == size_of(*candidate, file))
			state = *candidate;
	check_state("stat of", path, state, patched, before);
	atomic_fetch_add(&shared->stats, 1);
}

static void look_at_listing(const char *directory, bool patched)
{
	unsigned before = atomic_load(&shared->step), after;
	cleanup_closedir DIR *dir = opendir(directory);
	unsigned seen[FILES] = { 0 }, run = 0, only = 0;
	struct dirent *entry;

	if (!dir) {
		report("opendir '%s': %s", directory, strerror(errno));
		return;
	}
	while ((errno = 0, entry = readdir(dir))) {
		if (entry->d_name[0] >= '0' && entry->d_name[0] < '0' + FILES && !entry->d_name[1])
			seen[entry->d_name[0] - '0']++;
		run += !strcmp(entry->d_name, "run");
		only += !strcmp(entry->d_name, "only");
	}
	if (errno)
		report("readdir '%s': %s", directory, strerror(errno));
	after = atomic_load(&shared->step);
	for (unsigned i = 0; i < FILES; i++)
		if (seen[i] != 1)
			report("listing of '%s' names '%u' %u times", directory, i, seen[i]);
	if (run != 1 || only > 1 || (!patched && only))
		report("listing of '%s': 'run' %u times, 'only' %u times", directory, run, only);
	if (patched && !state_possible(only ? 'B' : 'A', before, after))
		report("listing of '%s' is of state %c, between steps %u and %u", directory,
			only ? 'B' : 'A', before, after);
	atomic_fetch_add(&shared->listings, 1);
}

static void look_at_only(const char *path)
{
	unsigned before = atomic_load(&shared->step);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno != ENOENT)
		report("open '%s': %s", path, strerror(errno));
	else
		check_state("existence of", path, fd < 0 ? 'A' : 'B', true, before);
}

static void look_at_run(const char *path, bool patched)
{
	char *argv[] = { (char *)path, NULL };
	unsigned before = atomic_load(&shared->step);
	int status = 0, r;
	pid_t pid;

	r = posix_spawn(&pid, path, NULL, NULL, argv, environ);
	if (r != 0) {
		report("exec '%s': %s", path, strerror(r));
		return;
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status)) {
		report("'%s' ended by signal %d", path, WTERMSIG(status));
		return;
	}
	check_state("execution of", path, (char)WEXITSTATUS(status), patched, before);
	atomic_fetch_add(&shared->runs, 1);
}

static void client_round(unsigned number)
{
	unsigned file = number % FILES;
	bool patched = number % 3 != 0;
	char directory[4096], path[4200];

	snprintf(directory, sizeof directory, "%s/%s", root, patched ? "patched" : "plain");
	snprintf(path, sizeof path, "%s/%u", directory, file);
	look_into_file(path, file, patched, number % 2);
	look_at_stat(path, file, patched);
	if (number % 5 == 0)
		look_at_listing(directory, patched);
	if (number % 7 == 0) {
		snprintf(path, sizeof path, "%s/run", directory);
		look_at_run(path, patched);
	}
	if (patched) {
		snprintf(path, sizeof path, "%s/only", directory);
		look_at_only(path);
	}
}

static pid_t client_start(unsigned number)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Behind the switches where there is too little processor for all: what counts is their number. */
	if (nice(10) < 0)
		report("nice: %s", strerror(errno));
	while (!atomic_load(&shared->stop))
		client_round(number += CLIENTS + 1);
	_exit(0);
}

static bool run_command(const char *command)
{
	char *argv[] = { "sh", "-c", (char *)command, NULL };
	int status = 0;
	pid_t pid;

	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0 ||
		waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		report("command failed with status %d: %s", WEXITSTATUS(status), command);
		return false;
	}
	return true;
}

/* The driver is a client as well, and the strictest: it knows that the switch has just returned. */
static void check_settled(unsigned round)
{
	char path[4200];

	for (unsigned file = 0; file < FILES; file++) {
		snprintf(path, sizeof path, "%s/patched/%u", root, file);
		look_into_file(path, file, true, (round + file) % 2);
		look_at_stat(path, file, true);
	}
	snprintf(path, sizeof path, "%s/patched", root);
	look_at_listing(path, true);
	snprintf(path, sizeof path, "%s/patched/only", root);
	look_at_only(path);
}

static unsigned drive(unsigned long count, double seconds, char **commands, size_t command_count)
{
	double begin = now();
	unsigned done = 0;

	check_settled(0);
	while (done < count && !atomic_load(&shared->stop)) {
		/* Of the pairs of commands, the next one; of the pair, there or back. */
		size_t pair = done / 2 % (command_count / 2);

		atomic_fetch_add(&shared->step, 1);
		if (!run_command(commands[pair * 2 + done % 2]))
			break;
		atomic_fetch_add(&shared->step, 1);
		done++;
		check_settled(done);
		if (now() - begin > seconds)
			break;
	}
	return done;
}

/* 1 … COUNT_MAX, or 0 */
static unsigned long parse_count(const char *text)
{
	char *end = NULL;
	unsigned long count = strtoul(text, &end, 10);

	return *end == '\0' && count <= COUNT_MAX ? count : 0;
}

int main(int argc, char **argv)
{
	pid_t clients[CLIENTS];
	unsigned done;
	double begin = now();

	if (argc < 6 || argc % 2 != 0) {
		fprintf(stderr, "usage: switch_stress DIR COUNT SECONDS THERE BACK [THERE BACK]…\n");
		return 2;
	}
	root = argv[1];
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	unsigned long count = parse_count(argv[2]), seconds = parse_count(argv[3]);
	if (count == 0 || seconds == 0)
		return 2;
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = client_start(i);
	done = drive(count, (double)seconds, argv + 4, (size_t)argc - 4);
	atomic_store(&shared->stop, true);
	for (unsigned i = 0; i < CLIENTS; i++) {
		int status = 0;

		if (waitpid(clients[i], &status, 0) < 0 || status != 0)
			report("client %u ended with status %d", i, status);
	}
	if (atomic_load(&shared->failed)) {
		fprintf(stderr, "switch_stress: after %u switches: %s\n", done, shared->message);
		return 1;
	}
	printf("%u switches in %.1f s; %lu opens, %lu stats, %lu listings, %lu executions, no error\n",
		done, now() - begin, atomic_load(&shared->opens), atomic_load(&shared->stats),
		atomic_load(&shared->listings), atomic_load(&shared->runs));
	return done < count ? 3 : 0;
}
