/* SPDX-License-Identifier: Apache-2.0 */
#include "store/image_divert.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/strbuf.h"

#define LOCAL ":" /* the administrator's */

struct diversion {
	char *from, *to, *package; /* in the text; FROM and TO without the slash in front */
};

struct image_diversions {
	struct strbuf text; /* of the file, cut into lines */
	struct diversion *records; /* owned, sorted by FROM */
	size_t count, alloc;
};

void image_diversions_free(struct image_diversions *diversions)
{
	if (!diversions)
		return;
	strbuf_release(&diversions->text);
	free(diversions->records);
	free(diversions);
}

static int diversion_compare(const void *a, const void *b)
{
	return strcmp(((const struct diversion *)a)->from, ((const struct diversion *)b)->from);
}

/* Absolute, and each name of it one. */
static bool is_good_path(const char *path)
{
	do {
		size_t len = *path == '/' ? strcspn(path + 1, "/") : 0;

		if (len == 0 || (len == 1 && path[1] == '.') || (len == 2 && path[1] == '.' && path[2] == '.'))
			return false;
		path += 1 + len;
	} while (*path);
	return true;
}

static int diversions_add(struct image_diversions *diversions, char *from, char *to, char *package)
{
	if (!is_good_path(from) || !is_good_path(to) || *package == '\0')
		return 0;
	if (diversions->count == diversions->alloc) {
		size_t alloc = diversions->alloc ? diversions->alloc * 2 : 64;
		struct diversion *records = reallocarray(diversions->records, alloc, sizeof *records);

		if (!records)
			return -ENOMEM;
		diversions->records = records;
		diversions->alloc = alloc;
	}
	diversions->records[diversions->count++] = (struct diversion){ from + 1, to + 1, package };
	return 0;
}

static int diversions_parse(struct image_diversions *diversions)
{
	char *at = diversions->text.buf, *from;

	while ((from = strsep(&at, "\n"))) {
		char *to = strsep(&at, "\n"), *package = to ? strsep(&at, "\n") : NULL;

		if (package && diversions_add(diversions, from, to, package) < 0)
			return -ENOMEM;
	}
	if (diversions->count > 0)
		qsort(diversions->records, diversions->count, sizeof *diversions->records, diversion_compare);
	return 0;
}

int image_diversions_load(const struct image *image, struct image_diversions **ret, struct error *err)
{
	struct image_diversions *diversions = calloc(1, sizeof *diversions);
	int r;

	if (!diversions)
		return error_errno(err, ENOMEM, "read the diversions of the system image");
	r = image_read_file(image, "var/lib/dpkg/diversions", IMAGE_DIVERT_FILE_MAX, &diversions->text, err);
	if (r == 0 && diversions_parse(diversions) < 0)
		r = error_errno(err, ENOMEM, "read the diversions of the system image");
	if (r < 0) {
		image_diversions_free(diversions);
		return r;
	}
	*ret = diversions;
	return 0;
}

const char *image_diversions_find(const struct image_diversions *diversions, const char *path, const char *package)
{
	const struct diversion key = { .from = (char *)path };
	const struct diversion *found = NULL;

	if (diversions->count > 0)
		found = bsearch(&key, diversions->records, diversions->count, sizeof key, diversion_compare);
	if (!found || (strcmp(package, found->package) == 0 && strcmp(package, LOCAL) != 0))
		return path;
	return found->to;
}
