/* SPDX-License-Identifier: Apache-2.0 */

/*
 * kill_load DIRECTORY PROCESSES SECONDS [SUPERVISOR KILLS PAUSE-MS]: PROCESSES work in directories of their own in DIRECTORY, each operation
 * with what must come of it, for SECONDS, or until the worker of SUPERVISOR (a process id) has been killed KILLS times, each time after a
 * pause of up to PAUSE-MS at random; SIGTERM ends it sooner. Prints one line:
 *
 *     OPERATIONS operations, FAILURES failed, KILLS kills; longest MS ms; of N that took a kill's time: median MS ms
 *
 * and on standard error each failure. Exit 0: none failed; 1: some did; 2: it could not run.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"

#define PROCESSES_MAX 16
#define STALLS_MAX 100000
#define STALL_NS 3000000ull /* longer than any of these takes by itself, as a rule */
#define FILE_BYTES 20000
#define PRINTED_MAX 20

static struct shared {
	atomic_bool stop;
	atomic_ulong operations, failures, kills, stalls;
	atomic_ullong longest_ns;
	float stall_ms[STALLS_MAX];
} *shared;

static int directory = -1;
static unsigned process;
static const char *doing;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fail(const char *format, ...)
{
	char text[300];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (atomic_fetch_add(&shared->failures, 1) < PRINTED_MAX)
		fprintf(stderr, "process %u, %s: %s\n", process, doing, text);
}

#define EXPECT(call)                                                                                                                       \
	do {                                                                                                                               \
		if (!(call))                                                                                                               \
			fail("line %d: %s: %s", __LINE__, #call, strerror(errno));                                                         \
	} while (0)
#define EXPECT_ERROR(number, call)                                                                                                         \
	do {                                                                                                                               \
		if ((call) != -1 || errno != (number))                                                                                     \
			fail("line %d: %s: %s, not %s", __LINE__, #call, strerror(errno), strerror(number));                               \
	} while (0)

static void fill(char *buffer, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		buffer[i] = (char)('a' + (seed + i / 7 + i % 13) % 26);
}

static bool is_filled(const char *buffer, size_t size, unsigned seed)
{
	char wanted[FILE_BYTES];

	fill(wanted, size, seed);
	return memcmp(buffer, wanted, size) == 0;
}

/* ---- what is done ---- */

static void make_file(const char *name, unsigned seed, bool sync)
{
	char buffer[FILE_BYTES];
	int fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	EXPECT(fd >= 0);
	if (fd < 0)
		return;
	fill(buffer, sizeof buffer, seed);
	EXPECT(write(fd, buffer, sizeof buffer) == sizeof buffer);
	if (sync)
		EXPECT(fsync(fd) == 0);
	EXPECT(close(fd) == 0);
}

static void check_file(const char *name, unsigned seed)
{
	char buffer[FILE_BYTES + 1];
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);

	EXPECT(fd >= 0);
	if (fd < 0)
		return;
	EXPECT(read(fd, buffer, sizeof buffer) == FILE_BYTES);
	EXPECT(is_filled(buffer, FILE_BYTES, seed));
	EXPECT(close(fd) == 0);
}

static void map_file(const char *name, unsigned seed)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	char *map = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);

	EXPECT(map != MAP_FAILED);
	if (map == MAP_FAILED)
		return;
	EXPECT(is_filled(map, FILE_BYTES, seed));
	munmap(map, FILE_BYTES);
	close(fd);
}

static void use_files(unsigned round)
{
	struct stat st;

	doing = "files";
	make_file("one", round, round % 16 == 0);
	check_file("one", round);
	map_file("one", round);
	EXPECT(renameat(directory, "one", directory, "two") == 0);
	EXPECT_ERROR(ENOENT, fstatat(directory, "one", &st, 0));
	check_file("two", round);
	make_file("one", round + 1, false);
	EXPECT(renameat2(directory, "one", directory, "two", RENAME_EXCHANGE) == 0);
	check_file("one", round);
	check_file("two", round + 1);
	EXPECT_ERROR(EEXIST, renameat2(directory, "one", directory, "two", RENAME_NOREPLACE));
	EXPECT(unlinkat(directory, "two", 0) == 0);
	EXPECT_ERROR(ENOENT, unlinkat(directory, "two", 0));
	EXPECT(linkat(directory, "one", directory, "three", 0) == 0);
	EXPECT(fstatat(directory, "three", &st, 0) == 0 && st.st_nlink == 2);
	EXPECT(renameat(directory, "three", directory, "four") == 0);
	EXPECT(unlinkat(directory, "one", 0) == 0);
	check_file("four", round);
	EXPECT(unlinkat(directory, "four", 0) == 0);
}

