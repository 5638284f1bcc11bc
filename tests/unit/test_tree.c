/* SPDX-License-Identifier: Apache-2.0 */

/* Trees against plain git: reading, editing, comparing, hostile ones. */

#include "tests/unit/repo_fixture.h"

TestSuite(tree, .init = setup, .fini = teardown, .timeout = 300);

/* ---- trees ---- */

static const char *const make_worktree =
	"mkdir -p w/a/b w/a.d w/.veneer/meta && cd w && printf 1 > a/b/one && printf 2 > a/two && printf 3 > a.txt && "
	"printf 4 > a-b && printf 5 > run && chmod +x run && ln -s a/two link && printf 6 > a.d/x && "
	"printf 'mode 04755\\n' > .veneer/meta/run && export GIT_WORK_TREE=$PWD && git add -A && git write-tree";

Test(tree, edit_gives_what_git_write_tree_gives)
{
	struct oid got;

	must_pass(repo_batch_begin(repo, &err));
	got = sample();
	must_pass(repo_batch_commit(repo, &err));
	fsck();
	assert_oid(got, shell_oid(make_worktree));
}

Test(tree, edit_table)
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

Test(tree, edit_of_everything_away_is_the_empty_tree)
{
	struct oid base, got;

	must_pass(repo_batch_begin(repo, &err));
	base = EDIT(NULL, { F, "a/b/c", "1" });
	got = EDIT(&base, { 0, "a/b/c", NULL });
	must_pass(repo_batch_commit(repo, &err));
	assert_oid(got, shell_oid("git hash-object -t tree /dev/null"));
	free(shell("git cat-file -e %s", hex_of(&got)));
}

Test(tree, edit_refuses)
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

Test(tree, lookup_and_find)
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

Test(tree, old_modes_are_read_as_git_reads_them)
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

Test(tree, compare_table)
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

Test(tree, compare_with_nothing_and_early_end)
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

Test(tree, compare_refuses_hostile_trees)
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

Test(tree, compare_names_the_path_below)
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

Test(tree, compare_depth_is_limited)
{
	size_t calls = 0;
	struct oid tree = nest(PATH_DEPTH_MAX - 1); /* with the file: PATH_DEPTH_MAX components */

	must_pass(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err));
	cr_assert_eq(calls, 1);
	tree = nest(PATH_DEPTH_MAX);
	must_fail(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err), -EBADMSG);
	must_name("deeper");
	tree = nest(600);
	must_fail(repo_tree_compare(repo, NULL, &tree, NULL, false, count_row, &calls, &err), -EBADMSG);
	must_name("'d/d/d");
	must_fail(repo_tree_compare(repo, NULL, &tree, NULL, true, count_row, &calls, &err), -EBADMSG);
	must_name("deeper");
	cr_assert_eq(calls, 1);
	/* A trusted walk starts above the paths, at ".veneer/meta": it goes a little deeper. */
	tree = nest(PATH_DEPTH_MAX);
	must_pass(repo_tree_compare(repo, NULL, &tree, NULL, true, count_row, &calls, &err));
	cr_assert_eq(calls, 2);
}

Test(tree, compare_ends_a_tree_bomb)
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
