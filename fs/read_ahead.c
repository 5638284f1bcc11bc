/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/read_ahead.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/siblings.h"
#include "store/base/cleanup.h"
#include "store/base/thread.h"

#define PAGE_BYTES_MIN 4096

struct directory {
	uint64_t id; /* 0: not in use */
	unsigned long long used;
	struct siblings *siblings; /* owned; NULL: not listed */
	bool cold;		   /* files were found there that were not in memory */
	unsigned misses, relists;  /* readings of names that are not in the list; how often it was made anew for them */
	unsigned wait;		   /* so many readings, until it is listed */
	char recent[2][NAME_MAX + 1]; /* the last one read, and the one before; while it is not listed */
};

struct read_ahead {
	read_ahead_open_fn open;
	void *arg;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t given;
	pthread_t thread;
	bool started, ending;
	unsigned rest; /* so many readings more are let pass */
	unsigned warm; /* so many times in a row all was in memory */
	unsigned long long clock, count;
	struct directory directories[READ_AHEAD_DIRECTORIES];
	/* What the thread is to do, or is doing. */
	bool busy;
	uint64_t job;	     /* the directory */
	struct strbuf names; /* that are to be read there, each with its NUL; none: it is to be listed */
};

struct read_ahead *read_ahead_new(read_ahead_open_fn open, void *arg)
{
	struct read_ahead *ahead = calloc(1, sizeof *ahead);

	if (!ahead)
		return NULL;
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

/* The thread gets to read what comes next in DIRECTORY, where it is not at work. */
static void go_on(struct read_ahead *ahead, struct directory *directory)
{
	if (ahead->busy)
		return;
	strbuf_reset(&ahead->names);
	ahead->job = directory->id;
	ahead->busy = siblings_next(directory->siblings, &ahead->names) > 0;
	if (ahead->busy)
		pthread_cond_signal(&ahead->given);
}

/* ---- the thread ---- */

/* Is some of what is wanted of FD, a file of SIZE bytes (not 0), in memory? Nothing is brought in by this. */
static bool is_in_memory(int fd, off_t size)
{
	size_t length = size < READ_AHEAD_BYTES ? (size_t)size : READ_AHEAD_BYTES;
	unsigned char resident[READ_AHEAD_BYTES / PAGE_BYTES_MIN] = { 0 };
	void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	bool found = false;

	if (map == MAP_FAILED)
		return false;
	if (mincore(map, length, resident) == 0)
		found = memchr(resident, 1, sizeof resident) != NULL;
	munmap(map, length);
	return found;
}

struct looked {
	unsigned opened;
	unsigned full; /* of them, those that hold something */
	unsigned cold;
};

/* One of the base's files, if it is one and can be read. */
static void read_one(int directory, const char *name, struct looked *looked)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC;
	cleanup_close int fd = -EBADF;
	struct stat st;

	/* To open what is no file may do something. */
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	fd = openat(directory, name, flags);
	if (fd < 0)
		return;
	looked->opened++;
	if (st.st_size == 0)
		return;
	looked->full++;
	/* Beside one that is not in memory others hardly are; to ask for what is costs little. */
	if (!looked->cold && is_in_memory(fd, st.st_size))
		return;
	looked->cold += posix_fadvise(fd, 0, READ_AHEAD_BYTES, POSIX_FADV_WILLNEED) == 0;
}

static bool is_ending(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->ending;
}

/* What was LOOKED at in DIRECTORY (NULL: it is not known any more). Locked. */
static void learn(struct read_ahead *ahead, struct directory *directory, const struct looked *looked)
{
	if (directory && !looked->opened)
		directory_restart(directory, READ_AHEAD_REST);
	if (!looked->full)
		return;
	if (looked->cold) {
		ahead->warm = 0;
		if (directory)
			directory->cold = true;
	} else if (++ahead->warm == READ_AHEAD_WARM) {
		ahead->warm = 0;
		ahead->rest = READ_AHEAD_REST;
		if (directory)
			directory->cold = false;
	}
}

static void read_all(struct read_ahead *ahead, int fd)
{
	const struct strbuf *names = &ahead->names;
	struct looked looked = { 0, 0, 0 };

	for (const char *at = names->buf; at < names->buf + names->len && !is_ending(ahead); at += strlen(at) + 1)
		read_one(fd, at, &looked);
	SCOPED_LOCK(&ahead->lock);
	ahead->count += looked.cold;
	ahead->busy = false;
	learn(ahead, directory_find(ahead, ahead->job), &looked);
}

static void list(struct read_ahead *ahead, int fd)
{
	CLEANUP(siblings_freep) struct siblings *siblings = NULL;
	int r = siblings_list(fd, &siblings);
	SCOPED_LOCK(&ahead->lock);
	struct directory *directory = directory_find(ahead, ahead->job);

	ahead->busy = false;
	if (r < 0 || !directory)
		return;
	siblings_step(siblings, directory->recent[1]);
	siblings_step(siblings, directory->recent[0]);
	directory->siblings = TAKE_PTR(siblings);
	go_on(ahead, directory);
}

static bool await_job(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	while (!ahead->busy && !ahead->ending)
		pthread_cond_wait(&ahead->given, &ahead->lock);
	return !ahead->ending;
}

static void give_up(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	ahead->busy = false;
}

static void *run(void *arg)
{
	struct read_ahead *ahead = arg;

	while (await_job(ahead)) {
		cleanup_fdref struct fdref directory = FDREF_INIT;

		/* The job is the thread's alone until it says that it is not busy. */
		if (ahead->open(ahead->arg, ahead->job, &directory) < 0)
			give_up(ahead);
		else if (ahead->names.len)
			read_all(ahead, directory.fd);
		else
			list(ahead, directory.fd);
	}
	return NULL;
}

static bool start(struct read_ahead *ahead)
{
	if (!ahead->started)
		ahead->started = thread_start(&ahead->thread, run, ahead) == 0;
	return ahead->started;
}

/* ---- who reads ---- */

static void ask_for_list(struct read_ahead *ahead, struct directory *directory)
{
	if (ahead->busy || !start(ahead))
		return;
	directory->wait = READ_AHEAD_REST; /* where it cannot be listed */
	strbuf_reset(&ahead->names);
	ahead->job = directory->id;
	ahead->busy = true;
	pthread_cond_signal(&ahead->given);
}

/* NAME is read in a directory that is not listed. */
static void note(struct read_ahead *ahead, struct directory *directory, const char *name)
{
	if (strcmp(directory->recent[0], name) == 0)
		return; /* it is opened, and then read */
	memcpy(directory->recent[1], directory->recent[0], sizeof directory->recent[1]);
	snprintf(directory->recent[0], sizeof directory->recent[0], "%s", name);
	if (directory->wait > 0)
		directory->wait--;
	else if (directory->recent[1][0])
		ask_for_list(ahead, directory);
}

static void relist(struct directory *directory)
{
	directory->relists++;
	directory_restart(directory, 0);
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
	if (!directory->siblings)
		note(ahead, directory, name);
	else if (siblings_step(directory->siblings, name))
		go_on(ahead, directory);
	else if (++directory->misses == READ_AHEAD_MISSES << (directory->relists < 16 ? directory->relists : 16))
		relist(directory);
}

unsigned long long read_ahead_count(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->count;
}
