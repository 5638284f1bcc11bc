/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"
#include "tests/unit/resident.h"

#include <sys/xattr.h>

static const struct overlay_cred root = { 0, 0, 022, 0 }, user = { 1000, 1000, 022, 0 };

static const char base_script[] =
	"umask 022; mkdir dir dir/sub open gone; chmod 777 open; echo -n one >file; echo -n in >dir/in; echo -n p >dir/patched; "
	"ln -s file link; echo -n x >gone/x; mkfifo pipe; mkdir patchy; echo -n p >patchy/p; echo -n q >patchy/q; mkdir plain";
static const char patch_script[] = "echo -n patched >dir/patched; mkdir new; echo -n n >new/n; rm -r gone; echo -n pp >patchy/p; chmod 755 plain; "
				   "chown 1:1 plain; ln -s n newlink";

static int make(struct overlay *overlay, const struct overlay_cred *cred, const char *parent, const char *name, mode_t mode)
{
	uint64_t id = find_id(overlay, parent);
	struct overlay_entry entry;

	if (S_ISDIR(mode))
		return GUARDED(overlay, overlay_mkdir(&guard, cred, id, name, mode & 07777, &entry));
	return GUARDED(overlay, overlay_mknod(&guard, cred, id, name, mode, 0x103, &entry));
}

static int remove_name(struct overlay *overlay, const char *parent, const char *name, bool directory)
{
	uint64_t id = find_id(overlay, parent);

	return GUARDED(overlay, overlay_remove(&guard, id, name, directory));
}

static int move(struct overlay *overlay, const char *parent, const char *name, const char *new_parent, const char *new_name,
	unsigned flags)
{
	uint64_t from = find_id(overlay, parent), to = find_id(overlay, new_parent);

	return GUARDED(overlay, overlay_rename(&guard, from, name, to, new_name, flags));
}

static int link_to(struct overlay *overlay, uint64_t id, const char *parent, const char *name)
{
	uint64_t to = find_id(overlay, parent);
	struct overlay_entry entry;
	int r = GUARDED(overlay, overlay_link(&guard, id, to, name, &entry));

	if (r == 0)
		cr_assert_eq(entry.id, id, "a hard link is the same node");
	return r;
}

static int symlink_to(struct overlay *overlay, const struct overlay_cred *cred, const char *parent, const char *name,
	const char *target)
{
	uint64_t id = find_id(overlay, parent);
	struct overlay_entry entry;

	return GUARDED(overlay, overlay_symlink(&guard, cred, id, name, target, &entry));
}

