/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_MAILBOX_H
#define VENEER_FS_MAILBOX_H

/*
 * A request that a thread works on, where it outlives the worker: the kernel writes it there, and when the worker is killed the
 * next one's thread of the same mailbox answers it (again). The kernel waits for that: its answers are matched by the request's number, and
 * whoever made the request has his locks on what it is about as long as it is not answered.
 *
 * A request is done at most once. What it changes is followed by mailbox_did(), before the answer: where that was reached the next
 * worker only answers. Where it was not, no answer was sent, and the change is tried again: that it was made already shows in its
 * error (EEXIST for what makes a name, ENOENT for what takes one away), for the kernel's locks let nobody else make it meanwhile.
 *
 * An answer that is sent twice is refused by the kernel (ENOENT) and harms nobody. What it would have counted (look-ups, openings) is noted
 * as credits by the node table, which holds its lock: of two answers one counts.
 *
 * Calling sequence of a thread: mailbox_take() once; if mailbox_is_full(), it was left by a dead worker: mailbox_again(), the work,
 * mailbox_settle(). Then for each request: mailbox_empty(), the read(2) into packet, the work. Handlers call the rest, which means the
 * calling thread's own mailbox; without one nothing is noted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAILBOXES 16u /* threads that serve, at most */
#define MAILBOX_PACKET_MAX ((1u << 20) + 8192) /* a write of 1 MiB and its headers */
#define MAILBOX_CREDITS_MAX 1024u
#define MAILBOX_SCRATCH (72u << 10) /* the largest SETXATTR */
#define MAILBOX_CRASHES_MAX 3u /* workers that crash over one request before it is answered with EIO */

enum mailbox_credit { MAILBOX_LOOKUP = 1, MAILBOX_OPEN = 2 };
/* What a count goes up by is a credit; what it goes down by is a step. */
enum mailbox_count { MAILBOX_LOOKS_UP = MAILBOX_LOOKUP, MAILBOX_OPENS = MAILBOX_OPEN, MAILBOX_FORGETS, MAILBOX_CLOSES };

struct mailbox {
	/* The next four are 0 where the packet is new. */
	uint32_t done; /* RESULT is set */
	int32_t result;
	uint32_t progress;
	uint32_t credit_count;
	uint64_t noted;
	uint32_t crashes;
	uint32_t longest; /* packet so far */
	/* A count that is being changed: of what, what it was, and how many credits or steps there were. COUNTING (enum mailbox_count) 0: none. */
	uint32_t counting, counting_then;
	uint64_t counting_id, counting_before;
	struct {
		uint64_t id;
		uint64_t kind; /* enum mailbox_credit */
	} credits[MAILBOX_CREDITS_MAX];
	uint8_t scratch[MAILBOX_SCRATCH]; /* of the process */
	/* What the kernel sent; its first word, the length, is 0 where there is nothing. */
	_Alignas(4096) uint8_t packet[(MAILBOX_PACKET_MAX + 4095) / 4096 * 4096];
};

/*
 * This thread works with MAILBOX from now on. Its pages are kept in memory, those that were ever used and those of all but large writes:
 * were the kernel to wait for one while the worker is killed, the request would fail.
 */
void mailbox_take(struct mailbox *mailbox);
/* It works with none any more. */
void mailbox_leave(void);
/* A packet of LENGTH bytes was read. */
void mailbox_read(struct mailbox *mailbox, size_t length);
bool mailbox_is_full(const struct mailbox *mailbox);
void mailbox_empty(struct mailbox *mailbox);

/* What is in it was left by a dead worker. CRASHED: which crashed. false: so did too many; answer with EIO. */
bool mailbox_again(struct mailbox *mailbox, bool crashed);
/*
 * It was answered. TAKEN: the kernel took the answer; else it has had one before. GIVE_BACK is called for each credit that
 * counted for nothing.
 */
typedef void (*mailbox_credit_fn)(void *arg, enum mailbox_credit kind, uint64_t id);
void mailbox_settle(struct mailbox *mailbox, bool taken, mailbox_credit_fn give_back, void *arg);

/* ---- for handlers ---- */

/* Is this request worked on again? */
bool mailbox_is_again(void);
/* Was the change made by a dead worker? Then *RET is what mailbox_did() was told. */
bool mailbox_was_done(int *ret);
/* The change was made, or refused: R, which is returned. */
int mailbox_did(int r);
/* The kernel did not take the answer for which there are credits since the request was begun (again): they are given back. */
void mailbox_uncredit(mailbox_credit_fn give_back, void *arg);
/* The request takes counts back, in steps: how many of them a worker that has died has made. */
uint32_t mailbox_steps(void);
/* So many are made, whether each had anything to take back or not. */
void mailbox_stepped(uint32_t steps);
/* A number for whoever does it again; 0: none was noted. */
void mailbox_note(uint64_t number);
uint64_t mailbox_noted(void);

/* ---- for the node table, its lock held ---- */

/* A count of node ID that is BEFORE is about to change; and has. Nothing where the request does not have it counted. */
void mailbox_count(enum mailbox_count what, uint64_t id, uint64_t before);
void mailbox_counted(void);
/* A look-up of ID is about to be taken back by who has made it: it is no credit any more. */
void mailbox_uncount(uint64_t id);
/*
 * Before any thread works: whether the count that was being changed when the worker died was. NOW (called at most once) says what it is;
 * UINT64_MAX: there is no such node any more.
 */
void mailbox_resolve(struct mailbox *mailbox, uint64_t (*now)(void *arg, enum mailbox_count what, uint64_t id), void *arg);

#endif
