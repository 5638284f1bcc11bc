/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include <sys/xattr.h>

static const struct overlay_cred root = { 0, 0, 022, 0 };

/*
 * del, gone/: deleted. dir/patched, link: over the base's. new/n, added, newlink: added. plain: has metadata. patchy: leads to p. half: a
 * file was taken from it. swap: a file over a directory of the base. open/src, open/sub: what is moved.
 */
static const char base_script[] =
	"umask 022; mkdir dir open gone patchy plain half swap; mkdir open/sub; echo -n one >file; echo -n p >dir/patched; echo -n in >dir/in; "
	"ln -s file link; echo -n x >gone/x; echo -n del >del; echo -n p >patchy/p; echo -n q >patchy/q; echo -n h >half/h; echo -n src >open/src; "
	"echo -n s >swap/s; mkdir -p deep/er; echo -n d >deep/er/d";
static const char patch_script[] =
	"echo -n patched >dir/patched; ln -sf in link; mkdir new; echo -n n >new/n; chmod 2750 new; chown 7:8 new; echo -n added >added; ln -s t newlink; "
	"chown 3:4 added; chmod 6710 added; touch -d @1234567 added; setfattr -n user.a -v 1 added; rm del; rm -r gone; echo -n pp >patchy/p; chmod 700 plain; "
	"rm half/h; rm -r swap; echo -n f >swap; echo -n dd >deep/er/d";

/* ---- an overlay whose events are written down ---- */

struct target_scene {
	struct overlay_scene made;
	struct strbuf *events; /* "replaced dir/patched 12:34", each a line */
};

static void write_down(void *arg, enum overlay_event event, const char *path, pid_t pid, uid_t uid)
{
	static const char *const names[] = { "replaced", "removed", "written", "refused", "unseen" };
	struct strbuf *events = arg;

	strbuf_addf(events, "%s%s %s", events->len ? ", " : "", names[event], path);
	if (pid || uid)
		strbuf_addf(events, " %d:%u", (int)pid, (unsigned)uid);
}

static struct overlay *overlay_that_tells(struct target_scene *scene, struct view *view)
{
	struct overlay_config config = { .base_fd = scene->made.scene.basefd, .fd_capacity = 16, .event = write_down,
		.objects_fd = scene->made.scene.bench.store->objects_fd, .event_arg = scene->events };
	struct overlay *overlay;

	cr_assert_eq(overlay_new(&config, view, &overlay), 0);
	return overlay;
}

static struct target_scene target_scene_make(void)
{
	struct target_scene scene = { { .scene = scene_make(base_script) }, calloc(1, sizeof *scene.events) };

	*scene.events = (struct strbuf)STRBUF_INIT;
	strbuf_addstr(scene.events, "");
	scene.made.overlay = overlay_that_tells(&scene, NULL);
	patch(&scene.made, "a", patch_script);
	bench_run(&scene.made.scene.bench, "cp -a base saved");
	return scene;
}

/* As it was made, with an overlay that knows nothing yet. */
static void start_again(struct target_scene *scene)
{
	const struct oid commit = *view_commit(scene->made.view);

	overlay_free(scene->made.overlay);
	view_unref(scene->made.view);
	close(scene->made.scene.basefd);
	bench_run(&scene->made.scene.bench, "rm -rf base; cp -a saved base");
	scene->made.scene.basefd = bench_open(&scene->made.scene.bench, "base");
	scene->made.view = scene_view(&scene->made.scene, &commit);
	scene->made.overlay = overlay_that_tells(scene, scene->made.view);
	strbuf_reset(scene->events);
	strbuf_addstr(scene->events, "");
}

static void target_scene_remove(struct target_scene *scene)
{
	overlay_scene_remove(&scene->made);
	strbuf_release(scene->events);
	free(scene->events);
}

#define target_scene_auto __attribute__((cleanup(target_scene_remove))) struct target_scene

