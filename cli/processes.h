/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_PROCESSES_H
#define VENEER_CLI_PROCESSES_H

/*
 * Which processes have which files of a directory mapped or open: from /proc/PID/maps and
 * /proc/PID/fd, see proc_pid_maps(5). Processes in another mount namespace, or in a chroot, name their files
 * by paths of their own and are found only where these are the same as ours.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/output.h"
#include "store/base/error.h"

#define PROCESS_COMMAND_MAX 200 /* bytes of a command line that are shown */

struct process {
	pid_t pid;
	char *command; /* its command line */
	char **paths;  /* relative to the directory, each once */
	size_t path_count;
};

struct processes {
	struct process *list; /* in order of pid */
	size_t count;
};
#define PROCESSES_INIT { NULL, 0 }
void processes_release(struct processes *processes);
#define cleanup_processes __attribute__((cleanup(processes_release)))

enum process_use { PROCESS_MAPPED, PROCESS_MAPPED_OR_OPEN };

/* Is this file one that is looked for? INODE is 0 where the file is open and not mapped. */
typedef bool (*process_match_fn)(void *arg, const char *path, uint64_t inode);

/*
 * All processes that use a file below DIRECTORY (absolute) that MATCH wants, but for this one and EXCEPT
 * (0: none) and its children: the daemon, which has files of the base open because it serves them. RET fresh.
 */
int processes_find(const char *directory, enum process_use use, pid_t except, process_match_fn match,
	void *arg, struct processes *ret, struct error *err);
/*
 * Those that still map a file which a fresh lookup below DIRECTORY would not find any more. This looks into
 * DIRECTORY, so what is mounted there must answer.
 */
int processes_find_stale(const char *directory, struct processes *ret, struct error *err);
/* [{"pid","command","paths":[…]}] */
struct json_object *processes_rows(const struct processes *processes);

#endif
