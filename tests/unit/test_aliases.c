/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>

#include "fs/aliases.h"

static void aliases_freep(struct aliases **aliases)
{
	aliases_free(*aliases);
}
#define aliases_auto __attribute__((cleanup(aliases_freep))) struct aliases

/* In regions of this test's process, which are never freed. */
static struct shared *shared;
static struct arena *names;

static struct aliases *aliases_make(void)
{
	if (!shared)
		shared = shared_new();
	cr_assert(shared);
	names = arena_new(shared, SHARED_NAMES, shared_size(SHARED_NAMES));
	return aliases_new(shared, names);
}

static int add_numbers(void *arg, uint64_t node, uint64_t parent, const char *name)
{
	*(uint64_t *)arg += node * 1000 + parent * 10 + (uint64_t)(name[0] - '0');
	return 0;
}

static uint64_t sum(const struct aliases *aliases)
{
	uint64_t numbers = 0;

	cr_assert_eq(aliases_each(aliases, add_numbers, &numbers), 0);
	return numbers;
}

Test(aliases, once_each)
{
	aliases_auto *aliases = aliases_make();

	cr_assert(aliases);
	aliases_drop(aliases, 1, 1, "1");
	aliases_forget(aliases, 1);
	for (int round = 0; round < 2; round++) {
		cr_assert_eq(aliases_add(aliases, 1, 2, "3"), 0);
		cr_assert_eq(aliases_add(aliases, 1, 2, "4"), 0);
		cr_assert_eq(aliases_add(aliases, 2, 2, "3"), 0);
		cr_assert_eq(aliases_count(aliases), 3);
	}
	cr_assert_eq(sum(aliases), 1023 + 1024 + 2023);
	aliases_drop(aliases, 1, 3, "3");
	aliases_drop(aliases, 1, 2, "3");
	cr_assert_eq(sum(aliases), 1024 + 2023);
	aliases_forget(aliases, 2);
	cr_assert_eq(sum(aliases), 1024);
	aliases_forget(aliases, 1);
	cr_assert_eq(aliases_count(aliases), 0);
}

static int stop(void *arg, uint64_t node, uint64_t parent, const char *name)
{
	return ++*(int *)arg == 3 ? -EIO : 0;
}

/* Many nodes of many names, of which half go one by one and the rest with their nodes. */
Test(aliases, many)
{
	enum { NODES = 300, NAMES = 40 };
	aliases_auto *aliases = aliases_make();
	char name[16];
	int calls = 0;

	for (uint64_t node = 1; node <= NODES; node++) {
		for (int i = 0; i < NAMES; i++) {
			snprintf(name, sizeof name, "%d", i);
			if (aliases_add(aliases, node, node % 7, name) < 0)
				cr_assert_fail();
		}
	}
	cr_assert_eq(aliases_count(aliases), NODES * NAMES);
	cr_assert_eq(aliases_each(aliases, stop, &calls), -EIO);
	cr_assert_eq(calls, 3);
	for (uint64_t node = 1; node <= NODES; node++) {
		for (int i = 0; i < NAMES; i += 2) {
			snprintf(name, sizeof name, "%d", i);
			aliases_drop(aliases, node, node % 7, name);
		}
	}
	cr_assert_eq(aliases_count(aliases), NODES * NAMES / 2);
	for (uint64_t node = NODES; node > 1; node--)
		aliases_forget(aliases, node);
	cr_assert_eq(aliases_count(aliases), NAMES / 2);
}

static bool is_even(void *arg, uint64_t node)
{
	return node % 2 == 0;
}

/* Those of nodes that live are there, once, and can be dropped and added. */
Test(aliases, taken_over)
{
	struct aliases *aliases = aliases_make();
	char name[16];

	for (uint64_t i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "%d", (int)(i % 10));
		cr_assert_eq(aliases_add(aliases, i / 10, 7, name), 0);
	}
	aliases_forget(aliases, 4);
	aliases_drop(aliases, 6, 7, "3");
	aliases_free(aliases);
	for (int times = 0; times < 2; times++) {
		arena_free_all(names);
		aliases = aliases_make();
		cr_assert_eq(aliases_recover(aliases, is_even, NULL), 0);
		cr_assert_eq(arena_recover(names), 0);
		cr_assert_eq(aliases_count(aliases), 500 - 10 - 1);
		cr_assert_eq(aliases_add(aliases, 8, 7, "3"), 0);
		cr_assert_eq(aliases_count(aliases), 500 - 10 - 1);
		if (times == 0)
			aliases_free(aliases);
	}
	cr_assert_eq(aliases_add(aliases, 1, 7, "3"), 0);
	for (uint64_t i = 0; i < 100; i++)
		aliases_forget(aliases, i);
	cr_assert_eq(aliases_count(aliases), 0);
	aliases_free(aliases);
}
