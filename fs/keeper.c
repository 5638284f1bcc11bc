/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/passing.h"
#include "store/base/cleanup.h"
#include "store/base/log.h"

#define BUCKETS_MIN 64u
#define RESERVE 512u /* descriptors for the workers, which inherit all that are kept */

enum message_kind { MESSAGE_HOLD = 1, MESSAGE_DROP, MESSAGE_READY, MESSAGE_SUCCESSOR };

struct message {
	uint32_t kind;
	int32_t code;
	uint64_t key;
	struct error err; /* of MESSAGE_READY alone */
};

struct kept {
	struct kept *next; /* in the chain of its bucket */
	uint64_t key;
	int fd;
	enum { COPY_NEW, COPY_DUE, COPY_MADE } copy;
	bool maybe_copied; /* by who had it before */
};

struct keeper {
	int ends[2]; /* the supervisor's, and the worker's */
	struct kept **buckets; /* owned */
	size_t bucket_count, count;
	size_t limit; /* so many are kept */
	struct kept *gone; /* owned: of which there are copies yet */
};

struct keeper *keeper_new(void)
{
	struct keeper *keeper = calloc(1, sizeof *keeper);
	struct rlimit limit;

	if (!keeper)
		return NULL;
	keeper->buckets = calloc(BUCKETS_MIN, sizeof *keeper->buckets);
	keeper->bucket_count = BUCKETS_MIN;
	keeper->limit = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * RESERVE ? limit.rlim_cur - RESERVE : RESERVE;
	if (!keeper->buckets || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, keeper->ends) < 0) {
		free(keeper->buckets);
		free(keeper);
		return NULL;
	}
	return keeper;
}

void keeper_free(struct keeper *keeper)
{
	if (!keeper)
		return;
	for (size_t i = 0; i < keeper->bucket_count; i++) {
		for (struct kept *kept = keeper->buckets[i], *next; kept; kept = next) {
			next = kept->next;
			close(kept->fd);
			free(kept);
		}
	}
	while (keeper->gone) {
		struct kept *gone = keeper->gone;

		keeper->gone = gone->next;
		free(gone);
	}
	for (int i = 0; i < 2; i++) {
		if (keeper->ends[i] >= 0)
			close(keeper->ends[i]);
	}
	free(keeper->buckets);
	free(keeper);
}

/* ---- what is kept ---- */

static struct kept **bucket_of(const struct keeper *keeper, uint64_t key)
{
	return &keeper->buckets[(key ^ key >> 24) & (keeper->bucket_count - 1)];
}

static struct kept **find(const struct keeper *keeper, uint64_t key)
{
	struct kept **link = bucket_of(keeper, key);

	while (*link && (*link)->key != key)
		link = &(*link)->next;
	return link;
}

static void grow(struct keeper *keeper)
{
	struct keeper grown = *keeper;

	grown.bucket_count = keeper->bucket_count * 2;
	grown.buckets = calloc(grown.bucket_count, sizeof *grown.buckets);
	if (!grown.buckets)
		return; /* the chains get longer */
	for (size_t i = 0; i < keeper->bucket_count; i++) {
		for (struct kept *kept = keeper->buckets[i], *next; kept; kept = next) {
			struct kept **bucket = bucket_of(&grown, kept->key);

			next = kept->next;
			kept->next = *bucket;
			*bucket = kept;
		}
	}
	free(keeper->buckets);
	*keeper = grown;
}

int keeper_put(struct keeper *keeper, uint64_t key, int fd)
{
	struct kept *kept = keeper->count < keeper->limit ? malloc(sizeof *kept) : NULL, **bucket;

	if (!kept) {
		close(fd);
		return keeper->count < keeper->limit ? -ENOMEM : -EMFILE;
	}
	if (keeper->count >= keeper->bucket_count)
		grow(keeper);
	bucket = bucket_of(keeper, key);
	*kept = (struct kept){ .next = *bucket, .key = key, .fd = fd, .copy = COPY_NEW };
	*bucket = kept;
	keeper->count++;
	return 0;
}

static void let_go(struct keeper *keeper, uint64_t key)
{
	struct kept **link = find(keeper, key), *kept = *link;

	if (!kept)
		return;
	*link = kept->next;
	close(kept->fd);
	keeper->count--;
	if (kept->copy != COPY_MADE && !kept->maybe_copied) {
		free(kept);
		return;
	}
	kept->next = keeper->gone;
	keeper->gone = kept;
}

/* Of a key that several are kept of, one copy's end is that of all. */
static void copy_again(struct keeper *keeper, uint64_t key)
{
	for (struct kept *kept = *bucket_of(keeper, key); kept; kept = kept->next) {
		if (kept->key == key)
			kept->copy = COPY_DUE;
	}
}

