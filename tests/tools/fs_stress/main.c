/* SPDX-License-Identifier: Apache-2.0 */

/*
 * fs_stress PLAIN MOUNTED --seed N --operations M [--processes P] [--trace FILE] [--replay FILE] [--minimise SECONDS]
 *           [--beneath DIRECTORY] [--statistics] [--verbose]
 * fs_stress --compare PLAIN MOUNTED
 * fs_stress --declared
 *
 * The same operations in two directories, one of which is (or lies in) a mount: what each of them returns, every
 * errno and every byte, and at checkpoints the whole trees must be the same. The oracle is the filesystem of PLAIN;
 * it should be the one beneath the mount. Where both have a directory P it is an area too, shared by all: one in
 * which other files are patched.
 *
 * BENEATH shows the directory that is mounted over: what depends on more than the operations is compared with it.
 *
 * Each process works in an area of its own. Operations in shared areas wait for their turn, so that their order is
 * that of the list. All is determined by the seed. On a difference the operations are tried again in fresh
 * directories, fewer and fewer of them, and the fewest that still differ are printed, as --replay reads them.
 *
 * Callers are root and three users without rights, as whom a process works for an operation (their effective ids).
 * Exit: 0 no difference, 1 a difference, 2 it could not run.
 */

#include "stress.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/cleanup.h"

#define OPERATIONS_MAX 10000000ul
#define OPERATION_SECONDS 120 /* one that takes longer hangs */
#define MINIMISE_SECONDS 300
#define KINDS_MAX 64

struct shared {
	atomic_int turn;
	atomic_bool stop, failed; /* failed: by who writes the rest */
	size_t index;	      /* of the operation that differed */
	struct result results[2];
	atomic_ulong done;
	size_t current[PROCESSES_MAX]; /* the operation that each is about */
	atomic_ulong met[KINDS_MAX][2]; /* of each kind: refused, and done */
};

static struct shared *shared;
static const char *roots[2], *beneath;
static bool patched;
bool verbose;
static bool statistics;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- a run's directories ---- */

static void remove_tree(int directory, const char *name)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int fd;

	if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
		return;
	clear_flags(directory, name);
	if (unlinkat(directory, name, 0) == 0)
		return;
	fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_tree(fd, entry->d_name);
	}
	unlinkat(directory, name, AT_REMOVEDIR);
}

/* What a run has made among the files of a patch: names of one letter, and long ones, and what a link led to. */
static void clean_patched(int root, const char *directory)
{
	cleanup_close int fd = openat(root, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[2] = "a", longest[256];

	for (; name[0] <= 'e'; name[0]++)
		remove_tree(fd, name);
	memset(longest, 'n', 255);
	longest[255] = '\0';
	remove_tree(fd, longest);
	remove_tree(fd, "nowhere");
}

/* Is a file that was opened to append to written to its end for ever? */
static bool flags_are_fixed(int root)
{
	cleanup_close int fd = openat(root, "probe", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct stat st = { 0 };

	if (fd < 0 || write(fd, "x", 1) != 1 || fcntl(fd, F_SETFL, 0) < 0 || pwrite(fd, "y", 1, 0) != 1 || fstat(fd, &st) < 0)
		abort();
	unlinkat(root, "probe", 0);
	return st.st_size != 1;
}

static int set_flags(int fd, int flags)
{
	int all = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &all) < 0)
		return -1;
	all |= flags;
	return ioctl(fd, FS_IOC_SETFLAGS, &all);
}

