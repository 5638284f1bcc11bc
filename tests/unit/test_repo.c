/* SPDX-License-Identifier: Apache-2.0 */

/* The repository module against plain git: what we write git reads, and the other way round. */

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"
#include "store/git/repo.h"

#define must_pass(call)                                                                            \
	do {                                                                                       \
		int must_rc = (call);                                                              \
		cr_assert_eq(must_rc, 0, "%s: %d: %s", #call, must_rc, err.message);               \
	} while (0)

#define must_fail(call, code)                                                                      \
	do {                                                                                       \
		int must_rc = (call);                                                              \
		cr_assert_eq(must_rc, (code), "%s: %d instead of %d: %s", #call, must_rc, (code),  \
			err.message);                                                              \
		cr_assert(err.message[0], "%s: no message", #call);                                \
	} while (0)

#define must_name(text) cr_assert(strstr(err.message, (text)), "no '%s' in: %s", (text), err.message)

static char root[64], git_dir[96];
static struct repo *repo;
static struct error err;

/* Standard output of a shell command run in the scratch directory, without the final newline; it must succeed. */
static char *shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *shell(const char *format, ...)
{
	cleanup_strbuf struct strbuf command = STRBUF_INIT;
	struct strbuf out = STRBUF_INIT;
	char buffer[4096];
	size_t got;
	va_list args;
	FILE *pipe;
	int status;

	strbuf_addf(&command, "cd %s && export GIT_DIR=%s HOME=%s && ", root, git_dir, root);
	va_start(args, format);
	strbuf_vaddf(&command, format, args);
	va_end(args);
	pipe = popen(command.buf, "r");
	cr_assert(pipe);
	strbuf_addstr(&out, "");
	while ((got = fread(buffer, 1, sizeof buffer, pipe)) > 0)
		strbuf_add(&out, buffer, got);
	status = pclose(pipe);
	cr_assert_eq(status, 0, "%s: status %d: %s", command.buf, status, out.buf);
	if (out.len > 0 && out.buf[out.len - 1] == '\n')
		strbuf_truncate(&out, out.len - 1);
	return strbuf_detach(&out, NULL);
}

static struct oid shell_oid(const char *command)
{
	cleanup_free char *hex = shell("%s", command);
	struct oid oid;

	cr_assert_eq(oid_from_hex(hex, strlen(hex), &oid), 0, "%s: %s", command, hex);
	return oid;
}

static const char *hex_of(const struct oid *oid)
{
	static char ring[8][OID_HEX_LENGTH + 1];
	static unsigned next;
	char *hex = ring[next++ % 8];

	oid_to_hex(oid, hex);
	return hex;
}

static void assert_oid(struct oid got, struct oid want)
{
	cr_assert(oid_equal(&got, &want), "%s instead of %s", hex_of(&got), hex_of(&want));
}

static void setup(void)
{
	snprintf(root, sizeof root, "/tmp/veneer-repo-XXXXXX");
	cr_assert(mkdtemp(root));
	snprintf(git_dir, sizeof git_dir, "%s/git", root);
	must_pass(repo_init(git_dir, &err));
	must_pass(repo_open(git_dir, &repo, &err));
}

static void teardown(void)
{
	repo_free(repo);
	repo = NULL;
	free(shell("cd / && rm -rf %s", root));
}

TestSuite(repo, .init = setup, .fini = teardown, .timeout = 120);

static struct oid blob(const char *text)
{
	struct oid oid;

	must_pass(repo_blob_write(repo, text, strlen(text), &oid, &err));
	return oid;
}

static void fsck(void)
{
	cleanup_free char *out = shell("git fsck --strict --no-dangling --no-progress 2>&1 | sed '/^notice: /d'");

	cr_assert_str_eq(out, "", "fsck: %s", out);
}

/* ---- the repository ---- */

Test(repo, init_makes_what_git_accepts_and_keeps_what_is_there)
{
	cleanup_free char *bare = shell("git rev-parse --is-bare-repository");
	cleanup_free char *head = shell("git symbolic-ref HEAD");

	cr_assert_str_eq(bare, "true");
	cr_assert_str_eq(head, "refs/heads/main");
	must_pass(repo_init(git_dir, &err)); /* again: not an error */
	fsck();
}

Test(repo, init_in_an_empty_directory)
{
	char path[128];
	cleanup_repo struct repo *other = NULL;

	snprintf(path, sizeof path, "%s/empty", root);
	cr_assert_eq(mkdir(path, 0700), 0);
	must_pass(repo_init(path, &err));
	must_pass(repo_open(path, &other, &err));
}

Test(repo, open_of_what_is_no_repository_names_it)
{
	char path[128];
	struct repo *other = NULL;

	snprintf(path, sizeof path, "%s/nowhere", root);
	must_fail(repo_open(path, &other, &err), -ENOENT);
	must_name("nowhere");
	cr_assert_null(other);
}

Test(repo, user_and_system_configuration_are_not_read)
{
	cleanup_repo struct repo *other = NULL;

	/* A configuration that cannot be parsed fails whoever reads it. */
	free(shell("printf '[broken' > .gitconfig && mkdir -p .config/git && printf '[broken' > .config/git/config"));
	setenv("HOME", root, 1);
	setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
	must_pass(repo_open(git_dir, &other, &err));
}

/* ---- batches and blobs ---- */

Test(repo, writing_needs_a_batch)
{
	struct oid oid;

	must_fail(repo_blob_write(repo, "x", 1, &oid, &err), -EINVAL);
	must_name("batch");
	must_fail(repo_batch_commit(repo, &err), -EINVAL);
	must_pass(repo_batch_begin(repo, &err));
	must_fail(repo_batch_begin(repo, &err), -EINVAL);
}

Test(repo, nothing_is_on_disk_before_the_batch_ends)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	cleanup_free char *before = NULL, *after = NULL;
	cleanup_repo struct repo *other = NULL;
	struct oid oid;
	uint64_t size;

	must_pass(repo_open(git_dir, &other, &err));
	must_pass(repo_batch_begin(repo, &err));
	oid = blob("hello\n");
	must_pass(repo_blob_read(repo, &oid, 6, &text, &err));
	cr_assert_str_eq(text.buf, "hello\n");
	cr_assert(repo_object_exists(repo, &oid));
	cr_assert_not(repo_object_exists(other, &oid));
	before = shell("find git/objects -type f");
	cr_assert_str_eq(before, "");
	must_pass(repo_batch_commit(repo, &err));
	after = shell("git cat-file blob %s", hex_of(&oid));
	cr_assert_str_eq(after, "hello");
	/* Another handle, which has missed it before, sees it now. */
	must_pass(repo_blob_size(other, &oid, &size, &err));
	cr_assert_eq(size, 6);
	fsck();
}

Test(repo, abort_forgets)
{
	cleanup_free char *files = NULL;
	struct oid oid;

	must_pass(repo_batch_begin(repo, &err));
	oid = blob("gone");
	repo_batch_abort(repo);
	cr_assert_not(repo_object_exists(repo, &oid));
	repo_batch_abort(repo); /* without a batch: nothing */
	files = shell("find git/objects -type f");
	cr_assert_str_eq(files, "");
	must_pass(repo_batch_begin(repo, &err));
	must_pass(repo_batch_commit(repo, &err)); /* empty */
}

Test(repo, a_batch_becomes_one_pack_and_another_handle_finds_it)
{
	cleanup_repo struct repo *other = NULL;
	cleanup_free char *packs = NULL, *loose = NULL, *types = NULL;
	struct oid oids[300];
	char text[64];

	must_pass(repo_open(git_dir, &other, &err));
	must_pass(repo_batch_begin(repo, &err));
	for (size_t i = 0; i < ARRAY_SIZE(oids); i++) {
		snprintf(text, sizeof text, "content %zu", i);
		oids[i] = blob(text);
	}
	cr_assert_not(repo_object_exists(other, &oids[7]));
	must_pass(repo_batch_commit(repo, &err));
	packs = shell("ls git/objects/pack | sed 's/.*\\.//' | sort | tr '\\n' ' '");
	cr_assert_str_eq(packs, "idx pack ");
	loose = shell("git count-objects");
	cr_assert_str_eq(loose, "0 objects, 0 kilobytes");
	free(shell("git verify-pack git/objects/pack/*.idx && git index-pack --strict --verify git/objects/pack/*.pack"));
	for (size_t i = 0; i < ARRAY_SIZE(oids); i++) {
		cleanup_strbuf struct strbuf sb = STRBUF_INIT;

		snprintf(text, sizeof text, "content %zu", i);
		must_pass(repo_blob_read(other, &oids[i], 64, &sb, &err));
		cr_assert_str_eq(sb.buf, text);
	}
	fsck();
}

Test(repo, what_is_on_disk_is_not_written_again)
{
	cleanup_free char *count = NULL;
	struct oid oid;

	free(shell("printf same | git hash-object -w --stdin"));
	must_pass(repo_batch_begin(repo, &err));
	oid = blob("same");
	must_pass(repo_batch_commit(repo, &err));
	count = shell("find git/objects -type f | wc -l");
	cr_assert_str_eq(count, "1");
	assert_oid(oid, shell_oid("printf same | git hash-object --stdin"));
}

Test(repo, a_large_batch_is_flushed_by_itself)
{
	enum { SIZE = 8 << 20, COUNT = 11 };
	cleanup_free char *data = malloc(SIZE), *packs = NULL, *after = NULL;
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	struct oid oids[COUNT];
	uint32_t seed = 1;

	cr_assert(data);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
	must_pass(repo_batch_begin(repo, &err));
	for (size_t i = 0; i < COUNT; i++) {
		data[i] ^= 1;
		must_pass(repo_blob_write(repo, data, SIZE, &oids[i], &err));
	}
	packs = shell("ls git/objects/pack/*.pack | wc -l");
	cr_assert_str_eq(packs, "1");
	for (size_t i = 0; i < COUNT; i++)
		cr_assert(repo_object_exists(repo, &oids[i]));
	must_pass(repo_batch_commit(repo, &err));
	/* Larger than a window that libgit2 maps of a pack. */
	must_pass(repo_blob_read(repo, &oids[COUNT - 1], SIZE, &sb, &err));
	cr_assert(sb.len == SIZE && memcmp(sb.buf, data, SIZE) == 0);
	after = shell("ls git/objects/pack/*.pack | wc -l");
	cr_assert_str_eq(after, "2");
	fsck();
}

Test(repo, an_open_handle_survives_git_gc)
{
	cleanup_repo struct repo *other = NULL;
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	struct commit_spec spec = { .message = "x" };
	struct oid oids[100], commit;
	struct tree_change changes[100];
	char paths[100][8];

	must_pass(repo_batch_begin(repo, &err));
	for (size_t i = 0; i < 100; i++) {
		snprintf(paths[i], sizeof paths[i], "f%zu", i);
		oids[i] = blob(paths[i]);
		changes[i] = (struct tree_change){ paths[i], TREE_MODE_FILE, oids[i] };
	}
	must_pass(repo_tree_edit(repo, NULL, changes, 100, &spec.tree, &err));
	must_pass(repo_commit_write(repo, &spec, &commit, &err));
	must_pass(repo_batch_commit(repo, &err));
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = "refs/veneer/x/base", .new_oid = commit } }, 1, &err));
	must_pass(repo_open(git_dir, &other, &err));
	must_pass(repo_blob_read(other, &oids[0], 8, &sb, &err));
	/* Once with the old pack's file open in other, once with nothing but its index (repo). */
	free(shell("printf y | git hash-object -w --stdin && git repack -q -a -d --depth=1 && git gc -q --prune=now"));
	for (size_t i = 0; i < 100; i++) {
		strbuf_reset(&sb);
		must_pass(repo_blob_read(i % 2 ? repo : other, &oids[i], 8, &sb, &err));
		cr_assert_str_eq(sb.buf, paths[i]);
	}
}

