/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/handover.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/passing.h"
#include "store/base/cleanup.h"

#define WAIT_FOREVER (-1)
enum word { WORD_OFFER = 1, WORD_ACCEPTED, WORD_KEPT, WORD_END, WORD_SERVES, WORD_YOURS, WORD_REFUSED };

struct packet {
	uint32_t word;
	uint32_t count;		/* of what is kept: keys, and as many descriptors; of what is accepted: by which process */
	uint64_t keys[PASSING_FDS_MAX];
	struct error err;	/* of what is refused */
	int fds[PASSING_FDS_MAX]; /* that come along; -EBADF behind the last */
};
#define PACKET_BYTES offsetof(struct packet, fds)

static int wait_for(int channel, short events, int wait_ms, struct error *err)
{
	struct pollfd fd = { channel, events, 0 };
	int n;

	do
		n = poll(&fd, 1, wait_ms);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return error_set(err, -ETIMEDOUT, "the other process has said nothing for %d s", HANDOVER_WAIT_MS / 1000);
	return n < 0 ? error_errno(err, errno, "wait for the other process") : 0;
}

static int gone(struct error *err)
{
	return error_set(err, -EPIPE, "the other process has ended");
}

/* With its first FD_COUNT descriptors, which stay the caller's. */
static int say(int channel, const struct packet *packet, size_t fd_count, struct error *err)
{
	const struct passing passing = { .data = packet, .size = PACKET_BYTES, .fds = packet->fds, .fd_count = fd_count };

	for (;;) {
		int r = wait_for(channel, POLLOUT, HANDOVER_WAIT_MS, err);

		if (r < 0)
			return r;
		r = passing_send(channel, &passing, MSG_DONTWAIT);
		if (r == -EPIPE || r == -ECONNRESET)
			return gone(err);
		if (r != -EAGAIN)
			return r < 0 ? error_errno(err, -r, "speak to the other process") : 0;
	}
}

static void close_fds(struct packet *packet)
{
	for (size_t i = 0; i < PASSING_FDS_MAX && packet->fds[i] >= 0; i++)
		close(packet->fds[i]);
}

/* The next packet, and its descriptors. */
static int hear_any(int channel, int wait_ms, struct packet *ret, struct error *err)
{
	int r = wait_for(channel, POLLIN, wait_ms, err);
	ssize_t n;
	bool cut;

	ret->fds[0] = -EBADF;
	if (r < 0)
		return r;
	n = passing_receive(channel, ret, PACKET_BYTES, ret->fds, PASSING_FDS_MAX, 0, &cut);
	if (n == 0 || n == -ECONNRESET)
		return gone(err);
	if (n < 0)
		return error_errno(err, (int)-n, "listen to the other process");
	if (n == PACKET_BYTES && !cut)
		return 0;
	close_fds(ret);
	return error_set(err, -EPROTO, "the other process speaks otherwise");
}

/* That is WORD, or ends it. */
static int hear(int channel, enum word word, int wait_ms, struct packet *ret, struct error *err)
{
	int r = hear_any(channel, wait_ms, ret, err);

	if (r < 0 || ret->word == word)
		return r;
	close_fds(ret);
	if (ret->word != WORD_REFUSED)
		return error_set(err, -EPROTO, "the other process says something else");
	ret->err.message[sizeof ret->err.message - 1] = '\0';
	return error_set(err, ret->err.code < 0 ? ret->err.code : -EIO, "%s", ret->err.message);
}

/* A word that brings nothing along. */
static int hear_plain(int channel, enum word word, int wait_ms, struct error *err)
{
	struct packet packet;
	int r = hear(channel, word, wait_ms, &packet, err);

	if (r == 0)
		close_fds(&packet);
	return r;
}

/* ---- who has the mount ---- */

size_t handover_packet_bytes(void)
{
	return PACKET_BYTES;
}

