/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include "fs/invalidate.h"

/* What the kernel was told, a line a notice; the FAIL-th of them (from 1) fails. It knows no names but KNOWN (NULL: none). */
struct told {
	const char *known;
	struct node_table *nodes; /* of the overlay */
	struct strbuf text;
	size_t count, fail;
	int error;
};

static int result(struct told *told)
{
	strbuf_addch(&told->text, '\n');
	return ++told->count == told->fail ? told->error : 0;
}

static int told_entry(void *arg, uint64_t parent, const char *name)
{
	struct told *told = arg;
	int r;

	strbuf_addstr(&told->text, "name '");
	cr_assert_eq(node_path(told->nodes, parent, &told->text), 0);
	strbuf_addf(&told->text, "' '%s'", name);
	r = result(told);
	return r < 0 || (told->known && strcmp(told->known, name) == 0) ? r : -ENOENT;
}

static int told_inode(void *arg, uint64_t id)
{
	struct told *told = arg;

	strbuf_addstr(&told->text, "node '");
	cr_assert_eq(node_path(told->nodes, id, &told->text), 0);
	strbuf_addch(&told->text, '\'');
	return result(told);
}

static int told_attributes(void *arg, uint64_t id)
{
	strbuf_addstr(&((struct told *)arg)->text, "attributes of ");
	return told_inode(arg, id);
}

/* What is told of the way from the view of FROM to that of TO (NULL: the bare base), with the base asked by BASE_FD. */
static int tell_of(struct overlay_scene *made, int base_fd, const struct view *from, const struct view *to, bool holds,
	struct told *told)
{
	struct notices notices = { .entry = told_entry, .inode = told_inode, .attributes = told_attributes, .arg = told };
	struct view_found *found[2] = { NULL, NULL };
	uint64_t paths, wanted;
	int r;