Test(repo, blob_limits_and_types)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	struct oid oid, missing, tree;
	uint64_t size;

	memset(&missing, 0x11, sizeof missing);
	must_pass(repo_batch_begin(repo, &err));
	oid = blob("12345");
	must_pass(repo_tree_empty(repo, &tree, &err));
	must_pass(repo_batch_commit(repo, &err));
	must_fail(repo_blob_read(repo, &oid, 4, &sb, &err), -E2BIG);
	must_name(hex_of(&oid));
	cr_assert_eq(sb.len, 0);
	must_fail(repo_blob_read(repo, &missing, 4, &sb, &err), -ENOENT);
	must_name("1111111111111111111111111111111111111111");
	must_fail(repo_blob_read(repo, &tree, 400, &sb, &err), -EBADMSG);
	must_fail(repo_blob_size(repo, &tree, &size, &err), -EBADMSG);
	must_pass(repo_blob_id("12345", 5, &missing, &err));
	assert_oid(missing, oid);
	must_pass(repo_blob_id(NULL, 0, &missing, &err));
	assert_oid(missing, shell_oid("git hash-object --stdin < /dev/null"));
}

Test(repo, blob_from_a_file_that_changes)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	cleanup_close int fd = -EBADF;
	struct oid oid;
	char path[128];

	snprintf(path, sizeof path, "%s/file", root);
	free(shell("printf 0123456789 > file"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must_pass(repo_batch_begin(repo, &err));
	must_pass(repo_blob_write_fd(repo, fd, 10, &oid, &err));
	must_pass(repo_blob_read(repo, &oid, 10, &sb, &err));
	cr_assert_str_eq(sb.buf, "0123456789");
	lseek(fd, 0, SEEK_SET);
	must_fail(repo_blob_write_fd(repo, fd, 9, &oid, &err), -EAGAIN);
	must_name("grown");
	lseek(fd, 0, SEEK_SET);
	must_fail(repo_blob_write_fd(repo, fd, 11, &oid, &err), -EAGAIN);
	must_name("shrunk");
}

Test(repo, strict_hash_verification_finds_a_swapped_object)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	struct oid good = shell_oid("printf good | git hash-object -w --stdin");
	struct oid evil = shell_oid("printf evil | git hash-object -w --stdin");
	const char *g = hex_of(&good), *e = hex_of(&evil);

	free(shell("cp -f git/objects/%.2s/%s git/objects/%.2s/%s", e, e + 2, g, g + 2));
	must_fail(repo_blob_read(repo, &good, 100, &sb, &err), -EBADMSG);
	must_name(g);
	cr_assert_eq(sb.len, 0);
}

