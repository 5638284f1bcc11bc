/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/read_ahead.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/thread.h"

struct directory {
	uint64_t id; /* 0: not in use */
	unsigned long long used;
	struct siblings *siblings; /* owned; NULL: not listed */
	bool wanted;		   /* there is something for the thread to do */
	bool cold;		   /* some were found there that were not in memory */
	bool begun;		   /* it was listed itself, and then read from, and what it holds is not listed yet */
	unsigned failures;	   /* so many names in a row could not be opened */
	unsigned misses, relists;  /* readings of names that are not in the list; how often it was made anew for them */
	unsigned wait;		   /* so many readings, until it is listed */
	char recent[2][NAME_MAX + 1]; /* the last one read, and the one before; while it is not listed */
};

struct read_ahead {
	const struct read_ahead_kind *kind;
	read_ahead_open_fn open;
	void *arg;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t given;
	pthread_t thread;
	bool started, ending;
	unsigned rest; /* so many readings more are let pass */
	unsigned warm; /* so many times in a row all was in memory */
	unsigned long long clock, count;
	uint64_t begun; /* the directory that was listed last, and not read from since; 0: none */
	struct directory directories[READ_AHEAD_DIRECTORIES];
	/* What the thread is doing: its own until it has done it. */
	uint64_t job;	     /* the directory */
	struct strbuf names; /* that are to be read there, each with its NUL; none: it is to be listed */
};

struct read_ahead *read_ahead_new(const struct read_ahead_kind *kind, read_ahead_open_fn open, void *arg)
{
	struct read_ahead *ahead = calloc(1, sizeof *ahead);

	if (!ahead)
		return NULL;
	ahead->kind = kind;
	ahead->open = open;
	ahead->arg = arg;
	pthread_mutex_init(&ahead->lock, NULL);
	pthread_cond_init(&ahead->given, NULL);
	return ahead;
}

void read_ahead_free(struct read_ahead *ahead)
{
	if (!ahead)
		return;
	pthread_mutex_lock(&ahead->lock);
	ahead->ending = true;
	pthread_cond_signal(&ahead->given);
	pthread_mutex_unlock(&ahead->lock);
	if (ahead->started)
		pthread_join(ahead->thread, NULL);
	for (unsigned i = 0; i < READ_AHEAD_DIRECTORIES; i++)
		siblings_free(ahead->directories[i].siblings);
	strbuf_release(&ahead->names);
	pthread_cond_destroy(&ahead->given);
	pthread_mutex_destroy(&ahead->lock);
	free(ahead);
}

/* ---- under the lock ---- */

static struct directory *directory_find(struct read_ahead *ahead, uint64_t id)
{
	for (unsigned i = 0; i < READ_AHEAD_DIRECTORIES; i++)
		if (ahead->directories[i].id == id)
			return &ahead->directories[i];
	return NULL;
}

/* In place of the one that was read from longest ago. */
static struct directory *directory_add(struct read_ahead *ahead, uint64_t id)
{
	struct directory *oldest = &ahead->directories[0];

	for (unsigned i = 1; i < READ_AHEAD_DIRECTORIES; i++)
		if (ahead->directories[i].used < oldest->used)
			oldest = &ahead->directories[i];
	siblings_free(oldest->siblings);
	*oldest = (struct directory){ .id = id };
	return oldest;
}

/* It is to be listed anew, after WAIT readings. */
static void directory_restart(struct directory *directory, unsigned wait)
{
	siblings_free(directory->siblings);
	*directory = (struct directory){ .id = directory->id, .used = directory->used, .wait = wait, .cold = directory->cold,
		.relists = directory->relists };
}

static bool has_wanted(const struct read_ahead *ahead)
{
	for (unsigned i = 0; i < READ_AHEAD_DIRECTORIES; i++)
		if (ahead->directories[i].wanted)
			return true;
	return false;
}

/* The one of those in which the thread has something to do that was read from last. */
static struct directory *directory_wanted(struct read_ahead *ahead)
{
	struct directory *last = NULL;

	for (unsigned i = 0; i < READ_AHEAD_DIRECTORIES; i++) {
		struct directory *directory = &ahead->directories[i];

		if (directory->wanted && (!last || directory->used > last->used))
			last = directory;
	}
	return last;
}

/* What the thread is to do next. What the reader has passed meanwhile is not said any more. false: nothing. */
static bool job_find(struct read_ahead *ahead)
{
	struct directory *directory;

	while ((directory = directory_wanted(ahead)) != NULL) {
		strbuf_reset(&ahead->names);
		ahead->job = directory->id;
		directory->wanted = false;
		if (!directory->siblings)
			return true;
		if (siblings_next(directory->siblings, &ahead->names) == 0)
			continue;
		directory->wanted = siblings_due(directory->siblings);
		return true;
	}
	return false;
}

/* ---- the thread ---- */

bool read_ahead_is_ending(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->ending;
}