static void use_names(unsigned round)
{
	char target[64];

	doing = "names";
	EXPECT(mkdirat(directory, "d", 0755) == 0);
	EXPECT_ERROR(EEXIST, mkdirat(directory, "d", 0755));
	EXPECT(symlinkat("somewhere", directory, "d/link") == 0);
	EXPECT(readlinkat(directory, "d/link", target, sizeof target) == 9);
	EXPECT_ERROR(ENOTEMPTY, unlinkat(directory, "d", AT_REMOVEDIR));
	EXPECT(mknodat(directory, "d/pipe", S_IFIFO | 0600, 0) == 0);
	EXPECT(unlinkat(directory, "d/pipe", 0) == 0);
	EXPECT(unlinkat(directory, "d/link", 0) == 0);
	EXPECT(unlinkat(directory, "d", AT_REMOVEDIR) == 0);
	EXPECT_ERROR(ENOENT, unlinkat(directory, "d", AT_REMOVEDIR));
}

/* What is open stays usable without a name. */
static void use_unlinked(unsigned round)
{
	char buffer[FILE_BYTES];
	int fd = openat(directory, "gone", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct stat st;

	doing = "unlinked";
	EXPECT(fd >= 0 && flock(fd, LOCK_EX) == 0);
	fill(buffer, sizeof buffer, round);
	EXPECT(write(fd, buffer, sizeof buffer) == sizeof buffer);
	EXPECT(unlinkat(directory, "gone", 0) == 0);
	EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == FILE_BYTES);
	EXPECT(ftruncate(fd, FILE_BYTES / 2) == 0);
	EXPECT(pwrite(fd, buffer + FILE_BYTES / 2, FILE_BYTES / 2, FILE_BYTES / 2) == FILE_BYTES / 2);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	memset(buffer, 0, sizeof buffer);
	EXPECT(pread(fd, buffer, sizeof buffer, 0) == sizeof buffer && is_filled(buffer, sizeof buffer, round));
	EXPECT(close(fd) == 0);
}

static void use_attributes(unsigned round)
{
	char value[16];
	struct stat st;
	int fd = openat(directory, "kept", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	doing = "attributes";
	EXPECT(fd >= 0 && fstat(fd, &st) == 0);
	EXPECT(write(fd, "0123456789", 10) == 10);
	EXPECT(fstat(fd, &st) == 0 && st.st_size == (off_t)((round % 50 + 1) * 10));
	EXPECT(fchmod(fd, round % 2 ? 0644 : 0600) == 0);
	EXPECT(fstat(fd, &st) == 0 && (st.st_mode & 07777) == (round % 2 ? 0644u : 0600u));
	EXPECT(fsetxattr(fd, "user.a", "v", 1, XATTR_CREATE) == 0);
	EXPECT(fgetxattr(fd, "user.a", value, sizeof value) == 1);
	EXPECT(fremovexattr(fd, "user.a") == 0);
	EXPECT_ERROR(ENODATA, fremovexattr(fd, "user.a"));
	EXPECT(close(fd) == 0);
	if (round % 50 == 49)
		EXPECT(unlinkat(directory, "kept", 0) == 0);
}

static void use_listing(unsigned round)
{
	enum { NAMES = 30 };
	bool seen[NAMES] = { false };
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char name[32];

	doing = "listing";
	EXPECT(mkdirat(directory, "l", 0755) == 0);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "l/%d", i);
		EXPECT(symlinkat("x", directory, name) == 0);
	}
	dir = fdopendir(openat(directory, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	EXPECT(dir);
	while (dir && (entry = readdir(dir))) {
		int i = atoi(entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		EXPECT(i >= 0 && i < NAMES && !seen[i]);
		if (i >= 0 && i < NAMES)
			seen[i] = true;
	}
	for (int i = 0; i < NAMES; i++) {
		EXPECT(seen[i]);
		snprintf(name, sizeof name, "l/%d", i);
		EXPECT(unlinkat(directory, name, 0) == 0);
	}
	EXPECT(unlinkat(directory, "l", AT_REMOVEDIR) == 0);
}

/* A program that lies in the mount. */
static void use_program(const char *path)
{
	char *argv[] = { (char *)path, NULL }, *environment[] = { NULL };
	int status = 0;
	pid_t pid;

	doing = "program";
	EXPECT(posix_spawn(&pid, path, NULL, NULL, argv, environment) == 0);
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

static void note(uint64_t began)
{
	unsigned long long took = now_ns() - began, longest = atomic_load(&shared->longest_ns);

	atomic_fetch_add(&shared->operations, 1);
	while (took > longest && !atomic_compare_exchange_weak(&shared->longest_ns, &longest, took))
		;
	if (took > STALL_NS) {
		unsigned long i = atomic_fetch_add(&shared->stalls, 1);

		if (i < STALLS_MAX)
			shared->stall_ms[i] = (float)took / 1e6f;
	}
}

/* A name that the kernel does not know: it must ask. */
static void look_up(unsigned round)
{
	char name[64];
	struct stat st;
	uint64_t began;

	doing = "look-up";
	snprintf(name, sizeof name, "no-such-name-%u", round);
	began = now_ns();
	EXPECT_ERROR(ENOENT, fstatat(directory, name, &st, 0));
	note(began);
}

static __attribute__((noreturn)) void work(const char *root, unsigned number)
{
	char path[4096], program[4096];

	process = number;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof path, "%s/%u", root, number);
	snprintf(program, sizeof program, "%s/program", root);
	if (mkdir(path, 0755) < 0)
		_exit(2);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 || fchdir(directory) < 0)
		_exit(2);
	for (unsigned round = 0; !atomic_load(&shared->stop); round++) {
		for (unsigned i = 0; i < 20; i++)
			look_up(round * 20 + i);
		use_files(round);
		use_names(round);
		use_unlinked(round);
		use_attributes(round);
		use_listing(round);
		if (round % 8 == 0)
			use_program(program);
	}
	_exit(0);
}

/* ---- the killer ---- */

/* The worker of SUPERVISOR: its child that is not the watcher; 0: there is none just now. */
static pid_t find_worker(pid_t supervisor)
{
	char path[64], comm[32];
	cleanup_fclose FILE *children = NULL;
	int pid;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)supervisor, (int)supervisor);
	children = fopen(path, "re");
	while (children && fscanf(children, "%d", &pid) == 1) {
		cleanup_fclose FILE *file = NULL;

		snprintf(path, sizeof path, "/proc/%d/comm", pid);
		file = fopen(path, "re");
		if (file && fgets(comm, sizeof comm, file) && strncmp(comm, "veneer-watcher", 14) != 0)
			return pid;
	}
	return 0;
}