static bool in_base(const struct overlay_scene *made, const char *path)
{
	struct stat st;

	return fstatat(made->scene.basefd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- making ---- */

struct make_row {
	const char *parent, *name;
	mode_t mode;
	mode_t umask;
	mode_t wanted_mode;
	gid_t wanted_gid;
};

Test(overlay_write, what_is_made_is_the_callers)
{
	static const struct make_row rows[] = {
		{ "open", "a", S_IFREG | 0666, 022, S_IFREG | 0644, 1000 },
		{ "open", "b", S_IFREG | 0666, 077, S_IFREG | 0600, 1000 },
		{ "open", "c", S_IFREG | 0777, 0, S_IFREG | 0777, 1000 },
		{ "open", "d", S_IFDIR | 0777, 022, S_IFDIR | 0755, 1000 },
		{ "open", "e", S_IFIFO | 0666, 022, S_IFIFO | 0644, 1000 },
		{ "open", "f", S_IFSOCK | 0666, 022, S_IFSOCK | 0644, 1000 },
		{ "open", "g", S_IFCHR | 0666, 022, S_IFCHR | 0644, 1000 },
		{ "open", "h", S_IFREG | 04755, 0, S_IFREG | 04755, 1000 },
		{ "", "i", S_IFREG | 0666, 022, S_IFREG | 0644, 1000 }, /* the kernel has checked */
		/* A set-gid directory hands its group on, and directories its bit. */
		{ "setgid", "a", S_IFREG | 0666, 022, S_IFREG | 0644, 50 },
		{ "setgid", "b", S_IFDIR | 0777, 022, S_IFDIR | 02755, 50 },
		{ "setgid", "c", S_IFREG | 02775, 0, S_IFREG | 0775, 50 }, /* not a member of the group */
	};
	overlay_scene_auto made = overlay_scene_make("mkdir open setgid; chmod 777 open; chown 0:50 setgid; chmod 2777 setgid");
	mode_t before = umask(0);

	umask(before);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct make_row *row = &rows[i];
		struct overlay_cred cred = { 1000, 1000, row->umask, 0 };
		char path[64];
		struct stat st;
		int r = make(made.overlay, &cred, row->parent, row->name, row->mode);

		snprintf(path, sizeof path, "%s%s%s", row->parent, *row->parent ? "/" : "", row->name);
		cr_assert_eq(r, 0, "'%s': %d", path, r);
		st = base_stat(&made, path);
		cr_expect_eq(st.st_mode, row->wanted_mode, "'%s': %o, not %o", path, st.st_mode, row->wanted_mode);
		cr_expect_eq(st.st_uid, 1000, "'%s': uid %u", path, st.st_uid);
		cr_expect_eq(st.st_gid, row->wanted_gid, "'%s': gid %u", path, st.st_gid);
		cr_expect_eq(find(made.overlay, path).st.st_ino, st.st_ino);
		/* The thread is itself again. */
		cr_assert_eq(umask(before), before);
	}
	cr_assert_eq(base_stat(&made, "open/g").st_rdev, 0x103);
	cr_assert_eq(symlink_to(made.overlay, &user, "setgid", "l", "a/target"), 0);
	cr_assert_eq(base_stat(&made, "setgid/l").st_gid, 50);
	cr_assert_eq(symlink_to(made.overlay, &user, "open", "l", "a/target"), 0);
	cr_assert(base_stat(&made, "open/l").st_uid == 1000 && base_stat(&made, "open/l").st_gid == 1000);
	cr_assert_eq(make(made.overlay, &root, "setgid", "root", S_IFREG | 02755), 0);
	cr_assert_eq(base_stat(&made, "setgid/root").st_mode, S_IFREG | 02755, "root may");
	cr_assert_eq(make(made.overlay, &(struct overlay_cred){ 0, 7, 022, 0 }, "open", "group", S_IFREG | 0666), 0);
	cr_assert_eq(base_stat(&made, "open/group").st_gid, 7);
}

Test(overlay_write, default_acls_are_obeyed)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d e");

	if (bench_try(&made.scene.bench, "setfacl -d -m u::rwx,g::rwx,o::r-x base/d 2>/dev/null") != 0)
		cr_skip_test("no setfacl, or no ACLs on this filesystem");
	cr_assert_eq(make(made.overlay, &(struct overlay_cred){ 1000, 1000, 077, 0 }, "d", "f", S_IFREG | 0666), 0);
	cr_assert_eq(base_stat(&made, "d/f").st_mode, S_IFREG | 0664, "the default counts, the umask does not: %o",
		base_stat(&made, "d/f").st_mode);
	cr_assert_eq(make(made.overlay, &(struct overlay_cred){ 1000, 1000, 077, 0 }, "d", "sub", S_IFDIR | 0777), 0);
	cr_assert_eq(base_stat(&made, "d/sub").st_mode, S_IFDIR | 0775);
	cr_assert_gt(lgetxattr(path_in(made.scene.bench.dir, "base/d/sub"), "system.posix_acl_default", NULL, 0), 0);
	cr_assert_eq(make(made.overlay, &(struct overlay_cred){ 1000, 1000, 077, 0 }, "e", "f", S_IFREG | 0666), 0);
	cr_assert_eq(base_stat(&made, "e/f").st_mode, S_IFREG | 0600);
}

Test(overlay_write, making_what_cannot_be)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t file = find_id(made.overlay, "file");
	struct overlay_entry entry;
	char name[258];

	memset(name, 'n', sizeof name);
	name[255] = '\0';
	cr_assert_eq(make(made.overlay, &root, "dir", name, S_IFREG | 0644), 0);
	cr_assert_eq(remove_name(made.overlay, "dir", name, false), 0);
	cr_assert_eq(make(made.overlay, &root, "dir", name, S_IFDIR | 0755), 0);
	cr_assert_eq(move(made.overlay, "dir", name, "", name, 0), 0);
	name[255] = 'n';
	name[256] = '\0';
	cr_assert_eq(make(made.overlay, &root, "dir", name, S_IFREG | 0644), -ENAMETOOLONG);
	cr_assert_eq(make(made.overlay, &root, "dir", name, S_IFDIR | 0755), -ENAMETOOLONG);
	cr_assert_eq(symlink_to(made.overlay, &root, "dir", name, "t"), -ENAMETOOLONG);
	cr_assert_eq(link_to(made.overlay, file, "dir", name), -ENAMETOOLONG);
	cr_assert_eq(remove_name(made.overlay, "dir", name, false), -ENAMETOOLONG);
	cr_assert_eq(move(made.overlay, "", "file", "dir", name, 0), -ENAMETOOLONG);
	cr_assert_eq(make(made.overlay, &root, "", "file", S_IFREG | 0644), -EEXIST);
	cr_assert_eq(make(made.overlay, &root, "", "dir", S_IFDIR | 0755), -EEXIST);
	cr_assert_eq(symlink_to(made.overlay, &root, "", "link", "t"), -EEXIST);
	cr_assert_eq(link_to(made.overlay, file, "", "link"), -EEXIST);
	cr_assert_eq(link_to(made.overlay, find_id(made.overlay, "dir"), "", "hard"), -EPERM);
	cr_assert_eq(make(made.overlay, &root, "file", "x", S_IFREG | 0644), -ENOTDIR);
	cr_assert_eq(GUARDED(made.overlay, overlay_mkdir(&guard, &root, 12345, "x", 0755, &entry)), -ESTALE);
	cr_assert_eq(GUARDED(made.overlay, overlay_link(&guard, 12345, NODE_ROOT, "x", &entry)), -ESTALE);
}

