/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include "fs/refresh.h"

/* What the kernel was told, a line a notice. It can expire names where EXPIRES; the FAIL-th notice (from 1) fails. */
struct told {
	struct node_table *nodes; /* of the overlay */
	struct strbuf text;
	bool expires;
	size_t count, fail;
};

static int result(struct told *told)
{
	strbuf_addch(&told->text, '\n');
	return ++told->count == told->fail ? -ENODEV : 0;
}

static void add_path(struct told *told, uint64_t id)
{
	cr_assert_eq(node_path(told->nodes, id, &told->text), 0);
}

static int told_entry(void *arg, uint64_t parent, const char *name)
{
	struct told *told = arg;

	strbuf_addstr(&told->text, "name '");
	add_path(told, parent);
	strbuf_addf(&told->text, "' '%s'", name);
	return result(told);
}

static int told_expire(void *arg, uint64_t parent, const char *name)
{
	strbuf_addstr(&((struct told *)arg)->text, "doubtful ");
	return told_entry(arg, parent, name);
}

static int told_inode(void *arg, uint64_t id)
{
	struct told *told = arg;

	strbuf_addstr(&told->text, "node '");
	add_path(told, id);
	strbuf_addch(&told->text, '\'');
	return result(told);
}

static int told_attributes(void *arg, uint64_t id)
{
	strbuf_addstr(&((struct told *)arg)->text, "attributes of ");
	return told_inode(arg, id);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of TEXT in order, each once. The caller frees it. */
static char *sorted(const char *text)
{
	cleanup_free char *copy = strdup(text);
	struct strbuf sb = STRBUF_INIT;
	char *lines[128], *rest = copy, *line;
	size_t count = 0;

	while ((line = strsep(&rest, "\n")) && count < ARRAY_SIZE(lines))
		if (*line)
			lines[count++] = line;
	qsort(lines, count, sizeof *lines, compare_lines);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || strcmp(lines[i], lines[i - 1]) != 0)
			strbuf_addf(&sb, "%s\n", lines[i]);
	strbuf_addstr(&sb, "");
	return strbuf_detach(&sb, NULL);
}

static struct notices notices_of(struct told *told)
{
	return (struct notices){ .entry = told_entry, .inode = told_inode, .attributes = told_attributes, .arg = told,
		.expire = told->expires ? told_expire : NULL };
}

static void expect_text(const struct told *told, const char *wanted)
{
	cleanup_free char *is = sorted(strbuf_text(&told->text)), *should = sorted(wanted);

	cr_assert_str_eq(is, should, "told:\n%swanted:\n%s", is, should);
}

static struct refresh_counts expect_all_by(struct overlay_scene *made, bool expires, const char *wanted)
{
	struct told told = { .nodes = overlay_nodes(made->overlay), .text = STRBUF_INIT, .expires = expires };
	struct notices notices = notices_of(&told);
	struct refresh_counts counts;

	cr_assert_eq(refresh_all(made->overlay, &notices, &counts), 0);
	expect_text(&told, wanted);
	strbuf_release(&told.text);
	return counts;
}

static struct refresh_counts expect_all(struct overlay_scene *made, const char *wanted)
{
	return expect_all_by(made, true, wanted);
}

static void run_in_base(struct overlay_scene *made, const char *script)
{
	cleanup_free char *command = NULL;

	cr_assert_geq(asprintf(&command, "cd base; %s", script), 0);
	bench_run(&made->scene.bench, command);
}

/* Nothing changed: nodes alone are told of, and names of which the kernel may know that they do not exist. */
Test(refresh, nothing_changed)
{
	overlay_scene_auto made = overlay_scene_make("mkdir -p a/b unknown; echo 1 >a/f; echo 1 >a/other; ln -s x l; echo 1 >unknown/f");
	struct refresh_counts counts;

	find_id(made.overlay, "a/b");
	find_id(made.overlay, "a/f");
	find_id(made.overlay, "l");
	counts = expect_all(&made, "node ''\nnode 'a'\nnode 'a/b'\nnode 'a/f'\nnode 'l'\ndoubtful name 'a' 'other'\ndoubtful name '' 'unknown'\n");
	cr_assert_eq(counts.directories, 3);
	cr_assert_eq(counts.files, 2);
	cr_assert_eq(counts.names, 2);
	expect_all_by(&made, false, "node ''\nnode 'a'\nnode 'a/b'\nnode 'a/f'\nnode 'l'\nname 'a' 'other'\nname '' 'unknown'\n");
}

