/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The store's lock, and what its file says: whether whoever had it last has given it back, and during which run of the machine. Nothing is synced for
 * that: after a crash of the machine the run is another one, whatever else the file says.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/lock.h"
#include "store/base/log.h"
#include "store/recover.h"
#include "store/reserve.h"
#include "store/store.h"

#define STORE_LOCK "lock"
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LENGTH 36
#define WORD_LENGTH 8
#define WORD_WORKING "working "
#define WORD_DONE "done    "
#define WORD_LEFT "left    " /* not in order, and could not be put in order */

/* "working BOOT-ID\n", always of one length: a full disk has room for it. */
struct note {
	char text[WORD_LENGTH + BOOT_ID_LENGTH + 1];
};

static void note_make(const char *word, struct note *ret)
{
	cleanup_close int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);

	memset(ret->text, '-', sizeof ret->text);
	memcpy(ret->text, word, WORD_LENGTH);
	if (fd >= 0)
		(void)io_read(fd, ret->text + WORD_LENGTH, BOOT_ID_LENGTH);
	ret->text[sizeof ret->text - 1] = '\n';
}

/* That it cannot be noted costs the next one a look. */
static void note_write(int fd, const char *word)
{
	struct note note;

	note_make(word, &note);
	(void)io_pwrite(fd, note.text, sizeof note.text, 0);
}

/* Does it say WORD, in this run of the machine? */
static bool note_is(int fd, const char *word)
{
	struct note wanted, found;

	note_make(word, &wanted);
	return io_pread(fd, found.text, sizeof found.text, 0) == sizeof found.text && memcmp(&wanted, &found, sizeof wanted) == 0;
}

int store_lock(struct store *store, int timeout_ms, struct error *err)
{
	struct error problem = ERROR_INIT;
	int fd = lock_acquire(store->fd, STORE_LOCK, timeout_ms, err);
	bool in_order;

	if (fd < 0)
		return error_prefix(err, fd, "store '%s'", store->path);
	/* What keeps it from being put in order keeps nobody from what he is here for: a revert on a full disk. */
	in_order = note_is(fd, WORD_DONE) || store_recover(store->path, &problem) == 0;
	if (!in_order)
		log_message(LOG_WARNING, "after somebody was stopped at work: %s", problem.message);
	note_write(fd, in_order ? WORD_WORKING : WORD_LEFT);
	reserve_make(store);
	return fd;
}

void store_unlock(int fd)
{
	if (fd < 0)
		return;
	if (note_is(fd, WORD_WORKING))
		note_write(fd, WORD_DONE);
	close(fd);
}

void store_lock_doubt(int fd)
{
	note_write(fd, WORD_LEFT);
}

void store_doubt(struct store *store)
{
	cleanup_close int fd = openat(store->fd, STORE_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0)
		store_lock_doubt(fd);
}

int store_lock_confirm(struct store *store, int fd, struct error *err)
{
	int r = lock_confirm(store->fd, STORE_LOCK, fd);

	return r < 0 ? error_set(err, -EACCES, "store '%s': the caller does not hold its lock", store->path) : 0;
}
