/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/stuck.h"

#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"

#define THREADS_MAX 64

struct sleeper {
	int thread;
	char state; /* of proc_pid_stat(5); 0: it is gone */
	bool killed; /* SIGKILL is pending */
	uint64_t switches; /* how often it has run */
};

static void look_at(pid_t pid, const char *thread, struct sleeper *ret)
{
	char path[64], line[256];
	cleanup_fclose FILE *status = NULL;
	unsigned long long number;

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)pid, thread);
	status = fopen(path, "re");
	*ret = (struct sleeper){ .thread = atoi(thread) };
	while (status && fgets(line, sizeof line, status)) {
		sscanf(line, "State: %c", &ret->state);
		if (sscanf(line, "SigPnd: %llx", &number) == 1)
			ret->killed = number >> (SIGKILL - 1) & 1;
		if (sscanf(line, "voluntary_ctxt_switches: %llu", &number) == 1 || sscanf(line, "nonvoluntary_ctxt_switches: %llu", &number) == 1)
			ret->switches += number;
	}
}

/* All threads that WANTED is true of. false: it is no process, or not all that there are were looked at. */
static bool list_threads(pid_t pid, bool (*wanted)(const struct sleeper *sleeper), struct sleeper ret[THREADS_MAX], size_t *ret_count)
{
	char path[64];
	cleanup_closedir DIR *threads = NULL;
	const struct dirent *entry;

	*ret_count = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	threads = opendir(path);
	while (threads && (entry = readdir(threads))) {
		struct sleeper sleeper;

		if (entry->d_name[0] == '.')
			continue;
		look_at(pid, entry->d_name, &sleeper);
		if (!wanted(&sleeper))
			continue;
		if (*ret_count == THREADS_MAX)
			return false;
		ret[(*ret_count)++] = sleeper;
	}
	return threads != NULL;
}

static bool sleeps_deeply(const struct sleeper *sleeper)
{
	return sleeper->state == 'D';
}

static bool has_not_ended(const struct sleeper *sleeper)
{
	return sleeper->state && sleeper->state != 'Z' && sleeper->state != 'X';
}

bool process_lingers(pid_t pid)
{
	struct sleeper sleepers[THREADS_MAX];
	size_t count;

	if (!list_threads(pid, has_not_ended, sleepers, &count))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!sleeps_deeply(&sleepers[i]) || !sleepers[i].killed)
			return false;
	}
	return count > 0;
}

bool process_is_stuck(pid_t pid)
{
	struct sleeper sleepers[THREADS_MAX];
	size_t count;

	list_threads(pid, sleeps_deeply, sleepers, &count);
	for (int i = 1; i < STUCK_LOOKS && count > 0; i++) {
		size_t left = 0;

		nanosleep(&(struct timespec){ .tv_nsec = STUCK_PAUSE_MS * 1000000L }, NULL);
		for (size_t k = 0; k < count; k++) {
			struct sleeper now;
			char thread[16];

			snprintf(thread, sizeof thread, "%d", sleepers[k].thread);
			look_at(pid, thread, &now);
			if (sleeps_deeply(&now) && now.switches == sleepers[k].switches)
				sleepers[left++] = now;
		}
		count = left;
	}
	return count > 0;
}