/* Gone, another, of another type: the name. What is new was doubtful. */
Test(refresh, names)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; for i in gone another typed stays; do echo 1 >d/$i; done");
	uint64_t another;

	find_id(made.overlay, "d/gone");
	another = find_id(made.overlay, "d/another");
	find_id(made.overlay, "d/typed");
	find_id(made.overlay, "d/stays");
	run_in_base(&made, "echo 2 >d/new; echo 3 >d/more; mkdir d/x; rm d/gone; mv d/new d/another; rm d/typed; mv d/x d/typed");
	expect_all(&made, "node ''\nnode 'd'\nname 'd' 'gone'\nname 'd' 'another'\nname 'd' 'typed'\nnode 'd/stays'\ndoubtful name 'd' 'more'\n");
	cr_assert_neq(find_id(made.overlay, "d/another"), another);
	/* What was told once is not told again. */
	expect_all(&made, "node ''\nnode 'd'\nnode 'd/stays'\nnode 'd/another'\ndoubtful name 'd' 'typed'\ndoubtful name 'd' 'more'\n");
}

/* By whichever of its names a file is known: each that has gone is told. */
Test(refresh, other_names)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo 1 >a; ln a d/b; ln a c; echo 2 >m");
	uint64_t id = find_id(made.overlay, "a");
	struct stat st;

	cr_assert_eq(find_id(made.overlay, "d/b"), id);
	cr_assert_eq(find_id(made.overlay, "c"), id);
	find_id(made.overlay, "m");
	run_in_base(&made, "rm a c; mv m n");
	find_id(made.overlay, "n");
	expect_all(&made, "node ''\nnode 'd'\nname '' 'a'\nname '' 'c'\nname '' 'm'\nnode 'n'\nattributes of node 'c'\nattributes of node 'n'\nnode 'd/b'\n");
	st = stat_of(made.overlay, id);
	cr_assert_eq(st.st_nlink, 1);
	expect_content(made.overlay, id, "1\n");
	expect_all(&made, "node ''\nnode 'd'\nnode 'd/b'\nnode 'n'\n");
}

/* What was moved to where the kernel knows a directory goes on there, files and directories with all beneath. */
Test(refresh, moved)
{
	overlay_scene_auto made = overlay_scene_make("mkdir -p from/sub/deep to; echo 1 >from/f; echo 2 >from/sub/deep/g; echo 3 >from/sub/away");
	uint64_t file = find_id(made.overlay, "from/f"), deep = find_id(made.overlay, "from/sub/deep/g"), sub = find_id(made.overlay, "from/sub");
	uint64_t away = find_id(made.overlay, "from/sub/away");

	find_id(made.overlay, "to");
	run_in_base(&made, "mv from/f to/f2; mv from/sub to/sub2; mv to/sub2/away to/sub2/deep/here; rmdir from");
	expect_all(&made,
		"node ''\nnode 'from'\nname '' 'from'\nname 'from' 'f'\ndoubtful name 'from' 'sub'\nname 'to/sub2' 'away'\n"
		"doubtful name 'to' 'f2'\ndoubtful name 'to' 'sub2'\ndoubtful name 'to/sub2/deep' 'here'\n"
		"node 'to'\nnode 'to/f2'\nnode 'to/sub2'\nnode 'to/sub2/deep'\nnode 'to/sub2/deep/g'\nnode 'to/sub2/deep/here'\n");
	expect_content(made.overlay, file, "1\n");
	expect_content(made.overlay, deep, "2\n");
	expect_content(made.overlay, away, "3\n");
	cr_assert_eq(find_id(made.overlay, "to/sub2"), sub);
	cr_assert_eq(find_id(made.overlay, "to/f2"), file);
}

/* A directory that is gone: whoever stands in it. */
Test(refresh, removed_directory)
{
	overlay_scene_auto made = overlay_scene_make("mkdir -p d/e; echo 1 >d/e/f");

	find_id(made.overlay, "d/e/f");
	run_in_base(&made, "rm -r d; mkdir x d; rmdir x");
	expect_all(&made, "node ''\nname '' 'd'\nnode 'd'\nname 'd' 'e'\nnode 'd/e'\nname 'd/e' 'f'\n");
}

