/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/caller.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "store/base/cleanup.h"

#define PROC_PATH_ROOM 64

static void proc_path(const struct caller *caller, const char *name, char path[PROC_PATH_ROOM])
{
	snprintf(path, PROC_PATH_ROOM, "/proc/%d/%s", caller->pid, name);
}

/* The line of the caller's status that begins with FIELD, after it; to be freed. NULL: there is none. */
static char *status_line(const struct caller *caller, const char *field)
{
	cleanup_free char *line = NULL;
	cleanup_fclose FILE *file = NULL;
	char path[PROC_PATH_ROOM];
	size_t room = 0;

	if (caller->pid <= 0)
		return NULL;
	proc_path(caller, "status", path);
	file = fopen(path, "re");
	while (file && getline(&line, &room, file) >= 0) {
		if (strncmp(line, field, strlen(field)) == 0)
			return strdup(line + strlen(field));
	}
	return NULL;
}

static bool is_in_our_user_namespace(const struct caller *caller)
{
	char path[PROC_PATH_ROOM];
	struct stat his, ours;

	proc_path(caller, "ns/user", path);
	/* A kernel without user namespaces has no such files. */
	if (stat("/proc/self/ns/user", &ours) < 0)
		return errno == ENOENT;
	return stat(path, &his) == 0 && his.st_dev == ours.st_dev && his.st_ino == ours.st_ino;
}

/* Does he work as who he is? A server may do so as another (override_creds in the kernel), of whom /proc says nothing. */
static bool is_himself(const struct caller *caller)
{
	cleanup_free char *line = status_line(caller, "Uid:");
	unsigned long uid;

	return line && sscanf(line, "%*u %*u %*u %lu", &uid) == 1 && uid == caller->uid;
}

static bool has_capability(const struct caller *caller, unsigned capability)
{
	cleanup_free char *effective = status_line(caller, "CapEff:");

	if (!effective || !is_himself(caller))
		return caller->uid == 0;
	return strtoull(effective, NULL, 16) & (uint64_t)1 << capability && is_in_our_user_namespace(caller);
}

bool caller_has_fsetid(const struct caller *caller)
{
	return has_capability(caller, CAP_FSETID);
}

bool caller_is_owner(const struct caller *caller, uid_t owner)
{
	return caller->uid == owner || has_capability(caller, CAP_FOWNER);
}

bool caller_is_in_group(const struct caller *caller, gid_t group)
{
	cleanup_free gid_t *groups = NULL;
	size_t count = 0;

	if (caller->gid == group)
		return true;
	groups = caller_groups(caller, &count);
	for (size_t i = 0; i < count; i++) {
		if (groups[i] == group)
			return true;
	}
	return false;
}

gid_t *caller_groups(const struct caller *caller, size_t *ret_count)
{
	cleanup_free char *line = status_line(caller, "Groups:");
	gid_t *groups;
	char *at, *end;
	size_t count = 0;

	*ret_count = 0;
	if (!line || !is_himself(caller))
		return NULL;
	/* Each takes a digit and a space at least. */
	groups = calloc(strlen(line) / 2 + 1, sizeof *groups);
	if (!groups)
		return NULL;
	for (at = line;; at = end) {
		unsigned long group = strtoul(at, &end, 10);

		if (end == at)
			break;
		groups[count++] = (gid_t)group;
	}
	*ret_count = count;
	return groups;
}

/* The number of the system call that CALLER is in; -1: it is not known. */
static long system_call_of(const struct caller *caller)
{
	cleanup_fclose FILE *file = NULL;
	char path[PROC_PATH_ROOM];
	long number = -1;

	if (caller->pid <= 0)
		return -1;
	proc_path(caller, "syscall", path);
	file = fopen(path, "re");
	return file && fscanf(file, "%ld", &number) == 1 ? number : -1;
}

bool caller_is_in_write(const struct caller *caller)
{
	const long calls[] = { SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2, SYS_sendfile, SYS_splice, SYS_copy_file_range,
		SYS_fallocate };
	long number = system_call_of(caller);

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (number == calls[i])
			return true;
	}
	return false;
}

bool caller_is_in_chown(const struct caller *caller)
{
	long number = system_call_of(caller);

#ifdef SYS_chown
	if (number == SYS_chown || number == SYS_lchown)
		return true;
#endif
	return number == SYS_fchown || number == SYS_fchownat;
}
