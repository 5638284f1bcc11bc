/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_FAULT_H
#define VENEER_TESTS_FAULT_H

/*
 * What the files of the tool `fault` share (main.c says what it does).
 *
 * A *durable call* is a system call that changes what is on a disk, or asks for it to be there: writes to files, whatever makes, names,
 * links, renames or removes one, changes of its size, mode, owner, times and attributes, and all forms of sync. One that will find that there is nothing
 * to do (mkdir of what is there) is none; nor are stores through a mapping, which no system call shows.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CALL_ARGUMENTS 6
#define CALL_PATH_MAX (2 * PATH_MAX)

/* A system call that may be durable; indices of its arguments, NO_ARGUMENT where it has none such. */
#define NO_ARGUMENT (-1)
#define AT_WORKING_DIRECTORY (-2) /* as the index of a directory: the call has none, and relative paths begin where the process stands */
struct call {
	const char *name;
	int number;
	int fd;			/* of the file that is changed */
	int directory, path;
	int directory2, path2;	/* of the other name */
	int flags;		/* of an open */
	int length;		/* bytes to write */
	bool regular;		/* counts where the file is a regular one alone */
	bool allocates;		/* may need room: fails on a full disk */
	bool makes, removes;	/* what the path names: nothing, where it is there, or is not, already */
};
/* NULL: not one of them */
const struct call *call_find(int64_t number);
/* Its numbers, for a filter; returns how many. */
size_t call_numbers(const int **ret);

/* What a process is about to do. */
struct durable_call {
	const struct call *call;
	char path[CALL_PATH_MAX], path2[CALL_PATH_MAX]; /* absolute; "": none */
	bool makes; /* what the first path names is not there yet */
};
/* Does THREAD's call NUMBER with ARGUMENTS change something beneath ROOT (absolute, canonical)? */
bool call_examine(pid_t thread, const char *root, int64_t number, const uint64_t arguments[CALL_ARGUMENTS], struct durable_call *ret);
bool call_needs_room(const struct durable_call *durable);

/* ---- registers of a thread that stands at the entry of a call ---- */

/* The call is not done, and returns -ERROR; 0 or -errno. */
int registers_refuse(pid_t thread, int error);
int registers_set_argument(pid_t thread, int index, uint64_t value);

#endif
