/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on open files. */
#include "stress.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"

#define NUMBER(i) (operation->number[i])
#define DIRECT_GRAIN 4096

char *data_buffer;

/* ---- what all need ---- */

void result_set(struct result *result, int64_t value)
{
	result->value = value;
	result->error = value < 0 ? errno : 0;
}

int side_slot(const struct side *side, int64_t slot)
{
	return side->slots[slot % SLOTS];
}

/* A slot's file from now on; what was there is closed. */
static void slot_set(struct side *side, int64_t slot, int fd, int flags)
{
	if (side->slots[slot] >= 0)
		close(side->slots[slot]);
	side->slots[slot] = fd;
	side->slot_flags[slot] = flags;
}

int path_resolve(const struct side *side, const char *path, char text[REAL_PATH_ROOM])
{
	int at = side->root;
	size_t length = 0;

	text[0] = '\0';
	if (path[0] == '@') {
		at = side->directories[(path[1] - '0') % DIRECTORIES];
		/* Whoever stands in it: the last slots are reached by the working directory. */
		if (path[1] != '0' && at >= 0 && fchdir(at) == 0)
			at = AT_FDCWD;
		path += path[2] ? 3 : 2;
		if (!*path)
			length = (size_t)snprintf(text, REAL_PATH_ROOM, ".");
	} else if (path[0] == 'P') {
		at = side->outside;
	}
	for (; *path && length < REAL_PATH_ROOM - 300; path++) {
		size_t count = *path == 'L' ? 255 : *path == 'X' ? 256 : 1;

		memset(text + length, *path == 'L' || *path == 'X' ? 'n' : *path, count);
		length += count;
		text[length] = '\0';
	}
	return at;
}

static const struct {
	uid_t uid;
	gid_t gid;
	size_t count;
	gid_t groups[2];
} callers[CALLERS] = { { 0, 0, 0, { 0 } }, { 1001, 1001, 1, { 2000 } }, { 1002, 1002, 2, { 1001, 2001 } }, { 1003, 1003, 0, { 0 } } };

/* The real and saved ids stay root's; the kernel asks the effective ones, and their capabilities. */
void caller_assume(unsigned caller)
{
	if (!caller)
		return;
	if (setgroups(callers[caller].count, callers[caller].groups) < 0 || setresgid(-1, callers[caller].gid, -1) < 0 ||
		setresuid(-1, callers[caller].uid, -1) < 0)
		abort();
}

void caller_restore(unsigned caller)
{
	if (!caller)
		return;
	if (setresuid(-1, 0, -1) < 0 || setresgid(-1, 0, -1) < 0 || setgroups(0, NULL) < 0)
		abort();
}

void operation_perform(struct side *side, const struct operation *operation, struct result *ret)
{
	caller_assume(operation->caller);
	operation_kinds[operation->kind].perform(side, operation, ret);
	caller_restore(operation->caller);
}

void fill_pattern(char *buffer, size_t size, uint64_t from)
{
	for (size_t i = 0; i < size; i++)
		buffer[i] = (char)('!' + (from + i * 7 + (i >> 8)) % 90);
}

void describe_stat(const struct stat *st, char text[TEXT_ROOM])
{
	bool sized = S_ISREG(st->st_mode) || S_ISLNK(st->st_mode);
	char time[48] = "now";

	/* The tests set times of 2001. */
	if (st->st_mtim.tv_sec < 1100000000)
		snprintf(time, sizeof time, "%" PRId64 ".%09ld", (int64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	snprintf(text, TEXT_ROOM, "mode=%o uid=%u gid=%u nlink=%lu size=%" PRId64 " rdev=%u:%u mtime=%s", st->st_mode, st->st_uid,
		st->st_gid, (unsigned long)st->st_nlink, sized ? (int64_t)st->st_size : 0, major(st->st_rdev),
		minor(st->st_rdev), time);
}

/* Direct I/O is done in whole grains: what else it can do differs from filesystem to filesystem. */
static bool is_direct(const struct side *side, int64_t slot)
{
	return side->slots[slot] >= 0 && side->slot_flags[slot] & O_DIRECT;
}

size_t length_for(const struct side *side, int64_t slot, int64_t length)
{
	if (length > DATA_MAX - DIRECT_GRAIN)
		length = DATA_MAX - DIRECT_GRAIN;
	return (size_t)(is_direct(side, slot) ? length / DIRECT_GRAIN * DIRECT_GRAIN : length);
}

static off_t offset_for(const struct side *side, int64_t slot, int64_t offset)
{
	return is_direct(side, slot) ? offset / DIRECT_GRAIN * DIRECT_GRAIN : offset;
}

static void describe_bytes(struct result *ret, const char *bytes)
{
	if (ret->value > 0)
		snprintf(ret->text, TEXT_ROOM, "bytes %016" PRIx64, hash64_of(bytes, (size_t)ret->value));
}

/* ---- opening ---- */

PERFORM(open)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path), flags = (int)NUMBER(1), fd;
	mode_t old = umask((mode_t)NUMBER(3));

	fd = openat(at, path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, (mode_t)NUMBER(2));
	result_set(ret, fd < 0 ? -1 : 0);
	umask(old);
	if (fd >= 0)
		slot_set(side, NUMBER(0), fd, flags);
	note_fd(side, fd, NOTE_ODD_BLOCKS, false);
	if (!(flags & O_PATH)) /* which asks for no permission */
		note_fd(side, fd, NOTE_ACL_UNASKED, false);
}