Test(repo, broken_loose_objects_are_named)
{
	/* What stands in the file of the blob "hello"; $f is that file, z deflates. */
	static const struct {
		const char *command, *reason;
	} table[] = {
		{ "cp $f x; truncate -s 0 x", "cut short" },
		{ "cp $f x; truncate -s 1 x", "cut short" },
		{ "cp $f x; truncate -s 2 x", "cut short" },
		{ "cp $f x; truncate -s 12 x", "cut short" },
		{ "cp $f x; truncate -s -1 x", "cut short" },
		{ "cp $f x; echo more >> x", "garbage" },
		{ "echo garbage > x", "inflated" },
		{ "z 'blob 4\\0hello' > x", "larger" },
		{ "z 'blob 6\\0hello' > x", "smaller" },
		{ "z 'blob 99999999999\\0hello' > x", "smaller" },
		{ "z 'blob 18446744073709551621\\0hello' > x", "malformed" },
		{ "z 'blob 999999999999999999999999999999999\\0hello' > x", "malformed" },
		{ "z 'blob \\0hello' > x", "malformed" },
		{ "z 'blob 5' > x", "malformed" },
		{ "z 'blob 5x\\0hello' > x", "malformed" },
		{ "z 'blab 5\\0hello' > x", "malformed" },
		{ "z 'tree 5\\0hello' > x", "is a tree" },
		{ "z 'blob 5\\0HELLO' > x", "mismatch" },
		{ "mkdir x", "no regular file" },
	};
	struct oid oid = shell_oid("printf hello | git hash-object --stdin");
	const char *hex = hex_of(&oid);

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_strbuf struct strbuf sb = STRBUF_INIT;
		int rc;

		free(shell("z() { perl -MCompress::Zlib -e 'print compress(eval qq(\"$ARGV[0]\"))' \"$1\"; }; "
			   "rm -rf x git/objects/%.2s; printf hello | git hash-object -w --stdin; f=git/objects/%.2s/%s; "
			   "chmod u+w $f; %s; rm $f; mv -T x $f", hex, hex, hex + 2, table[i].command));
		rc = repo_blob_read(repo, &oid, 1u << 20, &sb, &err);
		cr_assert_eq(rc, -EBADMSG, "row %zu: %d %s", i, rc, err.message);
		cr_assert(strstr(err.message, table[i].reason) && strstr(err.message, hex), "row %zu: '%s' in: %s", i,
			table[i].reason, err.message);
		cr_assert_eq(sb.len, 0);
	}
}

/* ---- several handles ---- */

#define READERS 3
#define ROUNDS 40
static struct oid published[ROUNDS];
static size_t published_count; /* released by the writer, acquired by the readers */

static void *reader_main(void *arg)
{
	struct error e = ERROR_INIT;
	cleanup_repo struct repo *mine = NULL;

	if (repo_open(git_dir, &mine, &e) < 0)
		return "open";
	for (size_t seen = 0; seen < ROUNDS;) {
		cleanup_strbuf struct strbuf sb = STRBUF_INIT;
		char want[32];

		if (__atomic_load_n(&published_count, __ATOMIC_ACQUIRE) <= seen)
			continue;
		snprintf(want, sizeof want, "round %zu", seen);
		if (repo_blob_read(mine, &published[seen++], 32, &sb, &e) < 0 || strcmp(sb.buf, want) != 0)
			return "read";
	}
	return NULL;
}

Test(repo, handles_of_several_threads_see_what_is_committed)
{
	pthread_t threads[READERS];

	for (size_t i = 0; i < READERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, reader_main, NULL), 0);
	for (size_t round = 0; round < ROUNDS; round++) {
		char text[32];

		must_pass(repo_batch_begin(repo, &err));
		for (size_t i = 0; i < (round % 2 ? 1 : 40); i++) { /* loose and packed in turn */
			snprintf(text, sizeof text, "filler %zu %zu", round, i);
			blob(text);
		}
		snprintf(text, sizeof text, "round %zu", round);
		published[round] = blob(text);
		must_pass(repo_batch_commit(repo, &err));
		__atomic_store_n(&published_count, round + 1, __ATOMIC_RELEASE);
	}
	for (size_t i = 0; i < READERS; i++) {
		void *problem = NULL;

		pthread_join(threads[i], &problem);
		cr_assert_null(problem, "%s", (const char *)problem);
	}
}

/* ---- trees ---- */

/* "mode path content" rows become changes; content is written as a blob. */
struct row {
	uint32_t mode;
	const char *path, *content;
};

static struct oid edit(const struct oid *base, const struct row *rows, size_t count)
{
	struct tree_change changes[64];
	struct oid oid;

	cr_assert_leq(count, ARRAY_SIZE(changes));
	for (size_t i = 0; i < count; i++) {
		changes[i] = (struct tree_change){ .path = rows[i].path, .mode = rows[i].mode };
		if (rows[i].mode)
			changes[i].oid = blob(rows[i].content);
	}
	must_pass(repo_tree_edit(repo, base, changes, count, &oid, &err));
	return oid;
}
#define EDIT(base, ...)                                                                            \
	edit((base), (const struct row[]){ __VA_ARGS__ },                                          \
		sizeof((const struct row[]){ __VA_ARGS__ }) / sizeof(struct row))

#define F TREE_MODE_FILE
#define X TREE_MODE_EXECUTABLE
#define L TREE_MODE_SYMLINK

static const char *const make_worktree =
	"mkdir -p w/a/b w/a.d w/.veneer/meta && cd w && printf 1 > a/b/one && printf 2 > a/two && printf 3 > a.txt && "
	"printf 4 > a-b && printf 5 > run && chmod +x run && ln -s a/two link && printf 6 > a.d/x && "
	"printf 'mode 04755\\n' > .veneer/meta/run && export GIT_WORK_TREE=$PWD && git add -A && git write-tree";

static struct oid sample(void)
{
	return EDIT(NULL, { F, "a.txt", "3" }, { L, "link", "a/two" }, { F, "a/b/one", "1" }, { F, "a-b", "4" },
		{ X, "run", "5" }, { F, "a.d/x", "6" }, { F, "a/two", "2" },
		{ F, ".veneer/meta/run", "mode 04755\n" });
}

Test(repo, edit_gives_what_git_write_tree_gives)
{
	struct oid got;

	must_pass(repo_batch_begin(repo, &err));
	got = sample();
	must_pass(repo_batch_commit(repo, &err));
	fsck();
	assert_oid(got, shell_oid(make_worktree));
}

