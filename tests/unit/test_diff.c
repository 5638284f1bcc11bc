/* SPDX-License-Identifier: Apache-2.0 */

/* Differences for people against git diff. */

#include "tests/unit/repo_fixture.h"

TestSuite(diff, .init = setup, .fini = teardown, .timeout = 300);

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

Test(diff, diff_formats_agree_with_git)
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

Test(diff, diff_of_paths_in_color_and_refused)
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
