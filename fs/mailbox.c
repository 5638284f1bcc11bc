/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mailbox.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/shared.h"

#define RESIDENT_BYTES (132u << 10) /* of a packet: a write of 128 KiB, which is what most programs and the read-ahead use at most */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static _Thread_local struct {
	struct mailbox *mailbox;
	bool again;
	bool takes_back; /* counts */
	uint32_t inherited; /* credits that were there when it began again */
} mine;

static uint32_t *length_of(struct mailbox *mailbox)
{
	return (uint32_t *)mailbox->packet;
}

void mailbox_take(struct mailbox *mailbox)
{
	size_t resident = offsetof(struct mailbox, packet) + (mailbox->longest > RESIDENT_BYTES ? mailbox->longest : RESIDENT_BYTES);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	mine.mailbox = mailbox;
	/* Where that is not allowed they may be swapped out. Pages are those of the last worker, but to this process they are new. */
	mlock2(mailbox, sizeof *mailbox, MLOCK_ONFAULT);
	if (madvise(mailbox, (resident + page - 1) / page * page, MADV_POPULATE_WRITE) == 0)
		return;
	/* Before Linux 5.14. */
	for (size_t at = 0; at < resident; at += page) {
		volatile uint8_t *byte = (volatile uint8_t *)mailbox + at;

		*byte = *byte;
	}
}

void mailbox_leave(void)
{
	mine.mailbox = NULL;
	mine.again = mine.takes_back = false;
}

void mailbox_read(struct mailbox *mailbox, size_t length)
{
	if (length > mailbox->longest)
		mailbox->longest = (uint32_t)length;
}

bool mailbox_is_full(const struct mailbox *mailbox)
{
	return *(const uint32_t *)mailbox->packet != 0;
}

void mailbox_empty(struct mailbox *mailbox)
{
	SHARED_PUBLISH(*length_of(mailbox), 0);
	mailbox->done = 0;
	mailbox->progress = 0;
	mailbox->credit_count = 0;
	mailbox->noted = 0;
	mailbox->crashes = 0;
	mailbox->counting = 0;
	mine.again = mine.takes_back = false;
	atomic_signal_fence(memory_order_seq_cst);
}

bool mailbox_again(struct mailbox *mailbox, bool crashed)
{
	if (crashed)
		SHARED_PUBLISH(mailbox->crashes, mailbox->crashes + 1);
	mine.again = true;
	mine.inherited = mailbox->credit_count;
	return mailbox->crashes < MAILBOX_CRASHES_MAX;
}

void mailbox_settle(struct mailbox *mailbox, bool taken, mailbox_credit_fn give_back, void *arg)
{
	uint32_t end = mine.inherited < MAILBOX_CREDITS_MAX ? mine.inherited : MAILBOX_CREDITS_MAX;

	/* Those of this answer are given back by who made it. */
	for (uint32_t i = 0; taken && i < end; i++) {
		if (mailbox->credits[i].id)
			give_back(arg, (enum mailbox_credit)mailbox->credits[i].kind, mailbox->credits[i].id);
	}
	mailbox_empty(mailbox);
}

bool mailbox_is_again(void)
{
	return mine.mailbox && mine.again;
}

bool mailbox_was_done(int *ret)
{
	if (!mailbox_is_again() || !mine.mailbox->done)
		return false;
	*ret = mine.mailbox->result;
	return true;
}

int mailbox_did(int r)
{
	if (mine.mailbox) {
		mine.mailbox->result = r;
		SHARED_PUBLISH(mine.mailbox->done, 1);
	}
	return r;
}

static uint32_t first_credit(void)
{
	return mine.again ? mine.inherited : 0;
}

void mailbox_uncredit(mailbox_credit_fn give_back, void *arg)
{
	struct mailbox *mailbox = mine.mailbox;

	while (mailbox && mailbox->credit_count > first_credit()) {
		uint32_t last = mailbox->credit_count - 1;
		uint64_t id = mailbox->credits[last].id;

		SHARED_PUBLISH(mailbox->credit_count, last);
		if (id)
			give_back(arg, (enum mailbox_credit)mailbox->credits[last].kind, id);
	}
}

uint32_t mailbox_steps(void)
{
	mine.takes_back = true;
	return mailbox_is_again() ? mine.mailbox->progress : 0;
}

void mailbox_stepped(uint32_t steps)
{
	if (mine.mailbox && mine.mailbox->progress != steps)
		SHARED_PUBLISH(mine.mailbox->progress, steps);
}

void mailbox_note(uint64_t number)
{
	if (mine.mailbox)
		SHARED_PUBLISH(mine.mailbox->noted, number);
}

uint64_t mailbox_noted(void)
{
	return mailbox_is_again() ? mine.mailbox->noted : 0;
}

/* ---- counts ---- */

static bool goes_up(uint32_t what)
{
	return what == MAILBOX_LOOKS_UP || what == MAILBOX_OPENS;
}

void mailbox_count(enum mailbox_count what, uint64_t id, uint64_t before)
{
	struct mailbox *mailbox = mine.mailbox;

	if (!mailbox || (!goes_up(what) && !mine.takes_back))
		return;
	mailbox->counting_id = id;
	mailbox->counting_before = before;
	mailbox->counting_then = goes_up(what) ? mailbox->credit_count : mailbox->progress;
	SHARED_PUBLISH(mailbox->counting, what);
}

static void note_count(struct mailbox *mailbox)
{
	uint32_t i = mailbox->credit_count;

	if (!goes_up(mailbox->counting)) {
		SHARED_PUBLISH(mailbox->progress, mailbox->progress + 1);
	} else if (i < MAILBOX_CREDITS_MAX) {
		mailbox->credits[i].kind = mailbox->counting;
		mailbox->credits[i].id = mailbox->counting_id;
		SHARED_PUBLISH(mailbox->credit_count, i + 1);
	}
}

void mailbox_counted(void)
{
	struct mailbox *mailbox = mine.mailbox;

	if (!mailbox || !mailbox->counting)
		return;
	note_count(mailbox);
	SHARED_PUBLISH(mailbox->counting, 0);
}

void mailbox_uncount(uint64_t id)
{
	struct mailbox *mailbox = mine.mailbox;

	for (uint32_t i = mailbox ? mailbox->credit_count : 0; i > first_credit(); i--) {
		if (mailbox->credits[i - 1].id == id && mailbox->credits[i - 1].kind == MAILBOX_LOOKUP) {
			SHARED_PUBLISH(mailbox->credits[i - 1].id, 0);
			return;
		}
	}
}

void mailbox_resolve(struct mailbox *mailbox, uint64_t (*now)(void *arg, enum mailbox_count what, uint64_t id), void *arg)
{
	uint32_t then = mailbox->counting && goes_up(mailbox->counting) ? mailbox->credit_count : mailbox->progress;

	if (mailbox->counting && then == mailbox->counting_then &&
		now(arg, (enum mailbox_count)mailbox->counting, mailbox->counting_id) != mailbox->counting_before)
		note_count(mailbox);
	SHARED_PUBLISH(mailbox->counting, 0);
}
