/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/stuck.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"

#define THREADS_MAX 64

struct sleeper {
	int thread;
	uint64_t switches; /* how often it has run */
};

/* false: it does not sleep so. */
static bool look_at(pid_t pid, const char *thread, struct sleeper *ret)
{
	char path[64], line[256], state = 0;
	cleanup_fclose FILE *status = NULL;
	unsigned long long count;

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)pid, thread);
	status = fopen(path, "re");
	*ret = (struct sleeper){ .thread = atoi(thread) };
	while (status && fgets(line, sizeof line, status)) {
		sscanf(line, "State: %c", &state);
		if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1 || sscanf(line, "nonvoluntary_ctxt_switches: %llu", &count) == 1)
			ret->switches += count;
	}
	return state == 'D';
}

static size_t list_sleepers(pid_t pid, struct sleeper ret[THREADS_MAX])
{
	char path[64];
	cleanup_closedir DIR *threads = NULL;
	const struct dirent *entry;
	size_t count = 0;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	threads = opendir(path);
	while (threads && count < THREADS_MAX && (entry = readdir(threads))) {
		if (entry->d_name[0] != '.' && look_at(pid, entry->d_name, &ret[count]))
			count++;
	}
	return count;
}

bool process_is_stuck(pid_t pid)
{
	struct sleeper sleepers[THREADS_MAX];
	size_t count = list_sleepers(pid, sleepers);

	for (int i = 1; i < STUCK_LOOKS && count > 0; i++) {
		size_t left = 0;

		nanosleep(&(struct timespec){ .tv_nsec = STUCK_PAUSE_MS * 1000000L }, NULL);
		for (size_t k = 0; k < count; k++) {
			struct sleeper now;
			char thread[16];

			snprintf(thread, sizeof thread, "%d", sleepers[k].thread);
			if (look_at(pid, thread, &now) && now.switches == sleepers[k].switches)
				sleepers[left++] = now;
		}
		count = left;
	}
	return count > 0;
}
