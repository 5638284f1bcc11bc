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

int mounts_line(char *line, const char *directory, dev_t *ret_device)
{
	char *rest = line, *where = NULL, *type;

	*ret_device = 0;
	for (int i = 0; i < 5; i++) {
		where = field(&rest);
		if (i == 2 && where)
			*ret_device = parse_device(where);
	}
	if (!where)
		return -ENOENT;
	unescape(where);
	if (strcmp(where, directory) != 0)
		return -ENOENT;
	/* Optional fields, ended by a dash, stand before the type. */
	do
		type = field(&rest);
	while (type && strcmp(type, "-") != 0);
	type = type ? field(&rest) : NULL;
	return type && strcmp(type, MOUNT_TYPE) == 0;
}

/* Every mount at DIRECTORY, the lowest one first. */
static int each_mount(const char *directory, void (*fn)(void *arg, bool ours, dev_t device), void *arg,
	struct error *err)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t alloc = 0;

	if (!file)
		return error_errno(err, errno, "read '/proc/self/mountinfo'");
	while (getline(&line, &alloc, file) > 0) {
		dev_t device;
		int r = mounts_line(line, directory, &device);

		if (r >= 0)
			fn(arg, r > 0, device);
	}
	return ferror(file) ? error_errno(err, EIO, "read '/proc/self/mountinfo'") : 0;
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

int mounts_find_beneath(const char *directory, char **ret, struct error *err)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t alloc = 0;

	if (!file)
		return error_errno(err, errno, "read '/proc/self/mountinfo'");
	while (getline(&line, &alloc, file) > 0) {
		const char *where = mounts_line_path(line);

		if (!where || strcmp(where, directory) == 0 || !path_is_beneath(where, directory))
			continue;
		*ret = strdup(where);
		return *ret ? 0 : error_errno(err, ENOMEM, "'/proc/self/mountinfo'");
	}
	*ret = NULL;
	return ferror(file) ? error_errno(err, EIO, "read '/proc/self/mountinfo'") : 0;
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
