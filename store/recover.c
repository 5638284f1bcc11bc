/* SPDX-License-Identifier: Apache-2.0 */
#include "store/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/log.h"
#include "store/component.h"
#include "store/journal.h"

#define TEMPORARY_PREFIX ".tmp-"
#define TEMPORARY_AGE_SECONDS 60 /* a daemon that makes an object again for a reader has no lock */

/* ---- temporary files ---- */

static void remove_temporaries(int store_fd, const char *name)
{
	cleanup_closedir DIR *directory = NULL;
	const struct dirent *entry;
	int fd = openat(store_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		cleanup_closep(&fd);
		return;
	}
	while ((entry = readdir(directory))) {
		struct stat st;

		if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) == 0 &&
			fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
			st.st_ctim.tv_sec + TEMPORARY_AGE_SECONDS < time(NULL))
			unlinkat(fd, entry->d_name, 0);
	}
}

/* ---- the journal ---- */

static int copy_newest(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct journal_entry *newest = arg;

	newest->from = entry->from;
	newest->to = entry->to;
	newest->action = strdup(entry->action);
	return newest->action ? 1 : error_errno(err, ENOMEM, "read the journal");
}

/* Does the newest entry lead to what is active? What was refused was named, and either may be active since. */
static bool is_told(const struct journal_entry *newest, const struct oid *active)
{
	return oid_equal(&newest->to, active) || (strcmp(newest->action, "refused") == 0 && oid_equal(&newest->from, active));
}

int journal_complete(struct store *store, const char *name, struct error *err)
{
	cleanup_component struct component *component = NULL;
	cleanup_journal_entry struct journal_entry newest = { .action = NULL };
	struct journal_entry entry = { .action = (char *)"switched",
		.reason = (char *)RECOVER_REASON };
	int r = component_load(store, name, &component, err);

	if (r == 0)
		r = journal_each(store, name, 1, copy_newest, &newest, err);
	if (r < 0 || (newest.action && is_told(&newest, &component->active)))
		return r < 0 ? r : 0;
	entry.to = component->active;
	if (newest.action)
		entry.from = newest.to;
	else
		entry.action = (char *)"added";
	log_message(LOG_NOTICE, "component '%s': the last switch was not in the journal; it is now", name);
	return journal_append(store, name, &entry, err);
}

static int complete_journals(struct store *store, struct error *err)
{
	CLEANUP(string_list_freep) char **names = NULL;
	struct error problem = ERROR_INIT;
	int failed = 0;
	size_t count;
	int r = component_list(store, &names, &count, err);

	/* One that is broken keeps no other from being completed; the last one is told of. */
	for (size_t i = 0; r == 0 && i < count; i++) {
		int rc = journal_complete(store, names[i], &problem);

		if (rc < 0)
			failed = error_prefix(&problem, rc, "complete the journal of component '%s'", names[i]);
	}
	return failed < 0 ? error_set(err, failed, "%s", problem.message) : r;
}

int store_recover(const char *path, struct error *err)
{
	cleanup_store struct store *store = NULL;
	int r = store_open(path, &store, err);

	if (r < 0)
		return r;
	if (syncfs(store->fd) < 0)
		return error_errno(err, errno, "sync the store '%s'", path);
	remove_temporaries(store->fd, "objects");
	remove_temporaries(store->fd, "cache");
	remove_temporaries(store->fd, "policy");
	repo_locks_break(store->repo, "refs/veneer");
	return complete_journals(store, err);
}