	told->nodes = overlay_nodes(made->overlay);
	told->count = 0;
	strbuf_reset(&told->text);
	if (holds && from)
		must_pass(view_look_at_directories(from, base_fd, &found[0], &err));
	if (holds && to)
		must_pass(view_look_at_directories(to, base_fd, &found[1], &err));
	r = invalidate_tell(made->overlay, base_fd, (struct invalidate_side){ from, found[0] },
		(struct invalidate_side){ to, found[1] }, &notices, &paths);
	free(found[0]);
	free(found[1]);
	cr_assert_eq(view_diff_count(from, to, &wanted), 0);
	cr_assert_eq(paths, wanted);
	return r;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of TEXT in order: notices of one switch may be sent in any. The caller frees it. */
static char *sorted(const char *text)
{
	cleanup_free char *copy = strdup(text);
	struct strbuf sb = STRBUF_INIT;
	char *lines[64], *rest = copy, *line;
	size_t count = 0;

	while ((line = strsep(&rest, "\n")) && count < ARRAY_SIZE(lines))
		if (*line)
			lines[count++] = line;
	qsort(lines, count, sizeof *lines, compare_lines);
	for (size_t i = 0; i < count; i++)
		strbuf_addf(&sb, "%s\n", lines[i]);
	strbuf_addstr(&sb, "");
	return strbuf_detach(&sb, NULL);
}

static void expect_lines(const struct told *told, const char *wanted, const char *how)
{
	cleanup_free char *is = sorted(strbuf_text(&told->text)), *should = sorted(wanted);

	cr_assert_str_eq(is, should, "%s: %s", how, is);
}

static void expect_told(struct overlay_scene *made, const struct view *from, const struct view *to, const char *wanted)
{
	struct told told = { .text = STRBUF_INIT };

	cr_assert_eq(tell_of(made, made->scene.basefd, from, to, false, &told), 0);
	expect_lines(&told, wanted, "by the base");
	cr_assert_eq(tell_of(made, made->scene.basefd, from, to, true, &told), 0);
	expect_lines(&told, wanted, "by what the view found");
	/* A base that cannot be asked: the same, by the node table alone. */
	cr_assert_eq(tell_of(made, -EBADF, from, to, false, &told), 0);
	expect_lines(&told, wanted, "without the base");
	strbuf_release(&told.text);
}

Test(invalidate, names_and_listings)
{
	overlay_scene_auto made = overlay_scene_make("mkdir a b unknown; echo 1 >a/x; echo 1 >a/y; echo 1 >b/z; echo 1 >unknown/x");

	find_id(made.overlay, "a");
	find_id(made.overlay, "b/z");
	patch(&made, "p", "echo 2 >a/x; rm a/y; echo 2 >b/z; echo 2 >unknown/x; echo new >new");
	expect_told(&made, NULL, made.view, "name 'a' 'x'\nname 'a' 'y'\nnode 'a'\nname 'b' 'z'\nnode 'b'\nname '' 'new'\nnode ''\n");
	expect_told(&made, made.view, NULL, "name 'a' 'x'\nname 'a' 'y'\nnode 'a'\nname 'b' 'z'\nnode 'b'\nname '' 'new'\nnode ''\n");
}

/* With a name that the kernel knew it has forgotten the listing, too. */
Test(invalidate, listings_go_with_their_names)
{
	overlay_scene_auto made = overlay_scene_make("mkdir a b; echo 1 >a/x; echo 1 >a/y; echo 1 >b/z");
	struct told told = { .text = STRBUF_INIT };

	find_id(made.overlay, "a");
	find_id(made.overlay, "b");
	patch(&made, "p", "echo 2 >a/x; rm a/y; echo 2 >b/z");
	for (told.known = "x"; told.known; told.known = *told.known == 'x' ? "y" : NULL) {
		cr_assert_eq(tell_of(&made, made.scene.basefd, NULL, made.view, true, &told), 0);
		expect_lines(&told, "name 'a' 'x'\nname 'a' 'y'\nname 'b' 'z'\nnode 'b'\n", told.known);
	}
	strbuf_release(&told.text);
}

/* A directory with other subdirectories has another link count, which is told for certain. */
Test(invalidate, link_counts)
{
	overlay_scene_auto made = overlay_scene_make("mkdir -p a/sub b c/gone; echo 1 >a/x; echo 1 >b/x; echo 1 >c/x");
	struct told told = { .text = STRBUF_INIT, .known = "x" };

	find_id(made.overlay, "a");
	find_id(made.overlay, "b");
	find_id(made.overlay, "c");
	patch(&made, "p", "echo 2 >a/x; mkdir a/new; echo n >a/new/n; echo 2 >b/x; echo 2 >c/x; rmdir c/gone");
	cr_assert_eq(tell_of(&made, made.scene.basefd, NULL, made.view, true, &told), 0);
	expect_lines(&told, "name 'a' 'x'\nname 'a' 'new'\nnode 'a'\nname 'b' 'x'\n"
		"name 'c' 'x'\nname 'c' 'gone'\nattributes of node 'c'\n", "told");
	strbuf_release(&told.text);
}

/* The base has a file where the view has a directory, and the kernel knows the file by another name. */
Test(invalidate, directory_over_a_linked_file)
{
	overlay_scene_auto made = overlay_scene_make("echo old >cfg; ln cfg other");
	cleanup_view struct view *first = NULL;

	patch(&made, "p", "rm cfg; mkdir cfg; echo 1 >cfg/x; touch -d @1 cfg");
	first = view_ref(made.view);
	find_id(made.overlay, "other");
	find_id(made.overlay, "cfg/x");
	patch(&made, "q", "rm cfg; mkdir cfg; echo 22 >cfg/x; touch -d @1 cfg");
	expect_told(&made, first, made.view, "name 'cfg' 'x'\nnode 'cfg'\n");
}

/* Below a symlink of the base that a patch makes a directory. */
Test(invalidate, directory_over_a_symlink)
{
	overlay_scene_auto made = overlay_scene_make("mkdir to; ln -s to link");
	cleanup_view struct view *first = NULL;

	patch(&made, "p", "rm link; mkdir -p link/sub; echo 1 >link/sub/x; touch -d @1 link link/sub");
	first = view_ref(made.view);
	find_id(made.overlay, "link/sub/x");
	patch(&made, "q", "rm link; mkdir -p link/sub; echo 22 >link/sub/x; touch -d @1 link link/sub");
	expect_told(&made, first, made.view, "name 'link/sub' 'x'\nnode 'link/sub'\n");
}

/* A directory before and after is the node that it was: its attributes, and never its name. */
Test(invalidate, metadata_of_directories)
{
	overlay_scene_auto made = overlay_scene_make("mkdir a; touch -d @1 .");
	cleanup_view struct view *first = NULL;

	find_id(made.overlay, "a");
	patch(&made, "p", "chmod 700 a; mkdir made; touch -d @1 made .");
	first = view_ref(made.view);
	expect_told(&made, NULL, made.view, "node 'a'\nname '' 'made'\nnode ''\n");
	find_id(made.overlay, "made");
	patch(&made, "q", "mkdir -m 700 made; touch -d @1 made .");
	expect_told(&made, first, made.view, "node 'a'\nnode 'made'\n");
}

/* Patches that hide a directory of the base, with all that is known beneath it. */
Test(invalidate, directories_that_vanish_and_return)
{
	overlay_scene_auto made = overlay_scene_make("mkdir -p d/sub e unknown/sub; echo 1 >d/sub/lib; echo 1 >e/x; echo 1 >unknown/x; echo 1 >dd");

	find_id(made.overlay, "d/sub/lib");
	find_id(made.overlay, "e/x");
	find_id(made.overlay, "dd");
	patch(&made, "p", "rm -r d e unknown; echo file >d; ln -s d unknown");
	expect_told(&made, NULL, made.view, "name '' 'd'\nname '' 'e'\nname '' 'unknown'\nnode ''\n"
		"node 'd'\nnode 'd/sub'\nname 'd' 'sub'\nname 'd/sub' 'lib'\nnode 'e'\nname 'e' 'x'\n");
	expect_told(&made, made.view, NULL, "name '' 'd'\nname '' 'e'\nname '' 'unknown'\nnode ''\nnode 'd'\nnode 'd/sub'\nnode 'e'\n");
}

/* A file of which a patch hides a hard link, and only if the kernel knows it. */
Test(invalidate, hidden_links)
{
	overlay_scene_auto made = overlay_scene_make("echo 1 >a; ln a b; echo 1 >c; ln c d; echo 1 >e; ln e f");
	cleanup_view struct view *first = NULL;

	find_id(made.overlay, "b");
	find_id(made.overlay, "f");
	patch(&made, "p", "rm a c");
	first = view_ref(made.view);
	expect_told(&made, NULL, first, "name '' 'a'\nname '' 'c'\nnode ''\nattributes of node 'b'\n");
	patch(&made, "q", "rm a; rm e; echo new >e");
	expect_told(&made, first, made.view, "name '' 'c'\nname '' 'e'\nnode ''\nattributes of node 'f'\n");
	publish(&made, NULL);
	expect_told(&made, NULL, NULL, "attributes of node 'b'\nattributes of node 'f'\n");
}

Test(invalidate, every_failure_is_reported_and_none_stops_the_rest)
{
	overlay_scene_auto made = overlay_scene_make("mkdir a; echo 1 >a/x; echo 1 >a/y");
	struct told all = { .text = STRBUF_INIT }, told = { .text = STRBUF_INIT, .error = -ENOMEM };

	find_id(made.overlay, "a");
	patch(&made, "p", "echo 2 >a/x; rm a/y; echo new >new");
	cr_assert_eq(tell_of(&made, made.scene.basefd, NULL, made.view, false, &all), 0);
	cr_assert_eq(all.count, 5);
	for (told.fail = 1; told.fail <= all.count; told.fail++) {
		cr_assert_eq(tell_of(&made, made.scene.basefd, NULL, made.view, false, &told), -ENOMEM);
		cr_assert_str_eq(told.text.buf, all.text.buf);
	}
	/* What the kernel does not know needs no telling. */
	told.error = -ENOENT;
	for (told.fail = 1; told.fail <= all.count; told.fail++)
		cr_assert_eq(tell_of(&made, made.scene.basefd, NULL, made.view, false, &told), 0);
	strbuf_release(&all.text);
	strbuf_release(&told.text);
}