void keeper_is_copied(struct keeper *keeper)
{
	for (size_t i = 0; i < keeper->bucket_count; i++) {
		for (struct kept *kept = keeper->buckets[i]; kept; kept = kept->next)
			kept->copy = COPY_MADE;
	}
}

void keeper_may_be_copied(struct keeper *keeper)
{
	for (size_t i = 0; i < keeper->bucket_count; i++) {
		for (struct kept *kept = keeper->buckets[i]; kept; kept = kept->next)
			kept->maybe_copied = true;
	}
}

bool keeper_copy(struct keeper *keeper, keeper_copy_fn add, keeper_copy_fn remove, void *arg)
{
	bool more = false;

	while (keeper->gone && remove(arg, keeper->gone->key, -EBADF) == 0) {
		struct kept *gone = keeper->gone;

		keeper->gone = gone->next;
		copy_again(keeper, gone->key);
		free(gone);
	}
	for (size_t i = 0; i < keeper->bucket_count && !keeper->gone; i++) {
		for (struct kept *kept = keeper->buckets[i]; kept; kept = kept->next) {
			if (kept->copy == COPY_DUE && add(arg, kept->key, kept->fd) == 0)
				kept->copy = COPY_MADE;
			else if (kept->copy == COPY_NEW)
				kept->copy = COPY_DUE;
			more |= kept->copy != COPY_MADE;
		}
	}
	return more || keeper->gone;
}

size_t keeper_count(const struct keeper *keeper)
{
	return keeper->count;
}

int keeper_kept(const struct keeper *keeper, uint64_t key)
{
	const struct kept *kept = *find(keeper, key);

	return kept ? kept->fd : -EBADF;
}

void keeper_each(const struct keeper *keeper, void (*fn)(void *arg, uint64_t key, int fd), void *arg)
{
	for (size_t i = 0; i < keeper->bucket_count; i++) {
		for (const struct kept *kept = keeper->buckets[i]; kept; kept = kept->next)
			fn(arg, kept->key, kept->fd);
	}
}

/* ---- between the two ---- */

static int send_message(struct keeper *keeper, const struct message *message, size_t size, int fd)
{
	const struct passing packet = { .data = message, .size = size, .fds = &fd, .fd_count = fd >= 0 };

	return passing_send(keeper->ends[1], &packet, 0);
}

#define SHORT_MESSAGE offsetof(struct message, err)

int keeper_hold(struct keeper *keeper, uint64_t key, int fd)
{
	const struct message message = { .kind = MESSAGE_HOLD, .key = key };

	return send_message(keeper, &message, SHORT_MESSAGE, fd);
}

int keeper_drop(struct keeper *keeper, uint64_t key)
{
	const struct message message = { .kind = MESSAGE_DROP, .key = key };

	return send_message(keeper, &message, SHORT_MESSAGE, -EBADF);
}

int keeper_successor(struct keeper *keeper, int channel)
{
	const struct message message = { .kind = MESSAGE_SUCCESSOR };

	return send_message(keeper, &message, SHORT_MESSAGE, channel);
}

int keeper_ready(struct keeper *keeper, int code, const struct error *err)
{
	const struct message message = { .kind = MESSAGE_READY, .code = code, .err = *err };

	return send_message(keeper, &message, sizeof message, -EBADF);
}

int keeper_fd(const struct keeper *keeper)
{
	return keeper->ends[0];
}

/* false: nothing is there. */
static bool receive(struct keeper *keeper, struct message *ret, int *ret_fd)
{
	bool cut;

	return passing_receive(keeper->ends[0], ret, sizeof *ret, ret_fd, 1, MSG_DONTWAIT, &cut) >= (ssize_t)SHORT_MESSAGE;
}

void keeper_take_in(struct keeper *keeper, struct keeper_report *ret)
{
	struct message message;
	int fd, r;

	while (receive(keeper, &message, &fd)) {
		if (message.kind == MESSAGE_HOLD && fd >= 0) {
			r = keeper_put(keeper, message.key, fd);
			if (r < 0)
				log_message(LOG_ERR, "%s: a file without a name would be lost with the worker",
					r == -ENOMEM ? "out of memory" : "too many are kept");
			continue;
		}
		if (message.kind == MESSAGE_SUCCESSOR && fd >= 0 && ret->successor < 0) {
			ret->successor = fd;
			continue;
		}
		if (fd >= 0)
			close(fd);
		if (message.kind == MESSAGE_HOLD) {
			log_message(LOG_ERR, "out of descriptors: a file without a name would be lost with the worker");
		} else if (message.kind == MESSAGE_DROP) {
			let_go(keeper, message.key);
		} else if (message.kind == MESSAGE_READY) {
			ret->ready = true;
			ret->code = message.code;
			ret->err = message.err;
		}
	}
}

void keeper_be_worker(struct keeper *keeper)
{
	close(keeper->ends[0]);
	keeper->ends[0] = -EBADF;
}