/* Who has the old file open keeps it, if we have; and nobody else comes to it. */
Test(refresh, descriptors_of_replaced_files)
{
	overlay_scene_auto made = overlay_scene_make("echo -n old >held; echo -n old >lost");
	uint64_t held = find_id(made.overlay, "held"), lost = find_id(made.overlay, "lost"), now;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	struct stat mode = { .st_mode = 0600 };

	expect_content(made.overlay, held, "old");
	run_in_base(&made, "for i in held lost; do echo -n new >x; mv x $i; done");
	expect_all(&made, "node ''\nname '' 'held'\nattributes of node 'held'\nname '' 'lost'\n");
	expect_content(made.overlay, held, "old");
	cr_assert_eq(stat_of(made.overlay, held).st_nlink, 0);
	cr_assert_eq(overlay_open(made.overlay, lost, FD_READ, &ref), -ESTALE);
	now = find_id(made.overlay, "held");
	cr_assert_neq(now, held);
	expect_content(made.overlay, now, "new");
	cr_assert_eq(set(made.overlay, now, &mode, SET_MODE), 0);
	cr_assert_eq(base_stat(&made, "held").st_mode & 0777, 0600);
	/* Forgotten, it takes its descriptor along. */
	overlay_forget(made.overlay, now, 10);
	overlay_forget(made.overlay, held, 10);
	overlay_forget(made.overlay, lost, 10);
	cr_assert_eq(fdcache_open_count(overlay_fds(made.overlay)), 1, "the root's");
}

/* What a view serves is as it was; what it hides is still there for those who have it open. */
Test(refresh, patched)
{
	overlay_scene_auto made = overlay_scene_make("mkdir -p gone/sub d; echo -n old >f; echo -n in >gone/sub/in; echo 1 >d/x");
	uint64_t before = find_id(made.overlay, "f"), in = find_id(made.overlay, "gone/sub/in");

	find_id(made.overlay, "d/x");
	patch(&made, "p", "echo patched >f; rm -r gone; mkdir made; echo 1 >made/x; echo 2 >d/x");
	find_id(made.overlay, "f");
	find_id(made.overlay, "made/x");
	find_id(made.overlay, "d/x");
	expect_all(&made, "node ''\nnode 'd'\nnode 'd/x'\nnode 'made'\nnode 'f'\nnode 'gone'\nnode 'gone/sub'\nnode 'gone/sub/in'\n");
	expect_content(made.overlay, before, "old");
	expect_content(made.overlay, in, "in");
	/* The base has a directory now where the view made one of its own. */
	run_in_base(&made, "mkdir made");
	expect_all(&made, "node ''\nnode 'd'\nnode 'd/x'\ndoubtful name '' 'made'\nnode 'f'\nnode 'gone'\nnode 'gone/sub'\nnode 'gone/sub/in'\n");
}

Test(refresh, errors)
{
	overlay_scene_auto made = overlay_scene_make("mkdir a b; echo 1 >a/x; echo 1 >b/y; echo 1 >z");
	struct refresh_counts counts;

	find_id(made.overlay, "a/x");
	find_id(made.overlay, "b/y");
	for (size_t fail = 1; fail <= 6; fail++) {
		struct told told = { .nodes = overlay_nodes(made.overlay), .text = STRBUF_INIT, .expires = true, .fail = fail };
		struct notices notices = notices_of(&told);

		cr_assert_eq(refresh_all(made.overlay, &notices, &counts), -ENODEV);
		expect_text(&told, "node ''\nnode 'a'\nnode 'b'\nnode 'a/x'\nnode 'b/y'\ndoubtful name '' 'z'\n");
		cr_assert_eq(counts.directories + counts.names + counts.files, 5);
		strbuf_release(&told.text);
	}
}

/* ---- what is said to have changed ---- */

static struct refresh_counts expect_changed(struct overlay_scene *made, bool expires, struct refresh_change *changes, size_t count,
	const char *wanted)
{
	struct told told = { .nodes = overlay_nodes(made->overlay), .text = STRBUF_INIT, .expires = expires };
	struct notices notices = notices_of(&told);
	struct refresh_counts counts;

	cr_assert_eq(refresh_changed(made->overlay, &notices, changes, count, &counts), 0);
	expect_text(&told, wanted);
	strbuf_release(&told.text);
	return counts;
}

Test(refresh, changed_content_and_attributes)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo 1 >d/x; echo 1 >d/y; echo 1 >d/unknown");
	uint64_t d = find_id(made.overlay, "d");
	struct refresh_change changes[] = { { d, "y", REFRESH_ATTRIBUTES }, { d, "x", REFRESH_CONTENT }, { d, NULL, REFRESH_ATTRIBUTES },
		{ d, "x", REFRESH_CONTENT }, { d, "unknown", REFRESH_CONTENT }, { d, "never", REFRESH_ATTRIBUTES },
		{ d, "x", REFRESH_ATTRIBUTES }, { NODE_ROOT, "d", REFRESH_ATTRIBUTES }, { 12345, "x", REFRESH_CONTENT } };
	struct refresh_counts counts;

	find_id(made.overlay, "d/x");
	find_id(made.overlay, "d/y");
	counts = expect_changed(&made, true, changes, ARRAY_SIZE(changes), "attributes of node 'd'\nnode 'd/x'\nattributes of node 'd/y'\n");
	cr_assert_eq(counts.files, 2);
	cr_assert_not(counts.patched);
}