static void kill_workers(pid_t supervisor, unsigned long kills, unsigned long pause_ms)
{
	pid_t last = 0;
	uint64_t random = 88172645463325252ull;

	while (atomic_load(&shared->kills) < kills && !atomic_load(&shared->failures)) {
		pid_t worker;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		usleep((useconds_t)(random % (pause_ms * 1000 + 1)));
		worker = find_worker(supervisor);
		if (!worker || worker == last)
			continue;
		if (kill(worker, SIGKILL) < 0)
			continue;
		last = worker;
		atomic_fetch_add(&shared->kills, 1);
	}
}

static void wake(int signal)
{
}

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	unsigned long processes = argc >= 4 ? strtoul(argv[2], NULL, 10) : 0, seconds = argc >= 4 ? strtoul(argv[3], NULL, 10) : 0;
	unsigned long stalls;
	bool good = true;

	if ((argc != 4 && argc != 7) || !processes || processes > PROCESSES_MAX) {
		fprintf(stderr, "usage: kill_load DIRECTORY PROCESSES SECONDS [SUPERVISOR KILLS PAUSE-MS]\n");
		return 2;
	}
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	for (unsigned i = 0; i < processes; i++) {
		if (fork() == 0)
			work(argv[1], i);
	}
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = wake }, NULL); /* sleep(3) ends */
	if (argc == 7)
		kill_workers((pid_t)strtol(argv[4], NULL, 10), strtoul(argv[5], NULL, 10), strtoul(argv[6], NULL, 10));
	else
		sleep((unsigned)seconds);
	atomic_store(&shared->stop, true);
	for (unsigned i = 0; i < processes; i++) {
		int status;

		good &= wait(&status) > 0 && status == 0;
	}
	stalls = atomic_load(&shared->stalls) < STALLS_MAX ? atomic_load(&shared->stalls) : STALLS_MAX;
	qsort(shared->stall_ms, stalls, sizeof shared->stall_ms[0], compare_floats);
	printf("%lu operations, %lu failed, %lu kills; longest %.1f ms; of %lu that took a kill's time: median %.1f ms\n",
		atomic_load(&shared->operations), atomic_load(&shared->failures), atomic_load(&shared->kills),
		(double)atomic_load(&shared->longest_ns) / 1e6, stalls, stalls ? (double)shared->stall_ms[stalls / 2] : 0);
	return !good || atomic_load(&shared->failures);
}
