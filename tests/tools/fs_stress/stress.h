/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_STRESS_H
#define FS_STRESS_H

/*
 * Between the files of fs_stress: what an operation is, how it is made (operations.c), written and read
 * (trace.c), done (perform*.c) and judged (compare.c, declared.c). main.c runs and minimises.
 *
 * A list of operations is made of the seed alone and never looks at what an operation did, so that any part
 * of it can be done again. It is numbers and short paths:
 *
 *     0/a/b   in the area of process 0; S/…: in the shared one; P/…: among the files of a patch
 *     @1/a    beneath the directory in slot 1 of the process, wherever that is by now
 *
 * A component is one letter: a … e; L is a name of NAME_MAX bytes, X one of a byte more; q is the directory
 * of a patch's file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PROCESSES_MAX 8
#define CALLERS 4
#define SLOTS 9		/* of open files: those from SLOTS_SHARED on only of shared areas */
#define SLOTS_SHARED 6
#define DIRECTORIES 3	/* slots of directories; the last of shared areas */
#define DIRECTORY_SHARED 2
#define PATH_ROOM 24
#define NUMBERS 6
#define TEXT_ROOM 200

struct operation {
	uint8_t kind; /* index of the table in operations.c */
	uint8_t process;
	uint8_t caller;
	bool shared;
	int32_t turn; /* >= 0: it waits for all of lower turns */
	char path[2][PATH_ROOM];
	int64_t number[NUMBERS];
};

/* What an operation did: two of them are compared byte for byte. */
struct result {
	int64_t value; /* -1: see error */
	int error;
	char text[TEXT_ROOM];
};

/* One of the two trees, as one process knows it. */
struct side {
	int root;    /* of this run's areas */
	int outside; /* above it: where P is */
	int slots[SLOTS];
	int slot_flags[SLOTS]; /* of open(2) */
	int directories[DIRECTORIES];
	bool mounted;
	/* Of both, as probes find it: */
	bool fixed_flags;   /* F_SETFL does not end an O_APPEND: passthrough */
	bool opens_unasked; /* an immutable file can be opened to be written: cached */
	bool has_flags;	    /* there are append-only and immutable files, and who has one open does not write the latter either */
	bool boundless;	    /* files can be longer than could ever be read */
};

typedef void (*perform_fn)(struct side *side, const struct operation *operation, struct result *ret);

/*
 * ARGUMENTS has a letter for each argument, in order; it says how it is chosen, written and read:
 * p path; P path in its place without following; s slot; d directory slot; F flags of open; m mode; u umask;
 * o offset; l length; z size; others see choose_number().
 */
struct operation_kind {
	const char *name;
	const char *arguments;
	unsigned weight;
	perform_fn perform;
};
extern const struct operation_kind operation_kinds[];
extern const size_t operation_kind_count;
int operation_kind_check(void);

/* COUNT operations for PROCESSES processes, of SEED alone. PATCHED: there is an area P. NULL: out of memory. */
struct operation *operations_make(uint64_t seed, size_t count, unsigned processes, bool patched);

/* A line, without its end. */
void operation_print(FILE *to, const struct operation *operation);
/* false: not a line of a trace. */
bool operation_parse(const char *line, struct operation *ret);

/* Compare an area of both sides; true: equal. RET tells the first difference: the plain side's and the other. */
bool trees_compare(int plain, int mounted, const char *path, struct result ret[2]);
struct stat;
/* All that is compared of an inode. */
void describe_stat(const struct stat *st, char text[TEXT_ROOM]);
uint64_t describe_holes(int fd);

/*
 * declared.c. The sides are the plain one and the mounted; fds and results in this order, too.
 */