/* "-", "d", "l:TARGET", "f:CONTENT": what is at PATH of the base. */
static void describe_base(const struct target_scene *scene, const char *path, struct strbuf *sb)
{
	char target[256] = "";
	struct stat st;

	if (fstatat(scene->made.scene.basefd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		strbuf_addch(sb, '-');
	} else if (S_ISDIR(st.st_mode)) {
		strbuf_addch(sb, 'd');
	} else if (S_ISLNK(st.st_mode)) {
		cr_assert_geq(readlinkat(scene->made.scene.basefd, path, target, sizeof target - 1), 0);
		strbuf_addf(sb, "l:%s", target);
	} else {
		strbuf_addstr(sb, "f:");
		must_pass(io_read_file_at(scene->made.scene.basefd, path, 4096, sb, &err));
	}
}

static bool is_listed(struct overlay *overlay, const char *path)
{
	__attribute__((cleanup(name_list_release))) struct name_list list = { .count = 0 };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct readdir_cache *cache = readdir_cache_new();
	char parent[64];
	uint64_t id;
	bool listed = false;

	snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 0, path);
	id = find_id(overlay, parent);
	cr_assert_eq(GUARDED(overlay, readdir_list(cache, &guard, id, 0, false, name_list_add, &list)), 0);
	for (size_t i = 0; i < list.count; i++)
		listed |= strcmp(list.names[i], name) == 0;
	readdir_cache_free(cache);
	return listed;
}

/* The same, through a fresh look-up; a listing must agree. */
static void describe_shown(struct overlay *overlay, const char *path, struct strbuf *sb)
{
	struct overlay_entry entry;
	int r = try_find(overlay, path, &entry);

	cr_expect_eq(is_listed(overlay, path), r == 0, "'%s': look-up says %d, the listing differs", path, r);
	if (r < 0) {
		cr_expect_eq(r, -ENOENT, "'%s': %d", path, r);
		strbuf_addch(sb, '-');
	} else if (S_ISDIR(entry.st.st_mode)) {
		strbuf_addch(sb, 'd');
	} else if (S_ISLNK(entry.st.st_mode)) {
		strbuf_addstr(sb, "l:");
		cr_assert_eq(overlay_readlink(overlay, entry.id, sb), 0);
	} else {
		strbuf_addstr(sb, "f:");
		read_id(overlay, entry.id, sb);
	}
}

/* ---- every operation on every kind of entry ---- */

enum operation { CREATE, MKDIR, SYMLINK, LINK, OVER, OVER_NOREPLACE, DIRECTORY_OVER, UNLINK, RMDIR, MOVE, EXCHANGE };

static const char *const operation_names[] = { "create", "mkdir", "symlink", "link", "rename over", "rename over, no replace", "rename a directory over",
	"unlink", "rmdir", "rename away", "exchange" };

static int perform(struct overlay *overlay, enum operation operation, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	uint64_t open = find_id(overlay, "open"), file = find_id(overlay, "file"), parent;
	struct overlay_entry entry;
	char text[64];

	snprintf(text, sizeof text, "%.*s", slash ? (int)(slash - path) : 0, path);
	parent = find_id(overlay, text);
	switch (operation) {
	case CREATE:
		return GUARDED(overlay, overlay_create(&guard, &root, parent, name, 0644, &entry));
	case MKDIR:
		return GUARDED(overlay, overlay_mkdir(&guard, &root, parent, name, 0755, &entry));
	case SYMLINK:
		return GUARDED(overlay, overlay_symlink(&guard, &root, parent, name, "made", &entry));
	case LINK:
		return GUARDED(overlay, overlay_link(&guard, file, parent, name, &entry));
	case OVER:
		return GUARDED(overlay, overlay_rename(&guard, open, "src", parent, name, 0));
	case OVER_NOREPLACE:
		return GUARDED(overlay, overlay_rename(&guard, open, "src", parent, name, RENAME_NOREPLACE));
	case DIRECTORY_OVER:
		return GUARDED(overlay, overlay_rename(&guard, open, "sub", parent, name, 0));
	case UNLINK:
		return GUARDED(overlay, overlay_remove(&guard, parent, name, false));
	case RMDIR:
		return GUARDED(overlay, overlay_remove(&guard, parent, name, true));
	case MOVE:
		return GUARDED(overlay, overlay_rename(&guard, parent, name, open, "moved", 0));
	case EXCHANGE:
		return GUARDED(overlay, overlay_rename(&guard, open, "src", parent, name, RENAME_EXCHANGE));
	}
	return -EINVAL;
}

struct target_row {
	const char *path;
	enum operation operation;
	int wanted[3]; /* retire, hold, fail */
	const char *base;  /* of the base afterwards, where it is done; else nothing changes */
	const char *shown; /* where the policy is to retire; hold and fail go on showing what they showed */
	const char *event; /* where it is done */
};

