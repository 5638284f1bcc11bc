/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_UNIT_SOURCE_SUPPORT_H
#define VENEER_TESTS_UNIT_SOURCE_SUPPORT_H

/*
 * For the tests of changesets and their sources: a scratch directory with a store in it, trees made
 * by a few lines of shell, and a changeset as text, so that a test is a script and a listing.
 */

#include "tests/unit/support.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "store/base/cleanup.h"
#include "store/base/strbuf.h"
#include "store/changeset.h"
#include "store/store.h"

struct bench {
	struct temporary_directory dir;
	struct store *store; /* at DIR/store, a batch open */
};

static inline struct bench bench_make(void)
{
	struct bench bench = { temporary_directory_make(), NULL };
	char path[64];
	bool existed;

	snprintf(path, sizeof path, "%s/store", bench.dir.path);
	must_pass(store_init(path, &existed, &err));
	must_pass(store_open(path, &bench.store, &err));
	must_pass(repo_batch_begin(bench.store->repo, &err));
	return bench;
}

static inline void bench_remove(struct bench *bench)
{
	repo_batch_abort(bench->store->repo);
	store_free(bench->store);
	temporary_directory_remove(&bench->dir);
}

#define bench_auto __attribute__((cleanup(bench_remove))) struct bench

/* Run SCRIPT in the bench's directory; returns its exit status. */
static inline int bench_try(const struct bench *bench, const char *script)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		umask(022);
		if (chdir(bench->dir.path) == 0)
			execl("/bin/bash", "bash", "-euc", script, NULL);
		_exit(127);
	}
	/* Not before: an assertion in the child would talk over the parent's connection to the runner. */
	cr_assert_gt(pid, 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void bench_run(const struct bench *bench, const char *script)
{
	int status = bench_try(bench, script);

	cr_assert_eq(status, 0, "exit status %d: %s", status, script);
}

static inline int bench_open(const struct bench *bench, const char *name)
{
	int fd = open(path_in(bench->dir, name), O_PATH | O_DIRECTORY | O_CLOEXEC);

	cr_assert(fd >= 0, "open '%s'", name);
	return fd;
}

static inline void describe_content(const struct bench *bench, const struct change *change, struct strbuf *sb)
{
	cleanup_strbuf struct strbuf content = STRBUF_INIT;

	must_pass(repo_blob_read(bench->store->repo, &change->blob, 1 << 20, &content, &err));
	cr_assert_eq(content.len, change->size, "'%s': %zu bytes, not %ju", change->path, content.len,
		(uintmax_t)change->size);
	if (content.len > 40)
		strbuf_addf(sb, " (%zu bytes)", content.len);
	else
		strbuf_addf(sb, " '%s'", strbuf_text(&content));
}

/*
 * One line a change, in order: "- a/b" · "f a/b 0644 0:0 'content'" · "l a/b 0:0 'target'" ·
 * "d a/b 0755 0:0" · "s a/b 0644 0:0"; then "@SECONDS" where mtime counts, and "+NAME" of attributes.
 */
static inline void describe(const struct bench *bench, const struct changeset *set, struct strbuf *sb)
{
	strbuf_addstr(sb, "");
	for (size_t i = 0; i < set->count; i++) {
		const struct change *change = &set->changes[i];
		const struct meta *meta = &change->meta;

		strbuf_addf(sb, "%c %s", "-flds"[change->kind], change->path);
		if (change->kind != CHANGE_DELETE && change->kind != CHANGE_SYMLINK)
			strbuf_addf(sb, " %04o", (unsigned)meta->mode);
		if (change->kind != CHANGE_DELETE)
			strbuf_addf(sb, " %u:%u", (unsigned)meta->uid, (unsigned)meta->gid);
		if (change->kind == CHANGE_FILE || change->kind == CHANGE_SYMLINK)
			describe_content(bench, change, sb);
		if (change->kind != CHANGE_DELETE && !change->ignore_mtime)
			strbuf_addf(sb, " @%jd", (intmax_t)meta->mtime.tv_sec);
		for (size_t k = 0; k < meta->xattr_count; k++)
			strbuf_addf(sb, " +%s", meta->xattrs[k].name);
		strbuf_addch(sb, '\n');
	}
}

#define expect_changes(bench, set, wanted)                                                         \
	({                                                                                         \
		cleanup_strbuf struct strbuf is_ = STRBUF_INIT;                                    \
                                                                                                   \
		describe(bench, set, &is_);                                                        \
		cr_assert_str_eq(strbuf_text(&is_), wanted, "is:\n%swanted:\n%s", strbuf_text(&is_), \
			wanted);                                                                   \
	})

#endif