Test(repo, edit_table)
{
	/* Each row's change of sample(), and what git does to the work tree for the same. */
	static const struct {
		struct row rows[3];
		size_t count;
		const char *git;
	} table[] = {
		{ { { F, "new", "n" } }, 1, "printf n > new" },
		{ { { F, "deep/er/est", "n" } }, 1, "mkdir -p deep/er; printf n > deep/er/est" },
		{ { { 0, "a/two", NULL } }, 1, "rm a/two" },
		{ { { 0, "a/b/one", NULL } }, 1, "rm -r a/b" },
		{ { { 0, "a/two", NULL }, { 0, "a/b/one", NULL } }, 2, "rm -r a" },
		{ { { 0, "a", NULL } }, 1, "rm -r a" },
		{ { { 0, "nothing", NULL } }, 1, "true" },
		{ { { 0, "a.txt/below", NULL } }, 1, "true" },
		{ { { 0, "no/thing", NULL } }, 1, "true" },
		{ { { F, "a", "file" } }, 1, "rm -r a; printf file > a" },
		{ { { F, "a", "file" }, { 0, "a/two", NULL }, { 0, "a/b/one", NULL } }, 3, "rm -r a; printf file > a" },
		{ { { F, "a.txt/sub/x", "d" } }, 1, "rm a.txt; mkdir -p a.txt/sub; printf d > a.txt/sub/x" },
		{ { { 0, "a.txt", NULL }, { F, "a.txt/x", "d" } }, 2, "rm a.txt; mkdir a.txt; printf d > a.txt/x" },
		{ { { 0, "a", NULL }, { F, "a/only", "o" } }, 2, "rm -r a; mkdir a; printf o > a/only" },
		{ { { L, "run", "elsewhere" } }, 1, "rm run; ln -s elsewhere run" },
		{ { { X, "a/two", "2" } }, 1, "chmod +x a/two" },
		{ { { F, "a0", "z" }, { F, "a/.hidden", "z" }, { F, "a", "" } }, 2,
			"printf z > a0; printf z > a/.hidden" },
	};

	free(shell("%s", make_worktree));
	must_pass(repo_batch_begin(repo, &err));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct oid base = sample();
		struct oid got = edit(&base, table[i].rows, table[i].count);
		cleanup_free char *want = shell("rm -rf v git/index; cp -a w v; cd v; export GIT_WORK_TREE=$PWD; %s; "
						"git add -A && git write-tree", table[i].git);

		cr_assert_str_eq(hex_of(&got), want, "row %zu (%s)", i, table[i].git);
	}
	must_pass(repo_batch_commit(repo, &err));
	fsck();
}

Test(repo, edit_of_everything_away_is_the_empty_tree)
{
	struct oid base, got;

	must_pass(repo_batch_begin(repo, &err));
	base = EDIT(NULL, { F, "a/b/c", "1" });
	got = EDIT(&base, { 0, "a/b/c", NULL });
	must_pass(repo_batch_commit(repo, &err));
	assert_oid(got, shell_oid("git hash-object -t tree /dev/null"));
	free(shell("git cat-file -e %s", hex_of(&got)));
}

Test(repo, edit_refuses)
{
	static const struct {
		struct row rows[2];
		const char *named;
	} table[] = {
		{ { { F, "a", "1" }, { F, "a/b", "2" } }, "a/b" },
		{ { { F, "x/a", "1" }, { F, "x/a/b/c", "2" } }, "x/a/b/c" },
		{ { { F, "a", "1" }, { 0, "a", "2" } }, "a" },
		{ { { F, "ok", "1" }, { F, "", "2" } }, "''" },
		{ { { F, "ok", "1" }, { F, "/abs", "2" } }, "/abs" },
		{ { { F, "ok", "1" }, { F, "a//b", "2" } }, "a//b" },
		{ { { F, "ok", "1" }, { F, "a/../b", "2" } }, "a/../b" },
		{ { { F, "ok", "1" }, { F, "./b", "2" } }, "./b" },
		{ { { F, "ok", "1" }, { F, "b/", "2" } }, "b/" },
		{ { { F, "ok", "1" }, { TREE_MODE_DIRECTORY, "d", "2" } }, "d" },
		{ { { F, "ok", "1" }, { TREE_MODE_COMMIT, "sub", "2" } }, "sub" },
	};

	must_pass(repo_batch_begin(repo, &err));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct tree_change changes[2];
		struct oid oid;

		for (size_t k = 0; k < 2; k++)
			changes[k] = (struct tree_change){ table[i].rows[k].path, table[i].rows[k].mode, blob("x") };
		must_fail(repo_tree_edit(repo, NULL, changes, 2, &oid, &err), -EINVAL);
		must_name(table[i].named);
	}
}

Test(repo, lookup_and_find)
{
	static const struct {
		const char *path;
		uint32_t mode;
	} table[] = { { "a", TREE_MODE_DIRECTORY }, { "a/two", F }, { "a/b/one", F }, { "a.txt", F }, { "run", X },
		{ "link", L }, { "a-b", F }, { ".veneer/meta/run", F }, { "a.d", TREE_MODE_DIRECTORY }, { "b", 0 },
		{ "a.txt/x", 0 }, { "a/b/two", 0 }, { "link/x", 0 } };
	struct tree_entry entry;
	struct oid tree;

	must_pass(repo_batch_begin(repo, &err));
	tree = sample();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].mode == 0) {
			must_fail(repo_tree_lookup(repo, &tree, table[i].path, &entry, &err), -ENOENT);
			must_name(table[i].path);
			continue;
		}
		must_pass(repo_tree_lookup(repo, &tree, table[i].path, &entry, &err));
		cr_assert_eq(entry.mode, table[i].mode, "%s: %o", table[i].path, entry.mode);
		cr_assert_null(entry.name);
	}
}

Test(repo, old_modes_are_read_as_git_reads_them)
{
	cleanup_tree struct tree *tree = NULL;
	struct tree_entry entry;
	struct oid oid = shell_oid("b=$(printf x | git hash-object -w --stdin | sed 's/../0x& /g' | xargs printf '\\\\0%03o'); "
				   "printf %b \"100664 group\\0$b\"\"100775 run\\0$b\" | git hash-object -t tree --literally -w --stdin");

	must_pass(repo_tree_read(repo, &oid, &tree, &err));
	cr_assert_eq(tree_count(tree), 2);
	cr_assert(tree_find(tree, "group", &entry));
	cr_assert_eq(entry.mode, F);
	cr_assert_eq(tree_at(tree, 1).mode, X);
	cr_assert_not(tree_find(tree, "grou", &entry));
}

/* ---- comparing ---- */

static int compare_row(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *e)
{
	strbuf_addf(arg, "%c%s ", !old_entry ? 'A' : !new_entry ? 'D' : 'M', path);
	return 0;
}

static int stop_at_second(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *e)
{
	return ++*(int *)arg == 2 ? 42 : 0;
}

Test(repo, compare_table)
{
	static const struct {
		struct row rows[4];
		size_t count;
		const char *want;
	} table[] = {
		{ { { F, "a", "1" } }, 0, "" },
		{ { { F, "a/two", "22" } }, 1, "Ma/two " },
		{ { { X, "a/two", "2" } }, 1, "Ma/two " },
		{ { { L, "run", "5" } }, 1, "Mrun " },
		{ { { 0, "a", NULL } }, 1, "Da/b/one Da/two " },
		{ { { F, "a", "file" } }, 1, "Aa Da/b/one Da/two " },
		{ { { F, "a.txt/x", "1" }, { F, "a.txt/y/z", "1" } }, 2, "Da.txt Aa.txt/x Aa.txt/y/z " },
		{ { { F, "a-b", "9" }, { F, "a/zwei", "9" }, { F, "a.txt", "9" }, { 0, "a.d/x", NULL } }, 4,
			"Aa/zwei Ma-b Da.d/x Ma.txt " },
	};
	struct oid base;

	must_pass(repo_batch_begin(repo, &err));
	base = sample();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_strbuf struct strbuf got = STRBUF_INIT;
		struct oid other = edit(&base, table[i].rows, table[i].count);

		must_pass(repo_tree_compare(repo, &base, &other, ".veneer", false, compare_row, &got, &err));
		cr_assert_str_eq(strbuf_text(&got), table[i].want, "row %zu: %s", i, strbuf_text(&got));
	}
}