#define ALL(r) { r, r, r }

static const struct target_row rows[] = {
	/* A file over one of the base. */
	{ "dir/patched", CREATE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "dir/patched", MKDIR, ALL(-EEXIST), NULL, NULL, NULL },
	{ "dir/patched", SYMLINK, ALL(-EEXIST), NULL, NULL, NULL },
	{ "dir/patched", LINK, ALL(-EEXIST), NULL, NULL, NULL },
	{ "dir/patched", OVER, { 0, 0, -EROFS }, "f:src", "f:src", "replaced dir/patched" },
	{ "dir/patched", OVER_NOREPLACE, { -EEXIST, -EEXIST, -EEXIST }, NULL, NULL, NULL },
	{ "dir/patched", DIRECTORY_OVER, { -ENOTDIR, -ENOTDIR, -EROFS }, NULL, NULL, NULL },
	{ "dir/patched", UNLINK, { 0, 0, -EROFS }, "-", "-", "removed dir/patched" },
	{ "dir/patched", RMDIR, ALL(-ENOTDIR), NULL, NULL, NULL },
	{ "dir/patched", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	{ "dir/patched", EXCHANGE, ALL(-EROFS), NULL, NULL, NULL },
	{ "link", OVER, { 0, 0, -EROFS }, "f:src", "f:src", "replaced link" },
	{ "link", UNLINK, { 0, 0, -EROFS }, "-", "-", "removed link" },
	{ "link", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	/* What the patch adds. */
	{ "added", CREATE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "added", MKDIR, ALL(-EEXIST), NULL, NULL, NULL },
	{ "added", OVER, { 0, 0, -EROFS }, "f:src", "f:src", "replaced added" },
	{ "added", OVER_NOREPLACE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "added", UNLINK, { 0, 0, -EROFS }, "-", "-", "removed added" },
	{ "added", RMDIR, ALL(-ENOTDIR), NULL, NULL, NULL },
	{ "added", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	{ "newlink", OVER, { 0, 0, -EROFS }, "f:src", "f:src", "replaced newlink" },
	{ "newlink", OVER_NOREPLACE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "newlink", UNLINK, { 0, 0, -EROFS }, "-", "-", "removed newlink" },
	{ "new/n", OVER, { 0, 0, -EROFS }, "f:src", "f:src", "replaced new/n" },
	{ "new/n", UNLINK, { 0, 0, -EROFS }, "-", "-", "removed new/n" },
	/* In a directory that the patch adds: the base gets one. */
	{ "new/x", CREATE, ALL(0), "f:", "f:", "" },
	{ "new/x", MKDIR, ALL(0), "d", "d", "" },
	{ "new/x", SYMLINK, ALL(0), "l:made", "l:made", "" },
	{ "new/x", LINK, ALL(0), "f:one", "f:one", "" },
	{ "new/x", OVER, ALL(0), "f:src", "f:src", "" },
	{ "new/x", OVER_NOREPLACE, ALL(0), "f:src", "f:src", "" },
	{ "new/x", DIRECTORY_OVER, ALL(0), "d", "d", "" },
	{ "new/x", UNLINK, ALL(-ENOENT), NULL, NULL, NULL },
	{ "new/x", RMDIR, ALL(-ENOENT), NULL, NULL, NULL },
	/* A file that the patch deletes. */
	{ "del", CREATE, { 0, -EROFS, -EROFS }, "f:", "f:", "replaced del" },
	{ "del", MKDIR, { 0, -EROFS, -EROFS }, "d", "d", "replaced del" },
	{ "del", SYMLINK, { 0, -EROFS, -EROFS }, "l:made", "l:made", "replaced del" },
	{ "del", LINK, { 0, -EROFS, -EROFS }, "f:one", "f:one", "replaced del" },
	{ "del", OVER, { 0, -EROFS, -EROFS }, "f:src", "f:src", "replaced del" },
	{ "del", OVER_NOREPLACE, { 0, -EROFS, -EROFS }, "f:src", "f:src", "replaced del" },
	{ "del", DIRECTORY_OVER, { 0, -EROFS, -EROFS }, "d", "d", "replaced del" },
	{ "del", UNLINK, ALL(-ENOENT), NULL, NULL, NULL },
	{ "del", RMDIR, ALL(-ENOENT), NULL, NULL, NULL },
	{ "del", MOVE, ALL(-ENOENT), NULL, NULL, NULL },
	{ "del", EXCHANGE, ALL(-ENOENT), NULL, NULL, NULL },
	/* A directory that the patch deletes, with a file in it: it is not taken away in passing. */
	{ "gone", CREATE, ALL(-EROFS), NULL, NULL, NULL },
	{ "gone", MKDIR, ALL(-EROFS), NULL, NULL, NULL },
	{ "gone", SYMLINK, ALL(-EROFS), NULL, NULL, NULL },
	{ "gone", LINK, ALL(-EROFS), NULL, NULL, NULL },
	{ "gone", OVER, ALL(-EROFS), NULL, NULL, NULL },
	{ "gone", DIRECTORY_OVER, ALL(-EROFS), NULL, NULL, NULL },
	{ "gone", UNLINK, ALL(-ENOENT), NULL, NULL, NULL },
	{ "gone", RMDIR, ALL(-ENOENT), NULL, NULL, NULL },
	/* A file over a directory of the base. */
	{ "swap", CREATE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "swap", OVER, ALL(-EROFS), NULL, NULL, NULL },
	{ "swap", UNLINK, ALL(-EROFS), NULL, NULL, NULL },
	{ "swap", RMDIR, ALL(-ENOTDIR), NULL, NULL, NULL },
	{ "swap", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	/* A directory whose metadata is the patch's. */
	{ "plain", CREATE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "plain", MKDIR, ALL(-EEXIST), NULL, NULL, NULL },
	{ "plain", OVER, { -EISDIR, -EROFS, -EROFS }, NULL, NULL, NULL },
	{ "plain", DIRECTORY_OVER, { 0, -EROFS, -EROFS }, "d", "d", "replaced plain" },
	{ "plain", UNLINK, ALL(-EISDIR), NULL, NULL, NULL },
	{ "plain", RMDIR, { 0, -EROFS, -EROFS }, "-", "-", "removed plain" },
	{ "plain", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	{ "plain", EXCHANGE, ALL(-EROFS), NULL, NULL, NULL },
	/* One of the patch alone, and one that leads to a patched file. */
	{ "new", CREATE, ALL(-EEXIST), NULL, NULL, NULL },
	{ "new", MKDIR, ALL(-EEXIST), NULL, NULL, NULL },
	{ "new", DIRECTORY_OVER, ALL(-ENOTEMPTY), NULL, NULL, NULL },
	{ "new", UNLINK, ALL(-EISDIR), NULL, NULL, NULL },
	{ "new", RMDIR, ALL(-ENOTEMPTY), NULL, NULL, NULL },
	{ "new", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	{ "patchy", MKDIR, ALL(-EEXIST), NULL, NULL, NULL },
	{ "patchy", DIRECTORY_OVER, ALL(-ENOTEMPTY), NULL, NULL, NULL },
	{ "patchy", UNLINK, ALL(-EISDIR), NULL, NULL, NULL },
	{ "patchy", RMDIR, ALL(-ENOTEMPTY), NULL, NULL, NULL },
	{ "patchy", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	{ "deep", RMDIR, ALL(-ENOTEMPTY), NULL, NULL, NULL },
	{ "deep", MOVE, ALL(-EROFS), NULL, NULL, NULL },
	/* Where the view says nothing. */
	{ "dir/in", OVER, ALL(0), "f:src", "f:src", "" },
	{ "dir/in", UNLINK, ALL(0), "-", "-", "" },
	{ "patchy/q", UNLINK, ALL(0), "-", "-", "" },
};

static void expect_row(struct target_scene *scene, const struct target_row *row, enum base_change policy)
{
	static const char *const names[] = { "retire", "hold", "fail" };
	const int wanted = row->wanted[policy];
	struct overlay *overlay = scene->made.overlay;
	cleanup_strbuf struct strbuf base_before = STRBUF_INIT, shown_before = STRBUF_INIT, base = STRBUF_INIT, shown = STRBUF_INIT;
	const char *base_wanted, *shown_wanted;
	char what[128];
	int r;

	snprintf(what, sizeof what, "%s '%s', %s", operation_names[row->operation], row->path, names[policy]);
	overlay_set_base_change(overlay, policy);
	describe_base(scene, row->path, &base_before);
	describe_shown(overlay, row->path, &shown_before);
	r = perform(overlay, row->operation, row->path);
	cr_expect_eq(r, wanted, "%s: %d, not %d", what, r, wanted);
	base_wanted = wanted == 0 ? row->base : strbuf_text(&base_before);
	/* Also where the patch is held: until whoever is told serves it whole again. */
	shown_wanted = wanted == 0 ? row->shown : strbuf_text(&shown_before);
	describe_base(scene, row->path, &base);
	cr_expect_str_eq(strbuf_text(&base), base_wanted, "%s: the base has '%s', not '%s'", what, strbuf_text(&base), base_wanted);
	describe_shown(overlay, row->path, &shown);
	cr_expect_str_eq(strbuf_text(&shown), shown_wanted, "%s: shown is '%s', not '%s'", what, strbuf_text(&shown), shown_wanted);
	cr_expect_str_eq(strbuf_text(scene->events), wanted == 0 ? row->event : "", "%s: told is '%s'", what, strbuf_text(scene->events));
}

static void expect_all(enum base_change policy)
{
	target_scene_auto scene = target_scene_make();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		expect_row(&scene, &rows[i], policy);
		start_again(&scene);
	}
}

Test(overlay_target, retire)
{
	expect_all(BASE_CHANGE_RETIRE);
}

Test(overlay_target, hold)
{
	expect_all(BASE_CHANGE_HOLD);
}

Test(overlay_target, fail)
{
	expect_all(BASE_CHANGE_FAIL);
}

/* ---- who did it ---- */

Test(overlay_target, who_did_it_is_told)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	uint64_t dir = find_id(overlay, "dir"), patched = find_id(overlay, "dir/patched");
	struct stat attributes = { .st_mode = 0600 }, st;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	cleanup_overlay_guard struct overlay_guard guard;

	overlay_enter(overlay, &guard);
	guard.pid = 12;
	guard.uid = 34;
	cr_expect_eq(overlay_setattr(&guard, &root, patched, &attributes, SET_MODE, &st), -EROFS);
	cr_expect_eq(overlay_open(overlay, patched, FD_WRITE, &ref), -EROFS);
	cr_expect_eq(overlay_remove(&guard, dir, "patched", false), 0);
	cr_expect_str_eq(strbuf_text(scene.events), "refused dir/patched 12:34, refused dir/patched, removed dir/patched 12:34");
}

/* ---- hard links of what is patched ---- */

static struct overlay_entry link_of(struct overlay *overlay, const char *path, const char *name)
{
	uint64_t id = find_id(overlay, path), open = find_id(overlay, "open");
	struct overlay_entry entry;
	int r = GUARDED(overlay, overlay_link(&guard, id, open, name, &entry));

	cr_assert_eq(r, 0, "link of '%s': %d", path, r);
	return entry;
}

Test(overlay_target, a_link_of_a_patched_file_is_one_of_what_it_hides)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	struct overlay_entry entry = link_of(overlay, "dir/patched", "backup");

	expect_content(overlay, entry.id, "p");
	cr_expect_eq(base_stat(&scene.made, "open/backup").st_ino, base_stat(&scene.made, "dir/patched").st_ino);
	cr_expect_eq(entry.st.st_ino, base_stat(&scene.made, "dir/patched").st_ino);
	expect_content(overlay, find_id(overlay, "dir/patched"), "patched");
	link_of(overlay, "link", "backlink");
	cr_expect_eq(base_stat(&scene.made, "open/backlink").st_ino, base_stat(&scene.made, "link").st_ino);
	cr_expect_str_eq(strbuf_text(scene.events), "");
	/* And back: as dpkg does where it fails. */
	cr_assert_eq(GUARDED(overlay, overlay_rename(&guard, find_id(overlay, "open"), "src", find_id(overlay, "dir"), "patched", 0)), 0);
	cr_assert_eq(GUARDED(overlay, overlay_rename(&guard, find_id(overlay, "open"), "backup", find_id(overlay, "dir"), "patched", 0)), 0);
	expect_content(overlay, find_id(overlay, "dir/patched"), "p");
}

Test(overlay_target, a_link_of_an_added_file_is_a_copy)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	struct overlay_entry entry = link_of(overlay, "added", "backup");
	struct stat st = base_stat(&scene.made, "open/backup");
	char value[8] = "";

	expect_content(overlay, entry.id, "added");
	cr_expect_eq(st.st_mode, S_IFREG | 06710, "%o", st.st_mode);
	cr_expect(st.st_uid == 3 && st.st_gid == 4);
	cr_expect_eq(st.st_mtim.tv_sec, 1234567);
	cr_expect_eq(entry.st.st_ino, st.st_ino);
	cr_expect_eq(getxattr(path_in(scene.made.scene.bench.dir, "base/open/backup"), "user.a", value, sizeof value), 1, "its attributes, too");
	cr_expect_str_eq(value, "1");
	expect_content(overlay, find_id(overlay, "added"), "added");
}

struct link_row {
	const char *path, *name;
	int wanted;
};

Test(overlay_target, links_that_cannot_be)
{
	static const struct link_row links[] = {
		{ "newlink", "x", -EROFS },    /* no regular file, and nothing beneath it */
		{ "swap", "x", -EROFS },       /* a directory is beneath it */
		{ "dir/patched", "src", -EEXIST },
		{ "added", "src", -EEXIST },
	};
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	uint64_t open = find_id(overlay, "open");
	struct overlay_entry entry;

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		uint64_t id = find_id(overlay, links[i].path);
		int r = GUARDED(overlay, overlay_link(&guard, id, open, links[i].name, &entry));

		cr_expect_eq(r, links[i].wanted, "link of '%s' as '%s': %d", links[i].path, links[i].name, r);
	}
	cr_expect_neq(fstatat(scene.made.scene.basefd, "open/x", &entry.st, AT_SYMLINK_NOFOLLOW), 0);
}

/* What is hidden is of another type: the kernel would not have it as a link of what it knows. Then it is a copy, too. */
Test(overlay_target, a_link_of_a_file_over_a_symlink_is_a_copy)
{
	overlay_scene_auto made = overlay_scene_make("mkdir open; ln -s t link; echo -n f >file");
	uint64_t open, id;
	struct overlay_entry entry;

	patch(&made, "a", "rm link; echo -n new >link; ln -sf t file");
	open = find_id(made.overlay, "open");
	id = find_id(made.overlay, "link");
	cr_assert_eq(GUARDED(made.overlay, overlay_link(&guard, id, open, "x", &entry)), 0);
	cr_expect(S_ISREG(entry.st.st_mode));
	expect_content(made.overlay, entry.id, "new");
	id = find_id(made.overlay, "file");
	cr_expect_eq(GUARDED(made.overlay, overlay_link(&guard, id, open, "y", &entry)), -EROFS);
}

/* A node that its name leads to no more has no link to give: least of all one of what is there now. */
Test(overlay_target, a_link_of_what_is_patched_no_more)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	uint64_t open = find_id(overlay, "open"), patched = find_id(overlay, "dir/patched"), added = find_id(overlay, "added"), link = find_id(overlay, "link");
	struct overlay_entry entry;

	cr_assert_eq(perform(overlay, OVER, "dir/patched"), 0);
	cr_expect_eq(GUARDED(overlay, overlay_link(&guard, patched, open, "x", &entry)), -ENOENT, "replaced");
	publish(&scene.made, NULL);
	cr_expect_eq(GUARDED(overlay, overlay_link(&guard, added, open, "y", &entry)), -ENOENT, "the patch is reverted");
	cr_expect_eq(GUARDED(overlay, overlay_link(&guard, link, open, "z", &entry)), -ENOENT, "the patch is reverted");
	cr_expect_neq(fstatat(scene.made.scene.basefd, "open/x", &entry.st, AT_SYMLINK_NOFOLLOW), 0);
	cr_expect_neq(fstatat(scene.made.scene.basefd, "open/y", &entry.st, AT_SYMLINK_NOFOLLOW), 0);
}

/* ---- what is open ---- */

Test(overlay_target, what_is_open_stays_usable)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	uint64_t patched, added, base;
	char byte;

	publish(&scene.made, NULL);
	base = find_id(overlay, "dir/patched");
	expect_content(overlay, base, "p");
	patch(&scene.made, "b", patch_script);
	patched = find_id(overlay, "dir/patched");
	added = find_id(overlay, "added");
	cr_assert_eq(overlay_open(overlay, patched, FD_READ, &ref), 0);
	cr_assert_eq(perform(overlay, OVER, "dir/patched"), 0);
	cr_assert_eq(perform(overlay, UNLINK, "added"), 0);
	for (int again = 0; again < 2; again++) {
		expect_content(overlay, patched, "patched");
		expect_content(overlay, added, "added");
		expect_content(overlay, base, "p");
		cr_expect_eq(stat_of(overlay, base).st_nlink, 0);
		cr_assert_eq(set(overlay, base, &(struct stat){ .st_mode = 0600 }, SET_MODE), 0);
		fdcache_forget(overlay_fds(overlay), patched);
	}
	cr_expect_eq(pread(ref.fd, &byte, 1, 0), 1);
	cr_expect_eq(byte, 'p');
	expect_content(overlay, find_id(overlay, "dir/patched"), "src");
	/* And where its name is removed beneath the patch. */
	cr_assert_eq(perform(overlay, UNLINK, "patchy/p"), 0);
	cr_assert_eq(try_find(overlay, "patchy/p", &(struct overlay_entry){ 0 }), -ENOENT);
}