Test(overlay_write, hard_links)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t file = find_id(made.overlay, "file"), link = find_id(made.overlay, "link");

	cr_assert_eq(link_to(made.overlay, file, "dir", "hard"), 0);
	cr_assert_eq(stat_of(made.overlay, file).st_nlink, 2);
	cr_assert_eq(find_id(made.overlay, "file"), file);
	cr_assert_eq(find_id(made.overlay, "dir/hard"), file);
	/* Of a symlink itself, not of what it leads to. */
	cr_assert_eq(link_to(made.overlay, link, "dir", "hardlink"), 0);
	cr_assert_eq(base_stat(&made, "dir/hardlink").st_ino, base_stat(&made, "link").st_ino);
	cr_assert_eq(stat_of(made.overlay, link).st_nlink, 2);
	/* One name goes: the file is there by the other. */
	cr_assert_eq(remove_name(made.overlay, "dir", "hard", false), 0);
	expect_content(made.overlay, file, "one");
	cr_assert_eq(stat_of(made.overlay, file).st_nlink, 1);
	cr_assert_eq(find_id(made.overlay, "file"), file);
	cr_assert_eq(link_to(made.overlay, file, "dir", "again"), 0);
	cr_assert_eq(remove_name(made.overlay, "", "file", false), 0);
	cr_assert_eq(remove_name(made.overlay, "dir", "again", false), 0);
	cr_assert_eq(stat_of(made.overlay, file).st_nlink, 0);
	expect_content(made.overlay, file, "one");
	cr_assert_eq(link_to(made.overlay, file, "", "back"), -ENOENT);
}

/* ---- removing ---- */

Test(overlay_write, removed_and_usable_still)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t file = find_id(made.overlay, "dir/in"), link = find_id(made.overlay, "link"), dir = find_id(made.overlay, "dir/sub");
	struct stat attributes = { .st_size = 1, .st_mode = 0600 };
	cleanup_strbuf struct strbuf target = STRBUF_INIT;
	size_t before = open_descriptors();
	struct overlay_entry entry;
	uint64_t other;

	cr_assert_eq(remove_name(made.overlay, "dir", "in", false), 0);
	cr_assert_eq(remove_name(made.overlay, "", "link", false), 0);
	cr_assert_eq(remove_name(made.overlay, "dir", "sub", true), 0);
	cr_assert_eq(remove_name(made.overlay, "dir", "in", false), -ENOENT);
	cr_assert_eq(try_find(made.overlay, "dir/in", &entry), -ENOENT);
	cr_assert_not(in_base(&made, "dir/in"));
	/* Another of the name is another. */
	cr_assert_eq(make(made.overlay, &root, "dir", "in", S_IFREG | 0644), 0);
	other = find_id(made.overlay, "dir/in");
	cr_assert_neq(other, file);
	cr_assert_eq(stat_of(made.overlay, file).st_nlink, 0);
	expect_content(made.overlay, file, "in");
	cr_assert_eq(set(made.overlay, file, &attributes, SET_SIZE | SET_MODE), 0);
	cr_assert_eq(stat_of(made.overlay, file).st_mode, S_IFREG | 0600);
	expect_content(made.overlay, file, "i");
	expect_content(made.overlay, other, "");
	cr_assert_eq(overlay_readlink(made.overlay, link, &target), 0);
	cr_assert_str_eq(target.buf, "file");
	cr_assert_eq(stat_of(made.overlay, dir).st_nlink, 0);
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, dir, "x", &entry)), -ENOENT);
	/* Forgotten, their descriptors go. */
	overlay_forget(made.overlay, file, 100);
	overlay_forget(made.overlay, link, 100);
	overlay_forget(made.overlay, dir, 100);
	overlay_forget(made.overlay, other, 100);
	cr_assert_leq(open_descriptors(), before + 2, "those of directories that are in use");
	cr_assert_eq(GUARDED(made.overlay, overlay_getattr(&guard, file, &entry.st)), -ESTALE);
}