PERFORM(close)
{
	int fd = side_slot(side, NUMBER(0));

	side->slots[NUMBER(0)] = -1;
	side->slot_flags[NUMBER(0)] = 0;
	result_set(ret, close(fd));
}

PERFORM(reopen)
{
	char link[64];
	int flags = (int)NUMBER(2) & ~(O_CREAT | O_EXCL | O_NOFOLLOW), fd;

	if (side_slot(side, NUMBER(0)) < 0) {
		result_set(ret, 0);
		return;
	}
	snprintf(link, sizeof link, "/proc/self/fd/%d", side_slot(side, NUMBER(0)));
	fd = open(link, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	result_set(ret, fd < 0 ? -1 : 0);
	if (!(flags & O_PATH))
		note_fd(side, fd, NOTE_ACL_UNASKED, false);
	if (fd >= 0)
		slot_set(side, NUMBER(1), fd, flags);
}

PERFORM(tmpfile)
{
	char path[REAL_PATH_ROOM];
	int at = path_resolve(side, operation->path[0], path);
	cleanup_close int fd = openat(at, path, O_RDWR | O_TMPFILE | O_CLOEXEC, (mode_t)NUMBER(1));

	result_set(ret, fd < 0 ? -1 : 0);
}

/* ---- content ---- */

PERFORM(read)
{
	int fd = side_slot(side, NUMBER(0));

	result_set(ret, is_direct(side, NUMBER(0)) ? pread(fd, data_buffer, length_for(side, NUMBER(0), NUMBER(1)), 0) :
						     read(fd, data_buffer, length_for(side, NUMBER(0), NUMBER(1))));
	describe_bytes(ret, data_buffer);
}

/* To a pipe, perhaps. */
static void note_written(const struct side *side, int fd)
{
	note_fd(side, fd, NOTE_PIPE_WRITTEN, true);
}

PERFORM(write)
{
	size_t length = length_for(side, NUMBER(0), NUMBER(1));
	int fd = side_slot(side, NUMBER(0));

	fill_pattern(data_buffer, length, (uint64_t)NUMBER(1));
	result_set(ret, is_direct(side, NUMBER(0)) ? pwrite(fd, data_buffer, length, 0) : write(fd, data_buffer, length));
	note_written(side, fd);
}

PERFORM(pread)
{
	result_set(ret, pread(side_slot(side, NUMBER(0)), data_buffer, length_for(side, NUMBER(0), NUMBER(2)),
		offset_for(side, NUMBER(0), NUMBER(1))));
	describe_bytes(ret, data_buffer);
}

PERFORM(pwrite)
{
	size_t length = length_for(side, NUMBER(0), NUMBER(2));

	fill_pattern(data_buffer, length, (uint64_t)NUMBER(1) + (uint64_t)NUMBER(2));
	result_set(ret, pwrite(side_slot(side, NUMBER(0)), data_buffer, length, offset_for(side, NUMBER(0), NUMBER(1))));
}

/* To the end, whatever the descriptor's flags are. */
PERFORM(append)
{
	size_t length = length_for(side, NUMBER(0), NUMBER(1));
	struct iovec part = { data_buffer, length };

	if (is_direct(side, NUMBER(0)))
		return;
	fill_pattern(data_buffer, length, (uint64_t)NUMBER(1));
	result_set(ret, pwritev2(side_slot(side, NUMBER(0)), &part, 1, 0, RWF_APPEND));
	note_written(side, side_slot(side, NUMBER(0)));
}

/* In three parts of odd sizes; half of the time durable at once. */
PERFORM(vector)
{
	size_t length = length_for(side, NUMBER(0), NUMBER(2));
	struct iovec parts[3] = { { data_buffer, length / 7 }, { data_buffer + length / 7, length / 3 },
		{ data_buffer + length / 7 + length / 3, length - length / 7 - length / 3 } };

	if (is_direct(side, NUMBER(0)))
		return;
	fill_pattern(data_buffer, length, (uint64_t)NUMBER(1));
	result_set(ret, pwritev2(side_slot(side, NUMBER(0)), parts, 3, NUMBER(1), NUMBER(1) % 8 == 0 ? RWF_DSYNC : 0));
}

/* All of it, as with copy. */
PERFORM(send)
{
	off_t from = NUMBER(2);
	int64_t left = NUMBER(3), done = 0;
	ssize_t n = 0;

	if (is_direct(side, NUMBER(0)) || is_direct(side, NUMBER(1)))
		return;
	do {
		n = sendfile(side_slot(side, NUMBER(1)), side_slot(side, NUMBER(0)), &from, (size_t)left);
		done += n > 0 ? n : 0;
		left -= n > 0 ? n : 0;
	} while (n > 0 && left > 0);
	result_set(ret, n < 0 ? n : done);
	note_written(side, side_slot(side, NUMBER(1)));
	if (n < 0)
		snprintf(ret->text, TEXT_ROOM, "after %" PRId64, done);
}

PERFORM(ftruncate)
{
	result_set(ret, ftruncate(side_slot(side, NUMBER(0)), NUMBER(1)));
	note_fd(side, side_slot(side, NUMBER(0)), NOTE_ODD_BLOCKS, false);
}

PERFORM(fallocate)
{
	result_set(ret, fallocate(side_slot(side, NUMBER(0)), (int)NUMBER(1), NUMBER(2), NUMBER(3)));
	note_fd(side, side_slot(side, NUMBER(0)), NOTE_ODD_BLOCKS, true);
}

/* All of it: how much is done at once is the filesystem's own matter. */
PERFORM(copy)
{
	off_t from = NUMBER(1), to = NUMBER(3);
	int64_t left = NUMBER(4), done = 0;
	ssize_t n = 0;

	/* By a pipe, on some filesystems, so that it is no whole grains that are written directly. */
	if (is_direct(side, NUMBER(0)) || is_direct(side, NUMBER(2)))
		return;
	do {
		n = copy_file_range(side_slot(side, NUMBER(0)), &from, side_slot(side, NUMBER(2)), &to, (size_t)left, 0);
		done += n > 0 ? n : 0;
		left -= n > 0 ? n : 0;
	} while (n > 0 && left > 0);
	result_set(ret, n < 0 ? n : done);
	if (n < 0)
		snprintf(ret->text, TEXT_ROOM, "after %" PRId64, done);
}

PERFORM(seek)
{
	int fd = side_slot(side, NUMBER(0));
	struct stat st;
	off_t old, at;

	/* Positions in a directory mean nothing but to who gave them. */
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return;
	old = lseek(fd, 0, SEEK_CUR);
	at = lseek(fd, NUMBER(1), (int)NUMBER(2));
	result_set(ret, at);
	/* Where data is may differ (see declared.c): the position must not. And a huge one is no place to write at. */
	if (at >= 0 && (NUMBER(2) == SEEK_DATA || NUMBER(2) == SEEK_HOLE || at > DATA_MAX))
		lseek(fd, old, SEEK_SET);
}

PERFORM(sync)
{
	int fd = side_slot(side, NUMBER(0));

	result_set(ret, NUMBER(1) ? fdatasync(fd) : fsync(fd));
}

/* Maps what of the file lies there. NULL: there is nothing, or it failed, and *RET says so. */
static char *map_part(struct side *side, const struct operation *operation, int protection, struct result *ret,
	size_t *ret_skip, size_t *ret_length)
{
	int fd = side_slot(side, NUMBER(0));
	off_t page = NUMBER(1) / 4096 * 4096;
	struct stat st;
	char *map;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || NUMBER(1) < 0 || NUMBER(1) >= st.st_size || NUMBER(2) <= 0) {
		result_set(ret, 0);
		return NULL;
	}
	*ret_skip = (size_t)(NUMBER(1) - page);
	*ret_length = (size_t)(st.st_size - NUMBER(1) < NUMBER(2) ? st.st_size - NUMBER(1) : NUMBER(2));
	map = mmap(NULL, *ret_skip + *ret_length, protection, MAP_SHARED, fd, page);
	result_set(ret, map == MAP_FAILED ? -1 : (int64_t)*ret_length);
	return map == MAP_FAILED ? NULL : map;
}