/* ---- directories ---- */

Test(overlay_target, a_directory_of_the_patch_is_made_in_the_base_as_the_patch_has_it)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	uint64_t before = find_id(overlay, "new");
	struct stat st;

	cr_assert_eq(perform(overlay, CREATE, "new/x"), 0);
	st = base_stat(&scene.made, "new");
	cr_expect_eq(st.st_mode, S_IFDIR | 02750, "%o", st.st_mode);
	cr_expect(st.st_uid == 7 && st.st_gid == 8);
	/* By the node that was known before as well as by the one that is found now. */
	cr_expect(is_listed(overlay, "new/x") && is_listed(overlay, "new/n"));
	for (int i = 0; i < 2; i++) {
		uint64_t id = i ? find_id(overlay, "new") : before;
		struct overlay_entry entry;

		cr_expect_eq(GUARDED(overlay, overlay_lookup(&guard, id, "x", &entry)), 0);
		cr_expect_eq(GUARDED(overlay, overlay_lookup(&guard, id, "n", &entry)), 0);
		st = stat_of(overlay, id);
		cr_expect_eq(st.st_mode, S_IFDIR | 02750, "%o", st.st_mode);
		cr_expect_eq(st.st_nlink, 2);
	}
	/* Nothing of the patch has ended. */
	cr_expect_str_eq(strbuf_text(scene.events), "");
	cr_expect_not(view_any_ended(scene.made.view));
}

