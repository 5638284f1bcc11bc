/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/log.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"

#define CGROUP_BYTES_MAX 65536u

/* Where systemd mounts its own hierarchy, and by which line of /proc/PID/cgroup it is known. */
static const struct {
	const char *line, *root;
} hierarchies[] = {
	{ "0::", "/sys/fs/cgroup" }, /* the unified one alone */
	{ "0::", "/sys/fs/cgroup/unified" },
	{ ":name=systemd:", "/sys/fs/cgroup/systemd" },
};

static int read_groups(const char *process, struct strbuf *ret)
{
	char path[64];
	cleanup_close int fd = -EBADF;

	snprintf(path, sizeof path, "/proc/%s/cgroup", process);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : io_read_all(fd, CGROUP_BYTES_MAX, ret);
}

/* The group that a line of TEXT with WHAT in front names; allocated. NULL: there is none. */
static char *group_of(const struct strbuf *text, const char *what)
{
	for (const char *line = strbuf_text(text), *end; *line; line = *end ? end + 1 : end) {
		const char *found = strstr(line, what);

		end = strchrnul(line, '\n');
		if (found && found < end && (*what == ':' || found == line))
			return strndup(found + strlen(what), (size_t)(end - found) - strlen(what));
	}
	return NULL;
}

static int join(const char *root, const char *group)
{
	char path[PATH_MAX];
	cleanup_close int fd = -EBADF;

	if (snprintf(path, sizeof path, "%s%s/cgroup.procs", root, group) >= (int)sizeof path)
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : io_write(fd, "0", 1);
}

void cgroup_join(pid_t pid)
{
	cleanup_strbuf struct strbuf theirs = STRBUF_INIT, ours = STRBUF_INIT;
	char process[16];

	snprintf(process, sizeof process, "%d", (int)pid);
	if (read_groups(process, &theirs) < 0 || read_groups("self", &ours) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(hierarchies); i++) {
		cleanup_free char *group = group_of(&theirs, hierarchies[i].line), *own = group_of(&ours, hierarchies[i].line);
		int r;

		/* "/..": it lies outside of what this process sees. */
		if (!group || !own || strcmp(group, own) == 0 || strncmp(group, "/..", 3) == 0)
			continue;
		r = join(hierarchies[i].root, group);
		if (r < 0 && r != -ENOENT)
			log_message(LOG_WARNING, "control group '%s' cannot be joined: %s", group, error_text(-r));
	}
}
