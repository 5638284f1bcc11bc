/* SPDX-License-Identifier: Apache-2.0 */

/* The repository against plain git: opening, batches, blobs, broken objects, several handles. */

#include "tests/unit/repo_fixture.h"

#include <malloc.h>

TestSuite(repo, .init = setup, .fini = teardown, .timeout = 300);

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

/* libgit2 goes on knowing what was read of a batch that was aborted. It is not on disk for that. */
Test(repo, aborted_objects_are_written_again)
{
	struct commit_spec spec = { .message = "x", .time = 1 };
	struct oid first, second;

	for (int round = 0; round < 2; round++) {
		cleanup_commit struct commit commit = { 0 };
		cleanup_tree struct tree *tree = NULL;

		must_pass(repo_batch_begin(repo, &err));
		spec.tree = EDIT(NULL, { F, "a", "1" });
		must_pass(repo_commit_write(repo, &spec, round ? &second : &first, &err));
		if (round == 0) {
			must_pass(repo_commit_read(repo, &first, &commit, &err));
			must_pass(repo_tree_read(repo, &commit.tree, &tree, &err));
			repo_batch_abort(repo);
		} else {
			must_pass(repo_batch_commit(repo, &err));
		}
	}
	assert_oid(second, first);
	free(shell("git ls-tree -r %s", hex_of(&second)));
	fsck();
}

Test(repo, a_batch_becomes_one_pack_and_another_handle_finds_it)
{
	cleanup_repo struct repo *other = NULL;
	cleanup_free char *packs = NULL, *loose = NULL;
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

	free(shell("printf 'text 0' | git hash-object -w --stdin"));
	for (int round = 1; round <= 2; round++) {
		must_pass(repo_batch_begin(repo, &err));
		for (int i = 0; i < round * 30; i++) {
			char text[32];

			snprintf(text, sizeof text, "text %d", i);
			blob(text);
			blob(text);
		}
		must_pass(repo_batch_commit(repo, &err));
	}
	count = shell("git count-objects -v | grep -E '^(count|in-pack|packs)' | tr '\\n' ' '");
	cr_assert_str_eq(count, "count: 1 in-pack: 59 packs: 2 ");
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

Test(repo, a_batch_of_many_objects_is_one_good_pack)
{
	enum { COUNT = 1000 }; /* many times what is compressed at once */
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;
	cleanup_free char *count = NULL;
	struct oid oids[COUNT];
	char text[32];

	must_pass(repo_batch_begin(repo, &err));
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(text, sizeof text, "object %zu", i);
		oids[i] = blob(text);
	}
	must_pass(repo_batch_commit(repo, &err));
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(text, sizeof text, "object %zu", i);
		strbuf_reset(&sb);
		must_pass(repo_blob_read(repo, &oids[i], 100, &sb, &err));
		cr_assert_str_eq(sb.buf, text);
	}
	count = shell("git verify-pack -v git/objects/pack/*.idx | grep -c ' blob '");
	cr_assert_str_eq(count, "1000");
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

Test(repo, blob_in_two_steps)
{
	static const struct {
		const char *name;
		size_t reserved;
	} table[] = { { "nothing reserved", 0 }, { "too little", 3 }, { "enough", 1000 }, { "too much", 4096 } };

	free(shell("printf %%01000d 7 > file"));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;
		cleanup_strbuf struct strbuf sb = STRBUF_INIT;
		cleanup_close int fd = -EBADF;
		char path[128];

		snprintf(path, sizeof path, "%s/file", root);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (table[i].reserved)
			must_pass(blob_draft_reserve(&draft, table[i].reserved, &err));
		must_pass(blob_draft_read(fd, 1000, &draft, &err));
		cr_assert_eq(draft.size, 1000, "row '%s'", table[i].name);
		cr_assert_geq(malloc_usable_size(draft.data), 1000, "row '%s'", table[i].name);
		assert_oid(draft.oid, shell_oid("git hash-object file"));
		cr_assert(!repo_object_exists(repo, &draft.oid), "row '%s': written already", table[i].name);
		must_pass(repo_batch_begin(repo, &err));
		must_pass(repo_blob_put(repo, &draft, &err));
		cr_assert_null(draft.data);
		must_pass(repo_blob_read(repo, &draft.oid, 1000, &sb, &err));
		cr_assert(sb.len == 1000 && sb.buf[0] == '0' && sb.buf[999] == '7', "row '%s'", table[i].name);
		repo_batch_abort(repo);
	}
}

Test(repo, blob_draft_needs_a_batch_to_be_put)
{
	cleanup_blob_draft struct blob_draft draft = BLOB_DRAFT_INIT;

	must_pass(blob_draft_copy("x", 1, &draft, &err));
	must_fail(repo_blob_put(repo, &draft, &err), -EINVAL);
	must_name("batch");
	cr_assert_null(draft.data);
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