Test(overlay_write, removed_by_the_wrong_call)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	size_t before;
	uint64_t sub;

	find_id(made.overlay, "dir/in");
	find_id(made.overlay, "dir/sub");
	find_id(made.overlay, "file");
	before = fdcache_open_count(overlay_fds(made.overlay));
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(remove_name(made.overlay, "", "dir", true), -ENOTEMPTY);
		cr_assert_eq(remove_name(made.overlay, "", "dir", false), -EISDIR);
		cr_assert_eq(remove_name(made.overlay, "", "file", true), -ENOTDIR);
		cr_assert_eq(move(made.overlay, "", "file", "", "dir", 0), -EISDIR);
		cr_assert_eq(move(made.overlay, "", "dir", "", "file", 0), -ENOTDIR);
	}
	cr_assert_eq(fdcache_open_count(overlay_fds(made.overlay)), before, "nothing is kept for what was not removed");
	/* And when it does go afterwards, it is kept. */
	sub = find_id(made.overlay, "dir/sub");
	bench_run(&made.scene.bench, "touch base/dir/sub/x");
	cr_assert_eq(remove_name(made.overlay, "dir", "sub", true), -ENOTEMPTY);
	bench_run(&made.scene.bench, "rm base/dir/sub/x");
	fdcache_forget(overlay_fds(made.overlay), sub);
	cr_assert_eq(remove_name(made.overlay, "dir", "sub", true), 0);
	cr_assert_eq(stat_of(made.overlay, sub).st_nlink, 0);
}

/* As a package manager replaces files: a second name for the old one, the new one over it, all second names gone in the end. */
Test(overlay_write, replaced_files_with_second_names_cost_no_descriptors)
{
	enum { FILES = 300 };
	overlay_scene_auto made = overlay_scene_make("mkdir d; cd d; for i in {0..299}; do echo -n old >f$i; done");
	uint64_t old[FILES], d = find_id(made.overlay, "d");
	size_t before = open_descriptors();
	char name[16], tmp[24], new[24];

	for (int i = 0; i < FILES; i++) {
		struct overlay_entry entry;

		snprintf(name, sizeof name, "f%d", i);
		snprintf(tmp, sizeof tmp, "f%d.tmp", i);
		snprintf(new, sizeof new, "f%d.new", i);
		cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, d, name, &entry)), 0);
		old[i] = entry.id;
		cr_assert_eq(GUARDED(made.overlay, overlay_mknod(&guard, &root, d, new, S_IFREG | 0644, 0, &entry)), 0);
		cr_assert_eq(GUARDED(made.overlay, overlay_link(&guard, old[i], d, tmp, &entry)), 0);
		cr_assert_eq(GUARDED(made.overlay, overlay_rename(&guard, d, new, d, name, 0)), 0);
		cr_assert_leq(open_descriptors(), before + 16);
	}
	for (int i = 0; i < FILES; i++) {
		expect_content(made.overlay, old[i], "old");
		cr_assert_eq(stat_of(made.overlay, old[i]).st_nlink, 1);
	}
	for (int i = 0; i < FILES; i++) {
		snprintf(tmp, sizeof tmp, "f%d.tmp", i);
		cr_assert_eq(GUARDED(made.overlay, overlay_remove(&guard, d, tmp, false)), 0);
		cr_assert_eq(stat_of(made.overlay, old[i]).st_nlink, 0);
		overlay_forget(made.overlay, old[i], 2);
		cr_assert_leq(open_descriptors(), before + 16);
	}
}

Test(overlay_write, many_names_of_one_file_go)
{
	overlay_scene_auto made = overlay_scene_make("echo -n one >f; for i in {1..50}; do ln f l$i; done");
	uint64_t id = find_id(made.overlay, "f");
	size_t before = fdcache_open_count(overlay_fds(made.overlay));
	char name[8];

	for (int i = 1; i <= 50; i++) {
		snprintf(name, sizeof name, "l%d", i);
		cr_assert_eq(find_id(made.overlay, name), id);
		cr_assert_eq(remove_name(made.overlay, "", name, false), 0);
		cr_assert_eq((int)stat_of(made.overlay, id).st_nlink, 51 - i);
	}
	cr_assert_leq(fdcache_open_count(overlay_fds(made.overlay)), before + 2, "one fd for the file, whatever goes");
	expect_content(made.overlay, id, "one");
	cr_assert_eq(find_id(made.overlay, "f"), id);
}

/* ---- renaming ---- */

Test(overlay_write, renames)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t file = find_id(made.overlay, "file"), in = find_id(made.overlay, "dir/in"), dir = find_id(made.overlay, "dir");
	struct overlay_entry entry;

	cr_assert_eq(move(made.overlay, "", "file", "", "renamed", 0), 0);
	cr_assert_eq(find_id(made.overlay, "renamed"), file);
	expect_content(made.overlay, file, "one");
	/* A directory, with what is known below it. */
	cr_assert_eq(move(made.overlay, "", "dir", "open", "moved", 0), 0);
	cr_assert_eq(find_id(made.overlay, "open/moved"), dir);
	expect_content(made.overlay, in, "in");
	cr_assert_eq(find_id(made.overlay, "open/moved/in"), in);
	cr_assert_eq(move(made.overlay, "", "open", "open/moved", "x", 0), -EINVAL, "into itself");
	/* Over another, which stays usable. */
	cr_assert_eq(move(made.overlay, "", "renamed", "open/moved", "in", RENAME_NOREPLACE), -EEXIST);
	cr_assert_eq(move(made.overlay, "", "renamed", "open/moved", "in", 0), 0);
	cr_assert_eq(find_id(made.overlay, "open/moved/in"), file);
	expect_content(made.overlay, in, "in");
	cr_assert_eq(stat_of(made.overlay, in).st_nlink, 0);
	expect_content(made.overlay, file, "one");
	cr_assert_eq(try_find(made.overlay, "renamed", &entry), -ENOENT);
	cr_assert_eq(move(made.overlay, "", "renamed", "", "x", 0), -ENOENT);
	cr_assert_eq(move(made.overlay, "", "link", "", "x", RENAME_WHITEOUT), -EINVAL);
	cr_assert_eq(move(made.overlay, "", "link", "", "x", RENAME_EXCHANGE), -ENOENT);
	cr_assert_eq(move(made.overlay, "", "link", "", "pipe", RENAME_EXCHANGE | RENAME_NOREPLACE), -EINVAL);
}

