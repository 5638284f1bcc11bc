/* SPDX-License-Identifier: Apache-2.0 */

/*
 * loader [-1] LIBRARIES ZONES: what a busy machine does with its libraries and its time zones. In each
 * round fresh processes load libcrypto and libexpat from LIBRARIES and ask them for their versions
 * (processes of their own, because the dynamic linker keeps what it once loaded), and every file below
 * ZONES is read. "-" for either leaves it out.
 *
 * What it sees is printed when it differs from the round before:
 *
 *     libcrypto.so.3 says OpenSSL 3.0.20 7 Apr 2026 [FINGERPRINT]
 *     libexpat.so.1 says expat_2.5.0 [FINGERPRINT]
 *     zones say version 2026b, 1301 files [FINGERPRINT]
 *
 * A fingerprint is of the very bytes that were loaded: a security fix need not change what a library calls
 * itself. -1: one round. Else it goes on until SIGTERM (and leaves out count and fingerprint of the
 * zones: a walk over many files may see some before a switch and some after), then prints
 * "rounds N errors E gone G". Exit 0 where E is 0; gone are files that a switch added or removed between the
 * listing and the look.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"

#define LINE_MAX_BYTES 512
#define PATH_MAX_BYTES 4096

static volatile sig_atomic_t stopped;

/* nftw(3) passes no argument, so what a walk gathers is here. */
static struct walk {
	struct hash128_state *hash;
	unsigned files, gone;
	bool failed;
} walk;

static void stop(int signal)
{
	stopped = signal;
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* Feeds a whole file into HASH; 0 or a negative errno. */
static int read_file(const char *path, struct hash128_state *hash)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buffer[65536];
	ssize_t n = fd < 0 ? -errno : 0;

	while (fd >= 0 && (n = io_read(fd, buffer, sizeof buffer)) > 0)
		hash128_update(hash, buffer, (size_t)n);
	return (int)n;
}

static void add_fingerprint(char *line, size_t size, const struct hash128_state *hash)
{
	char hex[HASH128_HEX_LENGTH + 1];
	struct hash128 value = hash128_final(hash);
	size_t len = strlen(line);

	hash128_to_hex(&value, hex);
	snprintf(line + len, size - len, " [%.12s]", hex);
}

/* ---- libraries ---- */

static const struct library {
	const char *file, *function; /* a version query that takes an int, or nothing */
} libraries[] = {
	{ "libcrypto.so.3", "OpenSSL_version" },
	{ "libexpat.so.1", "XML_ExpatVersion" },
};

/* In the fresh process: open once, load just that, ask, print one line. */
static bool load_library(const char *directory, const struct library *library)
{
	cleanup_hash128 struct hash128_state *hash = hash128_new();
	char line[LINE_MAX_BYTES], path[PATH_MAX_BYTES], opened[64];
	const char *(*query)(int);
	void *handle;

	snprintf(path, sizeof path, "%s/%s", directory, library->file);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !hash) {
		complain("loader: %s: %s", path, strerror(errno));
		return false;
	}
	snprintf(opened, sizeof opened, "/proc/self/fd/%d", fd);
	handle = dlopen(opened, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		complain("loader: %s: %s", path, dlerror());
		return false;
	}
	*(void **)&query = dlsym(handle, library->function);
	if (!query) {
		complain("loader: %s: no %s", path, library->function);
		return false;
	}
	snprintf(line, sizeof line, "%s says %s", library->file, query(0));
	if (read_file(opened, hash) < 0)
		return false;
	add_fingerprint(line, sizeof line, hash);
	puts(line);
	return fflush(stdout) == 0;
}

