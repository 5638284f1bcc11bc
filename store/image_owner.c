/* SPDX-License-Identifier: Apache-2.0 */
#include "store/image_owner.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/strbuf.h"

struct account {
	char *name; /* owned */
	uint32_t id;
};

struct accounts {
	struct account *entries; /* owned, sorted by name */
	size_t count;
};

struct image_owners {
	struct accounts users, groups;
	struct image_override *overrides; /* owned, sorted by path */
	size_t override_count;
};

static void accounts_release(struct accounts *accounts)
{
	for (size_t i = 0; i < accounts->count; i++)
		free(accounts->entries[i].name);
	free(accounts->entries);
}

void image_owners_free(struct image_owners *owners)
{
	if (!owners)
		return;
	accounts_release(&owners->users);
	accounts_release(&owners->groups);
	for (size_t i = 0; i < owners->override_count; i++)
		free(owners->overrides[i].path);
	free(owners->overrides);
	free(owners);
}

/* Digits of BASE only, at most MAX. */
static bool parse_number(const char *text, int base, unsigned long max, uint32_t *ret)
{
	unsigned long value;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, base);
	if (errno || *end || value > max)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static int account_compare(const void *a, const void *b)
{
	return strcmp(((const struct account *)a)->name, ((const struct account *)b)->name);
}

/* "name:password:id:…" */
static int accounts_add(struct accounts *accounts, size_t *alloc, char *line)
{
	char *name = strsep(&line, ":");
	char *id;
	uint32_t number;

	(void)strsep(&line, ":");
	id = strsep(&line, ":");
	if (!id || *name == '\0' || !parse_number(id, 10, UINT32_MAX - 1, &number))
		return 0;
	if (accounts->count == *alloc) {
		size_t want = *alloc ? *alloc * 2 : 64;
		struct account *grown = reallocarray(accounts->entries, want, sizeof *grown);

		if (!grown)
			return -ENOMEM;
		accounts->entries = grown;
		*alloc = want;
	}
	name = strdup(name);
	if (!name)
		return -ENOMEM;
	accounts->entries[accounts->count++] = (struct account){ name, number };
	return 0;
}

static int accounts_load(const struct image *image, const char *path, struct accounts *accounts,
	struct error *err)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	size_t alloc = 0;
	char *at, *line;
	int r = image_read_file(image, path, IMAGE_OWNER_FILE_MAX, &text, err);

	if (r < 0)
		return r;
	at = text.buf;
	while ((line = strsep(&at, "\n")))
		if (accounts_add(accounts, &alloc, line) < 0)
			return error_errno(err, ENOMEM, "read '/%s'", path);
	if (accounts->count)
		qsort(accounts->entries, accounts->count, sizeof *accounts->entries, account_compare);
	return 0;
}

static bool accounts_find(const struct accounts *accounts, const char *name, uint32_t *ret)
{
	struct account key = { (char *)name, 0 };
	const struct account *found = accounts->count ?
		bsearch(&key, accounts->entries, accounts->count, sizeof key, account_compare) :
		NULL;

	if (found)
		*ret = found->id;
	return found;
}

static int override_compare(const void *a, const void *b)
{
	return strcmp(((const struct image_override *)a)->path, ((const struct image_override *)b)->path);
}

/* A name, or "#NUMBER". */
static bool parse_owner(const struct accounts *accounts, const char *text, uint32_t *ret)
{
	if (*text == '#')
		return parse_number(text + 1, 10, UINT32_MAX - 1, ret);
	if (accounts_find(accounts, text, ret))
		return true;
	if (strcmp(text, "root") != 0)
		return false;
	*ret = 0;
	return true;
}

/* "user group mode path" */
static int overrides_add(struct image_owners *owners, size_t *alloc, char *line)
{
	char *user = strsep(&line, " "), *group = strsep(&line, " "), *mode = strsep(&line, " ");
	uint32_t uid, gid, bits;
	char *path;

	if (!mode || !line || *line != '/' || !parse_owner(&owners->users, user, &uid) ||
		!parse_owner(&owners->groups, group, &gid) || !parse_number(mode, 8, 07777, &bits))
		return 0;
	if (owners->override_count == *alloc) {
		size_t want = *alloc ? *alloc * 2 : 16;
		struct image_override *grown = reallocarray(owners->overrides, want, sizeof *grown);

		if (!grown)
			return -ENOMEM;
		owners->overrides = grown;
		*alloc = want;
	}
	path = strdup(line);
	if (!path)
		return -ENOMEM;
	owners->overrides[owners->override_count++] = (struct image_override){ path, uid, gid, bits };
	return 0;
}

static int overrides_load(const struct image *image, struct image_owners *owners, struct error *err)
{
	static const char path[] = "var/lib/dpkg/statoverride";
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	size_t alloc = 0;
	char *at, *line;
	int r = image_read_file(image, path, IMAGE_OWNER_FILE_MAX, &text, err);

	if (r < 0)
		return r;
	at = text.buf;
	while ((line = strsep(&at, "\n")))
		if (overrides_add(owners, &alloc, line) < 0)
			return error_errno(err, ENOMEM, "read '/%s'", path);
	if (owners->override_count)
		qsort(owners->overrides, owners->override_count, sizeof *owners->overrides,
			override_compare);
	return 0;
}

int image_owners_load(const struct image *image, struct image_owners **ret, struct error *err)
{
	cleanup_image_owners struct image_owners *owners = calloc(1, sizeof *owners);
	int r;

	if (!owners)
		return error_errno(err, ENOMEM, "read the accounts of the system image");
	r = accounts_load(image, "etc/passwd", &owners->users, err);
	if (r == 0)
		r = accounts_load(image, "etc/group", &owners->groups, err);
	if (r == 0)
		r = overrides_load(image, owners, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(owners);
	return 0;
}

bool image_owners_user(const struct image_owners *owners, const char *name, uid_t *ret)
{
	return accounts_find(&owners->users, name, ret);
}

bool image_owners_group(const struct image_owners *owners, const char *name, gid_t *ret)
{
	return accounts_find(&owners->groups, name, ret);
}

const struct image_override *image_owners_override(const struct image_owners *owners, const char *path)
{
	char absolute[PATH_MAX + 2] = "/";
	struct image_override key = { .path = absolute };
	size_t len = strlen(path);

	if (owners->override_count == 0 || len > PATH_MAX)
		return NULL;
	memcpy(absolute + 1, path, len + 1);
	return bsearch(&key, owners->overrides, owners->override_count, sizeof key, override_compare);
}