/* What was FOUND in DIRECTORY (NULL: it is not known any more) with COUNT names. Locked. */
static void learn(struct read_ahead *ahead, struct directory *directory, const struct read_ahead_found *found, unsigned count)
{
	if (directory) {
		directory->failures = found->opened ? 0 : directory->failures + count;
		if (directory->failures >= READ_AHEAD_FAILURES)
			directory_restart(directory, ahead->kind->rest);
	}
	if (!found->full)
		return;
	if (found->cold) {
		ahead->warm = 0;
		if (directory)
			directory->cold = true;
	} else if (++ahead->warm == ahead->kind->warm) {
		ahead->warm = 0;
		ahead->rest = ahead->kind->rest;
		if (directory)
			directory->cold = directory->wanted = false;
	}
}

static void bring_all(struct read_ahead *ahead, int fd)
{
	const struct strbuf *names = &ahead->names;
	struct read_ahead_found found = { 0, 0, 0 };
	unsigned count = 0;

	for (const char *at = names->buf; at < names->buf + names->len && !read_ahead_is_ending(ahead); at += strlen(at) + 1) {
		ahead->kind->bring(ahead, fd, at, &found);
		count++;
	}
	SCOPED_LOCK(&ahead->lock);
	ahead->count += found.cold;
	learn(ahead, directory_find(ahead, ahead->job), &found, count);
}

static void list(struct read_ahead *ahead, int fd)
{
	CLEANUP(siblings_freep) struct siblings *siblings = NULL;
	int r = siblings_list(fd, &ahead->kind->siblings, &siblings);
	SCOPED_LOCK(&ahead->lock);
	struct directory *directory = directory_find(ahead, ahead->job);

	if (r < 0 || !directory)
		return;
	if (directory->begun)
		siblings_begin(siblings);
	siblings_step(siblings, directory->recent[1]);
	siblings_step(siblings, directory->recent[0]);
	directory->begun = false;
	directory->wanted = siblings_due(siblings);
	directory->siblings = TAKE_PTR(siblings);
}

static bool await_job(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	while (!ahead->ending && !job_find(ahead))
		pthread_cond_wait(&ahead->given, &ahead->lock);
	return !ahead->ending;
}

static void *run(void *arg)
{
	struct read_ahead *ahead = arg;

	while (await_job(ahead)) {
		cleanup_fdref struct fdref directory = FDREF_INIT;

		if (ahead->open(ahead->arg, ahead->job, &directory) < 0)
			continue;
		if (ahead->names.len)
			bring_all(ahead, directory.fd);
		else
			list(ahead, directory.fd);
	}
	return NULL;
}

/* ---- who reads ---- */

/* The thread has something to do in DIRECTORY, now or when it has done what it does. */
static void want(struct read_ahead *ahead, struct directory *directory)
{
	if (!ahead->started)
		ahead->started = thread_start(&ahead->thread, run, ahead) == 0;
	if (!ahead->started)
		return;
	if (!has_wanted(ahead))
		pthread_cond_signal(&ahead->given);
	directory->wanted = true;
}

/* NAME is read in a directory that is not listed. */
static void note(struct read_ahead *ahead, struct directory *directory, const char *name)
{
	if (strcmp(directory->recent[0], name) == 0)
		return; /* it is opened, and then read */
	memcpy(directory->recent[1], directory->recent[0], sizeof directory->recent[1]);
	snprintf(directory->recent[0], sizeof directory->recent[0], "%s", name);
	if (directory->wait > 0) {
		directory->wait--;
	} else if (directory->recent[1][0] || directory->begun) {
		directory->wait = ahead->kind->rest; /* where it cannot be listed */
		want(ahead, directory);
	}
}

static void relist(struct directory *directory)
{
	directory->relists++;
	directory_restart(directory, 0);
}

static void step(struct read_ahead *ahead, struct directory *directory, const char *name)
{
	if (!siblings_step(directory->siblings, name)) {
		if (++directory->misses == READ_AHEAD_MISSES << (directory->relists < 16 ? directory->relists : 16))
			relist(directory);
	} else if (siblings_due(directory->siblings)) {
		want(ahead, directory);
	}
}

/* Who reads in DIRECTORY has just listed it. */
static void begin(struct directory *directory)
{
	directory->begun = !directory->siblings;
	memset(directory->recent, 0, sizeof directory->recent);
	if (directory->siblings)
		siblings_begin(directory->siblings);
}

void read_ahead_tell(struct read_ahead *ahead, uint64_t id, const char *name)
{
	SCOPED_LOCK(&ahead->lock);
	struct directory *directory = directory_find(ahead, id);

	if (ahead->rest > 0 && !(directory && directory->cold)) {
		ahead->rest--;
		return;
	}
	if (!directory)
		directory = directory_add(ahead, id);
	directory->used = ++ahead->clock;
	if (ahead->begun == id) {
		ahead->begun = 0;
		begin(directory);
	}
	if (directory->siblings)
		step(ahead, directory, name);
	else
		note(ahead, directory, name);
}

void read_ahead_begin(struct read_ahead *ahead, uint64_t id)
{
	SCOPED_LOCK(&ahead->lock);

	ahead->begun = id;
}

unsigned long long read_ahead_count(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->count;
}
