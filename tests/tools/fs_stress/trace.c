/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as lines of text: NAME PROCESS uCALLER p|S ARGUMENT… */
#include "stress.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

static const struct {
	const char *name;
	int flag;
} flag_names[] = {
	{ "CREAT", O_CREAT }, { "EXCL", O_EXCL }, { "TRUNC", O_TRUNC }, { "APPEND", O_APPEND }, { "DIRECT", O_DIRECT },
	{ "NOFOLLOW", O_NOFOLLOW }, { "DIRECTORY", O_DIRECTORY }, { "PATH", O_PATH }, { "SYNC", O_SYNC },
	{ "NOATIME", O_NOATIME },
};
static const char *const access_names[] = { "RDONLY", "WRONLY", "RDWR" };

static void print_flags(FILE *to, int flags)
{
	fputs(access_names[flags & O_ACCMODE], to);
	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++) {
		if ((flags & flag_names[i].flag) == flag_names[i].flag)
			fprintf(to, "|%s", flag_names[i].name);
	}
}

static bool parse_flags(const char *text, int64_t *ret)
{
	char copy[200];
	char *rest = NULL;

	if ((size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy)
		return false;
	*ret = 0;
	for (char *word = strtok_r(copy, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
		bool found = false;

		for (size_t i = 0; i < ARRAY_SIZE(access_names); i++) {
			if (strcmp(word, access_names[i]) == 0) {
				*ret |= (int64_t)i;
				found = true;
			}
		}
		for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++) {
			if (strcmp(word, flag_names[i].name) == 0) {
				*ret |= flag_names[i].flag;
				found = true;
			}
		}
		if (!found)
			return false;
	}
	return true;
}

void operation_print(FILE *to, const struct operation *operation)
{
	const struct operation_kind *kind = &operation_kinds[operation->kind];
	size_t paths = 0, numbers = 0;

	fprintf(to, "%s %u u%u %c", kind->name, operation->process, operation->caller, operation->shared ? 'S' : 'p');
	for (const char *at = kind->arguments; *at; at++) {
		fputc(' ', to);
		if (*at == 'p')
			fputs(operation->path[paths++], to);
		else if (*at == 'F')
			print_flags(to, (int)operation->number[numbers++]);
		else if (*at == 'm' || *at == 'u')
			fprintf(to, "0%" PRIo64, (uint64_t)operation->number[numbers++]);
		else
			fprintf(to, "%" PRId64, operation->number[numbers++]);
	}
}

static bool parse_number(const char *word, int64_t *ret)
{
	char *end = NULL;

	*ret = strtoll(word, &end, word[0] == '0' ? 8 : 10);
	return end != word && *end == '\0';
}

static bool parse_argument(char letter, const char *word, struct operation *operation, size_t *paths, size_t *numbers)
{
	if (letter == 'p')
		return snprintf(operation->path[(*paths)++], PATH_ROOM, "%s", word) < PATH_ROOM;
	if (letter == 'F')
		return parse_flags(word, &operation->number[(*numbers)++]);
	return parse_number(word, &operation->number[(*numbers)++]);
}

bool operation_parse(const char *line, struct operation *ret)
{
	char name[32], class;
	unsigned process, caller;
	size_t paths = 0, numbers = 0;
	int used = 0, n;

	memset(ret, 0, sizeof *ret);
	if (sscanf(line, "%31s %u u%u %c%n", name, &process, &caller, &class, &used) != 4 || process >= PROCESSES_MAX ||
		caller >= CALLERS)
		return false;
	ret->process = (uint8_t)process;
	ret->caller = (uint8_t)caller;
	ret->shared = class == 'S';
	while (ret->kind < operation_kind_count && strcmp(operation_kinds[ret->kind].name, name) != 0)
		ret->kind++;
	if (ret->kind == operation_kind_count)
		return false;
	line += used;
	for (const char *at = operation_kinds[ret->kind].arguments; *at; at++) {
		char word[200];

		if (sscanf(line, "%199s%n", word, &n) != 1 || !parse_argument(*at, word, ret, &paths, &numbers))
			return false;
		line += n;
	}
	return true;
}
