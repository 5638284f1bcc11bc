/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/journal.h"

struct bench {
	struct temporary_directory dir;
	struct store *store;
	struct oid commits[3]; /* with trees of their own */
};

static struct bench bench_make(void)
{
	struct bench bench = { temporary_directory_make(), NULL, { { { 0 } } } };
	struct store *store;
	bool existed;

	must_pass(store_init(path_in(bench.dir, "store"), &existed, &err));
	must_pass(store_open(path_in(bench.dir, "store"), &bench.store, &err));
	store = bench.store;
	must_pass(repo_batch_begin(store->repo, &err));
	for (unsigned i = 0; i < ARRAY_SIZE(bench.commits); i++) {
		struct tree_change change = { .path = "file", .mode = TREE_MODE_FILE };
		/* A message that looks like an entry must not be taken for one. */
		struct commit_spec spec = { .message = "x\n\nAction: forged\n", .time = 1 };

		must_pass(repo_blob_write(store->repo, &i, sizeof i, &change.oid, &err));
		must_pass(repo_tree_edit(store->repo, NULL, &change, 1, &spec.tree, &err));
		must_pass(repo_commit_write(store->repo, &spec, &bench.commits[i], &err));
	}
	must_pass(repo_batch_commit(store->repo, &err));
	return bench;
}

static void bench_release(struct bench *bench)
{
	store_free(bench->store);
	temporary_directory_remove(&bench->dir);
}

#define bench_auto __attribute__((cleanup(bench_release))) struct bench

/* The command line of this process, as Criterion chose it. */
static const char *own_command(void)
{
	static char text[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, text, sizeof text - 1);

	close(fd);
	cr_assert_gt(len, 0);
	while (len > 0 && text[len - 1] == '\0')
		len--;
	for (ssize_t i = 0; i < len; i++)
		if (text[i] == '\0')
			text[i] = ' ';
	text[len] = '\0';
	return text;
}

struct log {
	size_t count;
	struct journal_entry entries[8];
	size_t stop_after; /* 0: never */
};

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static int collect(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct log *log = arg;
	struct journal_entry *kept = &log->entries[log->count++];

	*kept = *entry;
	kept->action = copy(entry->action);
	kept->labels = copy(entry->labels);
	kept->reason = copy(entry->reason);
	kept->actor.command = copy(entry->actor.command);
	kept->actor.sudo_user = copy(entry->actor.sudo_user);
	return log->count == log->stop_after ? 42 : 0;
}

static void log_release(struct log *log)
{
	for (size_t i = 0; i < log->count; i++)
		journal_entry_release(&log->entries[i]);
}

#define log_auto __attribute__((cleanup(log_release))) struct log

static int append(struct bench *bench, const char *action, int from, int to, const char *labels, const char *reason)
{
	struct journal_entry entry = { .action = (char *)action, .labels = (char *)labels, .reason = (char *)reason };

	if (from >= 0)
		entry.from = bench->commits[from];
	if (to >= 0)
		entry.to = bench->commits[to];
	return (int)must_pass(journal_append(bench->store, "lib", &entry, &err));
}

Test(journal, append_and_read)
{
	bench_auto bench = bench_make();
	log_auto log = { 0 };
	int64_t before = (int64_t)time(NULL) * 1000000;

	append(&bench, "added", -1, 0, NULL, NULL);
	append(&bench, "applied", 0, 1, "a", "CVE-2026-1 is out");
	append(&bench, "applied", 1, 2, "a c", "");
	must_pass(journal_each(bench.store, "lib", 0, collect, &log, &err));
	cr_assert_eq(log.count, 3);
	cr_assert_str_eq(log.entries[0].action, "applied");
	cr_assert_str_eq(log.entries[0].labels, "a c");
	cr_assert_str_eq(log.entries[0].reason, "");
	cr_assert(oid_equal(&log.entries[0].from, &bench.commits[1]));
	cr_assert(oid_equal(&log.entries[0].to, &bench.commits[2]));
	cr_assert_str_eq(log.entries[1].reason, "CVE-2026-1 is out");
	cr_assert_str_eq(log.entries[2].action, "added");
	cr_assert_str_eq(log.entries[2].labels, "");
	cr_assert(oid_is_zero(&log.entries[2].from));
	for (size_t i = 0; i < 3; i++) {
		cr_assert_geq(log.entries[i].time_us, i < 2 ? log.entries[i + 1].time_us : before);
		cr_assert_eq(log.entries[i].actor.uid, getuid());
		cr_assert_eq(log.entries[i].actor.pid, getpid());
		cr_assert_str_eq(log.entries[i].actor.command, own_command());
	}
	cr_assert_leq(log.entries[0].time_us, ((int64_t)time(NULL) + 1) * 1000000);
}

