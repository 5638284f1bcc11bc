/* SPDX-License-Identifier: Apache-2.0 */

/* What is found after somebody was stopped at work, and what is left alone. */

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "store/journal.h"
#include "store/recover.h"
#include "store/reserve.h"
#include "tests/unit/scene.h"

struct entries {
	unsigned count;
	struct oid from, to; /* of the newest */
	char action[32];
};

static int count_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct entries *entries = arg;

	if (entries->count++ == 0) {
		entries->from = entry->from;
		entries->to = entry->to;
		snprintf(entries->action, sizeof entries->action, "%s", entry->action);
	}
	return 0;
}

static struct entries read_entries(struct store *store)
{
	struct entries entries = { 0 };

	must_pass(journal_each(store, "app", 0, count_entry, &entries, &err));
	return entries;
}

static void move_active(struct store *store, const struct oid *to)
{
	struct ref_update update = { .name = "refs/veneer/app/active", .new_oid = *to };

	must_pass(repo_refs_update(store->repo, &update, 1, &err));
}

static void take_lock_and_give_it_back(struct store *store)
{
	store_unlock((int)must_pass(store_lock(store, 0, &err)));
}

/* Somebody takes the lock, and is killed. */
static void die_with_lock(struct store *store)
{
	int status;
	pid_t child = fork();

	cr_assert(child >= 0);
	if (child == 0) {
		store_lock(store, 0, NULL);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
}

Test(recover, a_switch_that_was_not_written_down_is)
{
	scene_auto scene = scene_make("echo a > f");
	struct store *store = scene.bench.store;
	struct oid patch, before;
	struct entries entries;

	patch = scene_patch(&scene, "a", "echo b > f");
	take_lock_and_give_it_back(store);
	entries = read_entries(store);
	before = entries.to;
	move_active(store, &patch);
	take_lock_and_give_it_back(store);
	cr_assert_eq(read_entries(store).count, entries.count, "after a clean end nothing is looked for");
	die_with_lock(store);
	take_lock_and_give_it_back(store);
	cr_assert_eq(read_entries(store).count, entries.count + 1);
	entries = read_entries(store);
	cr_assert_str_eq(entries.action, "switched");
	cr_assert(oid_equal(&entries.from, &before) && oid_equal(&entries.to, &patch));
	die_with_lock(store);
	take_lock_and_give_it_back(store);
	cr_assert_eq(read_entries(store).count, entries.count, "it is written once");
}

Test(recover, a_doubt_is_looked_into)
{
	scene_auto scene = scene_make("echo a > f");
	struct store *store = scene.bench.store;
	struct oid patch;
	unsigned before;
	int lock;

	patch = scene_patch(&scene, "a", "echo b > f");
	take_lock_and_give_it_back(store);
	before = read_entries(store).count;
	move_active(store, &patch);
	lock = (int)must_pass(store_lock(store, 0, &err));
	store_doubt(store);
	store_unlock(lock);
	take_lock_and_give_it_back(store);
	cr_assert_eq(read_entries(store).count, before + 1);
}

Test(recover, temporary_files_are_removed_when_they_are_old)
{
	scene_auto scene = scene_make("echo a > f");
	struct store *store = scene.bench.store;

	/* Their age is that of the inode, which nobody can set: a young one stays. */
	bench_run(&scene.bench, "touch -d '1 hour ago' store/objects/.tmp-0123456789abcdef store/objects/kept");
	die_with_lock(store);
	take_lock_and_give_it_back(store);
	bench_run(&scene.bench, "test -e store/objects/.tmp-0123456789abcdef && test -e store/objects/kept");
}

Test(recover, the_reserve_is_made_spent_and_made_again)
{
	scene_auto scene = scene_make("echo a > f");
	struct store *store = scene.bench.store;

	take_lock_and_give_it_back(store);
	bench_run(&scene.bench, "test $(find store/reserve -type f -size 16k | wc -l) = 16 && test $(du -sk store/reserve | cut -f1) -ge 256");
	cr_assert(reserve_spend(store));
	bench_run(&scene.bench, "test ! -e store/reserve");
	cr_assert_not(reserve_spend(store));
	take_lock_and_give_it_back(store);
	bench_run(&scene.bench, "test $(find store/reserve -type f -size 16k | wc -l) = 16");
}
