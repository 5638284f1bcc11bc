/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <string.h>
#include <sys/mman.h>

#include "fs/mailbox.h"

static struct mailbox *mailbox_make(void)
{
	struct mailbox *mailbox = mmap(NULL, sizeof *mailbox, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(mailbox, MAP_FAILED);
	mailbox_take(mailbox);
	mailbox_empty(mailbox);
	return mailbox;
}

/* As the kernel writes a request. */
static void receive(struct mailbox *mailbox, uint32_t length)
{
	memcpy(mailbox->packet, &length, sizeof length);
	mailbox_read(mailbox, length);
}

struct given {
	unsigned lookups, opens;
	uint64_t last;
};

static void give_back(void *arg, enum mailbox_credit kind, uint64_t id)
{
	struct given *given = arg;

	given->lookups += kind == MAILBOX_LOOKUP;
	given->opens += kind == MAILBOX_OPEN;
	given->last = id;
}

static void look_up(uint64_t id, uint64_t before)
{
	mailbox_count(MAILBOX_LOOKS_UP, id, before);
	mailbox_counted();
}

Test(mailbox, without_one_nothing_is_noted)
{
	int r = 7;

	look_up(1, 0);
	mailbox_uncount(1);
	mailbox_note(3);
	mailbox_stepped(2);
	cr_assert_eq(mailbox_did(-5), -5);
	cr_assert_not(mailbox_was_done(&r));
	cr_assert_not(mailbox_is_again());
	cr_assert_eq(mailbox_noted(), 0);
	cr_assert_eq(mailbox_steps(), 0);
	cr_assert_eq(r, 7);
}

/* What was done is known when it is worked on again, and only then. */
Test(mailbox, done_once)
{
	struct mailbox *mailbox = mailbox_make();
	int r = 7;

	cr_assert_not(mailbox_is_full(mailbox));
	receive(mailbox, 100);
	cr_assert(mailbox_is_full(mailbox));
	mailbox_note(9);
	cr_assert_eq(mailbox_did(-17), -17);
	cr_assert_not(mailbox_was_done(&r), "it is its first worker still");
	cr_assert(mailbox_again(mailbox, false));
	cr_assert(mailbox_is_again());
	cr_assert(mailbox_was_done(&r));
	cr_assert_eq(r, -17);
	cr_assert_eq(mailbox_noted(), 9);
	mailbox_settle(mailbox, true, give_back, &(struct given){ 0 });
	cr_assert_not(mailbox_is_full(mailbox));
	receive(mailbox, 100);
	cr_assert(mailbox_again(mailbox, false));
	cr_assert_not(mailbox_was_done(&r), "another request");
	cr_assert_eq(mailbox_noted(), 0);
}

/* Of two answers one counts: the first if the kernel refuses the second. */
Test(mailbox, credits)
{
	struct mailbox *mailbox = mailbox_make();

	for (int taken = 0; taken < 2; taken++) {
		struct given given = { 0 };

		receive(mailbox, 100);
		look_up(5, 0);
		look_up(6, 3);
		look_up(7, 3);
		mailbox_count(MAILBOX_OPENS, 5, 0);
		mailbox_counted();
		mailbox_uncount(6); /* taken back by who made it */
		mailbox_again(mailbox, false);
		look_up(5, 1);
		mailbox_settle(mailbox, taken, give_back, &given);
		cr_assert_eq(given.lookups, taken ? 2u : 0u);
		cr_assert_eq(given.opens, taken ? 1u : 0u);
	}
}

/* What an answer that was refused has counted goes back; not what the worker before has counted. */
Test(mailbox, uncredit)
{
	struct mailbox *mailbox = mailbox_make();
	struct given given = { 0 };

	receive(mailbox, 100);
	look_up(5, 0);
	mailbox_again(mailbox, false);
	look_up(6, 0);
	look_up(7, 0);
	mailbox_uncredit(give_back, &given);
	cr_assert_eq(given.lookups, 2);
	cr_assert_eq(given.last, 6);
	cr_assert_eq(mailbox->credit_count, 1);
}

struct now {
	uint64_t value;
	int asked;
};

static uint64_t tell(void *arg, enum mailbox_count what, uint64_t id)
{
	struct now *now = arg;

	now->asked++;
	cr_assert_eq(id, 5);
	return now->value;
}

/* Killed between the note that a count is to change, the change, the note that it has, and its end. */
Test(mailbox, a_count_that_was_being_changed)
{
	struct mailbox *mailbox = mailbox_make();
	struct now now = { 3, 0 };

	mailbox_resolve(mailbox, tell, &now);
	cr_assert_eq(now.asked, 0);
	receive(mailbox, 100);
	mailbox_count(MAILBOX_LOOKS_UP, 5, 3);
	mailbox_resolve(mailbox, tell, &now);
	cr_assert_eq(mailbox->credit_count, 0, "it was not changed");

	mailbox_count(MAILBOX_LOOKS_UP, 5, 3);
	now.value = 4;
	mailbox_resolve(mailbox, tell, &now);
	cr_assert_eq(mailbox->credit_count, 1, "it was");

	mailbox_count(MAILBOX_LOOKS_UP, 5, 3);
	mailbox->credit_count++; /* and that was noted */
	now.asked = 0;
	mailbox_resolve(mailbox, tell, &now);
	cr_assert_eq(mailbox->credit_count, 2, "once");
	cr_assert_eq(now.asked, 0);

	cr_assert_eq(mailbox_steps(), 0);
	mailbox_count(MAILBOX_FORGETS, 5, 4);
	now.value = UINT64_MAX; /* the node is gone */
	mailbox_resolve(mailbox, tell, &now);
	mailbox_again(mailbox, false);
	cr_assert_eq(mailbox_steps(), 1);
}

/* One that crashes each worker is given up, one that is only killed is not. */
Test(mailbox, crashes)
{
	struct mailbox *mailbox = mailbox_make();

	receive(mailbox, 100);
	for (int i = 0; i < 10; i++)
		cr_assert(mailbox_again(mailbox, false));
	for (unsigned i = 1; i < MAILBOX_CRASHES_MAX; i++)
		cr_assert(mailbox_again(mailbox, true));
	cr_assert_not(mailbox_again(mailbox, true));
	mailbox_settle(mailbox, true, give_back, &(struct given){ 0 });
	receive(mailbox, 100);
	cr_assert(mailbox_again(mailbox, true));
}
