/* SPDX-License-Identifier: Apache-2.0 */
/* Two trees compared. */
#include "stress.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"

#define NAMES_MAX 4000
#define LINKS_MAX 8192
#define VALUES_MAX 65536

/* ---- trees ---- */

/* Hard links: which inode of one side is which of the other. */
struct links {
	size_t count;
	struct {
		uint64_t inode[2];
	} pairs[LINKS_MAX];
};

struct comparison {
	struct result *ret;
	struct links links;
};

static bool differ(struct comparison *comparison, const char *path, const char *what, const char *plain, const char *mounted)
{
	const char *texts[2] = { plain, mounted };

	for (int side = 0; side < 2; side++) {
		comparison->ret[side].value = -1;
		snprintf(comparison->ret[side].text, TEXT_ROOM, "'%.60s' %s: %.110s", path, what, texts[side]);
	}
	return false;
}

static bool compare_links(struct comparison *comparison, const char *path, const struct stat st[2])
{
	struct links *links = &comparison->links;
	char texts[2][80];

	if (S_ISDIR(st[0].st_mode) || st[0].st_nlink < 2)
		return true;
	for (size_t i = 0; i < links->count; i++) {
		bool same[2] = { links->pairs[i].inode[0] == st[0].st_ino, links->pairs[i].inode[1] == st[1].st_ino };

		if (same[0] && same[1])
			return true;
		if (same[0] || same[1]) {
			snprintf(texts[0], sizeof texts[0], "%s file that was met", same[0] ? "a" : "no");
			snprintf(texts[1], sizeof texts[1], "%s file that was met", same[1] ? "a" : "no");
			return differ(comparison, path, "inode number", texts[0], texts[1]);
		}
	}
	if (links->count < LINKS_MAX) {
		links->pairs[links->count].inode[0] = st[0].st_ino;
		links->pairs[links->count++].inode[1] = st[1].st_ino;
	}
	return true;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All attributes as one text of hashes, sorted. PATH is followed nowhere: it is one in /proc. */
static uint64_t hash_xattrs(const char *path)
{
	cleanup_free char *list = malloc(VALUES_MAX), *value = malloc(VALUES_MAX);
	ssize_t size = list && value ? llistxattr(path, list, VALUES_MAX) : -1;
	uint64_t hash = size < 0 ? (uint64_t)errno : 0;
	char *names[64];
	size_t count = 0;

	for (ssize_t at = 0; at < size && count < ARRAY_SIZE(names); at += (ssize_t)strlen(list + at) + 1)
		names[count++] = list + at;
	qsort(names, count, sizeof names[0], compare_strings);
	for (size_t i = 0; i < count; i++) {
		ssize_t n = lgetxattr(path, names[i], value, VALUES_MAX);
		uint64_t all[4] = { hash, hash64_of(names[i], strlen(names[i])), (uint64_t)n, n > 0 ? hash64_of(value, (size_t)n) : 0 };

		hash = hash64_of(all, sizeof all);
	}
	return hash;
}

static bool compare_xattrs(struct comparison *comparison, const char *path, const int parents[2], const char *name)
{
	char proc[REAL_PATH_ROOM], texts[2][32];

	for (int side = 0; side < 2; side++) {
		snprintf(proc, sizeof proc, "/proc/self/fd/%d/%s", parents[side], name);
		snprintf(texts[side], sizeof texts[side], "%016" PRIx64, hash_xattrs(proc));
	}
	return strcmp(texts[0], texts[1]) == 0 || differ(comparison, path, "extended attributes", texts[0], texts[1]);
}

static uint64_t hash_content(int fd)
{
	cleanup_free char *buffer = malloc(100003);
	uint64_t hash = 0;
	ssize_t n;

	while (buffer && (n = read(fd, buffer, 100003)) > 0) {
		uint64_t both[2] = { hash, hash64_of(buffer, (size_t)n) };

		hash = hash64_of(both, sizeof both);
	}
	return hash;
}

static bool compare_content(struct comparison *comparison, const char *path, const int parents[2], const char *name)
{
	char texts[2][64];
	uint64_t holes[2];
	int fds[2];
	bool same;

	for (int side = 0; side < 2; side++) {
		fds[side] = openat(parents[side], name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		holes[side] = fds[side] < 0 ? 0 : describe_holes(fds[side]);
		snprintf(texts[side], sizeof texts[side], "%s %016" PRIx64, fds[side] < 0 ? strerror(errno) : "",
			fds[side] < 0 ? 0 : hash_content(fds[side]));
	}
	same = strcmp(texts[0], texts[1]) == 0 || differ(comparison, path, "content", texts[0], texts[1]);
	if (same && holes[0] != holes[1] && !holes_are_declared(fds))
		same = differ(comparison, path, "holes", "some", "others");
	for (int side = 0; side < 2; side++) {
		if (fds[side] >= 0)
			close(fds[side]);
	}
	return same;
}

static bool compare_targets(struct comparison *comparison, const char *path, const int parents[2], const char *name)
{
	char targets[2][2048];

	for (int side = 0; side < 2; side++) {
		ssize_t n = readlinkat(parents[side], name, targets[side], sizeof targets[side] - 1);

		targets[side][n < 0 ? 0 : n] = '\0';
	}
	return strcmp(targets[0], targets[1]) == 0 || differ(comparison, path, "target", targets[0], targets[1]);
}

static bool compare_directories(struct comparison *comparison, const char *path, const int fds[2]);

static bool compare_entry(struct comparison *comparison, const char *path, const int parents[2], const char *name)
{
	char texts[2][TEXT_ROOM];
	struct stat st[2] = { 0 };

	for (int side = 0; side < 2; side++) {
		if (fstatat(parents[side], name, &st[side], AT_SYMLINK_NOFOLLOW) < 0)
			snprintf(texts[side], TEXT_ROOM, "%s", strerror(errno));
		else
			describe_stat(&st[side], texts[side]);
	}
	note_stat(&st[0], NOTE_ACL_UNASKED, false);
	if (strcmp(texts[0], texts[1]) != 0 && !times_are_declared(&st[0], texts))
		return differ(comparison, path, "stat", texts[0], texts[1]);
	if (!compare_links(comparison, path, st) || !compare_xattrs(comparison, path, parents, name))
		return false;
	if (S_ISREG(st[0].st_mode))
		return compare_content(comparison, path, parents, name);
	if (S_ISLNK(st[0].st_mode))
		return compare_targets(comparison, path, parents, name);
	if (S_ISDIR(st[0].st_mode)) {
		cleanup_close int plain = openat(parents[0], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		cleanup_close int mounted = openat(parents[1], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		const int fds[2] = { plain, mounted };

		return compare_directories(comparison, path, fds);
	}
	return true;
}

static size_t list_names(int fd, char *names[NAMES_MAX])
{
	cleanup_closedir DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	size_t count = 0;

	while (dir && count < NAMES_MAX && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			names[count++] = strdup(entry->d_name);
	}
	qsort(names, count, sizeof names[0], compare_strings);
	return count;
}

static bool compare_directories(struct comparison *comparison, const char *path, const int fds[2])
{
	char **names[2] = { calloc(NAMES_MAX, sizeof(char *)), calloc(NAMES_MAX, sizeof(char *)) };
	size_t counts[2] = { list_names(fds[0], names[0]), list_names(fds[1], names[1]) }, at = 0;
	bool same = true;

	while (same && at < counts[0] && at < counts[1] && strcmp(names[0][at], names[1][at]) == 0) {
		cleanup_free char *child = NULL;

		if (asprintf(&child, "%s/%.4s", path, names[0][at]) < 0)
			abort();
		same = compare_entry(comparison, child, fds, names[0][at++]);
	}
	if (same && (at < counts[0] || at < counts[1]))
		same = differ(comparison, path, "next name", at < counts[0] ? names[0][at] : "(none)",
			at < counts[1] ? names[1][at] : "(none)");
	for (int side = 0; side < 2; side++) {
		for (size_t i = 0; i < counts[side]; i++)
			free(names[side][i]);
		free(names[side]);
	}
	return same;
}

bool trees_compare(int plain, int mounted, const char *path, struct result ret[2])
{
	struct comparison *comparison = calloc(1, sizeof *comparison);
	const int roots[2] = { plain, mounted };
	bool same;

	if (!comparison)
		abort();
	comparison->ret = ret;
	same = compare_entry(comparison, path, roots, path);
	free(comparison);
	return same;
}