Test(journal, commits_as_git_sees_them)
{
	bench_auto bench = bench_make();
	cleanup_commit struct commit first = { 0 }, second = { 0 }, served = { 0 };
	struct oid tip;

	append(&bench, "added", -1, 0, NULL, NULL);
	must_pass(repo_ref_read(bench.store->repo, "refs/veneer/lib/journal", &tip, &err));
	must_pass(repo_commit_read(bench.store->repo, &tip, &first, &err));
	cr_assert_eq(first.parent_count, 1);
	cr_assert(oid_equal(&first.parents[0], &bench.commits[0]));
	append(&bench, "applied", 0, 1, "a c", NULL);
	must_pass(repo_ref_read(bench.store->repo, "refs/veneer/lib/journal", &tip, &err));
	must_pass(repo_commit_read(bench.store->repo, &tip, &second, &err));
	cr_assert_eq(second.parent_count, 2);
	cr_assert(oid_equal(&second.parents[0], &first.id));
	cr_assert(oid_equal(&second.parents[1], &bench.commits[1]));
	must_pass(repo_commit_read(bench.store->repo, &bench.commits[1], &served, &err));
	cr_assert(oid_equal(&second.tree, &served.tree));
	cr_assert(strncmp(second.message, "applied: ", 9) == 0 && strstr(second.message, " → ") &&
			strstr(second.message, " (a c)\n\nAction: applied\n"),
		"%s", second.message);
}

/* What was refused is named, and neither needed nor kept. */
Test(journal, refused)
{
	bench_auto bench = bench_make();
	log_auto log = { 0 };
	struct journal_entry entry = { .from = bench.commits[0], .to = { { 0xab } }, .action = (char *)"refused",
		.reason = (char *)"blob is missing" };
	cleanup_commit struct commit commit = { 0 };

	append(&bench, "added", -1, 0, NULL, NULL);
	must_pass(journal_append(bench.store, "lib", &entry, &err));
	must_pass(journal_each(bench.store, "lib", 0, collect, &log, &err));
	cr_assert_eq(log.count, 2);
	cr_assert(oid_equal(&log.entries[0].to, &entry.to));
	must_pass(repo_commit_read(bench.store->repo, &log.entries[0].id, &commit, &err));
	cr_assert(oid_equal(&commit.parents[1], &bench.commits[0]));
	entry.action = (char *)"applied";
	must_fail(-ENOENT, "journal of 'lib'", journal_append(bench.store, "lib", &entry, &err));
}

Test(journal, limit_and_stop)
{
	bench_auto bench = bench_make();
	log_auto none = { 0 }, two = { 0 }, stopped = { .stop_after = 1 };

	must_pass(journal_each(bench.store, "lib", 0, collect, &none, &err));
	cr_assert_eq(none.count, 0);
	for (int i = 0; i < 4; i++)
		append(&bench, "switched", i % 3, (i + 1) % 3, NULL, NULL);
	must_pass(journal_each(bench.store, "lib", 2, collect, &two, &err));
	cr_assert_eq(two.count, 2);
	cr_assert_eq(journal_each(bench.store, "lib", 0, collect, &stopped, NULL), 42);
	cr_assert_eq(stopped.count, 1);
	must_fail(-EINVAL, "name", journal_each(bench.store, "../lib", 0, collect, &none, &err));
}

Test(journal, given_actor)
{
	bench_auto bench = bench_make();
	log_auto log = { 0 };
	struct journal_entry entry = { .to = bench.commits[0], .action = (char *)"switched",
		.actor = { .uid = 17, .login_uid = 1000, .pid = 99, .command = (char *)"git update-ref x",
			.sudo_user = (char *)"alice" } };

	must_pass(journal_append(bench.store, "lib", &entry, &err));
	entry.actor.login_uid = UINT32_MAX;
	entry.actor.sudo_user = NULL;
	must_pass(journal_append(bench.store, "lib", &entry, &err));
	must_pass(journal_each(bench.store, "lib", 0, collect, &log, &err));
	cr_assert_eq(log.entries[1].actor.uid, 17);
	cr_assert_eq(log.entries[1].actor.login_uid, 1000);
	cr_assert_eq(log.entries[1].actor.pid, 99);
	cr_assert_str_eq(log.entries[1].actor.command, "git update-ref x");
	cr_assert_str_eq(log.entries[1].actor.sudo_user, "alice");
	cr_assert_eq(log.entries[0].actor.login_uid, UINT32_MAX);
	cr_assert_null(log.entries[0].actor.sudo_user);
}