Test(overlay_write, exchanges)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t file = find_id(made.overlay, "file"), in = find_id(made.overlay, "dir/in"), dir = find_id(made.overlay, "dir");
	uint64_t gone = find_id(made.overlay, "gone"), x = find_id(made.overlay, "gone/x");
	size_t before = fdcache_open_count(overlay_fds(made.overlay));

	cr_assert_eq(move(made.overlay, "", "file", "dir", "in", RENAME_EXCHANGE), 0);
	expect_content(made.overlay, file, "one");
	expect_content(made.overlay, in, "in");
	cr_assert_eq(find_id(made.overlay, "file"), in);
	cr_assert_eq(find_id(made.overlay, "dir/in"), file);
	cr_assert_eq(move(made.overlay, "", "dir", "", "gone", RENAME_EXCHANGE), 0);
	fdcache_forget(overlay_fds(made.overlay), file);
	fdcache_forget(overlay_fds(made.overlay), x);
	expect_content(made.overlay, file, "one");
	expect_content(made.overlay, x, "x");
	cr_assert_eq(find_id(made.overlay, "gone"), dir);
	cr_assert_eq(find_id(made.overlay, "dir"), gone);
	/* A directory and a file. */
	cr_assert_eq(move(made.overlay, "", "dir", "gone", "in", RENAME_EXCHANGE), 0);
	cr_assert_eq(find_id(made.overlay, "gone/in"), gone);
	cr_assert_eq(find_id(made.overlay, "dir"), file);
	cr_assert_leq(fdcache_open_count(overlay_fds(made.overlay)), before + 4, "nothing is kept, nothing went");
}

Test(overlay_write, a_rename_onto_a_hard_link_of_itself_removes_nothing)
{
	overlay_scene_auto made = overlay_scene_make("echo -n one >a; ln a b");
	uint64_t id = find_id(made.overlay, "a");

	cr_assert_eq(find_id(made.overlay, "b"), id); /* by which it is known now */
	cr_assert_eq(move(made.overlay, "", "a", "", "b", 0), 0);
	cr_assert(in_base(&made, "a") && in_base(&made, "b"));
	cr_assert_eq(find_id(made.overlay, "a"), id);
	cr_assert_eq(find_id(made.overlay, "b"), id);
	cr_assert_eq(stat_of(made.overlay, id).st_nlink, 2);
	cr_assert_eq(fdcache_pinned(overlay_fds(made.overlay), id), -EBADF, "nothing is kept for it");
}

/* Files that lose the name that we know, and have others: readable without a descriptor each. */
Test(overlay_write, names_that_go_from_files_that_stay)
{
	enum { FILES = 40 };
	overlay_scene_auto made = overlay_scene_make("mkdir d; for i in {0..39}; do echo -n $i >d/$i; done; cp -al d e");
	size_t before = fdcache_open_count(overlay_fds(made.overlay));
	uint64_t ids[FILES];
	char path[16], text[16];

	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "d/%d", i);
		ids[i] = find_id(made.overlay, path);
		snprintf(path, sizeof path, "e/%d", i); /* by which it is known from here on */
		cr_assert_eq(find_id(made.overlay, path), ids[i]);
		cr_assert_eq(remove_name(made.overlay, "e", path + 2, false), 0);
		cr_assert_eq(fdcache_pinned(overlay_fds(made.overlay), ids[i]), -EBADF, "a descriptor is kept for '%s'", path);
	}
	cr_assert_leq(fdcache_open_count(overlay_fds(made.overlay)), before + 3, "but of the directories");
	for (int i = 0; i < FILES; i++) {
		snprintf(text, sizeof text, "%d", i);
		expect_content(made.overlay, ids[i], text);
		cr_assert_eq(stat_of(made.overlay, ids[i]).st_nlink, 1);
	}
	/* A name is good again once it is looked up; and what has none left is held open. */
	cr_assert_eq(find_id(made.overlay, "d/7"), ids[7]);
	cr_assert_null(node_handle(overlay_nodes(made.overlay), ids[7]));
	cr_assert_eq(remove_name(made.overlay, "d", "8", false), 0);
	for (int i = 7; i < 9; i++) {
		snprintf(text, sizeof text, "%d", i);
		cr_assert_eq(stat_of(made.overlay, ids[i]).st_nlink, (nlink_t)(8 - i));
		expect_content(made.overlay, ids[i], text);
	}
}