static bool round_library(const char *directory, const struct library *library, char *line, size_t size)
{
	int pipe_fds[2], status = 0;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(pipe_fds) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		/* _exit: what the loaded libraries would do at exit is not the question. */
		_exit(load_library(directory, library) ? 0 : 1);
	}
	close(pipe_fds[1]);
	while (len + 1 < size && (n = read(pipe_fds[0], line + len, size - len - 1)) > 0)
		len += (size_t)n;
	close(pipe_fds[0]);
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- zones ---- */

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int r = 0;

	if (type == FTW_F)
		r = read_file(path, walk.hash);
	else if (type == FTW_DNR)
		r = -EACCES;
	else if (type == FTW_NS)
		r = access(path, F_OK) < 0 ? -errno : -ENOENT;
	if (r == -ENOENT) {
		walk.gone++;
	} else if (r < 0) {
		complain("loader: %s: %s", path, strerror(-r));
		walk.failed = true;
	}
	walk.files += type == FTW_F;
	return 0;
}

/* The first line of tzdata.zi: "# version 2026b". */
static void zone_version(const char *directory, char *ret, size_t size)
{
	char path[PATH_MAX_BYTES];

	snprintf(path, sizeof path, "%s/tzdata.zi", directory);
	cleanup_fclose FILE *file = fopen(path, "re");
	if (!file || !fgets(ret, (int)size, file) || strncmp(ret, "# version ", 10) != 0) {
		snprintf(ret, size, "no version");
		return;
	}
	memmove(ret, ret + 2, strlen(ret + 2) + 1);
	ret[strcspn(ret, "\n")] = '\0';
}

static bool round_zones(const char *directory, bool whole, char *line, size_t size)
{
	char version[64];

	walk = (struct walk){ .hash = hash128_new() };
	if (!walk.hash)
		return false;
	zone_version(directory, version, sizeof version);
	if (nftw(directory, visit, 32, FTW_PHYS) != 0)
		walk.failed = true;
	snprintf(line, size, "zones say %s", version);
	if (whole) {
		snprintf(line + strlen(line), size - strlen(line), ", %u files", walk.files);
		add_fingerprint(line, size, walk.hash);
	}
	hash128_free(walk.hash);
	return !walk.failed;
}

static void print_changed(char *before, const char *now)
{
	if (strcmp(before, now) == 0)
		return;
	puts(now);
	snprintf(before, LINE_MAX_BYTES, "%s", now);
}

struct observer {
	char libraries[ARRAY_SIZE(libraries)][LINE_MAX_BYTES], zones[LINE_MAX_BYTES]; /* last printed */
	unsigned long rounds, errors, gone;
};

static void observe_libraries(struct observer *observer, const char *directory)
{
	char line[LINE_MAX_BYTES], path[PATH_MAX_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(libraries); i++) {
		snprintf(path, sizeof path, "%s/%s", directory, libraries[i].file);
		/* Not there in the first round: it is none of this directory's. */
		if (observer->rounds == 1 && access(path, F_OK) < 0 && errno == ENOENT)
			snprintf(observer->libraries[i], LINE_MAX_BYTES, "-");
		if (strcmp(observer->libraries[i], "-") == 0)
			continue;
		if (round_library(directory, &libraries[i], line, sizeof line))
			print_changed(observer->libraries[i], line);
		else
			observer->errors++;
	}
}

static void observe_zones(struct observer *observer, const char *directory, bool whole)
{
	char line[LINE_MAX_BYTES];

	if (round_zones(directory, whole, line, sizeof line))
		print_changed(observer->zones, line);
	else
		observer->errors++;
	observer->gone += walk.gone;
}

int main(int argc, char **argv)
{
	static struct observer observer;
	struct sigaction action = { .sa_handler = stop, .sa_flags = SA_RESTART };
	bool once = argc == 4 && strcmp(argv[1], "-1") == 0;

	if (argc != 3 && !once) {
		fprintf(stderr, "usage: loader [-1] LIBRARIES ZONES\n");
		return 2;
	}
	argv += once;
	sigaction(SIGTERM, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (!stopped && !(once && observer.rounds > 0)) {
		observer.rounds++;
		if (strcmp(argv[1], "-") != 0)
			observe_libraries(&observer, argv[1]);
		if (strcmp(argv[2], "-") != 0)
			observe_zones(&observer, argv[2], once);
	}
	if (!once)
		printf("rounds %lu errors %lu gone %lu\n", observer.rounds, observer.errors,
			observer.gone);
	return observer.errors ? 1 : 0;
}