Test(repo, compare_with_nothing_and_early_end)
{
	cleanup_strbuf struct strbuf all = STRBUF_INIT, none = STRBUF_INIT;
	struct oid tree, zero = { { 0 } };
	int calls = 0;

	must_pass(repo_batch_begin(repo, &err));
	tree = sample();
	must_pass(repo_tree_compare(repo, NULL, &tree, ".veneer", false, compare_row, &all, &err));
	cr_assert_str_eq(all.buf, "Aa/b/one Aa/two Aa-b Aa.d/x Aa.txt Alink Arun ");
	must_pass(repo_tree_compare(repo, &tree, &zero, NULL, true, compare_row, &none, &err));
	cr_assert_str_eq(none.buf, "D.veneer/meta/run Da/b/one Da/two Da-b Da.d/x Da.txt Dlink Drun ");
	cr_assert_eq(repo_tree_compare(repo, NULL, &tree, ".veneer", false, stop_at_second, &calls, &err), 42);
	cr_assert_eq(calls, 2);
	must_pass(repo_tree_compare(repo, NULL, NULL, NULL, false, compare_row, &all, &err));
}

/* Entries in printf(1)'s words, $b being the raw id of a blob, $t of a tree with one file. */
static struct oid raw_tree(const char *entries)
{
	cleanup_strbuf struct strbuf command = STRBUF_INIT;

	strbuf_addf(&command,
		"raw() { sed 's/../0x& /g' | xargs printf '\\\\0%%03o'; }; blob=$(printf x | git hash-object -w --stdin); b=$(echo $blob | raw); "
		"t=$(printf \"100644 blob $blob\\tf\\n\" | git mktree | raw); "
		"printf %%b \"%s\" | git hash-object -t tree --literally -w --stdin", entries);
	return shell_oid(command.buf);
}

Test(repo, compare_refuses_hostile_trees)
{
	static const struct {
		const char *entries, *named, *reason;
	} table[] = {
		{ "100644 ..\\0$b", "'..'", "not allowed" },
		{ "100644 .\\0$b", "'.'", "not allowed" },
		{ "40000 ..\\0$t", "'..'", "not allowed" },
		{ "40000 .git\\0$t", "'.git'", "not allowed" },
		{ "40000 .GIT\\0$t", "'.GIT'", "not allowed" },
		{ "40000 .veneer\\0$t", "'.veneer'", "reserved" },
		{ "100644 a/b\\0$b", "'a/b'", "slash" },
		{ "100644 /etc\\0$b", "'/etc'", "slash" },
		{ "100644 \\0$b", "''", "empty" },
		{ "100644 $(printf 'n%.0s' $(seq 256))\\0$b", "nnnn", "longer than 255" },
		{ "100644 $(printf 'n%.0s' $(seq 5000))\\0$b", "nnnn", "longer than 255" },
		{ "160000 sub\\0$b", "'sub'", "submodule" },
		{ "10644 fifo\\0$b", "'fifo'", "mode 10644" },
		{ "100644 a\\0${b}""100644 a\\0$b", "'a'", "two entries" },
		{ "100644 a\\0${b}""100644 a.b\\0${b}""40000 a\\0$t", "'a'", "two entries" },
		{ "40000 d\\0$b", "'d'", "is a blob" },
		{ "40000 lost\\0$(printf '\\\\0027%.0s' $(seq 20))", "'lost'", "missing" },
		{ "100644 a", "tree '", "malformed" },
		{ "100644 a\\0short", "tree '", "malformed" },
		{ "x a\\0$b", "tree '", "malformed" },
		{ "12345678 a\\0$b", "tree '", "malformed" },
		{ "100644 esc\\0033[31m\\nape/\\0$b", "esc\\033[31m\\012ape/", "slash" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_strbuf struct strbuf got = STRBUF_INIT;
		struct oid tree = raw_tree(table[i].entries);
		int rc = repo_tree_compare(repo, NULL, &tree, NULL, false, compare_row, &got, &err);

		cr_assert_eq(rc, -EBADMSG, "row %zu (%s): %d, seen: %s", i, table[i].entries, rc, strbuf_text(&got));
		cr_assert(strstr(err.message, table[i].named) && strstr(err.message, table[i].reason),
			"row %zu: '%s' and '%s' expected in: %s", i, table[i].named, table[i].reason, err.message);
	}
}

Test(repo, compare_names_the_path_below)
{
	cleanup_strbuf struct strbuf got = STRBUF_INIT;
	struct oid inner = raw_tree("100644 ..\\0$b");
	char command[512];
	struct oid outer;

	snprintf(command, sizeof command, "i=$(printf '040000 tree %s\\tin\\n' | git mktree); printf \"040000 tree $i\\tout\\n\" | git mktree",
		hex_of(&inner));
	outer = shell_oid(command);
	must_fail(repo_tree_compare(repo, NULL, &outer, NULL, false, compare_row, &got, &err), -EBADMSG);
	must_name("'out/in/..'");
	/* Who trusts the tree sees it. */
	must_pass(repo_tree_compare(repo, NULL, &outer, NULL, true, compare_row, &got, &err));
	cr_assert_str_eq(got.buf, "Aout/in/.. ");
}

/* DEPTH directories 'd', one in the other, and a file in the last. */
static struct oid nest(size_t depth)
{
	cleanup_free char *hex = NULL;
	struct oid oid;

	free(shell("cat > nest.sh <<'END'\n"
		   "coproc M { git mktree --batch; }\n"
		   "printf '100644 blob %%s\\tf\\n\\n' $(printf x | git hash-object -w --stdin) >&${M[1]}\n"
		   "read -r id <&${M[0]}\n"
		   "for ((i = 0; i < $1; i++)); do\n"
		   "	printf '040000 tree %%s\\td\\n\\n' $id >&${M[1]}\n"
		   "	read -r id <&${M[0]}\n"
		   "done\n"
		   "echo $id\n"
		   "END"));
	hex = shell("git config core.fsync none; bash nest.sh %zu", depth);
	cr_assert_eq(oid_from_hex(hex, strlen(hex), &oid), 0, "%s", hex);
	return oid;
}

static int count_row(void *arg, const char *path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *e)
{
	++*(size_t *)arg;
	return 0;
}

Test(repo, compare_depth_is_limited)
{
	size_t calls = 0;
	struct oid tree = nest(PATH_DEPTH_MAX - 1); /* with the file: PATH_DEPTH_MAX components */

	must_pass(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err));
	cr_assert_eq(calls, 1);
	tree = nest(PATH_DEPTH_MAX);
	must_fail(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err), -EBADMSG);
	must_name("deeper");
	tree = nest(2000);
	must_fail(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err), -EBADMSG);
	must_name("'d/d/d");
	cr_assert_eq(calls, 1);
	must_pass(repo_tree_compare(repo, NULL, &tree, NULL, true, count_row, &calls, &err));
}