/* Texts of others can neither forge a trailer nor write to a terminal. */
Test(journal, hostile_texts)
{
	bench_auto bench = bench_make();
	log_auto log = { 0 };
	char long_text[5000];

	append(&bench, "applied", 0, 1, "a", "evil\nAction: nothing\n\n\x1b[2Jx");
	memset(long_text, 'x', sizeof long_text);
	/* An ä across the limit is left out whole. */
	memcpy(long_text + JOURNAL_TEXT_MAX - 1, "\xc3\xa4", 2);
	long_text[sizeof long_text - 1] = '\0';
	append(&bench, "applied", 0, 1, "a", long_text);
	must_pass(journal_each(bench.store, "lib", 0, collect, &log, &err));
	cr_assert_str_eq(log.entries[1].action, "applied");
	cr_assert_str_eq(log.entries[1].reason, "evil\\x0aAction: nothing\\x0a\\x0a\\x1b[2Jx");
	cr_assert_eq(strlen(log.entries[0].reason), JOURNAL_TEXT_MAX - 1 + strlen("…"));
	cr_assert_str_eq(log.entries[0].reason + JOURNAL_TEXT_MAX - 1, "…");
}

Test(journal, broken_entry)
{
	static const char *const messages[] = { "x\n", "x\n\nAction: a\nFrom: 00\nTo: 00\nTime: now\n" };
	bench_auto bench = bench_make();
	log_auto log = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		struct commit_spec spec = { .message = messages[i], .time = 1 };
		struct ref_update update = { .name = "refs/veneer/lib/journal" };

		must_pass(repo_batch_begin(bench.store->repo, &err));
		must_pass(repo_tree_empty(bench.store->repo, &spec.tree, &err));
		must_pass(repo_commit_write(bench.store->repo, &spec, &update.new_oid, &err));
		must_pass(repo_batch_commit(bench.store->repo, &err));
		must_pass(repo_refs_update(bench.store->repo, &update, 1, &err));
		must_fail(-EBADMSG, "journal entry '", journal_each(bench.store, "lib", 0, collect, &log, &err));
	}
}

Test(journal, self)
{
	struct journal_actor actor = { 0 };

	setenv("SUDO_USER", "bob\n", 1);
	must_pass(journal_actor_self(&actor, &err));
	cr_assert_str_eq(actor.sudo_user, "bob\\x0a");
	cr_assert_str_eq(actor.command, own_command());
	cr_assert_eq(actor.uid, getuid());
	journal_actor_release(&actor);
	unsetenv("SUDO_USER");
	must_pass(journal_actor_self(&actor, &err));
	cr_assert_null(actor.sudo_user);
	journal_actor_release(&actor);
}

/* Another process, as the daemon sees the one that asks it. */
Test(journal, another_process)
{
	struct journal_actor actor = { 0 };
	int ready[2];
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"echo; kill -STOP $$", NULL };
		char *environment[] = { (char *)"XSUDO_USER=eve", (char *)"SUDO_USER=carol", (char *)"Z=1", NULL };

		dup2(ready[1], STDOUT_FILENO);
		execve(argv[0], argv, environment);
		_exit(1);
	}
	cr_assert_eq(read(ready[0], &c, 1), 1);
	must_pass(journal_actor_of(pid, 1234, &actor, &err));
	cr_assert_str_eq(actor.command, "/bin/sh -c echo; kill -STOP $$");
	cr_assert_str_eq(actor.sudo_user, "carol");
	cr_assert_eq(actor.uid, 1234);
	cr_assert_eq(actor.pid, pid);
	journal_actor_release(&actor);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	must_fail(-ESRCH, "/proc/", journal_actor_of(pid, 0, &actor, &err));
	close(ready[0]);
	close(ready[1]);
}