/* Before the processes are started. */
void declared_begin(void);
/* BENEATH shows the directory that MOUNTED is mounted over. false: see errno. */
bool declared_beneath(const char *mounted, const char *beneath);
/* Is a difference of the results declared? */
bool declared(struct side sides[2], const struct operation *operation, const struct result results[2]);
/* Where it is declared that OPERATION is refused by the mount: done there, and on the other side only if it was not. false: not done. */
bool declared_instead(struct side sides[2], const struct operation *operation, struct result results[2]);
/* After each operation whose results were good: makes both alike where a declared difference has left them different. false: RESULTS say what differs. */
bool declared_settle(struct side sides[2], const struct operation *operation, struct result results[2]);
bool holes_are_declared(const int fds[2]);
bool times_are_declared(const struct stat *plain, char texts[2][TEXT_ROOM]);
void declared_print(FILE *to, bool how_often);
unsigned long declared_count(void);

/* What the plain side's inodes are remembered for. */
enum note {
	NOTE_ODD_BLOCKS = 1,   /* where holes are depends on more than what was written */
	NOTE_PIPE_WRITTEN = 2,
	NOTE_ACL_UNASKED = 4,  /* an ACL was set, and nobody has asked for the mode since */
};
void note_fd(const struct side *side, int fd, enum note note, bool is);
void note_stat(const struct stat *plain, enum note note, bool is);
/* A run begins: nothing is remembered. */
void declared_forget(void);
/* Follows symbolic links. */
void note_path(const struct side *side, int at, const char *path, enum note note, bool is);

/* Append-only and immutable files and directories are so no more. */
void clear_flags(int directory, const char *name);

/* perform.c */
void operation_perform(struct side *side, const struct operation *operation, struct result *ret);
void result_set(struct result *result, int64_t value);
int side_slot(const struct side *side, int64_t slot);
/* How much is done at once of LENGTH bytes: whole grains, where the slot's file is open for direct I/O. */
size_t length_for(const struct side *side, int64_t slot, int64_t length);
/* The directory that PATH begins at; the rest of it to TEXT. */
#define REAL_PATH_ROOM 2048
int path_resolve(const struct side *side, const char *path, char text[REAL_PATH_ROOM]);
void caller_assume(unsigned caller);
void caller_restore(unsigned caller);
void fill_pattern(char *buffer, size_t size, uint64_t from);
#define DATA_MAX 400000
#define FAR_OFFSET ((int64_t)1 << 43) /* some filesystems' files end near it */
extern bool verbose;
extern char *data_buffer; /* of DATA_MAX bytes, aligned */

#define PERFORM(name) void perform_##name(struct side *side, const struct operation *operation, struct result *ret)
PERFORM(open); PERFORM(close); PERFORM(reopen); PERFORM(read); PERFORM(write); PERFORM(pread); PERFORM(pwrite);
PERFORM(append); PERFORM(vector); PERFORM(send); PERFORM(truncate); PERFORM(ftruncate); PERFORM(fallocate); PERFORM(copy); PERFORM(seek); PERFORM(sync);
PERFORM(mapwrite); PERFORM(mapread); PERFORM(holes); PERFORM(fstat); PERFORM(setfl); PERFORM(lock); PERFORM(flock);
PERFORM(fchmod); PERFORM(fchown); PERFORM(futimens); PERFORM(fsetxattr); PERFORM(flags); PERFORM(tmpfile);
PERFORM(mkdir); PERFORM(rmdir); PERFORM(mknod); PERFORM(symlink); PERFORM(readlink); PERFORM(link); PERFORM(relink);
PERFORM(unlink); PERFORM(rename); PERFORM(chmod); PERFORM(chown); PERFORM(utimens); PERFORM(stat); PERFORM(access);
PERFORM(setxattr); PERFORM(getxattr); PERFORM(listxattr); PERFORM(removexattr); PERFORM(setacl); PERFORM(getacl);
PERFORM(opendir); PERFORM(closedir); PERFORM(list); PERFORM(walk); PERFORM(deep); PERFORM(names); PERFORM(clear);
/* Not performed on one side but on both: main.c. */
PERFORM(check);

#endif