/* Are there append-only and immutable files, of which the latter are written by nobody, whenever he has opened them? */
static bool has_flags(int root)
{
	cleanup_close int fd = openat(root, "probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool append = set_flags(fd, FS_APPEND_FL) == 0;
	bool immutable = set_flags(fd, FS_IMMUTABLE_FL) == 0;
	bool written = write(fd, "x", 1) == 1;

	clear_flags(root, "probe");
	unlinkat(root, "probe", 0);
	return append && immutable && !written;
}

/* Can one be opened to be written? */
static bool opens_unasked(int root)
{
	cleanup_close int fd = openat(root, "probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cleanup_close int again = -EBADF;

	/* The first that is asked for is told that no other need be. */
	close(openat(root, "probe", O_RDONLY | O_CLOEXEC));
	if (set_flags(fd, FS_IMMUTABLE_FL) == 0)
		again = openat(root, "probe", O_RDWR | O_CLOEXEC);
	clear_flags(root, "probe");
	unlinkat(root, "probe", 0);
	return again >= 0;
}

static bool is_boundless(int root)
{
	cleanup_close int fd = openat(root, "probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool boundless = ftruncate(fd, FAR_OFFSET * 8) == 0;

	unlinkat(root, "probe", 0);
	return boundless;
}

static int run_begin(const char *name, struct side sides[2])
{
	umask(0);
	declared_forget();
	for (int i = 0; i < 2; i++) {
		char area[4];

		sides[i].outside = open(roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (sides[i].outside < 0 || mkdirat(sides[i].outside, name, 0777) < 0)
			return -errno;
		sides[i].root = openat(sides[i].outside, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		for (unsigned process = 0; process < PROCESSES_MAX; process++) {
			snprintf(area, sizeof area, "%u", process);
			if (mkdirat(sides[i].root, area, 0777) < 0)
				return -errno;
		}
		if (mkdirat(sides[i].root, "S", 01777) < 0)
			return -errno;
		for (int slot = 0; slot < SLOTS; slot++)
			sides[i].slots[slot] = -1;
		for (int slot = 0; slot < DIRECTORIES; slot++)
			sides[i].directories[slot] = -1;
		if (patched) {
			clean_patched(sides[i].outside, "P");
			clean_patched(sides[i].outside, "P/q");
		}
	}
	sides[0].mounted = false;
	sides[1].mounted = true;
	sides[0].boundless = sides[1].boundless = is_boundless(sides[0].root);
	sides[0].fixed_flags = sides[1].fixed_flags = flags_are_fixed(sides[1].root);
	sides[0].has_flags = sides[1].has_flags = has_flags(sides[0].root);
	sides[0].opens_unasked = sides[1].opens_unasked = sides[0].has_flags && opens_unasked(sides[1].root);
	return 0;
}

static void run_end(const char *name, struct side sides[2])
{
	for (int i = 0; i < 2; i++) {
		remove_tree(sides[i].outside, name);
		if (patched) {
			clean_patched(sides[i].outside, "P");
			clean_patched(sides[i].outside, "P/q");
		}
		close(sides[i].root);
		close(sides[i].outside);
	}
}

/* ---- one process ---- */

void perform_check(struct side *side, const struct operation *operation, struct result *ret)
{
	result_set(ret, 0);
}

static bool check_trees(struct side sides[2], const struct operation *operation, struct result results[2])
{
	char area[4];

	if (operation->shared)
		return trees_compare(sides[0].root, sides[1].root, "S", results) &&
			(!patched || trees_compare(sides[0].outside, sides[1].outside, "P", results));
	snprintf(area, sizeof area, "%u", operation->process);
	return trees_compare(sides[0].root, sides[1].root, area, results);
}

/* The same on both sides. true: with the same result, or as it is declared. */
static bool operation_run(struct side sides[2], const struct operation *operation, struct result results[2])
{
	memset(results, 0, 2 * sizeof results[0]);
	if (operation->kind == operation_kind_check())
		return check_trees(sides, operation, results);
	for (int i = 0; i < NUMBERS && sides[0].boundless; i++) {
		if (operation->number[i] > FAR_OFFSET)
			return true;
	}
	if (!declared_instead(sides, operation, results)) {
		operation_perform(&sides[0], operation, &results[0]);
		operation_perform(&sides[1], operation, &results[1]);
	}
	atomic_fetch_add(&shared->met[operation->kind][results[0].value >= 0], 1);
	if ((results[0].value != results[1].value || results[0].error != results[1].error ||
		    strcmp(results[0].text, results[1].text) != 0) &&
		!declared(sides, operation, results))
		return false;
	return declared_settle(sides, operation, results);
}

static bool wait_for_turn(int turn)
{
	for (unsigned tries = 0; atomic_load(&shared->turn) != turn; tries++) {
		if (atomic_load(&shared->stop))
			return false;
		if (tries < 50)
			sched_yield();
		else
			usleep(20);
	}
	return true;
}

static void fail(size_t index, const struct result results[2])
{
	bool expected = false;

	if (atomic_compare_exchange_strong(&shared->failed, &expected, true)) {
		shared->index = index;
		memcpy(shared->results, results, sizeof shared->results);
	}
	atomic_store(&shared->stop, true);
}

static void work(const struct operation *list, size_t count, unsigned process, struct side sides[2])
{
	struct result results[2];
	unsigned long done = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	data_buffer = mmap(NULL, DATA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data_buffer == MAP_FAILED || setgroups(0, NULL) < 0)
		_exit(2);
	for (size_t i = 0; i < count && !atomic_load(&shared->stop); i++) {
		if (list[i].process != process)
			continue;
		if (list[i].turn >= 0 && !wait_for_turn(list[i].turn))
			break;
		shared->current[process] = i;
		alarm(OPERATION_SECONDS);
		if (verbose) {
			operation_print(stderr, &list[i]);
			fputc('\n', stderr);
		}
		if (!operation_run(sides, &list[i], results))
			fail(i, results);
		alarm(0);
		done++;
		if (list[i].turn >= 0)
			atomic_store(&shared->turn, list[i].turn + 1);
	}
	atomic_fetch_add(&shared->done, done);
	_exit(0);
}

/* ---- a run of a list ---- */

static void process_died(const pid_t *pids, unsigned processes, pid_t pid, int status)
{
	struct result results[2] = { { .value = -1 }, { .value = -1 } };
	unsigned process = 0;

	while (process < processes && pids[process] != pid)
		process++;
	snprintf(results[1].text, TEXT_ROOM, "process %u ended: status %x%s", process, (unsigned)status,
		WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": an operation hangs" : "");
	fail(process < processes ? shared->current[process] : SIZE_MAX, results);
}

/* false: a difference, told in SHARED. All is compared at the end. */
static bool list_run(const struct operation *list, size_t count, unsigned processes)
{
	static unsigned runs;
	struct side sides[2];
	char name[32];
	pid_t pids[PROCESSES_MAX];
	int r;

	snprintf(name, sizeof name, "run-%u", runs++);
	memset(shared, 0, sizeof *shared);
	r = run_begin(name, sides);
	if (r < 0) {
		fprintf(stderr, "fs_stress: cannot make '%s': %s\n", name, strerror(-r));
		exit(2);
	}
	for (unsigned i = 0; i < processes; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(list, count, i, sides);
	}
	/* In the order in which they end: who dies stops the others. */
	for (unsigned i = 0; i < processes; i++) {
		int status = 0;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 || status != 0)
			process_died(pids, processes, pid, status);
	}
	for (size_t i = 0; i < PROCESSES_MAX + 2 && !atomic_load(&shared->failed); i++) {
		struct operation check = { .kind = (uint8_t)operation_kind_check(), .process = (uint8_t)i, .shared = i >= PROCESSES_MAX };
		struct result results[2] = { 0 };

		if (!check_trees(sides, &check, results))
			fail(count, results);
	}
	run_end(name, sides);
	return !atomic_load(&shared->failed);
}

/* ---- minimising ---- */

/* In the order of the list, one after the other. */
static void order(struct operation *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		list[i].turn = (int32_t)i;
}

/* Without CHUNK of them from AT on. */
static size_t without(const struct operation *list, size_t count, size_t at, size_t chunk, struct operation *ret)
{
	size_t end = at + chunk < count ? at + chunk : count;

	memcpy(ret, list, at * sizeof *list);
	memcpy(ret + at, list + end, (count - end) * sizeof *list);
	return count - (end - at);
}

static size_t cut_behind_failure(size_t count)
{
	return shared->index < count ? shared->index + 1 : count;
}

/* LIST (which differs) becomes a shorter one that does; its length. After Zeller's ddmin, by complements alone. */
static size_t minimise(struct operation *list, size_t count, unsigned processes, double seconds)
{
	struct operation *trial = calloc(count, sizeof *trial);
	double end = now() + seconds;
	bool shorter = true;

	for (size_t chunk = (count + 1) / 2; trial && chunk >= 1 && now() < end; chunk = chunk > 1 || shorter ? (chunk + 1) / 2 : 0) {
		shorter = false;
		for (size_t at = 0; at < count && now() < end;) {
			size_t left = without(list, count, at, chunk, trial);

			order(trial, left);
			if (left && !list_run(trial, left, processes)) {
				count = cut_behind_failure(left);
				memcpy(list, trial, count * sizeof *list);
				shorter = true;
			} else {
				at += chunk;
			}
		}
		if (chunk == 1 && !shorter)
			break;
	}
	free(trial);
	return count;
}

/* What of LIST may have led to the difference at INDEX: first what its process did, where that is all that it saw. */
static size_t suspects(const struct operation *list, size_t index, bool all, struct operation *ret)
{
	size_t count = 0;

	for (size_t i = 0; i <= index; i++) {
		bool same = list[index].shared ? list[i].shared : !list[i].shared && list[i].process == list[index].process;

		if (all || same)
			ret[count++] = list[i];
	}
	order(ret, count);
	return count;
}

static void print_result(const char *name, const struct result *result)
{
	printf("  %s %" PRId64 "%s%s %s\n", name, result->value, result->value < 0 && result->error ? " " : "",
		result->value < 0 && result->error ? strerror(result->error) : "", result->text);
}

static void print_difference(const struct operation *list, size_t count)
{
	if (shared->index < count) {
		printf("operation %zu differs: ", shared->index);
		operation_print(stdout, &list[shared->index]);
		printf("\n");
	} else {
		printf("the trees differ at the end\n");
	}
	print_result("plain:  ", &shared->results[0]);
	print_result("mounted:", &shared->results[1]);
	fflush(stdout);
}

static void print_list(FILE *to, const struct operation *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		operation_print(to, &list[i]);
		fputc('\n', to);
	}
	fflush(to);
}

static void report(const struct operation *list, size_t count, unsigned processes, double seconds)
{
	size_t index = shared->index < count ? shared->index : count - 1, left = 0;
	struct operation *fewer = calloc(count, sizeof *fewer);
	bool again = false;

	print_difference(list, count);
	if (seconds <= 0 || !fewer) {
		free(fewer);
		return;
	}
	for (int all = 0; all < 2 && !again; all++) {
		if (shared->index >= count && !all)
			continue;
		left = suspects(list, index, all, fewer);
		again = !list_run(fewer, left, processes);
	}
	if (!again) {
		printf("it did not happen again, one operation after the other\n");
	} else {
		left = minimise(fewer, cut_behind_failure(left), processes, seconds);
		order(fewer, left);
		printf("--- the fewest operations (--replay) ---\n");
		print_list(stdout, fewer, left);
		printf("---\n");
		if (!list_run(fewer, left, processes))
			print_difference(fewer, left);
		else
			printf("which does not happen each time\n");
	}
	free(fewer);
}

/* ---- arguments ---- */

struct arguments {
	const char *trace, *replay;
	unsigned long seed, operations, processes, minimise;
	bool compare;
};

/* How much of each kind was done: a stress that is refused everything finds nothing. */
static void print_statistics(void)
{
	for (size_t i = 0; i < operation_kind_count; i++)
		printf("%-12s %8lu done %8lu refused\n", operation_kinds[i].name, atomic_load(&shared->met[i][1]),
			atomic_load(&shared->met[i][0]));
}

static int usage(void)
{
	fprintf(stderr, "usage: fs_stress PLAIN MOUNTED --seed N --operations M [--processes P] [--trace FILE] [--replay FILE]\n"
			"                 [--beneath DIRECTORY] [--minimise SECONDS] [--statistics] [--verbose]\n"
			"       fs_stress --compare PLAIN MOUNTED\n"
			"       fs_stress --declared\n");
	return 2;
}

static bool parse_number(const char *text, unsigned long limit, unsigned long *ret)
{
	char *end = NULL;

	*ret = text ? strtoul(text, &end, 10) : 0;
	return end && end != text && *end == '\0' && *ret <= limit;
}

static bool parse_arguments(char **argv, struct arguments *ret)
{
	size_t plain = 0;

	for (char **at = argv + 1; *at; at++) {
		bool good = true;

		if (strcmp(*at, "--compare") == 0)
			ret->compare = true;
		else if (strcmp(*at, "--verbose") == 0)
			verbose = true;
		else if (strcmp(*at, "--statistics") == 0)
			statistics = true;
		else if (strcmp(*at, "--seed") == 0)
			good = parse_number(*++at, UINT32_MAX, &ret->seed);
		else if (strcmp(*at, "--operations") == 0)
			good = parse_number(*++at, OPERATIONS_MAX, &ret->operations);
		else if (strcmp(*at, "--processes") == 0)
			good = parse_number(*++at, PROCESSES_MAX, &ret->processes) && ret->processes;
		else if (strcmp(*at, "--minimise") == 0)
			good = parse_number(*++at, 100000, &ret->minimise);
		else if (strcmp(*at, "--trace") == 0)
			good = (ret->trace = *++at) != NULL;
		else if (strcmp(*at, "--beneath") == 0)
			good = (beneath = *++at) != NULL;
		else if (strcmp(*at, "--replay") == 0)
			good = (ret->replay = *++at) != NULL;
		else if (**at != '-' && plain < 2)
			roots[plain++] = *at;
		else
			good = false;
		if (!good)
			return false;
	}
	return plain == 2;
}

static struct operation *read_trace(const char *path, size_t *ret_count, unsigned long *processes)
{
	cleanup_fclose FILE *file = fopen(path, "re");
	struct operation *list = NULL;
	char line[512];

	*ret_count = 0;
	while (file && fgets(line, sizeof line, file)) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		list = reallocarray(list, *ret_count + 1, sizeof *list);
		if (!list || !operation_parse(line, &list[*ret_count])) {
			fprintf(stderr, "fs_stress: not an operation: %s", line);
			exit(2);
		}
		if (list[*ret_count].process >= *processes)
			*processes = list[*ret_count].process + 1u;
		++*ret_count;
	}
	if (!*ret_count) {
		fprintf(stderr, "fs_stress: no operations in '%s'\n", path);
		exit(2);
	}
	order(list, *ret_count);
	return list;
}

static int compare(void)
{
	cleanup_close int plain = open(roots[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int mounted = open(roots[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct result results[2] = { 0 };

	if (plain < 0 || mounted < 0) {
		fprintf(stderr, "fs_stress: cannot open '%s' and '%s'\n", roots[0], roots[1]);
		return 2;
	}
	if (trees_compare(plain, mounted, ".", results))
		return 0;
	print_result("plain:  ", &results[0]);
	print_result("mounted:", &results[1]);
	return 1;
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .operations = 1000, .processes = 1, .minimise = MINIMISE_SECONDS };
	cleanup_free struct operation *list = NULL;
	size_t count;
	double begin = now();
	char path[4096];

	if (argc == 2 && strcmp(argv[1], "--declared") == 0) {
		declared_print(stdout, false);
		return 0;
	}
	if (!parse_arguments(argv, &arguments))
		return usage();
	declared_begin();
	if (arguments.compare)
		return compare();
	if (beneath && !declared_beneath(roots[1], beneath)) {
		fprintf(stderr, "fs_stress: cannot open '%s': %s\n", beneath, strerror(errno));
		return 2;
	}
	snprintf(path, sizeof path, "%s/P", roots[0]);
	patched = access(path, F_OK) == 0;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	count = arguments.operations;
	list = arguments.replay ? read_trace(arguments.replay, &count, &arguments.processes) :
				  operations_make(arguments.seed, count, (unsigned)arguments.processes, patched);
	if (!list || !count || shared == MAP_FAILED)
		return usage();
	if (arguments.trace) {
		cleanup_fclose FILE *trace = fopen(arguments.trace, "we");

		if (!trace)
			return usage();
		print_list(trace, list, count);
	}
	if (list_run(list, count, (unsigned)arguments.processes)) {
		printf("seed %lu: %lu operations by %lu processes in %.1f s; %lu differences that are declared, no other\n", arguments.seed,
			atomic_load(&shared->done), arguments.processes, now() - begin, declared_count());
		if (statistics) {
			print_statistics();
			declared_print(stdout, true);
		}
		return 0;
	}
	printf("seed %lu: ", arguments.seed);
	report(list, count, (unsigned)arguments.processes, arguments.replay ? 0 : (double)arguments.minimise);
	return 1;
}
