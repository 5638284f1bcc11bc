/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

/* Linux 5.10; headers of older libraries lack them. */
#define STATVFS_NOSYMFOLLOW 0x2000u
#define MOUNT_NOSYMFOLLOW 256u

/* Space, tab, newline and backslash stand as \040 and so on. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
			from[3] >= '0' && from[3] <= '7') {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The next field of *LINE, which is taken apart; NULL: there is none. */
static char *field(char **line)
{
	return strsep(line, " ");
}

/* "8:1" */
static dev_t parse_device(const char *text)
{
	unsigned device_major, device_minor;

	return sscanf(text, "%u:%u", &device_major, &device_minor) == 2 ? makedev(device_major, device_minor) : 0;
}

/* LINE taken apart: where, which filesystem, and of what type. false: it is no line of mountinfo. */
static bool parse_line(char *line, char **ret_where, dev_t *ret_device, const char **ret_type)
{
	char *rest = line, *where = NULL, *type;

	*ret_device = 0;
	for (int i = 0; i < 5; i++) {
		where = field(&rest);
		if (i == 2 && where)
			*ret_device = parse_device(where);
	}
	if (!where)
		return false;
	unescape(where);
	/* Optional fields, ended by a dash, stand before the type. */
	do
		type = field(&rest);
	while (type && strcmp(type, "-") != 0);
	type = type ? field(&rest) : NULL;
	*ret_where = where;
	*ret_type = type ? type : "";
	return true;
}

int mounts_line(char *line, const char *directory, dev_t *ret_device)
{
	const char *type;
	char *where;

	if (!parse_line(line, &where, ret_device, &type) || strcmp(where, directory) != 0)
		return -ENOENT;
	return strcmp(type, MOUNT_TYPE) == 0;
}

/* Each line of mountinfo, the lowest mount first; non-zero of FN ends and is returned. */
static int each_line(int (*fn)(void *arg, char *line), void *arg, struct error *err)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t alloc = 0;
	int r = 0;

	if (!file)
		return error_errno(err, errno, "read '/proc/self/mountinfo'");
	while (r == 0 && getline(&line, &alloc, file) > 0)
		r = fn(arg, line);
	return r == 0 && ferror(file) ? error_errno(err, EIO, "read '/proc/self/mountinfo'") : r;
}

struct at_directory {
	const char *directory;
	void (*fn)(void *arg, bool ours, dev_t device);
	void *arg;
};

static int see_directory(void *arg, char *line)
{
	const struct at_directory *at = arg;
	dev_t device;
	int r = mounts_line(line, at->directory, &device);

	if (r >= 0)
		at->fn(at->arg, r > 0, device);
	return 0;
}

/* Every mount at DIRECTORY, the lowest one first. */
static int each_mount(const char *directory, void (*fn)(void *arg, bool ours, dev_t device), void *arg,
	struct error *err)
{
	struct at_directory at = { directory, fn, arg };

	return each_line(see_directory, &at, err);
}

struct ours {
	mounts_fn fn;
	void *arg;
};

static int see_ours(void *arg, char *line)
{
	const struct ours *ours = arg;
	const char *type;
	dev_t device;
	char *where;

	if (!parse_line(line, &where, &device, &type) || strcmp(type, MOUNT_TYPE) != 0)
		return 0;
	return ours->fn(ours->arg, where, device);
}

int mounts_each_ours(mounts_fn fn, void *arg, struct error *err)
{
	struct ours ours = { fn, arg };

	return each_line(see_ours, &ours, err);
}

static void note_ours(void *arg, bool ours, dev_t device)
{
	*(bool *)arg = ours;
}

int mounts_find(const char *directory, bool *ret_ours, struct error *err)
{
	*ret_ours = false;
	return each_mount(directory, note_ours, ret_ours, err);
}

char *mounts_line_path(char *line)
{
	char *rest = line, *where = NULL;

	for (int i = 0; i < 5; i++)
		where = field(&rest);
	if (where)
		unescape(where);
	return where;
}

struct beneath {
	const char *directory;
	char *found;
};

static int see_beneath(void *arg, char *line)
{
	struct beneath *beneath = arg;
	const char *where = mounts_line_path(line);

	if (!where || strcmp(where, beneath->directory) == 0 || !path_is_beneath(where, beneath->directory))
		return 0;
	beneath->found = strdup(where);
	return beneath->found ? 1 : -ENOMEM;
}

int mounts_find_beneath(const char *directory, char **ret, struct error *err)
{
	struct beneath beneath = { .directory = directory };
	int r = each_line(see_beneath, &beneath, err);

	if (r == -ENOMEM)
		return error_errno(err, ENOMEM, "'/proc/self/mountinfo'");
	*ret = beneath.found;
	return r < 0 ? r : 0;
}

struct search {
	dev_t device;
	bool there, topmost;
};

static void note_device(void *arg, bool ours, dev_t device)
{
	struct search *search = arg;

	search->topmost = ours && device == search->device;
	search->there |= search->topmost;
}

int mounts_find_device(const char *directory, dev_t device, bool *ret_there, bool *ret_topmost, struct error *err)
{
	struct search search = { .device = device };
	int r = each_mount(directory, note_device, &search, err);

	*ret_there = search.there;
	*ret_topmost = search.topmost;
	return r;
}

unsigned long mounts_flags(const struct statvfs *st)
{
	static const struct {
		unsigned long here, there;
	} flags[] = {
		{ ST_RDONLY, MS_RDONLY },
		{ ST_NOSUID, MS_NOSUID },
		{ ST_NODEV, MS_NODEV },
		{ ST_NOEXEC, MS_NOEXEC },
		{ ST_NOATIME, MS_NOATIME },
		{ ST_NODIRATIME, MS_NODIRATIME },
		{ ST_RELATIME, MS_RELATIME },
		{ STATVFS_NOSYMFOLLOW, MOUNT_NOSYMFOLLOW },
	};
	unsigned long result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		result |= st->f_flag & flags[i].here ? flags[i].there : 0;
	/* Without either, mount(2) would choose the second. */
	if (!(result & (MS_NOATIME | MS_RELATIME)))
		result |= MS_STRICTATIME;
	return result;
}