Test(repo, compare_ends_a_tree_bomb)
{
	/* Ten entries a level, all the same tree: 10^12 files in 12 objects. */
	struct oid tree;
	size_t calls = 0;

	tree = shell_oid("b=$(printf x | git hash-object -w --stdin); o=$(printf '100644 blob %s\\tf\\n' $b | git mktree); "
			 "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do o=$(for j in 0 1 2 3 4 5 6 7 8 9; do "
			 "printf '040000 tree %s\\t%s\\n' $o $j; done | git mktree); done; echo $o");
	must_fail(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err), -EBADMSG);
	must_name("entries");
	cr_assert_lt(calls, TREE_WALK_MAX);
}

/* ---- commits ---- */

Test(repo, equal_commits_have_one_id_and_git_reads_them)
{
	struct oid first, second, third, tree;
	cleanup_commit struct commit commit = { .parent_count = 0 };
	cleanup_free char *shown = NULL, *same = NULL;
	struct commit_spec spec = { .message = "subject\n\nbody", .time = 1700000000 };

	must_pass(repo_batch_begin(repo, &err));
	tree = sample();
	spec.tree = tree;
	must_pass(repo_commit_write(repo, &spec, &first, &err));
	must_pass(repo_commit_write(repo, &spec, &second, &err));
	assert_oid(first, second);
	spec.parents = &first;
	spec.parent_count = 1;
	spec.name = " A <b>\nC ";
	spec.mail = "a@b>";
	must_pass(repo_commit_write(repo, &spec, &third, &err));
	must_pass(repo_commit_read(repo, &third, &commit, &err)); /* out of the batch */
	must_pass(repo_batch_commit(repo, &err));
	same = shell("git cat-file commit %s | git hash-object -t commit --stdin", hex_of(&first));
	cr_assert_str_eq(same, hex_of(&first));
	assert_oid(commit.parents[0], first);
	assert_oid(commit.tree, tree);
	cr_assert_eq(commit.parent_count, 1);
	cr_assert_str_eq(commit.message, "subject\n\nbody\n");
	cr_assert_str_eq(commit.author, "A bC <a@b>");
	cr_assert_eq(commit.time, 1700000000);
	cr_assert_eq(commit.offset_minutes, 0);
	shown = shell("git log -1 --format='%%T %%P %%an %%ae %%at %%cI %%s %%b' %s", hex_of(&third));
	cr_assert(strstr(shown, "A bC a@b 1700000000 2023-11-14T22:13:20+00:00 subject body"), "%s", shown);
	fsck();
}

Test(repo, commit_of_git_is_read)
{
	cleanup_commit struct commit commit = { .parent_count = 0 };
	struct oid oid = shell_oid("export GIT_AUTHOR_NAME='Jo Q' GIT_AUTHOR_EMAIL=j@q GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@c "
				   "GIT_AUTHOR_DATE='1600000000 +0200' GIT_COMMITTER_DATE='1600000001 -0330'; "
				   "git commit-tree -m 'hello' $(git mktree </dev/null)");

	must_pass(repo_commit_read(repo, &oid, &commit, &err));
	cr_assert_str_eq(commit.author, "Jo Q <j@q>");
	cr_assert_str_eq(commit.message, "hello\n");
	cr_assert_eq(commit.time, 1600000001);
	cr_assert_eq(commit.offset_minutes, -210);
	cr_assert_eq(commit.parent_count, 0);
}

Test(repo, hostile_commits_are_refused)
{
	static const struct {
		const char *command, *reason;
	} table[] = {
		{ "printf x | git hash-object -w --stdin", "is a blob" },
		{ "printf 'garbage' | git hash-object -t commit --literally -w --stdin", "commit '" },
		{ "t=$(git mktree </dev/null); printf \"tree $t\\nauthor\\n\\nm\" | git hash-object -t commit --literally -w --stdin", "commit '" },
		{ "t=$(git mktree </dev/null); { printf \"tree $t\\nauthor a <a> 1 +0000\\ncommitter a <a> 1 +0000\\n\\n\"; "
		  "head -c 1048577 /dev/zero | tr '\\0' m; } | git hash-object -t commit --literally -w --stdin", "longer than" },
		{ "t=$(git mktree </dev/null); { printf \"tree $t\\nauthor a <a> 1 +0000\\ncommitter a <a> 1 +0000\\n\\n\"; "
		  "head -c 9000000 /dev/zero | tr '\\0' m; } | git hash-object -t commit --literally -w --stdin", "more than" },
		{ "t=$(git mktree </dev/null); { printf \"tree $t\\n\"; yes \"parent $t\" | head -1025; "
		  "printf \"author a <a> 1 +0000\\ncommitter a <a> 1 +0000\\n\\nm\"; } | git hash-object -t commit --literally -w --stdin", "1025 parents" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_commit struct commit commit = { .parent_count = 0 };
		struct oid oid = shell_oid(table[i].command);

		must_fail(repo_commit_read(repo, &oid, &commit, &err), -EBADMSG);
		must_name(table[i].reason);
		must_name(hex_of(&oid));
	}
}

Test(repo, resolve_table)
{
	static const struct {
		const char *rev;
		int rc;
		const char *want; /* the git rev of the same commit */
	} table[] = {
		{ "refs/heads/main", 0, "main" }, { "main", 0, "main" }, { "main~1", 0, "main~1" }, { "main^", 0, "main^" },
		{ "HEAD", 0, "main" }, { "annotated", 0, "main" }, { "nothing", -ENOENT, NULL }, { "main~7", -ENOENT, NULL },
		{ "main^{tree}", -EBADMSG, NULL }, { "main^{", -EINVAL, NULL }, { "", -EINVAL, NULL },
		{ "0123456789012345678901234567890123456789", -ENOENT, NULL },
	};
	struct oid tip, got;

	free(shell("export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a; t=$(git mktree </dev/null); "
		   "a=$(git commit-tree -m 1 $t) && b=$(git commit-tree -m 2 -p $a $t) && git update-ref refs/heads/main $b && "
		   "git tag -a -m x annotated main"));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char command[128];
		int rc = repo_resolve(repo, table[i].rev, &got, &err);

		cr_assert_eq(rc, table[i].rc, "'%s': %d: %s", table[i].rev, rc, err.message);
		if (rc < 0)
			continue;
		snprintf(command, sizeof command, "git rev-parse %s", table[i].want);
		assert_oid(got, shell_oid(command));
	}
	tip = shell_oid("git rev-parse main");
	{
		char abbreviated[11];

		snprintf(abbreviated, sizeof abbreviated, "%.10s", hex_of(&tip));
		must_pass(repo_resolve(repo, abbreviated, &got, &err));
		assert_oid(got, tip);
	}
}

/* ---- trailers ---- */