Test(overlay_target, several_levels_are_made)
{
	overlay_scene_auto made = overlay_scene_make("mkdir open; echo -n src >open/src");
	struct overlay_entry entry;
	uint64_t id;

	patch(&made, "a", "mkdir -p a/b/c; echo -n f >a/b/c/f; chmod 711 a/b; mkdir e");
	id = find_id(made.overlay, "a/b/c");
	cr_assert_eq(GUARDED(made.overlay, overlay_mknod(&guard, &root, id, "pipe", S_IFIFO | 0644, 0, &entry)), 0);
	cr_expect_eq(base_stat(&made, "a/b").st_mode, S_IFDIR | 0711);
	cr_expect_eq(base_stat(&made, "a/b/c/pipe").st_mode, S_IFIFO | 0644);
	cr_expect_eq(GUARDED(made.overlay, overlay_mknod(&guard, &root, id, "dir", S_IFDIR | 0644, 0, &entry)), -EPERM);
	/* One that is empty goes. */
	cr_expect_eq(GUARDED(made.overlay, overlay_remove(&guard, NODE_ROOT, "e", true)), 0);
	cr_expect_eq(try_find(made.overlay, "e", &entry), -ENOENT);
}

/* A symlink that is put there in between is not followed: whoever may write in the directory above must not choose what is changed. */
Test(overlay_target, a_directory_is_not_made_through_a_symlink)
{
	overlay_scene_auto made = overlay_scene_make("mkdir open victim; chmod 700 victim; echo -n src >open/src");
	struct overlay_entry entry;
	uint64_t id;

	patch(&made, "a", "mkdir new; echo -n f >new/f; chmod 777 new");
	id = find_id(made.overlay, "new");
	bench_run(&made.scene.bench, "ln -s victim base/new");
	cr_expect_lt(GUARDED(made.overlay, overlay_mkdir(&guard, &root, id, "x", 0755, &entry)), 0);
	cr_expect_eq(base_stat(&made, "victim").st_mode, S_IFDIR | 0700);
	cr_expect_neq(fstatat(made.scene.basefd, "victim/x", &entry.st, 0), 0);
}

