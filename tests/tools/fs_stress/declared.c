/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The differences that are declared: what FUSE cannot say (docs/decisions/limits-of-fuse.md has the reasons).
 *
 * Such operations are done like all others. What they must give instead is known, and is what is compared; where a
 * difference would leave two files behind that differ, they are brought together again, so that what follows counts.
 */
#include "stress.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"

#define NUMBER(i) (operation->number[i])
#define NOTES_MAX (1 << 20)
#define SET_ID (S_ISUID | S_ISGID)

/* ---- what is remembered of the plain side's inodes, by all processes ---- */

enum declared {
	TMPFILE, HOLES, FAR_SEEK, FAR_SEND, FAR_COPY, PIPE_TIMES, FLAGS_OPEN, FLAGS_ACCESS, FLAGS_ERROR, FLAGS_NOTHING, FLAGS_MAPPING, FLAGS_SETFL, FLAGS_WRITE, COLLAPSE, SETFL,
	FAR_WRITE, ACL_MODE, CAPABILITY, DECLARED_COUNT
};

static struct {
	atomic_uchar notes[NOTES_MAX];
	atomic_ulong met[DECLARED_COUNT];
} *memory;

void declared_begin(void)
{
	memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		abort();
}

/* One more. */
static bool meet(enum declared which)
{
	atomic_fetch_add(&memory->met[which], 1);
	return true;
}

static bool has_note(const struct stat *st, enum note note)
{
	return atomic_load(&memory->notes[st->st_ino % NOTES_MAX]) & note;
}

static void set_note(const struct stat *st, enum note note, bool is)
{
	if (is)
		atomic_fetch_or(&memory->notes[st->st_ino % NOTES_MAX], (unsigned char)note);
	else
		atomic_fetch_and(&memory->notes[st->st_ino % NOTES_MAX], (unsigned char)~note);
}

void note_fd(const struct side *side, int fd, enum note note, bool is)
{
	struct stat st;

	/* A number is used again: who has no block has none of an odd kind. */
	if (!side->mounted && fstat(fd, &st) == 0 && (is || note != NOTE_ODD_BLOCKS || !st.st_blocks))
		set_note(&st, note, is);
}

void note_stat(const struct stat *plain, enum note note, bool is)
{
	set_note(plain, note, is);
}

void declared_forget(void)
{
	memset(memory->notes, 0, sizeof memory->notes);
}

void note_path(const struct side *side, int at, const char *path, enum note note, bool is)
{
	struct stat st;

	if (!side->mounted && fstatat(at, path, &st, 0) == 0)
		set_note(&st, note, is);
}

/* ---- the filesystem beneath ---- */

static char mounted_root[PATH_MAX];
static int beneath_root = -1;