/* A new name is not the one that the file is known by: it may be gone soon. */
Test(overlay_write, a_link_leaves_the_name_alone)
{
	overlay_scene_auto made = overlay_scene_make("echo -n one >a");
	uint64_t id = find_id(made.overlay, "a");
	cleanup_strbuf struct strbuf path = STRBUF_INIT;

	cr_assert_eq(link_to(made.overlay, id, "", "b"), 0);
	cr_assert_eq(node_path(overlay_nodes(made.overlay), id, &path), 0);
	cr_assert_str_eq(path.buf, "a");
	cr_assert_eq(remove_name(made.overlay, "", "b", false), 0);
	cr_assert_null(node_handle(overlay_nodes(made.overlay), id));
	expect_content(made.overlay, id, "one");
	/* Two look-ups: by the name and by the link. */
	overlay_forget(made.overlay, id, 1);
	expect_content(made.overlay, id, "one");
	overlay_forget(made.overlay, id, 1);
	cr_assert_eq(GUARDED(made.overlay, overlay_getattr(&guard, id, &(struct stat){ 0 })), -ESTALE);
}

/* ---- what is refused ---- */

/* Each change there is, at PATH (NAME in PARENT, not there where it is to be made): all of them -EROFS. */
static void expect_all_refused(struct overlay *overlay, const char *parent, const char *name, bool directory)
{
	struct stat attributes = { .st_mode = 0600 };
	char path[64];
	struct overlay_entry entry;

	snprintf(path, sizeof path, "%s%s%s", parent, *parent ? "/" : "", name);
	cr_expect_eq(make(overlay, &root, parent, name, S_IFREG | 0644), -EROFS, "mknod '%s'", path);
	cr_expect_eq(make(overlay, &root, parent, name, S_IFDIR | 0755), -EROFS, "mkdir '%s'", path);
	cr_expect_eq(symlink_to(overlay, &root, parent, name, "t"), -EROFS, "symlink '%s'", path);
	cr_expect_eq(link_to(overlay, find_id(overlay, "file"), parent, name), -EROFS, "link '%s'", path);
	cr_expect_eq(remove_name(overlay, parent, name, directory), -EROFS, "remove '%s'", path);
	cr_expect_eq(move(overlay, parent, name, "open", "x", 0), -EROFS, "rename '%s'", path);
	cr_expect_eq(move(overlay, "", "file", parent, name, 0), -EROFS, "rename to '%s'", path);
	cr_expect_eq(move(overlay, "", "file", parent, name, RENAME_EXCHANGE), -EROFS, "exchange '%s'", path);
	if (try_find(overlay, path, &entry) < 0)
		return;
	if (!directory) {
		cr_expect_eq(set(overlay, entry.id, &attributes, SET_MODE), -EROFS, "chmod '%s'", path);
		cr_expect_eq(set(overlay, entry.id, &attributes, SET_SIZE), -EROFS, "truncate '%s'", path);
		cr_expect_eq(set(overlay, entry.id, &attributes, SET_MTIME), -EROFS, "utimens '%s'", path);
		cr_expect_eq(link_to(overlay, entry.id, "open", "y"), -EROFS, "link of '%s'", path);
		cr_expect_eq(GUARDED(overlay, overlay_setxattr(&guard, entry.id, "user.a", "1", 1, 0, false)), -EROFS, "setxattr '%s'", path);
		cr_expect_eq(GUARDED(overlay, overlay_removexattr(&guard, entry.id, "user.a")), -EROFS, "removexattr '%s'", path);
	}
}

/*
 * Each change in place there is, of what is at PATH (NAME in PARENT), and each that would move it: all of them -EROFS. What the view
 * alone says is there, or is not, cannot be made.
 */
