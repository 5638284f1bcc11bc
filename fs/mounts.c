/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "store/base/cleanup.h"

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

int mounts_line(char *line, const char *directory)
{
	char *rest = line, *where = NULL, *type;

	for (int i = 0; i < 5; i++)
		where = field(&rest);
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

int mounts_find(const char *directory, bool *ret_ours, struct error *err)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t alloc = 0;
	bool ours = false;

	if (!file)
		return error_errno(err, errno, "read '/proc/self/mountinfo'");
	while (getline(&line, &alloc, file) > 0) {
		int r = mounts_line(line, directory);

		/* Later lines lie on top of earlier ones. */
		if (r >= 0)
			ours = r > 0;
	}
	*ret_ours = ours;
	return 0;
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
