/* SPDX-License-Identifier: Apache-2.0 */
/* Which operations there are, and how a list of them is made of a seed. */
#include "stress.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"

#define CHECK_EVERY 500 /* operations of a process, and of a shared area */

const struct operation_kind operation_kinds[] = {
	{ "open", "psFmu", 150, perform_open },
	{ "close", "s", 15, perform_close },
	{ "reopen", "ssF", 12, perform_reopen },
	{ "read", "sl", 40, perform_read },
	{ "write", "sl", 50, perform_write },
	{ "pread", "sol", 40, perform_pread },
	{ "pwrite", "sol", 60, perform_pwrite },
	{ "truncate", "pz", 20, perform_truncate },
	{ "append", "sl", 20, perform_append },
	{ "vector", "sol", 20, perform_vector },
	{ "send", "ssol", 12, perform_send },
	{ "ftruncate", "sz", 25, perform_ftruncate },
	{ "fallocate", "sAol", 25, perform_fallocate },
	{ "copy", "sosol", 20, perform_copy },
	{ "seek", "soW", 20, perform_seek },
	{ "sync", "sb", 4, perform_sync },
	{ "mapwrite", "sol", 20, perform_mapwrite },
	{ "mapread", "sol", 15, perform_mapread },
	{ "holes", "s", 8, perform_holes },
	{ "fstat", "s", 30, perform_fstat },
	{ "setfl", "sb", 6, perform_setfl },
	{ "lock", "sCLol", 15, perform_lock },
	{ "flock", "sL", 10, perform_flock },
	{ "fchmod", "sm", 12, perform_fchmod },
	{ "fchown", "sUG", 12, perform_fchown },
	{ "futimens", "sT", 8, perform_futimens },
	{ "fsetxattr", "sXVY", 8, perform_fsetxattr },
	{ "flags", "sI", 5, perform_flags },
	{ "tmpfile", "pm", 2, perform_tmpfile },
	{ "mkdir", "pmu", 70, perform_mkdir },
	{ "rmdir", "p", 25, perform_rmdir },
	{ "mknod", "pymu", 20, perform_mknod },
	{ "symlink", "pt", 10, perform_symlink },
	{ "readlink", "p", 8, perform_readlink },
	{ "link", "ppb", 45, perform_link },
	{ "relink", "sp", 8, perform_relink },
	{ "unlink", "p", 40, perform_unlink },
	{ "rename", "ppR", 80, perform_rename },
	{ "chmod", "pm", 35, perform_chmod },
	{ "chown", "pUGb", 30, perform_chown },
	{ "utimens", "pTb", 20, perform_utimens },
	{ "stat", "pb", 60, perform_stat },
	{ "access", "pM", 15, perform_access },
	{ "setxattr", "pXVYb", 30, perform_setxattr },
	{ "getxattr", "pXb", 20, perform_getxattr },
	{ "listxattr", "pb", 10, perform_listxattr },
	{ "removexattr", "pXb", 10, perform_removexattr },
	{ "setacl", "pKk", 15, perform_setacl },
	{ "getacl", "pK", 8, perform_getacl },
	{ "opendir", "pd", 15, perform_opendir },
	{ "closedir", "d", 3, perform_closedir },
	{ "list", "pB", 25, perform_list },
	{ "walk", "pBc", 2, perform_walk },
	{ "deep", "pc", 1, perform_deep },
	{ "names", "pc", 2, perform_names },
	{ "clear", "p", 14, perform_clear },
	{ "check", "", 0, perform_check },
};
const size_t operation_kind_count = ARRAY_SIZE(operation_kinds);

int operation_kind_check(void)
{
	return (int)operation_kind_count - 1;
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static int64_t below(uint64_t *state, uint64_t limit)
{
	return (int64_t)(next(state) % limit);
}

#define ONE_OF(state, ...)                                                                         \
	__extension__({                                                                            \
		static const int64_t choices[] = { __VA_ARGS__ };                                  \
		choices[below(state, ARRAY_SIZE(choices))];                                        \
	})

/* d and e are directories as a rule, the others are not: else most paths would lead nowhere. */
static char choose_component(uint64_t *state, bool directory)
{
	int64_t n = below(state, 200);

	if (n < 4)
		return "LLXL"[n];
	if (n < 5)
		return '.';
	if (n < 25)
		return "abcde"[n % 5];
	return directory ? "dddee"[n % 5] : "aabbc"[n % 5];
}

/* Is what the operation works on a directory, as a rule? */
static bool wants_directory(const struct operation *operation)
{
	static const char *const kinds[] = { "mkdir", "rmdir", "opendir", "list", "walk", "deep", "names", "clear", "tmpfile" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(operation_kinds[operation->kind].name, kinds[i]) == 0)
			return true;
	}
	return false;
}

static void choose_path(uint64_t *state, const struct operation *operation, bool patched, char path[PATH_ROOM])
{
	/* Any operation works on directories, too. */
	bool directory = wants_directory(operation) || below(state, 5) == 0;
	int64_t depth = ONE_OF(state, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3);
	size_t at = 0;

	if (below(state, 8) == 0) {
		path[at++] = '@';
		path[at++] = (char)('0' + (operation->shared ? DIRECTORY_SHARED : below(state, DIRECTORY_SHARED)));
		depth = below(state, 3);
	} else if (!operation->shared) {
		path[at++] = (char)('0' + operation->process);
	} else if (patched && below(state, 2)) {
		path[at++] = 'P';
		if (below(state, 2)) {
			path[at++] = '/';
			path[at++] = 'q';
		}
	} else {
		path[at++] = 'S';
	}
	for (; depth > 0; depth--) {
		path[at++] = '/';
		path[at++] = choose_component(state, depth > 1 || directory);
	}
	path[at] = '\0';
}