static const char *const messages[] = {
	"subject\n",
	"subject: not a trailer\n",
	"subject\n\nbody\n\nKey: value\n",
	"subject\n\nKey: value\n",
	"subject\n\nKey: value\nOther: more\nKey: second\n",
	"subject\n\nKey: value\n  goes on\n\tand on\nOther: x\n",
	"subject\n\nKey: value\nprose here\n",
	"subject\n\nKey: value\n\nprose\n",
	"subject\n\nSigned-off-by: A <a@b>\nprose\n",
	"subject\n\nprose\nmore prose\nyet more\nfourth\nSigned-off-by: A <a@b>\n",
	"subject\n\nprose\nmore prose\nyet more\nSigned-off-by: A <a@b>\n",
	"subject\n\nKey : spaced\nKey:tight\nKey:\n",
	"subject\n\nNot a key: value\n",
	"subject\n\nhttp://example.org\n",
	"subject\n\nunder_score: value\n",
	"subject\n\nKey: value\n\n\n",
	"subject\n\nKey: value",
	"subject\n\n  indented: first\nKey: value\n",
	"subject\nsecond line\nKey: value\n",
	"subject\n\n\n\nKey: value\n \nOther: value\n",
	"subject\n\nbody\n\nFixes: CVE-2024-1\nFixes: CVE-2024-2\nReboot: yes\n",
	"subject\n\n(cherry picked from commit 1234)\nKey: value\n",
	"\n\nKey: value\n",
	"subject\n\n: value\nKey: value\n",
};

/* Every trailer of MESSAGE, asked for by the keys that occur above. */
static void list_trailers(const char *message, struct strbuf *out)
{
	static const char *const keys[] = { "Key", "Other", "Fixes", "Reboot", "Signed-off-by", "under_score", "http" };

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
		for (size_t n = 0;; n++) {
			cleanup_free char *value = trailer_get(message, keys[k], n);

			if (!value)
				break;
			strbuf_addf(out, "%s: %s\n", keys[k], value);
		}
	}
}

Test(repo, trailers_agree_with_git)
{
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		cleanup_strbuf struct strbuf got = STRBUF_INIT;
		cleanup_free char *want = NULL, *sorted = NULL;
		char path[128];
		FILE *file;

		snprintf(path, sizeof path, "%s/message", root);
		file = fopen(path, "we");
		fputs(messages[i], file);
		fclose(file);
		want = shell("git interpret-trailers --parse < message | grep -v '^(cherry' | sed 's/ *$//' | sort");
		list_trailers(messages[i], &got);
		file = fopen(path, "we");
		fputs(strbuf_text(&got), file);
		fclose(file);
		sorted = shell("sed 's/ *$//' message | sort");
		cr_assert_str_eq(sorted, want, "message %zu: <%s>", i, messages[i]);
	}
}

Test(repo, trailers_are_added)
{
	static const struct {
		const char *message, *want;
	} table[] = {
		{ "subject", "subject\n\nKey: a b\nOther: c\n" },
		{ "subject\n", "subject\n\nKey: a b\nOther: c\n" },
		{ "subject\n\nbody\n\n\n", "subject\n\nbody\n\nKey: a b\nOther: c\n" },
		{ "subject\n\nbody\n\nHas: one", "subject\n\nbody\n\nHas: one\nKey: a b\nOther: c\n" },
		{ "Fix: it", "Fix: it\n\nKey: a b\nOther: c\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_strbuf struct strbuf message = STRBUF_INIT;
		cleanup_free char *key = NULL, *other = NULL;

		strbuf_addstr(&message, table[i].message);
		trailer_add(&message, "Key", "a\nb");
		trailer_add(&message, "Other", "c");
		cr_assert_str_eq(message.buf, table[i].want, "row %zu: <%s>", i, message.buf);
		key = trailer_get(message.buf, "KEY", 0);
		cr_assert_str_eq(key, "a b");
		other = trailer_get(message.buf, "Other", 1);
		cr_assert_null(other);
	}
}

Test(repo, body_is_without_trailers)
{
	static const struct {
		const char *message, *want;
	} table[] = {
		{ "subject\n", "subject" }, { "subject\n\nbody\n\nKey: value\n", "subject\n\nbody" },
		{ "subject\n\nKey: value\n", "subject" }, { "subject\n\nKey: value\nprose\n", "subject\n\nKey: value\nprose" },
		{ "", "" }, { "\n\n", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_free char *body = message_body(table[i].message);

		cr_assert_str_eq(body, table[i].want, "row %zu: <%s>", i, body);
	}
}

/* ---- refs ---- */

static struct oid commits[3];

static void make_commits(void)
{
	struct commit_spec spec = { .message = "x" };

	must_pass(repo_batch_begin(repo, &err));
	must_pass(repo_tree_empty(repo, &spec.tree, &err));
	for (size_t i = 0; i < 3; i++) {
		spec.time = (int64_t)i;
		must_pass(repo_commit_write(repo, &spec, &commits[i], &err));
	}
	must_pass(repo_batch_commit(repo, &err));
}

static struct oid ref(const char *name)
{
	struct oid oid = { { 0 } };
	int rc = repo_ref_read(repo, name, &oid, &err);

	cr_assert(rc == 0 || rc == -ENOENT, "%s: %s", name, err.message);
	return oid;
}

#define A "refs/veneer/x/active"
#define B "refs/veneer/x/base"

Test(repo, refs_are_made_moved_and_deleted)
{
	struct oid zero = { { 0 } };

	make_commits();
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { B, commits[0], true, zero }, { A, commits[1], false, zero } }, 2, &err));
	assert_oid(ref(A), commits[1]);
	assert_oid(shell_oid("git rev-parse " B), commits[0]);
	free(shell("git pack-refs --all && test ! -e git/" A));
	assert_oid(ref(A), commits[1]);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[2], true, commits[1] } }, 1, &err));
	assert_oid(shell_oid("git rev-parse " A), commits[2]);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, zero, true, commits[2] } }, 1, &err));
	assert_oid(ref(A), zero); /* and not the packed one again */
	free(shell("! git rev-parse --verify -q " A));
	assert_oid(ref(B), commits[0]);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, zero, false, zero } }, 1, &err)); /* there is none */
	free(shell("git update-ref " A " %s", hex_of(&commits[0])));
	assert_oid(ref(A), commits[0]); /* read fresh */
	free(shell("test -z \"$(find git -name '*.lock')\""));
}

Test(repo, refs_all_or_none)
{
	struct oid zero = { { 0 } }, missing;

	make_commits();
	memset(&missing, 0x22, sizeof missing);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[0], true, zero } }, 1, &err));
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[1], true, zero }, { A, commits[2], true, commits[1] } }, 2, &err), -EAGAIN);
	must_name(A);
	must_name(hex_of(&commits[0]));
	assert_oid(ref(B), zero);
	assert_oid(ref(A), commits[0]);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { A, commits[2], true, zero } }, 1, &err), -EAGAIN);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[2], true, commits[0] } }, 1, &err), -EAGAIN);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[1], true, zero }, { A, missing, false, zero } }, 2, &err), -ENOENT);
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { B, commits[1], true, zero }, { "refs/../x", commits[1], false, zero } }, 2, &err), -EINVAL);
	assert_oid(ref(B), zero);
	assert_oid(ref(A), commits[0]);
	free(shell("test -z \"$(find git -name '*.lock')\""));
}