int handover_offer(int channel, pid_t pid, const struct shared *shared, int log_fd, struct error *err)
{
	struct packet packet = { .word = WORD_OFFER };
	int r;

	memcpy(packet.fds, shared->fds, sizeof shared->fds);
	packet.fds[SHARED_REGIONS] = log_fd;
	r = say(channel, &packet, SHARED_REGIONS + (log_fd >= 0), err);
	if (r == 0)
		r = hear(channel, WORD_ACCEPTED, HANDOVER_WAIT_MS, &packet, err);
	if (r < 0)
		return r;
	close_fds(&packet);
	return packet.count == (uint32_t)pid ? 0 : error_set(err, -EXDEV, "the other process is in another process namespace");
}

struct giving {
	int channel;
	struct packet packet;
	int result;
	struct error *err;
};

static void give(struct giving *giving)
{
	if (giving->result == 0 && giving->packet.count > 0)
		giving->result = say(giving->channel, &giving->packet, giving->packet.count, giving->err);
	giving->packet.count = 0;
}

static void give_one(void *arg, uint64_t key, int fd)
{
	struct giving *giving = arg;

	giving->packet.keys[giving->packet.count] = key;
	giving->packet.fds[giving->packet.count++] = fd;
	if (giving->packet.count == PASSING_FDS_MAX)
		give(giving);
}

int handover_give(int channel, const struct keeper *keeper, struct error *err)
{
	struct giving giving = { .channel = channel, .packet = { .word = WORD_KEPT }, .err = err };

	keeper_each(keeper, give_one, &giving);
	give(&giving);
	giving.packet.word = WORD_END;
	return giving.result < 0 ? giving.result : say(channel, &giving.packet, 0, err);
}

int handover_await(int channel, struct error *err)
{
	return hear_plain(channel, WORD_SERVES, HANDOVER_WAIT_MS, err);
}

int handover_confirm(int channel, struct error *err)
{
	const struct packet packet = { .word = WORD_YOURS };

	return say(channel, &packet, 0, err);
}

/* ---- who is to have it ---- */

int handover_receive(int channel, struct shared **ret, int *ret_log_fd, struct error *err)
{
	struct packet packet;
	int r = hear(channel, WORD_OFFER, HANDOVER_WAIT_MS, &packet, err);

	if (r < 0)
		return r;
	r = shared_adopt(packet.fds, ret);
	if (r < 0) {
		if (packet.fds[SHARED_REGIONS] >= 0)
			close(packet.fds[SHARED_REGIONS]);
		return error_errno(err, -r, "the memory of the running daemon");
	}
	*ret_log_fd = packet.fds[SHARED_REGIONS];
	return 0;
}

int handover_accept(int channel, struct error *err)
{
	const struct packet packet = { .word = WORD_ACCEPTED, .count = (uint32_t)getpid() };

	return say(channel, &packet, 0, err);
}

void handover_refuse(int channel, const struct error *why)
{
	const struct packet packet = { .word = WORD_REFUSED, .err = *why };

	say(channel, &packet, 0, NULL);
}

int handover_take(int channel, struct keeper *keeper, struct error *err)
{
	for (;;) {
		struct packet packet;
		int r = hear_any(channel, HANDOVER_WAIT_MS, &packet, err), put = 0;
		size_t i;

		if (r < 0)
			return r;
		for (i = 0; i < PASSING_FDS_MAX && packet.fds[i] >= 0; i++) {
			if (packet.word == WORD_KEPT && i < packet.count && put == 0)
				put = keeper_put(keeper, packet.keys[i], packet.fds[i]);
			else
				close(packet.fds[i]);
		}
		if (put < 0)
			return error_errno(err, -put, "keep what the running daemon keeps");
		if (packet.word == WORD_END)
			return 0;
		if (packet.word != WORD_KEPT || i != packet.count)
			return error_set(err, -EPROTO, "the other process says something else");
	}
}

int handover_serves(int channel, struct error *err)
{
	const struct packet packet = { .word = WORD_SERVES };
	int r = say(channel, &packet, 0, err);

	return r < 0 ? r : hear_plain(channel, WORD_YOURS, WAIT_FOREVER, err);
}