bool declared_beneath(const char *mounted, const char *beneath)
{
	beneath_root = open(beneath, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return beneath_root >= 0 && realpath(mounted, mounted_root);
}

/* The file beneath the mount that FD, of the mount, is, to be read; -1: it has no name, or nobody said where to look. */
static int open_beneath(int fd)
{
	char link[64], path[PATH_MAX];
	size_t length = strlen(mounted_root);
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = beneath_root < 0 ? -1 : readlink(link, path, sizeof path - 1);
	if (n < 0 || (size_t)n <= length + 1 || memcmp(path, mounted_root, length) != 0)
		return -1;
	path[n] = '\0';
	return openat(beneath_root, path + length + 1, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static bool is_zeros(int fd, off_t from, off_t to)
{
	static char buffer[65536];
	ssize_t n;

	for (; from < to; from += n) {
		n = pread(fd, buffer, (size_t)(to - from < (off_t)sizeof buffer ? to - from : (off_t)sizeof buffer), from);
		if (n <= 0)
			return n == 0;
		for (ssize_t i = 0; i < n; i++) {
			if (buffer[i])
				return false;
		}
	}
	return true;
}

/* Whatever is said to be a hole of FD's file reads as zeros. */
static bool holes_are_empty(int fd)
{
	char link[64];
	cleanup_close int again = -EBADF;
	off_t at = 0;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	again = open(link, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	for (;;) {
		off_t data = lseek(again, at, SEEK_DATA);

		if (data < 0)
			return again >= 0 && errno == ENXIO && is_zeros(again, at, lseek(again, 0, SEEK_END));
		if (!is_zeros(again, at, data))
			return false;
		at = lseek(again, data, SEEK_HOLE);
		if (at < 0)
			return false;
	}
}

bool holes_are_declared(const int fds[2])
{
	cleanup_close int beneath = open_beneath(fds[1]);
	struct stat st;

	if (fstat(fds[0], &st) < 0 || !has_note(&st, NOTE_ODD_BLOCKS))
		return false;
	return beneath >= 0 ? describe_holes(beneath) == describe_holes(fds[1]) : holes_are_empty(fds[1]);
}

/* ---- what an operation is about ---- */

static bool is(const struct operation *operation, const char *name)
{
	return strcmp(operation_kinds[operation->kind].name, name) == 0;
}

/* The slot of the file that OPERATION writes, or -1. */
static int written_slot(const struct operation *operation)
{
	static const struct {
		const char *name;
		int argument;
	} kinds[] = { { "write", 0 }, { "pwrite", 0 }, { "append", 0 }, { "vector", 0 }, { "fallocate", 0 }, { "copy", 2 }, { "send", 1 } };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (is(operation, kinds[i].name))
			return (int)NUMBER(kinds[i].argument);
	}
	return -1;
}

static uint64_t flags_at(int at, const char *path, int follow)
{
	struct statx st;

	if (statx(at, path, AT_EMPTY_PATH | follow, STATX_TYPE, &st) < 0)
		return 0;
	return st.stx_attributes & (STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE);
}

static uint64_t flags_of_slot(const struct side *side, int slot)
{
	int fd = side_slot(side, slot);

	return fd < 0 ? 0 : flags_at(fd, "", 0);
}

/* Of PATH, whether it is followed or not, and of the directory that it is in. */
static uint64_t flags_of_path(const struct side *side, const char *path)
{
	char text[REAL_PATH_ROOM];
	int at = path_resolve(side, path, text);
	uint64_t flags = flags_at(at, text, 0) | flags_at(at, text, AT_SYMLINK_NOFOLLOW);
	char *slash = strrchr(text, '/');

	if (slash)
		*slash = '\0';
	return flags | flags_at(at, slash ? text : ".", 0);
}

/* Has OPERATION to do with a file or directory that is append-only or immutable? The flags of all. */
static uint64_t flags_met(struct side sides[2], const struct operation *operation)
{
	const char *arguments = operation_kinds[operation->kind].arguments;
	size_t paths = 0, numbers = 0;
	uint64_t flags = 0;

	for (; *arguments; arguments++) {
		if (*arguments == 'p')
			flags |= flags_of_path(&sides[0], operation->path[paths++]);
		else if (*arguments == 's')
			flags |= flags_of_slot(&sides[0], (int)NUMBER(numbers++));
		else
			numbers++;
	}
	return flags;
}

/* ---- other results ---- */

/* For --verbose: which reasons are met. */
static bool note_reason(const struct operation *operation, int error)
{
	if (verbose)
		fprintf(stderr, "declared: %s: %s, not EPERM\n", operation_kinds[operation->kind].name, strerror(error));
	return true;
}

static bool is_tmpfile(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	char path[REAL_PATH_ROOM];
	struct stat st;
	int at;

	if (!is(operation, "tmpfile") || results[1].value >= 0 || results[1].error != EOPNOTSUPP)
		return false;
	if (results[0].value == 0)
		return true;
	/* Or it would have been refused, for the directory has been removed. */
	at = path_resolve(&sides[0], operation->path[0], path);
	return results[0].error == EPERM && fstatat(at, path, &st, AT_EMPTY_PATH) == 0 && st.st_nlink == 0;
}

static bool is_hole_of_odd_blocks(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	bool seeks = is(operation, "seek") && (NUMBER(2) == SEEK_DATA || NUMBER(2) == SEEK_HOLE);
	const int fds[2] = { side_slot(&sides[0], NUMBER(0)), side_slot(&sides[1], NUMBER(0)) };
	cleanup_close int beneath = -EBADF;

	if ((!seeks && !is(operation, "holes")) || !holes_are_declared(fds))
		return false;
	beneath = open_beneath(fds[1]);
	if (!seeks || beneath < 0)
		return true;
	return lseek(beneath, NUMBER(1), (int)NUMBER(2)) == results[1].value && (results[1].value >= 0 || errno == results[1].error);
}

static bool is_far_seek(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	int fd = side_slot(&sides[1], NUMBER(0));
	struct stat st;
	off_t from;

	if (!is(operation, "seek") || results[0].error != EINVAL || results[1].value <= FAR_OFFSET || fstat(fd, &st) < 0)
		return false;
	/* The position was put back. */
	from = NUMBER(2) == SEEK_SET ? 0 : NUMBER(2) == SEEK_CUR ? lseek(fd, 0, SEEK_CUR) : st.st_size;
	return results[1].value == from + NUMBER(1);
}

static bool is_far_send(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	return is(operation, "send") && NUMBER(2) > FAR_OFFSET && results[0].error == EOVERFLOW &&
		(results[1].value == 0 || results[1].error == EINVAL);
}

static bool is_far_copy_of_nothing(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	struct stat st;

	return is(operation, "copy") && NUMBER(3) > FAR_OFFSET && results[0].error == EFBIG && results[1].value == 0 &&
		fstat(side_slot(&sides[0], NUMBER(0)), &st) == 0 && (NUMBER(1) >= st.st_size || NUMBER(4) == 0);
}

/* Was OPERATION to write nothing? */
static bool is_empty(const struct side *side, const struct operation *operation)
{
	if (is(operation, "write") || is(operation, "append"))
		return length_for(side, NUMBER(0), NUMBER(1)) == 0;
	if (is(operation, "pwrite") || is(operation, "vector"))
		return length_for(side, NUMBER(0), NUMBER(2)) == 0;
	return is(operation, "copy"); /* where the result is 0: from the end of its source */
}

static bool is_directory(struct side sides[2], const struct operation *operation)
{
	char path[REAL_PATH_ROOM];
	struct stat st;
	int at = path_resolve(&sides[0], operation->path[0], path);

	return fstatat(at, path, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* Nothing is written, or the default ACL is taken from what is no directory. */
static bool is_nothing_to_flagged(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	bool removes = is(operation, "setacl") && NUMBER(0) % 2 == 1 && NUMBER(1) == 3 && !is_directory(sides, operation);

	return (removes || is_empty(&sides[0], operation)) && results[0].error == EPERM && results[1].value == 0 && flags_met(sides, operation);
}

/* Their texts differ in the time alone. */
bool times_are_declared(const struct stat *plain, char texts[2][TEXT_ROOM])
{
	const char *at[2] = { strstr(texts[0], " mtime="), strstr(texts[1], " mtime=") };

	return S_ISFIFO(plain->st_mode) && has_note(plain, NOTE_PIPE_WRITTEN) && at[0] && at[1] && strcmp(at[0], " mtime=now") == 0 &&
		at[0] - texts[0] == at[1] - texts[1] && strncmp(texts[0], texts[1], (size_t)(at[0] - texts[0])) == 0;
}

static bool is_time_of_pipe(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	char path[REAL_PATH_ROOM], texts[2][TEXT_ROOM];
	struct stat st;
	int at;

	if (results[0].value != results[1].value || results[0].value < 0)
		return false;
	memcpy(texts[0], results[0].text, TEXT_ROOM);
	memcpy(texts[1], results[1].text, TEXT_ROOM);
	if (is(operation, "fstat"))
		return fstat(side_slot(&sides[0], NUMBER(0)), &st) == 0 && times_are_declared(&st, texts);
	if (!is(operation, "stat"))
		return false;
	at = path_resolve(&sides[0], operation->path[0], path);
	return fstatat(at, path, &st, NUMBER(0) ? 0 : AT_SYMLINK_NOFOLLOW) == 0 && times_are_declared(&st, texts);
}

static void slot_forget(struct side *side, int64_t slot)
{
	if (side->slots[slot] >= 0)
		close(side->slots[slot]);
	side->slots[slot] = -1;
	side->slot_flags[slot] = 0;
}

/* Is whatever is written by FD, of a mount, refused? */
static bool writes_nothing(int fd)
{
	struct stat st;
	bool refused = fstat(fd, &st) == 0 && ftruncate(fd, st.st_size / 2) < 0 && errno == EPERM;

	/* What it has would end before the rest is refused. */
	if (fgetxattr(fd, "security.capability", NULL, 0) >= 0)
		return refused;
	/* Not at the end, where an append-only file may be written. */
	if (!(fcntl(fd, F_GETFL) & O_DIRECT))
		refused = refused && pwrite(fd, "x", 1, st.st_size + 10) < 0 && errno == EPERM;
	return refused && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 && errno == EPERM;
}

/* In cached mode the kernel opens files without asking: what is written is refused. Both sides have then nothing open. */
static bool is_open_of_flagged(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	bool reopens = is(operation, "reopen");
	int64_t slot = reopens ? NUMBER(1) : NUMBER(0), flags = reopens ? NUMBER(2) : NUMBER(1);
	char path[REAL_PATH_ROOM];
	uint64_t met;
	int at;

	if ((!reopens && !is(operation, "open")) || !sides[1].opens_unasked || results[0].error != EPERM || results[1].value < 0)
		return false;
	if ((flags & O_ACCMODE) == O_RDONLY || flags & (O_TRUNC | O_PATH))
		return false;
	if (reopens) {
		met = flags_of_slot(&sides[0], (int)NUMBER(0));
	} else {
		at = path_resolve(&sides[0], operation->path[0], path);
		met = flags_at(at, path, 0);
	}
	if (!met || (flags & O_APPEND && !(met & STATX_ATTR_IMMUTABLE)) || !writes_nothing(side_slot(&sides[1], slot)))
		return false;
	slot_forget(&sides[0], slot);
	slot_forget(&sides[1], slot);
	return true;
}

static bool is_access_to_flagged(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	return is(operation, "access") && NUMBER(0) & W_OK && results[0].error == EPERM &&
		(results[1].value == 0 || results[1].error == EACCES) && flags_met(sides, operation) & STATX_ATTR_IMMUTABLE;
}

/* Refused by both: the kernel looks for all other reasons before it asks us, and beneath this one comes before some of them. */
static bool is_other_refusal_of_flagged(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	static const int reasons[] = { EACCES, ENOTDIR, EISDIR, EEXIST, ENOTEMPTY, EINVAL, EXDEV, ENOENT, ENODATA, EOPNOTSUPP, EFBIG, EOVERFLOW };

	if (results[0].value >= 0 || results[0].error != EPERM || results[1].value >= 0 || strcmp(results[0].text, results[1].text) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (results[1].error == reasons[i])
			return flags_met(sides, operation) && note_reason(operation, results[1].error);
	}
	return false;
}

static bool is_setfl_of_flagged(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	int fds[2] = { side_slot(&sides[0], NUMBER(0)), side_slot(&sides[1], NUMBER(0)) };

	return is(operation, "setfl") && results[0].error == EPERM && results[1].value == 0 && flags_met(sides, operation) &&
		fcntl(fds[1], F_SETFL, fcntl(fds[0], F_GETFL)) == 0;
}

static bool is_mapping_of_flagged(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	char link[64], text[TEXT_ROOM];
	cleanup_close int plain = -EBADF;
	ssize_t n;

	if ((!is(operation, "mapwrite") && !is(operation, "mapread")) || results[0].error != EACCES || results[1].value <= 0 ||
		!(flags_met(sides, operation) & STATX_ATTR_APPEND))
		return false;
	if (is(operation, "mapwrite"))
		return true;
	/* It has shown what the plain file has. */
	snprintf(link, sizeof link, "/proc/self/fd/%d", side_slot(&sides[0], NUMBER(0)));
	plain = open(link, O_RDONLY | O_CLOEXEC);
	n = pread(plain, data_buffer, (size_t)results[1].value, NUMBER(1));
	snprintf(text, sizeof text, "bytes %016" PRIx64, n > 0 ? hash64_of(data_buffer, (size_t)n) : 0);
	return n == results[1].value && strcmp(text, results[1].text) == 0;
}

/* ---- not the same is done ---- */

static bool is_writable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
}

static bool is_regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_collapse(struct side sides[2], const struct operation *operation)
{
	int fd = is(operation, "fallocate") ? side_slot(&sides[0], NUMBER(0)) : -1;

	return fd >= 0 && NUMBER(1) & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) && is_writable(fd) && is_regular(fd);
}

/* Where OPERATION writes, in the file of FD. */
static int64_t offset_written(int fd, const struct operation *operation)
{
	if (is(operation, "pwrite") || is(operation, "vector"))
		return NUMBER(1);
	return is(operation, "copy") ? NUMBER(3) : fcntl(fd, F_GETFL) & O_DIRECT ? 0 : lseek(fd, 0, SEEK_CUR);
}

/* Of a file that was opened before it could only be appended to, and not to its end, where it is written through us. */
static bool is_write_of_append_only(struct side sides[2], const struct operation *operation)
{
	int slot = is(operation, "append") || is(operation, "fallocate") ? -1 : written_slot(operation);
	int fd = slot < 0 ? -1 : side_slot(&sides[0], slot);
	struct stat st;

	return fd >= 0 && is_writable(fd) && !(fcntl(fd, F_GETFL) & O_APPEND) && flags_of_slot(&sides[0], slot) == STATX_ATTR_APPEND &&
		fstat(fd, &st) == 0 && offset_written(fd, operation) != st.st_size;
}

/* Keep it short: each line is something that a user can meet. */
static const struct {
	const char *name, *reason;
	bool (*allows)(struct side sides[2], const struct operation *operation, const struct result results[2]);
} table[] = {
	[TMPFILE] = { "tmpfile", "O_TMPFILE is refused with EOPNOTSUPP", is_tmpfile },
	[HOLES] = { "holes", "what SEEK_DATA says of files that fallocate(2) or a mapping has worked on depends on which of their pages the "
			     "cache holds: it must be what the file beneath says just then", is_hole_of_odd_blocks },
	[FAR_SEEK] = { "far seek", "to an offset that no file of the filesystem beneath can have one may seek", is_far_seek },
	[FAR_SEND] = { "far send", "to send from such an offset is to send nothing, not an error, or is EINVAL where it would be that anyway",
		is_far_send },
	[FAR_COPY] = { "far copy", "to copy nothing to such an offset is no error", is_far_copy_of_nothing },
	[PIPE_TIMES] = { "pipe times", "what is written to a pipe does not change the times of its name", is_time_of_pipe },
	[FLAGS_OPEN] = { "flags: open", "in cached mode an append-only or immutable file can be opened to be written", is_open_of_flagged },
	[FLAGS_ACCESS] = { "flags: access", "access(2) says that an immutable file can be written", is_access_to_flagged },
	[FLAGS_ERROR] = { "flags: error", "what is refused with EPERM for such a file or directory may be refused with another error that it deserves, too",
		is_other_refusal_of_flagged },
	[FLAGS_NOTHING] = { "flags: nothing", "to write nothing to such a file that was opened before, or to take the default ACL away from "
					      "what is no directory, is no error", is_nothing_to_flagged },
	[FLAGS_MAPPING] = { "flags: mapping", "who can write to an append-only file can map it, too (fs/test_posix, append_only: what is stored goes "
					      "nowhere, but where it was open under passthrough before)",
		is_mapping_of_flagged },
	[FLAGS_SETFL] = { "flags: setfl", "F_SETFL can change O_APPEND of an open append-only file: it stays append-only", is_setfl_of_flagged },
	[FLAGS_WRITE] = { "flags: write", "who opened a file before it was append-only can write to its end alone (but under passthrough): else EPERM", NULL },
	[COLLAPSE] = { "collapse", "fallocate(2) that collapses or inserts a range is EOPNOTSUPP", NULL },
	[SETFL] = { "setfl", "under passthrough a file that was opened with O_APPEND is appended to: F_SETFL does not end it", NULL },
	[FAR_WRITE] = { "refused write", "a write that the filesystem beneath refuses for its offset, a range that it cannot zero, and a chown(2) for no owner "
				   "that it refuses, have ended set-id bits and capabilities before",
		NULL },
	[CAPABILITY] = { "capability", "a store in a mapping ends security.capability, as a write does (but under passthrough)", NULL },
	[ACL_MODE] = { "acl mode", "under passthrough a set-gid file that an ACL has made executable by its group keeps the bit when a member "
				   "writes to it before anybody has asked for its mode", NULL },
};

bool declared_instead(struct side sides[2], const struct operation *operation, struct result results[2])
{
	bool collapse = is_collapse(sides, operation);

	if (!collapse && !is_write_of_append_only(sides, operation))
		return false;
	operation_perform(&sides[1], operation, &results[1]);
	if (collapse ? results[1].error == EOPNOTSUPP :
		       results[1].error == EPERM && (!results[1].text[0] || strcmp(results[1].text, "after 0") == 0)) {
		results[0] = results[1];
		return meet(collapse ? COLLAPSE : FLAGS_WRITE);
	}
	operation_perform(&sides[0], operation, &results[0]);
	return true;
}

/* Under passthrough the O_APPEND of open(2) stays: both sides have then nothing open. */
static void settle_append(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	int64_t slot = NUMBER(0);

	if (!is(operation, "setfl") || NUMBER(1) || !sides[1].fixed_flags || results[0].value < 0 || !(sides[0].slot_flags[slot] & O_APPEND))
		return;
	slot_forget(&sides[0], slot);
	slot_forget(&sides[1], slot);
	meet(SETFL);
}

/* All that FD's pipe holds is read: its hash. */
static uint64_t drain(int fd)
{
	static char buffer[65536];
	char link[64];
	cleanup_close int again = -EBADF;
	uint64_t hash = 0;
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	again = open(link, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	while ((n = read(again, buffer, sizeof buffer)) > 0) {
		uint64_t both[2] = { hash, hash64_of(buffer, (size_t)n) };

		hash = hash64_of(both, sizeof both);
	}
	return hash;
}

/*
 * sendfile(2) puts pages into a pipe, not bytes: whether a store in the file is seen in the pipe later depends on whether its page is
 * still the same (splice(2) leaves it open). So what was sent is read at once.
 */
static bool settle_pipe(struct side sides[2], const struct operation *operation, struct result results[2])
{
	int fd = is(operation, "send") ? side_slot(&sides[0], NUMBER(1)) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return true;
	for (int i = 0; i < 2; i++)
		snprintf(results[i].text, TEXT_ROOM, "in the pipe %016" PRIx64, drain(side_slot(&sides[i], NUMBER(1))));
	return strcmp(results[0].text, results[1].text) == 0;
}

/* Is OPERATION one that the filesystem beneath refuses for where or how it would write? */
static bool is_far_or_zeroes(const struct operation *operation)
{
	if (is(operation, "pwrite") || is(operation, "vector"))
		return NUMBER(1) > FAR_OFFSET;
	if (is(operation, "copy"))
		return NUMBER(3) > FAR_OFFSET;
	return is(operation, "fallocate") && (NUMBER(2) > FAR_OFFSET || NUMBER(3) > FAR_OFFSET || NUMBER(1) & FALLOC_FL_ZERO_RANGE);
}

static bool is_refused_far(const struct operation *operation, const struct result results[2])
{
	return results[0].value < 0 && (results[0].error == EFBIG || results[0].error == EOPNOTSUPP) && is_far_or_zeroes(operation);
}

/* Set-id bits that one of them has lost. */
static void settle_bits(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	int slot = operation->caller ? written_slot(operation) : -1, fds[2];
	bool refused = is_refused_far(operation, results);
	struct stat st[2];

	if (slot < 0)
		return;
	for (int i = 0; i < 2; i++)
		fds[i] = side_slot(&sides[i], slot);
	if (fds[0] < 0 || !is_writable(fds[0]) || fstat(fds[0], &st[0]) < 0 || !S_ISREG(st[0].st_mode))
		return;
	if (!(refused && st[0].st_mode & SET_ID) && !has_note(&st[0], NOTE_ACL_UNASKED))
		return;
	if (fstat(fds[1], &st[1]) < 0 || st[0].st_mode == st[1].st_mode)
		return;
	if (refused && (st[0].st_mode & ~st[1].st_mode & SET_ID) == (st[0].st_mode ^ st[1].st_mode)) {
		if (fchmod(fds[0], st[1].st_mode & 07777) == 0)
			meet(FAR_WRITE);
	} else if (has_note(&st[0], NOTE_ACL_UNASKED) && sides[1].fixed_flags && st[0].st_mode & S_IXGRP &&
		st[1].st_mode == (st[0].st_mode | S_ISGID)) {
		if (fchmod(fds[1], st[0].st_mode & 07777) == 0)
			meet(ACL_MODE);
	}
	set_note(&st[0], NOTE_ACL_UNASKED, false);
}

/* The file that OPERATION has to do with, by a path that needs no directory; false: none of those below. */
static bool file_of(const struct side *side, const struct operation *operation, int slot, char path[REAL_PATH_ROOM + 64])
{
	char text[REAL_PATH_ROOM];
	int at;

	if (slot >= 0) {
		snprintf(path, REAL_PATH_ROOM + 64, "/proc/self/fd/%d", side_slot(side, slot));
		return side_slot(side, slot) >= 0;
	}
	at = path_resolve(side, operation->path[0], text);
	if (at == AT_FDCWD)
		snprintf(path, REAL_PATH_ROOM + 64, "%s", text);
	else
		snprintf(path, REAL_PATH_ROOM + 64, "/proc/self/fd/%d/%s", at, text);
	return true;
}

static bool end_capability(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int flags = 0, none;
	bool flagged = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & (FS_APPEND_FL | FS_IMMUTABLE_FL), ended;

	none = flags & ~(FS_APPEND_FL | FS_IMMUTABLE_FL);
	if (flagged)
		ioctl(fd, FS_IOC_SETFLAGS, &none);
	ended = removexattr(path, "security.capability") == 0;
	if (flagged)
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	return ended;
}

/* A capability that has ended with a store in a mapping, or before a write or a chown(2) for no owner was refused. */
static void settle_capability(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	static const char name[] = "security.capability";
	bool maps = is(operation, "mapwrite") && results[0].value > 0, writes = is_refused_far(operation, results);
	bool fchowns = is(operation, "fchown") && NUMBER(1) == -1 && NUMBER(2) == -1 && results[0].error == EPERM;
	/* Not to the end of an append-only file. */
	bool appends = results[0].error == EPERM && written_slot(operation) >= 0 && flags_of_slot(&sides[0], written_slot(operation)) == STATX_ATTR_APPEND;
	bool chowns = is(operation, "chown") && NUMBER(0) == -1 && NUMBER(1) == -1 && results[0].error == EPERM;
	int slot = maps || fchowns ? (int)NUMBER(0) : writes || appends ? written_slot(operation) : -1;
	char paths[2][REAL_PATH_ROOM + 64];

	if (!maps && !writes && !appends && !chowns && !fchowns)
		return;
	for (int i = 0; i < 2; i++) {
		if (!file_of(&sides[i], operation, slot, paths[i]))
			return;
	}
	if (getxattr(paths[0], name, NULL, 0) > 0 && getxattr(paths[1], name, NULL, 0) < 0 && errno == ENODATA && end_capability(paths[0]))
		meet(maps ? CAPABILITY : FAR_WRITE);
}

bool declared_settle(struct side sides[2], const struct operation *operation, struct result results[2])
{
	settle_append(sides, operation, results);
	settle_bits(sides, operation, results);
	settle_capability(sides, operation, results);
	return settle_pipe(sides, operation, results);
}

bool declared(struct side sides[2], const struct operation *operation, const struct result results[2])
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].allows && table[i].allows(sides, operation, results))
			return meet((enum declared)i);
	}
	return false;
}

void declared_print(FILE *to, bool how_often)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (how_often)
			fprintf(to, "declared: %-16s %8lu met\n", table[i].name, atomic_load(&memory->met[i]));
		else
			fprintf(to, "%s: %s\n", table[i].name, table[i].reason);
	}
}

unsigned long declared_count(void)
{
	unsigned long count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		count += atomic_load(&memory->met[i]);
	return count;
}
