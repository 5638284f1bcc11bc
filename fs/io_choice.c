/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/io_choice.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/shared.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"

#define SURVEY_NAMES_MAX 2000u
#define SURVEY_DIRECTORIES_MAX 64u
#define SURVEY_NS 5000000u

/* ---- the choice ---- */

void io_choice_init(struct io_choice *choice)
{
	memset(choice, 0, sizeof *choice);
	pthread_mutex_init(&choice->lock, NULL);
	atomic_store(&choice->mode, IO_CACHED);
}

static void settle(struct io_choice *choice, enum io_mode mode, const char *reason)
{
	snprintf(choice->reason, sizeof choice->reason, "%s", reason);
	atomic_store_explicit(&choice->mode, mode, memory_order_release);
	if (!choice->kept || mode == IO_AUTO)
		return;
	choice->kept->mode = mode;
	memcpy(choice->kept->reason, choice->reason, sizeof choice->kept->reason);
	SHARED_PUBLISH(choice->kept->made, 1);
}

bool io_choice_keep(struct io_choice *choice, struct io_choice_kept *kept)
{
	SCOPED_LOCK(&choice->lock);

	if (kept->made)
		settle(choice, (enum io_mode)kept->mode, kept->reason);
	choice->kept = kept;
	return kept->made;
}

void io_choice_settle(struct io_choice *choice, enum io_mode mode, const char *reason)
{
	SCOPED_LOCK(&choice->lock);

	settle(choice, mode, reason);
}

void io_choice_watch(struct io_choice *choice, const char *reason, bool (*possible)(void *arg), void *arg)
{
	SCOPED_LOCK(&choice->lock);

	choice->possible = possible;
	choice->arg = arg;
	settle(choice, IO_AUTO, reason);
}

static void decide(struct io_choice *choice)
{
	uint64_t mean = choice->bytes / choice->opens;
	char reason[IO_REASON_MAX];
	bool large = mean >= IO_LARGE_MEAN_BYTES;

	if (large && !choice->possible(choice->arg)) {
		settle(choice, IO_CACHED, "large files are opened, but passthrough is not to be had here");
		return;
	}
	snprintf(reason, sizeof reason, "%s files are opened: %llu KiB on average, of the first %llu", large ? "large" : "no large",
		(unsigned long long)(mean >> 10), (unsigned long long)choice->opens);
	settle(choice, large ? IO_PASSTHROUGH : IO_CACHED, reason);
}

void io_choice_see(struct io_choice *choice, uint64_t size)
{
	SCOPED_LOCK(&choice->lock);

	if (io_choice_mode(choice) != IO_AUTO)
		return;
	choice->opens++;
	choice->bytes += size;
	if (choice->opens == IO_WATCHED_OPENS)
		decide(choice);
}

void io_choice_reason(struct io_choice *choice, char reason[IO_REASON_MAX])
{
	SCOPED_LOCK(&choice->lock);

	if (io_choice_mode(choice) == IO_AUTO)
		snprintf(reason, IO_REASON_MAX, "%.120s; watching: %llu of %u opens seen", choice->reason,
			(unsigned long long)choice->opens, IO_WATCHED_OPENS);
	else
		snprintf(reason, IO_REASON_MAX, "%s", choice->reason);
}

/* ---- the survey ---- */

struct surveying {
	struct io_survey *found;
	int base_fd;
	char *queue[SURVEY_DIRECTORIES_MAX]; /* owned; directories to be looked into */
	size_t head, tail;
	unsigned names;
	uint64_t until_ns;
};

static bool has_time(const struct surveying *state)
{
	return state->names < SURVEY_NAMES_MAX && clock_monotonic_ns() < state->until_ns;
}

static void survey_name(struct surveying *state, int directory, const char *path, const char *name)
{
	struct stat st;

	state->names++;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(st.st_mode) && state->tail < SURVEY_DIRECTORIES_MAX)
		state->queue[state->tail++] = path_join(path, name);
	if (!S_ISREG(st.st_mode))
		return;
	state->found->files++;
	state->found->bytes += (uint64_t)st.st_size;
	if (st.st_size >= (off_t)IO_LARGE_BYTES)
		state->found->large_bytes += (uint64_t)st.st_size;
}

static void survey_directory(struct surveying *state, const char *path)
{
	int fd = path_open(state->base_fd, path, O_RDONLY | O_DIRECTORY, 0);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && has_time(state) && (entry = readdir(dir)))
		survey_name(state, dirfd(dir), path, entry->d_name);
}

void io_survey_base(int base_fd, struct io_survey *ret)
{
	struct surveying state = { .found = ret, .base_fd = base_fd, .until_ns = clock_monotonic_ns() + SURVEY_NS };

	*ret = (struct io_survey){ 0 };
	state.queue[state.tail++] = strdup("");
	for (; state.head < state.tail; state.head++) {
		if (state.queue[state.head] && has_time(&state))
			survey_directory(&state, state.queue[state.head]);
		free(state.queue[state.head]);
	}
}

bool io_survey_decide(const struct io_survey *survey, char reason[IO_REASON_MAX])
{
	uint64_t percent = survey->bytes ? survey->large_bytes * 100 / survey->bytes : 0;

	snprintf(reason, IO_REASON_MAX, "files of 1 MiB and more hold %llu %% of the bytes of %llu files looked at",
		(unsigned long long)percent, (unsigned long long)survey->files);
	return percent >= IO_LARGE_PERCENT;
}
