/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/read_ahead.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/kernel_abi.h"
#include "fs/siblings.h"
#include "store/base/cleanup.h"

struct directory {
	uint64_t id; /* 0: not in use */
	unsigned long long used;
	struct siblings *siblings; /* owned; NULL: not listed */
	bool cold;		   /* files were found there that were not in memory */
	unsigned misses;	   /* readings of names that are not in the list */
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
	unsigned long long clock, count;
	struct directory directories[READ_AHEAD_DIRECTORIES];
	/* What the thread is to do, or is doing. */
	bool busy;
	uint64_t job;	     /* the directory */
	struct strbuf names; /* that are to be read there, each with its NUL; none: it is to be listed */
	bool cachestat_blind; /* the thread's: on this filesystem it does not see what is in memory */
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
	*directory = (struct directory){ .id = directory->id, .used = directory->used, .wait = wait };
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

static bool cachestat_sees(int fd)
{
	struct abi_cachestat_range range = { 0, READ_AHEAD_BYTES };
	struct abi_cachestat found;

	return syscall(ABI_SYS_CACHESTAT, fd, &range, &found, 0) == 0 && found.cached > 0;
}

/*
 * Is some of what is wanted of FD in memory? By cachestat(2), which does nothing else. Before Linux 6.5, and where a filesystem keeps
 * the content of its files in another's (overlayfs), by a read that does not wait, which has the kernel's readahead start on its
 * own; that is found out by the FIRST of the files that are looked at together.
 */
static bool is_in_memory(struct read_ahead *ahead, int fd, bool first)
{
	char byte;
	bool seen = !ahead->cachestat_blind && cachestat_sees(fd);

	if (seen || !(first || ahead->cachestat_blind))
		return seen;
	seen = preadv2(fd, &(struct iovec){ &byte, 1 }, 1, 0, RWF_NOWAIT) >= 0;
	ahead->cachestat_blind |= seen;
	return seen;
}

struct looked {
	unsigned found, cold;
};

/* One of the base's files, if it is one and can be read. */
static void read_one(struct read_ahead *ahead, int directory, const char *name, struct looked *looked)
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
	looked->found++;
	/* Beside one that is not in memory others hardly are; to ask for what is costs little. */
	if (st.st_size == 0 || (!looked->cold && is_in_memory(ahead, fd, looked->found == 1)))
		return;
	looked->cold += posix_fadvise(fd, 0, READ_AHEAD_BYTES, POSIX_FADV_WILLNEED) == 0;
}

static bool is_ending(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->ending;
}

static void read_all(struct read_ahead *ahead, int fd)
{
	const struct strbuf *names = &ahead->names;
	struct looked looked = { 0, 0 };

	for (const char *at = names->buf; at < names->buf + names->len && !is_ending(ahead); at += strlen(at) + 1)
		read_one(ahead, fd, at, &looked);
	SCOPED_LOCK(&ahead->lock);
	struct directory *directory = directory_find(ahead, ahead->job);

	ahead->count += looked.cold;
	ahead->busy = false;
	if (looked.found && !looked.cold)
		ahead->rest = READ_AHEAD_REST;
	if (!directory)
		return;
	directory->cold = looked.cold > 0;
	if (!looked.found)
		directory_restart(directory, READ_AHEAD_REST);
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
	sigset_t all, old;

	if (ahead->started)
		return true;
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	ahead->started = pthread_create(&ahead->thread, NULL, run, ahead) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
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
	else if (++directory->misses == READ_AHEAD_MISSES)
		directory_restart(directory, 0);
}

unsigned long long read_ahead_count(struct read_ahead *ahead)
{
	SCOPED_LOCK(&ahead->lock);

	return ahead->count;
}