Test(repo, a_lock_left_by_a_crash_is_broken)
{
	make_commits();
	free(shell("mkdir -p git/refs/veneer/x && touch -d '1 minute ago' git/" A ".lock"));
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { A, commits[0], false, { { 0 } } } }, 1, &err));
	assert_oid(ref(A), commits[0]);
}

Test(repo, a_lock_that_is_held_is_waited_for)
{
	struct timespec begin, end;
	double seconds;

	make_commits();
	free(shell("mkdir -p git/refs/veneer/x && touch git/" A ".lock && { (sleep 0.4; rm git/" A ".lock) > /dev/null 2>&1 & }"));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	cr_assert(seconds > 0.2 && seconds < 5, "%f", seconds);
	assert_oid(ref(A), commits[0]);
}

Test(repo, a_ref_beneath_a_ref_is_refused)
{
	make_commits();
	must_pass(repo_refs_update(repo, (struct ref_update[]){ { .name = A, .new_oid = commits[0] } }, 1, &err));
	must_fail(repo_refs_update(repo, (struct ref_update[]){ { .name = A "/b", .new_oid = commits[1] } }, 1, &err), -ENOTDIR);
	must_name(A "/b");
	assert_oid(ref(A), commits[0]);
}

static int ref_row(void *arg, const char *name, const struct oid *oid, struct error *e)
{
	strbuf_addf(arg, "%s ", name + strlen("refs/veneer/"));
	return strcmp(name, "refs/veneer/z/stop") == 0 ? 7 : 0;
}

Test(repo, refs_each_in_order)
{
	cleanup_strbuf struct strbuf got = STRBUF_INIT, all = STRBUF_INIT;
	const char *hex;

	make_commits();
	hex = hex_of(&commits[0]);
	free(shell("for r in x/patches/b x/patches/a y/active; do git update-ref refs/veneer/$r %s; done; git pack-refs --all; "
		   "for r in x/patches/ab x/active z/stop z/top; do git update-ref refs/veneer/$r %s; done; git update-ref refs/veneer/y/active %s",
		hex, hex, hex_of(&commits[1])));
	must_pass(repo_refs_each(repo, "refs/veneer/x/patches/", ref_row, &got, &err));
	cr_assert_str_eq(got.buf, "x/patches/a x/patches/ab x/patches/b ");
	cr_assert_eq(repo_refs_each(repo, "refs/veneer/", ref_row, &all, &err), 7);
	cr_assert_str_eq(all.buf, "x/active x/patches/a x/patches/ab x/patches/b y/active z/stop ");
	assert_oid(ref("refs/veneer/y/active"), commits[1]);
	must_pass(repo_refs_each(repo, "refs/nothing/", ref_row, &all, &err));
}

Test(repo, a_corrupt_ref_is_named)
{
	struct oid oid;

	free(shell("mkdir -p git/refs/veneer/x && echo garbage > git/" A));
	must_fail(repo_ref_read(repo, A, &oid, &err), -EBADMSG);
	must_name(A);
	must_fail(repo_ref_read(repo, "refs/veneer/none", &oid, &err), -ENOENT);
}

/* ---- differences ---- */

static int gather(void *arg, const char *text, size_t len)
{
	cr_assert(len > 0 && memchr(text, '\n', len) == text + len - 1, "not one line: %.*s", (int)len, text);
	strbuf_add(arg, text, len);
	return 0;
}

static int refuse(void *arg, const char *text, size_t len)
{
	++*(int *)arg;
	return -EPIPE;
}

Test(repo, diff_formats_agree_with_git)
{
	static const struct {
		enum diff_format format;
		const char *git;
	} table[] = {
		{ DIFF_PATCH, "git diff --no-renames" },
		{ DIFF_STAT, "git diff --no-renames --stat --summary" },
		{ DIFF_NAME_STATUS, "git diff --no-renames --name-status" },
	};
	struct oid a, b;

	must_pass(repo_batch_begin(repo, &err));
	a = EDIT(NULL, { F, "a/text", "1\n2\n3\n4\n5\n6\n7\n8\n" }, { F, "gone", "x\n" }, { X, "mode", "m\n" },
		{ F, ".veneer/meta/gone", "uid 1\n" });
	b = EDIT(&a, { F, "a/text", "1\n2\n3\nvier\n5\n6\n7\n8" }, { 0, "gone", NULL }, { F, "mode", "m\n" },
		{ F, "new/file", "n\n" }, { 0, ".veneer/meta/gone", NULL });
	must_pass(repo_batch_commit(repo, &err));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct diff_options options = { .format = table[i].format, .context_lines = 3 };
		cleanup_strbuf struct strbuf got = STRBUF_INIT, meta = STRBUF_INIT;
		cleanup_free char *want = shell("%s %s %s -- . ':(exclude).veneer'; echo .", table[i].git, hex_of(&a), hex_of(&b));
		cleanup_free char *want_meta = shell("%s %s %s; echo .", table[i].git, hex_of(&a), hex_of(&b));

		must_pass(repo_diff_print(repo, &a, &b, &options, gather, &got, &err));
		strbuf_addstr(&got, ".");
		cr_assert_str_eq(got.buf, want, "row %zu: <%s> instead of <%s>", i, got.buf, want);
		options.include_meta = true;
		must_pass(repo_diff_print(repo, &a, &b, &options, gather, &meta, &err));
		strbuf_addstr(&meta, ".");
		cr_assert_str_eq(meta.buf, want_meta, "row %zu: <%s>", i, meta.buf);
	}
}

Test(repo, diff_of_paths_in_color_and_refused)
{
	const char *const paths[] = { "a", "li*" };
	struct diff_options options = { .format = DIFF_NAME_STATUS, .paths = paths, .path_count = 2 };
	cleanup_strbuf struct strbuf names = STRBUF_INIT, patch = STRBUF_INIT, stat = STRBUF_INIT;
	struct oid tree, none = { { 0 } };
	int calls = 0;

	must_pass(repo_batch_begin(repo, &err));
	tree = sample();
	must_pass(repo_diff_print(repo, NULL, &tree, &options, gather, &names, &err));
	cr_assert_str_eq(names.buf, "A\ta/b/one\nA\ta/two\n");
	options = (struct diff_options){ .format = DIFF_PATCH, .color = true, .paths = paths, .path_count = 1 };
	must_pass(repo_diff_print(repo, &tree, &none, &options, gather, &patch, &err));
	cr_assert(strstr(patch.buf, "\033[31m-1\033[m\n"), "%s", patch.buf);
	cr_assert(strstr(patch.buf, "\033[1mdiff --git a/a/b/one b/a/b/one\033[m\n"), "%s", patch.buf);
	options.format = DIFF_STAT;
	must_pass(repo_diff_print(repo, NULL, &tree, &options, gather, &stat, &err));
	cr_assert(strstr(stat.buf, "\033[32m+\033[m\n"), "%s", stat.buf);
	options.format = DIFF_PATCH;
	cr_assert_eq(repo_diff_print(repo, NULL, &tree, &options, refuse, &calls, &err), -EPIPE);
	cr_assert_eq(calls, 1);
	must_pass(repo_diff_print(repo, &tree, &tree, &options, refuse, &calls, &err));
	cr_assert_eq(calls, 1);
}