static int64_t choose_flags(uint64_t *state)
{
	int64_t flags = ONE_OF(state, O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR, O_RDWR);

	flags |= ONE_OF(state, 0, 0, O_CREAT, O_CREAT, O_CREAT, O_CREAT, O_CREAT, O_CREAT, O_CREAT | O_EXCL);
	flags |= ONE_OF(state, 0, 0, 0, 0, 0, 0, 0, 0, O_TRUNC, O_TRUNC, O_APPEND, O_APPEND, O_DIRECT, O_NOFOLLOW, O_DIRECTORY,
		O_PATH, O_SYNC, O_NOATIME);
	return flags;
}

static int64_t choose_size(uint64_t *state)
{
	switch (below(state, 8)) {
	case 0: return ONE_OF(state, 0, 1, 4095, 4096, 4097, 131072, 262143);
	case 1: return below(state, 400000);
	case 2: return below(state, 15) == 0 ? ONE_OF(state, -1, (int64_t)1 << 46, INT64_MAX) : below(state, 70000);
	default: return below(state, 20000);
	}
}

static int64_t choose_length(uint64_t *state)
{
	switch (below(state, 8)) {
	case 0: return ONE_OF(state, 0, 1, 4096, 8192, 131072);
	case 1: return below(state, 200000);
	default: return below(state, 10000);
	}
}

static int64_t choose_number(uint64_t *state, const struct operation *operation, char argument)
{
	switch (argument) {
	case 's': /* a slot */
		return operation->shared ? SLOTS_SHARED + below(state, SLOTS - SLOTS_SHARED) : below(state, SLOTS_SHARED);
	case 'd': return operation->shared ? DIRECTORY_SHARED : below(state, DIRECTORY_SHARED);
	case 'F': return choose_flags(state);
	case 'm': /* mode */
		return ONE_OF(state, 0777, 0777, 0777, 0777, 0777, 0775, 0755, 0666, 0644, 0600, 0, 0444, 0711, 02775, 02777, 02777, 02644,
			04755, 06777, 06777, 01777, 03777, 04711, 02666);
	case 'u': return ONE_OF(state, 022, 022, 022, 0, 0, 0, 0, 077, 027, 0777);
	case 'o': /* offset */
	case 'z': return choose_size(state);
	case 'l': return choose_length(state);
	case 'A': /* mode of fallocate */
		return ONE_OF(state, 0, 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
			FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE);
	case 'W': return ONE_OF(state, SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE);
	case 'b': return below(state, 2);
	case 'C': return below(state, 4);  /* which lock call */
	case 'L': return below(state, 3);  /* read, write, none */
	case 'U': return ONE_OF(state, -1, -1, 0, 1001, 1001, 1002, 1003);
	case 'G': return ONE_OF(state, -1, -1, 0, 1001, 1002, 2000, 2001);
	case 'T': return below(state, 6);  /* what of the times */
	case 'X': return below(state, 6);  /* which name */
	case 'V': return ONE_OF(state, 0, 1, 5, 64, 300, 2000, 3000); /* size of the value */
	case 'Y': return ONE_OF(state, 0, 0, 0, 1, 2);
	case 'R': return ONE_OF(state, 0, 0, 0, 0, 1, 2, 2);
	case 'y': return below(state, 4);  /* type */
	case 't': return below(state, 8);  /* target */
	case 'M': return below(state, 8);  /* of access */
	case 'K': return below(state, 2);  /* access or default */
	case 'k': return below(state, 6);  /* which ACL */
	case 'I': return ONE_OF(state, 0, 0, 0, 3, 1, 2); /* none, no dump, append-only, immutable */
	case 'B': return ONE_OF(state, 600, 2000, 32768, 131072);
	default: return below(state, 20);
	}
}

static uint8_t choose_kind(uint64_t *state)
{
	unsigned total = 0;
	int64_t at;
	uint8_t kind = 0;

	for (size_t i = 0; i < operation_kind_count; i++)
		total += operation_kinds[i].weight;
	for (at = below(state, total); at >= operation_kinds[kind].weight; kind++)
		at -= operation_kinds[kind].weight;
	return kind;
}

static void choose(uint64_t *state, struct operation *operation, bool patched)
{
	size_t paths = 0, numbers = 0;

	operation->kind = choose_kind(state);
	operation->caller = (uint8_t)ONE_OF(state, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3);
	for (const char *at = operation_kinds[operation->kind].arguments; *at; at++) {
		if (*at == 'p')
			choose_path(state, operation, patched, operation->path[paths++]);
		else
			operation->number[numbers++] = choose_number(state, operation, *at);
	}
}

struct operation *operations_make(uint64_t seed, size_t count, unsigned processes, bool patched)
{
	struct operation *list = calloc(count, sizeof *list);
	uint64_t states[PROCESSES_MAX];
	size_t done[PROCESSES_MAX] = { 0 }, shared = 0;
	int32_t turn = 0;

	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		states[i] = seed * 1000003 + i * 7919;
	for (size_t i = 0; list && i < count; i++) {
		unsigned process = (unsigned)(i % processes);
		uint64_t *state = &states[process];
		struct operation *operation = &list[i];

		operation->process = (uint8_t)process;
		operation->shared = below(state, patched ? 2 : 5) == 0;
		if (++done[process] % CHECK_EVERY == 0) {
			operation->kind = (uint8_t)operation_kind_check();
			operation->shared = false;
		} else if (operation->shared && ++shared % CHECK_EVERY == 0) {
			operation->kind = (uint8_t)operation_kind_check();
		} else {
			choose(state, operation, patched);
		}
		operation->turn = operation->shared ? turn++ : -1;
	}
	return list;
}
