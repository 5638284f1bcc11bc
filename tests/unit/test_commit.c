/* SPDX-License-Identifier: Apache-2.0 */

/* Commits, revisions and trailers against plain git. */

#include "tests/unit/repo_fixture.h"

TestSuite(commit, .init = setup, .fini = teardown, .timeout = 300);

/* ---- commits ---- */

Test(commit, equal_commits_have_one_id_and_git_reads_them)
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
	shown = shell("git log -1 --format='%%T %%P %%an %%ae %%at %%ct %%s %%b' %s", hex_of(&third));
	cr_assert(strstr(shown, "A bC a@b 1700000000 1700000000 subject body"), "%s", shown);
	fsck();
}

Test(commit, commit_of_git_is_read)
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

Test(commit, hostile_commits_are_refused)
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

Test(commit, resolve_table)
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

Test(commit, trailers_agree_with_git)
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

Test(commit, trailers_are_added)
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

Test(commit, body_is_without_trailers)
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