static void expect_kept_in_place(struct overlay *overlay, const char *parent, const char *name, bool directory)
{
	struct stat attributes = { .st_mode = 0600 };
	struct overlay_entry entry;
	char path[64];

	snprintf(path, sizeof path, "%s%s%s", parent, *parent ? "/" : "", name);
	cr_assert_eq(try_find(overlay, path, &entry), 0, "%s", path);
	cr_expect_eq(make(overlay, &root, parent, name, S_IFREG | 0644), -EEXIST, "mknod '%s'", path);
	cr_expect_eq(make(overlay, &root, parent, name, S_IFDIR | 0755), -EEXIST, "mkdir '%s'", path);
	cr_expect_eq(symlink_to(overlay, &root, parent, name, "t"), -EEXIST, "symlink '%s'", path);
	cr_expect_eq(link_to(overlay, find_id(overlay, "file"), parent, name), -EEXIST, "link '%s'", path);
	cr_expect_eq(move(overlay, parent, name, "open", "x", 0), -EROFS, "rename '%s'", path);
	cr_expect_eq(move(overlay, "", "file", parent, name, RENAME_EXCHANGE), -EROFS, "exchange '%s'", path);
	if (!directory) {
		cr_expect_eq(set(overlay, entry.id, &attributes, SET_MODE), -EROFS, "chmod '%s'", path);
		cr_expect_eq(set(overlay, entry.id, &attributes, SET_SIZE), -EROFS, "truncate '%s'", path);
		cr_expect_eq(set(overlay, entry.id, &attributes, SET_MTIME), -EROFS, "utimens '%s'", path);
		cr_expect_eq(GUARDED(overlay, overlay_setxattr(&guard, entry.id, "user.a", "1", 1, 0, false)), -EROFS, "setxattr '%s'", path);
		cr_expect_eq(GUARDED(overlay, overlay_removexattr(&guard, entry.id, "user.a")), -EROFS, "removexattr '%s'", path);
	}
}

static void base_is_untouched(struct overlay_scene *made, const char *wanted)
{
	cleanup_strbuf struct strbuf is = STRBUF_INIT;

	tree_of_directory(AT_FDCWD, path_in(made->scene.bench.dir, "base"), "", &is);
	cr_assert_str_eq(is.buf, wanted, "is:\n%swas:\n%s", is.buf, wanted);
}

Test(overlay_write, patched_paths_are_not_written_in_place)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	cleanup_strbuf struct strbuf before = STRBUF_INIT;
	uint64_t old = find_id(made.overlay, "dir/patched"), plain;

	patch(&made, "a", patch_script);
	tree_of_directory(AT_FDCWD, path_in(made.scene.bench.dir, "base"), "", &before);
	expect_kept_in_place(made.overlay, "dir", "patched", false);
	expect_kept_in_place(made.overlay, "", "newlink", false);
	expect_kept_in_place(made.overlay, "new", "n", false);
	expect_kept_in_place(made.overlay, "", "new", true);	/* of the patch alone */
	expect_kept_in_place(made.overlay, "", "patchy", true);	/* leads to a patched file */
	expect_kept_in_place(made.overlay, "", "plain", true);	/* its metadata is the patch's */
	base_is_untouched(&made, before.buf);
	plain = find_id(made.overlay, "plain");
	cr_assert_eq(set(made.overlay, plain, &(struct stat){ .st_mode = 0700 }, SET_MODE), -EROFS);
	/* Beside them all goes on. */
	cr_assert_eq(make(made.overlay, &user, "plain", "f", S_IFREG | 0644), 0);
	cr_assert_eq(make(made.overlay, &user, "patchy", "f", S_IFREG | 0644), 0);
	cr_assert_eq(remove_name(made.overlay, "patchy", "q", false), 0);
	cr_assert_eq(move(made.overlay, "dir", "in", "patchy", "in", 0), 0);
	cr_assert_eq(set(made.overlay, find_id(made.overlay, "patchy"), &(struct stat){ .st_mode = 0700 }, SET_MODE), 0);
	/* Who had the base's own file goes on with it. */
	cr_assert_eq(set(made.overlay, old, &(struct stat){ .st_size = 0 }, SET_SIZE), 0);
	expect_content(made.overlay, old, "");
	expect_content(made.overlay, find_id(made.overlay, "dir/patched"), "patched");
}

Test(overlay_write, nothing_at_all_where_writing_is_denied)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	cleanup_strbuf struct strbuf before = STRBUF_INIT;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	uint64_t dir;

	overlay_free(made.overlay);
	made.overlay = overlay_over(made.scene.basefd, &made.scene, true, NULL);
	cr_assert(overlay_denies_write(made.overlay));
	tree_of_directory(AT_FDCWD, path_in(made.scene.bench.dir, "base"), "", &before);
	expect_all_refused(made.overlay, "dir", "in", false);
	expect_all_refused(made.overlay, "dir", "absent", false);
	expect_all_refused(made.overlay, "", "link", false);
	expect_all_refused(made.overlay, "", "dir", true);
	dir = find_id(made.overlay, "dir");
	cr_assert_eq(set(made.overlay, dir, &(struct stat){ .st_mode = 0700 }, SET_MODE), -EROFS);
	cr_assert_eq(overlay_open(made.overlay, find_id(made.overlay, "file"), FD_WRITE, &ref), -EROFS);
	expect_content(made.overlay, find_id(made.overlay, "file"), "one");
	base_is_untouched(&made, before.buf);
}