Test(refresh, changed_names)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d e; echo -n 1 >d/x; echo -n 1 >d/gone; echo -n 1 >d/moved; ln d/gone e/link");
	uint64_t d = find_id(made.overlay, "d"), e = find_id(made.overlay, "e"), x = find_id(made.overlay, "d/x"), moved, gone;
	struct refresh_change replaced[] = { { d, "x", REFRESH_NAME | REFRESH_CONTENT } };
	struct refresh_change all[] = { { d, "gone", REFRESH_NAME }, { d, "moved", REFRESH_NAME }, { e, "here", REFRESH_NAME },
		{ e, "here", REFRESH_ATTRIBUTES }, { d, "made", REFRESH_NAME } };
	struct refresh_change link[] = { { e, "link", REFRESH_NAME } };

	expect_content(made.overlay, x, "1");
	gone = find_id(made.overlay, "d/gone");
	find_id(made.overlay, "e/link");
	moved = find_id(made.overlay, "d/moved");
	run_in_base(&made, "echo -n 2 >n; mv n d/x");
	expect_changed(&made, true, replaced, 1, "doubtful name 'd' 'x'\nattributes of node 'd/x'\nnode 'd'\n");
	expect_content(made.overlay, x, "1");
	cr_assert_neq(find_id(made.overlay, "d/x"), x);
	/* In any order, for both names of what was moved may come in one batch. */
	run_in_base(&made, "rm d/gone; mv d/moved e/here; echo 3 >d/made");
	expect_changed(&made, true, all, ARRAY_SIZE(all), "doubtful name 'd' 'gone'\ndoubtful name 'd' 'moved'\ndoubtful name 'd' 'made'\n"
		"doubtful name 'e' 'here'\nnode 'd'\nnode 'e'\nattributes of node 'd/moved'\nattributes of node 'e/here'\nattributes of node 'e/link'\n");
	expect_content(made.overlay, moved, "1");
	expect_content(made.overlay, gone, "1");
	/* The name by which it is known: others have to be found by a look-up. */
	run_in_base(&made, "rm e/link");
	expect_changed(&made, true, link, 1, "doubtful name 'e' 'link'\nnode 'e'\nattributes of node 'e/link'\n");
}

/* A kernel that cannot expire names must not be told of a name that is right: what is mounted on it would go. */
Test(refresh, changed_names_without_expiring)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo 1 >d/x");
	uint64_t d = find_id(made.overlay, "d"), x = find_id(made.overlay, "d/x");
	struct refresh_change changes[] = { { d, "x", REFRESH_NAME }, { NODE_ROOT, "d", REFRESH_NAME } };

	expect_changed(&made, false, changes, 2, "node ''\nnode 'd'\nattributes of node 'd'\nattributes of node 'd/x'\n");
	/* It goes, and comes back: in between the kernel has learned that it does not exist. */
	run_in_base(&made, "mv d/x keep");
	expect_changed(&made, false, changes, 2,
		"name 'd' 'x'\nnode ''\nnode 'd'\nattributes of node 'd'\nattributes of node 'd/x'\n");
	run_in_base(&made, "mv keep d/x");
	expect_changed(&made, false, changes, 2,
		"node ''\nnode 'd'\nattributes of node 'd'\nattributes of node 'd/x'\nname 'd' 'x'\n");
	cr_assert_eq(find_id(made.overlay, "d/x"), x);
}

Test(refresh, changed_what_is_patched)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo 1 >d/x; echo 1 >y; echo 1 >other");
	struct refresh_change changes[] = { { 0, "x", REFRESH_ATTRIBUTES } }, other[] = { { NODE_ROOT, "other", REFRESH_NAME } };
	uint64_t d;

	patch(&made, "p", "echo 2 >d/x");
	d = find_id(made.overlay, "d");
	changes[0].directory = d;
	find_id(made.overlay, "d/x");
	cr_assert(expect_changed(&made, true, changes, 1, "").patched);
	cr_assert_not(expect_changed(&made, true, other, 1, "node ''\ndoubtful name '' 'other'\n").patched);
}