PERFORM(mapwrite)
{
	size_t skip, length;
	int flags = 0;
	char *map = map_part(side, operation, PROT_READ | PROT_WRITE, ret, &skip, &length);

	if (!map)
		return;
	/* Who stores in an immutable file's mapping gets a signal on some filesystems, and an error on others: it is only mapped; so is an append-only one. */
	if (ioctl(side_slot(side, NUMBER(0)), FS_IOC_GETFLAGS, &flags) < 0 || !(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
		fill_pattern(map + skip, length, (uint64_t)NUMBER(1));
	if (msync(map, skip + length, MS_SYNC) < 0)
		result_set(ret, -1);
	munmap(map, skip + length);
	note_fd(side, side_slot(side, NUMBER(0)), NOTE_ODD_BLOCKS, true);
}

PERFORM(mapread)
{
	size_t skip, length;
	char *map = map_part(side, operation, PROT_READ, ret, &skip, &length);

	if (!map)
		return;
	describe_bytes(ret, map + skip);
	munmap(map, skip + length);
	note_fd(side, side_slot(side, NUMBER(0)), NOTE_ODD_BLOCKS, true);
}

uint64_t describe_holes(int fd)
{
	off_t old = lseek(fd, 0, SEEK_CUR), at = 0;
	uint64_t hash = 0;
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;

	for (int i = 0; i < 1000; i++) {
		off_t found = lseek(fd, at, i % 2 ? SEEK_HOLE : SEEK_DATA);
		uint64_t both[2] = { hash, found < 0 ? (uint64_t)-errno : (uint64_t)found };

		hash = hash64_of(both, sizeof both);
		if (found < 0)
			break;
		at = found;
	}
	lseek(fd, old, SEEK_SET);
	return hash;
}

PERFORM(holes)
{
	result_set(ret, 0);
	snprintf(ret->text, TEXT_ROOM, "holes %016" PRIx64, describe_holes(side_slot(side, NUMBER(0))));
}

/* ---- what is said of a file ---- */

PERFORM(fstat)
{
	int fd = side_slot(side, NUMBER(0));
	struct stat st;

	result_set(ret, fstat(fd, &st));
	note_fd(side, fd, NOTE_ACL_UNASKED, false);
	if (ret->value == 0)
		describe_stat(&st, ret->text);
	ret->value = ret->value < 0 ? -1 : S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
}

PERFORM(setfl)
{
	/* An end that is no whole grain is none to append to directly. */
	if (!is_direct(side, NUMBER(0)))
		result_set(ret, fcntl(side_slot(side, NUMBER(0)), F_SETFL, O_NONBLOCK | (NUMBER(1) ? O_APPEND : 0)));
}

PERFORM(lock)
{
	static const int commands[] = { F_SETLK, F_GETLK, F_OFD_SETLK, F_OFD_GETLK };
	static const short types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
	struct flock lock = { .l_type = types[NUMBER(2) % 3], .l_whence = SEEK_SET, .l_start = NUMBER(3), .l_len = NUMBER(4) };

	result_set(ret, fcntl(side_slot(side, NUMBER(0)), commands[NUMBER(1) % 4], &lock));
	if (ret->value == 0)
		snprintf(ret->text, TEXT_ROOM, "type=%d start=%" PRId64 " length=%" PRId64 " held=%d", lock.l_type,
			(int64_t)lock.l_start, (int64_t)lock.l_len, lock.l_pid > 0);
}

PERFORM(flock)
{
	static const int commands[] = { LOCK_SH, LOCK_EX, LOCK_UN };

	result_set(ret, flock(side_slot(side, NUMBER(0)), LOCK_NB | commands[NUMBER(1) % 3]));
}

PERFORM(fchmod)
{
	result_set(ret, fchmod(side_slot(side, NUMBER(0)), (mode_t)NUMBER(1)));
}

PERFORM(fchown)
{
	result_set(ret, fchown(side_slot(side, NUMBER(0)), (uid_t)NUMBER(1), (gid_t)NUMBER(2)));
}

/* Append-only and immutable; nothing else, for the filesystems that have them have different others. */
PERFORM(flags)
{
	static const int values[] = { 0, FS_APPEND_FL, FS_IMMUTABLE_FL, FS_NODUMP_FL };
	int fd = side_slot(side, NUMBER(0)), flags = 0;

	result_set(ret, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	if (ret->value < 0)
		return;
	flags = (flags & ~(FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL)) | (side->has_flags ? values[NUMBER(1) % 4] : 0);
	result_set(ret, ioctl(fd, FS_IOC_SETFLAGS, &flags));
	snprintf(ret->text, TEXT_ROOM, "flags %x", flags & (FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL));
}