Test(overlay_write, in_a_directory_that_is_gone)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t gone = find_id(made.overlay, "gone");
	struct overlay_entry entry;

	patch(&made, "a", patch_script);
	cr_assert_eq(GUARDED(made.overlay, overlay_mkdir(&guard, &root, gone, "x", 0755, &entry)), -ENOENT);
	cr_assert_eq(GUARDED(made.overlay, overlay_remove(&guard, gone, "x", false)), -ENOENT);
	cr_assert(in_base(&made, "gone/x"));
}

#define EXPECT_CHANGE(overlay, call)                                                               \
	do {                                                                                       \
		unsigned before_ = overlay_changes(overlay);                                       \
                                                                                                   \
		cr_assert_eq(call, 0);                                                             \
		cr_expect_neq(overlay_changes(overlay), before_, #call);                           \
	} while (0)

/* Whoever looked at the base's names is told that they are others now. */
Test(overlay_write, changes_are_counted)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct overlay *overlay = made.overlay;
	unsigned before;

	EXPECT_CHANGE(overlay, make(overlay, &root, "open", "f", S_IFREG | 0644));
	EXPECT_CHANGE(overlay, make(overlay, &root, "open", "d", S_IFDIR | 0755));
	EXPECT_CHANGE(overlay, symlink_to(overlay, &root, "open", "l", "f"));
	EXPECT_CHANGE(overlay, link_to(overlay, find_id(overlay, "open/f"), "open", "h"));
	EXPECT_CHANGE(overlay, move(overlay, "open", "h", "open", "i", 0));
	EXPECT_CHANGE(overlay, remove_name(overlay, "open", "i", false));
	EXPECT_CHANGE(overlay, remove_name(overlay, "open", "d", true));
	before = overlay_changes(overlay);
	cr_assert_eq(make(overlay, &root, "open", "f", S_IFREG | 0644), -EEXIST);
	cr_assert_eq(remove_name(overlay, "open", "absent", false), -ENOENT);
	cr_assert_eq(move(overlay, "open", "absent", "open", "j", 0), -ENOENT);
	cr_expect_eq(overlay_changes(overlay), before, "nothing has changed");
}

/* The descriptor that made a file does not outlive the right to write to all of it: the next one appends, until it may more again. */
Test(overlay_write, append_only_after_create)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	union overlay_flags flags = { .flags = FS_APPEND_FL };
	cleanup_fdref struct fdref before = FDREF_INIT, after = FDREF_INIT;
	struct overlay_entry entry;
	uint64_t open = find_id(made.overlay, "open");
	int r;

	cr_assert_eq(GUARDED(made.overlay, overlay_create(&guard, &root, open, "f", 0600, &entry)), 0);
	cr_assert_eq(overlay_open(made.overlay, entry.id, FD_WRITE, &before), 0);
	fdref_release(&before);
	r = GUARDED(made.overlay, overlay_set_flags(&guard, entry.id, FS_IOC_SETFLAGS, &flags));
	if (r == -ENOTTY || r == -EOPNOTSUPP)
		cr_skip_test("no inode flags on this filesystem: %s", error_text(-r));
	cr_assert_eq(r, 0);
	cr_expect_eq(overlay_open(made.overlay, entry.id, FD_WRITE, &after), 0);
	cr_expect(fcntl(after.fd, F_GETFL) & O_APPEND);
	fdref_release(&after);
	flags.flags = 0;
	cr_assert_eq(GUARDED(made.overlay, overlay_set_flags(&guard, entry.id, FS_IOC_SETFLAGS, &flags)), 0);
	cr_expect_eq(overlay_open(made.overlay, entry.id, FD_WRITE, &after), 0);
	cr_expect_not(fcntl(after.fd, F_GETFL) & O_APPEND);
}

Test(overlay_write, creation)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct overlay_entry entry, again;
	uint64_t open = find_id(made.overlay, "open");

	cr_assert_eq(GUARDED(made.overlay, overlay_create(&guard, &user, open, "f", 04640, &entry)), 0);
	cr_expect_eq(entry.st.st_mode, S_IFREG | 04640);
	cr_expect_eq(entry.st.st_uid, 1000);
	cr_expect_eq(entry.st.st_gid, 1000);
	cr_assert_eq(try_find(made.overlay, "open/f", &again), 0);
	cr_expect_eq(again.id, entry.id);
	cr_expect_eq(again.st.st_ino, entry.st.st_ino);
	cr_expect_eq(GUARDED(made.overlay, overlay_create(&guard, &user, open, "f", 0600, &entry)), -EEXIST);
	cr_assert_eq(symlink_to(made.overlay, &user, "open", "dangling", "nowhere"), 0);
	cr_expect_eq(GUARDED(made.overlay, overlay_create(&guard, &user, open, "dangling", 0600, &entry)), -EEXIST);
	patch(&made, "a", patch_script);
	cr_expect_eq(GUARDED(made.overlay, overlay_create(&guard, &user, find_id(made.overlay, "dir"), "patched", 0600, &entry)), -EEXIST);
}