Test(overlay_target, directories_become_removable_when_nothing_is_served_in_them)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;

	cr_expect_eq(perform(overlay, RMDIR, "new"), -ENOTEMPTY);
	cr_assert_eq(perform(overlay, UNLINK, "new/n"), 0);
	cr_expect_eq(perform(overlay, RMDIR, "new"), 0);
	cr_assert_eq(perform(overlay, UNLINK, "patchy/p"), 0);
	cr_expect_eq(perform(overlay, RMDIR, "patchy"), -ENOTEMPTY, "the base's own is there still");
	cr_assert_eq(perform(overlay, UNLINK, "patchy/q"), 0);
	cr_expect_eq(perform(overlay, RMDIR, "patchy"), 0);
	cr_assert_eq(perform(overlay, UNLINK, "deep/er/d"), 0);
	cr_expect_eq(perform(overlay, RMDIR, "deep/er"), 0);
	cr_expect_eq(perform(overlay, MOVE, "deep"), 0, "nothing in it is the patch's any more");
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = { "new", "patchy", "deep" };
		struct overlay_entry entry;

		cr_expect_eq(try_find(overlay, names[i], &entry), -ENOENT, "'%s'", names[i]);
		cr_expect_not(is_listed(overlay, names[i]), "'%s'", names[i]);
		cr_expect_eq(perform(overlay, MKDIR, names[i]), 0, "'%s' again", names[i]);
		cr_expect(is_listed(overlay, names[i]), "'%s' again", names[i]);
	}
}

Test(overlay_target, directories_count_their_links)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;
	const nlink_t before = stat_of(overlay, NODE_ROOT).st_nlink;

	if (base_stat(&scene.made, "plain").st_nlink < 2)
		cr_skip_test("directories of this filesystem do not count");
	cr_expect_eq(before, 2 + 7, "dir open patchy plain half deep new: %u", (unsigned)before);
	cr_assert_eq(perform(overlay, CREATE, "new/x"), 0);
	cr_expect_eq(stat_of(overlay, NODE_ROOT).st_nlink, before, "new is made in the base");
	cr_assert_eq(perform(overlay, RMDIR, "plain"), 0);
	cr_expect_eq(stat_of(overlay, NODE_ROOT).st_nlink, before - 1, "plain has gone");
	cr_assert_eq(perform(overlay, MKDIR, "del"), 0);
	cr_expect_eq(stat_of(overlay, NODE_ROOT).st_nlink, before, "del is a directory");
	cr_assert_eq(perform(overlay, UNLINK, "new/n"), 0);
	cr_assert_eq(perform(overlay, UNLINK, "new/x"), 0);
	cr_assert_eq(perform(overlay, RMDIR, "new"), 0);
	cr_expect_eq(stat_of(overlay, NODE_ROOT).st_nlink, before - 1, "new has gone");
	cr_assert_eq(perform(overlay, UNLINK, "added"), 0);
	cr_assert_eq(perform(overlay, MKDIR, "added"), 0);
	cr_expect_eq(stat_of(overlay, NODE_ROOT).st_nlink, before, "added is a directory");
}

/* The metadata of a directory that was replaced is the base's. */
Test(overlay_target, a_replaced_directory_has_its_own_metadata)
{
	target_scene_auto scene = target_scene_make();
	struct overlay *overlay = scene.made.overlay;

	cr_assert_eq(stat_of(overlay, find_id(overlay, "plain")).st_mode, S_IFDIR | 0700);
	cr_assert_eq(perform(overlay, DIRECTORY_OVER, "plain"), 0);
	cr_expect_eq(find(overlay, "plain").st.st_mode, S_IFDIR | 0755);
	cr_expect_eq(stat_of(overlay, find_id(overlay, "plain")).st_mode, S_IFDIR | 0755);
	cr_assert_eq(set(overlay, find_id(overlay, "plain"), &(struct stat){ .st_mode = 0711 }, SET_MODE), 0);
	cr_expect_eq(base_stat(&scene.made, "plain").st_mode, S_IFDIR | 0711);
}
