/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"
#include "tests/unit/resident.h"

#include <pthread.h>
#include <sys/xattr.h>

#include "fs/shared.h"

static const char base_script[] =
	"umask 022; mkdir dir gone gone/sub deep deep/er; echo -n one >file; echo -n in >dir/in; echo -n x >gone/x; "
	"echo -n y >gone/sub/y; echo -n z >deep/er/z; ln -s file link; mkfifo pipe; ln file hard; mknod null c 1 3; "
	"chown 3:4 dir/in; chmod 4755 dir/in; setfattr -n user.base -v 1 file";

/* ---- what is shown ---- */

Test(overlay, the_bare_base_as_it_is)
{
	overlay_scene_auto made = overlay_scene_make(base_script);

	expect_like(&made, "base");
	cr_assert_eq(node_count(overlay_nodes(made.overlay)), 1, "all forgotten");
}

Test(overlay, every_kind_and_change_of_type)
{
	static const char *const scripts[] = {
		/* Contents, modes, owners, times. */
		"echo -n two >dir/in", "rm hard; chmod 600 file", "chown 5:6 link -h", "ln -sfn other link; touch -hd @1.5 link",
		": >empty", "mknod -m 600 zero c 1 5", "mkfifo fifo", "ln -sfn elsewhere link",
		/* New ones, and below what the base lacks. */
		"mkdir new", "mkdir -p new/a/b; echo -n f >new/a/b/f; ln -s f new/a/l", "echo -n n >dir/n",
		"mkdir dir/new; echo -n n >dir/new/n",
		/* Gone. */
		"rm dir/in", "rm -r gone", "rm gone/x", "rm -r gone/sub", "rm link pipe null", "rm -r deep/er", "rm -rf *",
		/* Type changes in every direction. */
		"rm dir/in; ln -s t dir/in", "rm dir/in; mkdir dir/in", "rm dir/in; mkdir dir/in; echo -n f >dir/in/f",
		"rm dir/in; mkfifo dir/in", "rm link; echo -n f >link", "rm link; mkdir link; echo -n f >link/f",
		"rm link; mkfifo link", "rm -r gone; echo -n f >gone", "rm -r gone; ln -s t gone", "rm -r gone; mkfifo gone",
		"rm pipe; echo -n f >pipe", "rm pipe; ln -s t pipe", "rm pipe; mkdir pipe; mkdir pipe/sub",
		"rm null; echo -n f >null", "rm -r gone/sub; echo -n f >gone/sub", "rm gone/x; mkdir gone/x",
		/* Directories with metadata of their own. */
		"chmod 1777 dir", "chown 7:8 dir; echo -n n >dir/n", "chmod 700 gone; mkdir gone/new; rm -r gone/sub",
	};
	overlay_scene_auto made = overlay_scene_make(base_script);

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		char label[8];

		snprintf(label, sizeof label, "p%zu", i);
		patch(&made, label, scripts[i]);
		expect_like(&made, "target");
		cr_assert_eq(node_count(overlay_nodes(made.overlay)), 1, "%s", scripts[i]);
	}
	publish(&made, NULL);
	expect_like(&made, "base");
}

Test(overlay, names_that_are_not_there)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct overlay_entry entry;
	char name[258];

	patch(&made, "a", "rm file hard; rm -r gone; echo -n f >new; mkdir newdir");
	cr_assert_eq(try_find(made.overlay, "no", &entry), -ENOENT);
	cr_assert_eq(try_find(made.overlay, "file", &entry), -ENOENT);
	cr_assert_eq(try_find(made.overlay, "gone/x", &entry), -ENOENT);
	cr_assert_eq(try_find(made.overlay, "dir/in/below", &entry), -ENOTDIR);
	cr_assert_eq(try_find(made.overlay, "new/below", &entry), -ENOTDIR);
	memset(name, 'n', sizeof name);
	name[255] = '\0';
	cr_assert_eq(try_find(made.overlay, name, &entry), -ENOENT);
	name[255] = 'n';
	name[256] = '\0';
	cr_assert_eq(try_find(made.overlay, name, &entry), -ENAMETOOLONG);
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, find_id(made.overlay, "newdir"), name, &entry)), -ENAMETOOLONG,
		"where no filesystem says so");
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, 12345, "x", &entry)), -ESTALE);
	cr_assert_eq(GUARDED(made.overlay, overlay_getattr(&guard, 12345, &entry.st)), -ESTALE);
}

Test(overlay, long_names)
{
	overlay_scene_auto made = overlay_scene_make(
		"n=$(printf 'b%.0s' {1..255}); echo -n one >$n; mkdir d; echo -n two >d/$n");
	char name[260];

	patch(&made, "a", "n=$(printf 'c%.0s' {1..255}); echo -n three >d/$n");
	memset(name, 'b', 255);
	name[255] = '\0';
	expect_content(made.overlay, find_id(made.overlay, name), "one");
	memcpy(name, "d/", 2);
	memset(name + 2, 'c', 255);
	name[257] = '\0';
	expect_content(made.overlay, find_id(made.overlay, name), "three");
	expect_like(&made, "target");
}

/* ---- nodes and switches ---- */

Test(overlay, unchanged_names_keep_their_nodes)
{
	static const char *const paths[] = { "dir", "dir/other", "file", "link", "deep/er/z", "pipe" };
	overlay_scene_auto made = overlay_scene_make("mkdir -p dir deep/er; echo -n in >dir/in; echo -n o >dir/other; "
						     "echo -n one >file; ln -s file link; echo z >deep/er/z; mkfifo pipe");
	uint64_t ids[ARRAY_SIZE(paths)], in;
	struct stat before[ARRAY_SIZE(paths)];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		ids[i] = find_id(made.overlay, paths[i]);
		before[i] = stat_of(made.overlay, ids[i]);
	}
	in = find_id(made.overlay, "dir/in");
	for (int round = 0; round < 3; round++) {
		char label[] = { 'a', (char)('0' + round), '\0' };

		patch(&made, label, "echo -n two >dir/in; echo -n n >dir/new; rm -r deep; mkdir -p deep/er; echo z >deep/er/z; touch -r ../base/deep/er/z deep/er/z");
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
			struct stat st = stat_of(made.overlay, ids[i]);

			cr_assert_eq(find_id(made.overlay, paths[i]), ids[i], "'%s'", paths[i]);
			cr_assert(st.st_ino == before[i].st_ino && st.st_mode == before[i].st_mode, "'%s'", paths[i]);
		}
		cr_assert_neq(find_id(made.overlay, "dir/in"), in);
		publish(&made, NULL);
		cr_assert_eq(find_id(made.overlay, "dir/in"), in);
	}
}

Test(overlay, old_and_new_bytes_stand_side_by_side)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t base = find_id(made.overlay, "dir/in"), first, second, added;
	struct overlay_entry entry;
	struct stat st;

	patch(&made, "a", "echo -n first >dir/in; echo -n added >dir/added");
	first = find_id(made.overlay, "dir/in");
	added = find_id(made.overlay, "dir/added");
	patch(&made, "b", "echo -n the second >dir/in");
	second = find_id(made.overlay, "dir/in");
	cr_assert(base != first && first != second && base != second);
	cr_assert_eq(try_find(made.overlay, "dir/added", &entry), -ENOENT);
	publish(&made, NULL);
	/* Each of them, long after its view. */
	for (int round = 0; round < 2; round++) {
		expect_content(made.overlay, base, "in");
		expect_content(made.overlay, first, "first");
		expect_content(made.overlay, second, "the second");
		expect_content(made.overlay, added, "added");
		for (uint64_t id = 0; id < 32; id++) { /* push the fds of all out of the cache */
			cleanup_fdref struct fdref ref = FDREF_INIT;

			fdcache_add(overlay_fds(made.overlay), 1000000 + id, FD_PATH, dup(made.scene.basefd), &ref);
		}
	}
	st = stat_of(made.overlay, first);
	cr_assert_eq(st.st_size, 5);
	cr_assert_eq(st.st_mode, S_IFREG | 04755, "inherited from the base");
	cr_assert(st.st_uid == 3 && st.st_gid == 4);
	cr_assert_neq(st.st_ino, stat_of(made.overlay, second).st_ino);
	cr_assert_neq(st.st_ino, stat_of(made.overlay, base).st_ino);
}

Test(overlay, the_same_patch_again_is_the_same_node)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct oid commit = scene_patch(&made.scene, "a", "echo -n two >dir/in; mkdir new; echo -n f >new/f; ln -s x new/l");
	struct view *first = scene_view(&made.scene, &commit), *second = scene_view(&made.scene, &commit);
	static const char *const paths[] = { "dir/in", "new", "new/f", "new/l" };
	uint64_t ids[ARRAY_SIZE(paths)];

	publish(&made, first);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		ids[i] = find_id(made.overlay, paths[i]);
	publish(&made, NULL);
	publish(&made, second);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		cr_assert_eq(find_id(made.overlay, paths[i]), ids[i], "'%s'", paths[i]);
}

Test(overlay, a_directory_of_the_patch_lives_across_switches)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct overlay_entry entry;
	uint64_t new, file;
	struct stat st;
	char list[64];

	patch(&made, "a", "mkdir new; mkdir new/sub; echo -n f >new/f; setfattr -n user.n -v 1 new");
	new = find_id(made.overlay, "new");
	file = find_id(made.overlay, "new/f");
	cr_assert_eq(stat_of(made.overlay, new).st_nlink, 3);
	patch(&made, "b", "mkdir -m 700 new; chown 5:6 new; echo -n g >new/f");
	cr_assert_eq(find_id(made.overlay, "new"), new);
	st = stat_of(made.overlay, new);
	cr_assert(st.st_mode == (S_IFDIR | 0700) && st.st_uid == 5 && st.st_gid == 6 && st.st_nlink == 2);
	cr_assert_neq(find_id(made.overlay, "new/f"), file);
	/* Taken away: who stands in it sees it empty and unlinked. */
	publish(&made, NULL);
	cr_assert_eq(stat_of(made.overlay, new).st_nlink, 0);
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, new, "f", &entry)), -ENOENT);
	cr_assert_eq(GUARDED(made.overlay, overlay_listxattr(&guard, new, list, sizeof list, true)), 7);
	cr_assert_str_eq(list, "user.n", "as at its birth");
	cr_assert_eq(GUARDED(made.overlay, overlay_getxattr(&guard, new, "user.no", list, sizeof list)), -ENODATA);
	expect_content(made.overlay, file, "f");
}

Test(overlay, a_directory_of_the_base_taken_away)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t gone = find_id(made.overlay, "gone"), sub = find_id(made.overlay, "gone/sub");
	uint64_t y = find_id(made.overlay, "gone/sub/y");
	struct overlay_entry entry;

	patch(&made, "a", "rm -r gone; echo -n f >gone");
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, gone, "x", &entry)), -ENOENT);
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, sub, "y", &entry)), -ENOENT);
	expect_content(made.overlay, y, "y");
	cr_assert_eq(stat_of(made.overlay, gone).st_mode, S_IFDIR | 0755);
	publish(&made, NULL);
	cr_assert_eq(find_id(made.overlay, "gone"), gone);
	cr_assert_eq(find_id(made.overlay, "gone/sub/y"), y);
}

/* The base changes after the view was made: deletions alone make no directory, files do. */
Test(overlay, a_way_through_that_the_base_has_lost)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct overlay_entry entry;

	patch(&made, "a", "rm gone/x; echo -n zz >deep/er/z");
	bench_run(&made.scene.bench, "rm -r base/gone base/deep");
	cr_assert_eq(try_find(made.overlay, "gone", &entry), -ENOENT);
	expect_content(made.overlay, find_id(made.overlay, "deep/er/z"), "zz");
	bench_run(&made.scene.bench, "rm -r target/gone");
	expect_like(&made, "target");
	/* Another kind of file in its place is shown; the one that files of the patch need is not. */
	bench_run(&made.scene.bench, "echo -n now a file >base/gone; cp -a base/gone target; echo -n no >base/deep");
	expect_content(made.overlay, find_id(made.overlay, "gone"), "now a file");
	expect_like(&made, "target");
}

Test(overlay, the_base_gets_a_directory_that_the_patch_made)
{
	overlay_scene_auto made = overlay_scene_make(base_script);

	patch(&made, "a", "mkdir new; echo -n f >new/f");
	find(made.overlay, "new/f");
	bench_run(&made.scene.bench, "mkdir base/new; echo -n b >base/new/b; chmod 755 base/new");
	expect_content(made.overlay, find_id(made.overlay, "new/b"), "b");
	expect_content(made.overlay, find_id(made.overlay, "new/f"), "f");
}

/* ---- the base, changed around the overlay ---- */

Test(overlay, a_replaced_file_is_stale)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t id = find_id(made.overlay, "dir/in"), link = find_id(made.overlay, "link"), other;
	cleanup_strbuf struct strbuf target = STRBUF_INIT;
	cleanup_fdref struct fdref ref = FDREF_INIT;
	struct stat st;

	bench_run(&made.scene.bench, "cd base; echo -n new >new; mv new dir/in; ln -s x new; mv new link");
	cr_assert_eq(GUARDED(made.overlay, overlay_getattr(&guard, id, &st)), -ESTALE);
	cr_assert_eq(overlay_open(made.overlay, id, FD_READ, &ref), -ESTALE);
	cr_assert_eq(overlay_readlink(made.overlay, link, &target), -ESTALE);
	other = find_id(made.overlay, "dir/in");
	cr_assert_neq(other, id);
	expect_content(made.overlay, other, "new");
	cr_assert_eq(GUARDED(made.overlay, overlay_getattr(&guard, id, &st)), -ESTALE);
	bench_run(&made.scene.bench, "rm -r base/dir");
	cr_assert_eq(overlay_open(made.overlay, other, FD_WRITE, &ref), -ESTALE);
}

Test(overlay, what_is_open_stays_readable)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t id = find_id(made.overlay, "dir/in");

	expect_content(made.overlay, id, "in"); /* its fd is in the cache now */
	bench_run(&made.scene.bench, "cd base; echo -n new >new; mv new dir/in");
	expect_content(made.overlay, id, "in");
	cr_assert_eq(stat_of(made.overlay, id).st_nlink, 0);
}

Test(overlay, a_symlink_in_the_way_is_not_followed)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t in = find_id(made.overlay, "dir/in"), dir = find_id(made.overlay, "dir");
	cleanup_fdref struct fdref ref = FDREF_INIT;
	struct overlay_entry entry;

	overlay_free(made.overlay);
	made.overlay = overlay_over(made.scene.basefd, &made.scene, false, NULL);
	in = find_id(made.overlay, "dir/in");
	dir = find_id(made.overlay, "dir");
	fdcache_forget(overlay_fds(made.overlay), dir);
	bench_run(&made.scene.bench, "mv base/dir elsewhere; ln -s ../elsewhere base/dir");
	cr_assert_eq(overlay_open(made.overlay, in, FD_READ, &ref), -ESTALE);
	cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, dir, "in", &entry)), -ESTALE);
	cr_assert_eq(find(made.overlay, "dir").st.st_mode, S_IFLNK | 0777);
}

/* ---- hard links, deep paths, many files ---- */

Test(overlay, hard_links_agree)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	uint64_t id = find_id(made.overlay, "file");

	cr_assert_eq(find_id(made.overlay, "hard"), id);
	cr_assert_eq(stat_of(made.overlay, id).st_nlink, 2);
	bench_run(&made.scene.bench, "rm base/file"); /* the name that was seen last is the other */
	expect_content(made.overlay, id, "one");
	cr_assert_eq(find_id(made.overlay, "hard"), id);
}

enum { DEPTH = 30, NAME = 200 };

/* DEPTH directories of NAME bytes, one in the other, and a file "f" in each. Returns an fd of the innermost. */
static int make_deep(int base_fd, const char *name)
{
	int at = dup(base_fd);

	for (int i = 0; i < DEPTH; i++) {
		int next, file;

		cr_assert_eq(mkdirat(at, name, 0755), 0);
		next = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
		file = openat(at, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		cr_assert_eq(write(file, &i, sizeof i), sizeof i);
		close(file);
	}
	return at;
}

static void remove_deep(const struct overlay_scene *made)
{
	bench_run(&made->scene.bench, "rm -rf base/nnnn*");
}

Test(overlay, paths_longer_than_one_call_takes)
{
	overlay_scene_auto made = overlay_scene_make("echo -n one >file");
	char name[NAME + 1];
	cleanup_close int deepest = -EBADF;
	uint64_t parent = NODE_ROOT, files[DEPTH];

	memset(name, 'n', NAME);
	name[NAME] = '\0';
	deepest = make_deep(made.scene.basefd, name);
	for (int i = 0; i < DEPTH; i++) {
		struct overlay_entry entry;

		cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, parent, name, &entry)), 0);
		parent = entry.id;
		cr_assert_eq(GUARDED(made.overlay, overlay_lookup(&guard, parent, "f", &entry)), 0);
		files[i] = entry.id;
	}
	/* More of them than the cache holds: each is opened by its whole path. */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < DEPTH; i++) {
			cleanup_fdref struct fdref ref = FDREF_INIT;
			int content = -1;

			cr_assert_eq(overlay_open(made.overlay, files[i], FD_READ, &ref), 0, "depth %d", i);
			cr_assert_eq(pread(ref.fd, &content, sizeof content, 0), sizeof content);
			cr_assert_eq(content, i);
			cr_assert_eq(stat_of(made.overlay, files[i]).st_size, sizeof content);
		}
	}
	remove_deep(&made);
	cr_assert_eq(GUARDED(made.overlay, overlay_getattr(&guard, files[2], &(struct stat){ 0 })), -ESTALE);
}

/* The oracle's own links are those that its names have. */
Test(overlay, links_that_a_patch_hides)
{
	static const char *const scripts[] = { "rm a", "rm a; echo -n new >a", "rm -r d", "rm -r d; echo -n file >d", "chmod 700 d; rm d/b a" };
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo -n one >a; ln a d/b; ln a c; ln -s x l; ln l d/m");

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		char label[] = { (char)('a' + (char)i), '\0' };

		patch(&made, label, scripts[i]);
		expect_like(&made, "target");
	}
	publish(&made, NULL);
	expect_like(&made, "base");
}

Test(overlay, no_descriptor_is_left)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; for i in {1..300}; do echo -n $i >d/$i; done");
	struct oid commits[2] = { scene_patch(&made.scene, "a", "echo -n 7 >d/new; rm d/300; echo -n 300 >d/300"),
		scene_patch(&made.scene, "b", "chmod 600 d/2*") };
	struct view *views[3] = { NULL, scene_view(&made.scene, &commits[0]), scene_view(&made.scene, &commits[1]) };
	size_t before = open_descriptors();

	for (size_t round = 0; round < ARRAY_SIZE(views); round++) {
		char path[16];

		publish(&made, views[round]);
		for (int i = 1; i <= 300; i++) {
			cleanup_strbuf struct strbuf content = STRBUF_INIT;
			struct overlay_entry entry;

			snprintf(path, sizeof path, "d/%d", i);
			entry = find(made.overlay, path);
			stat_of(made.overlay, entry.id);
			read_id(made.overlay, entry.id, &content);
			cr_assert_str_eq(content.buf, path + 2);
			cr_assert_leq(open_descriptors(), before + 16);
			cr_assert_eq(try_find(made.overlay, "d/no", &entry), -ENOENT);
		}
	}
	cr_assert_leq(fdcache_open_count(overlay_fds(made.overlay)), 16);
	overlay_free(made.overlay);
	made.overlay = NULL;
	cr_assert_eq(open_descriptors(), before - 1 - SHARED_REGIONS, "the overlay's own, by which handles are opened, and the table's go too");
}

/* ---- one view for the length of a request ---- */

struct insider {
	struct overlay *overlay;
	pthread_barrier_t inside, leave;
	char content[16];
};

/* Enters, and leaves when told: what it looks up in between is of the view that it entered with. */
static void *stay_inside(void *arg)
{
	struct insider *insider = arg;
	cleanup_strbuf struct strbuf content = STRBUF_INIT;
	cleanup_overlay_guard struct overlay_guard guard;
	struct overlay_entry entry;

	overlay_enter(insider->overlay, &guard);
	pthread_barrier_wait(&insider->inside);
	pthread_barrier_wait(&insider->leave);
	cr_assert_eq(overlay_lookup(&guard, NODE_ROOT, "file", &entry), 0);
	read_id(insider->overlay, entry.id, &content);
	snprintf(insider->content, sizeof insider->content, "%s", content.buf);
	return NULL;
}

Test(overlay, a_drain_waits_for_those_inside)
{
	overlay_scene_auto made = overlay_scene_make("echo -n one >file");
	struct insider insider = { .overlay = made.overlay };
	struct oid commit = scene_patch(&made.scene, "a", "echo -n two >file");
	struct view *view = scene_view(&made.scene, &commit), *old;
	struct timespec start, end;
	pthread_t thread;

	pthread_barrier_init(&insider.inside, NULL, 2);
	pthread_barrier_init(&insider.leave, NULL, 2);
	cr_assert(overlay_drain(made.overlay, 0), "nobody was ever inside");
	cr_assert_eq(pthread_create(&thread, NULL, stay_inside, &insider), 0);
	pthread_barrier_wait(&insider.inside);
	old = overlay_publish(made.overlay, view);
	cr_assert_null(old);
	/* Others come and go with the new view meanwhile. */
	expect_content(made.overlay, find_id(made.overlay, "file"), "two");
	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_assert_not(overlay_drain(made.overlay, 50));
	clock_gettime(CLOCK_MONOTONIC, &end);
	cr_assert_geq((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000, 49);
	expect_content(made.overlay, find_id(made.overlay, "file"), "two");
	cr_assert_not(overlay_drain(made.overlay, 0));
	pthread_barrier_wait(&insider.leave);
	cr_assert(overlay_drain(made.overlay, 10000));
	pthread_join(thread, NULL);
	cr_assert_str_eq(insider.content, "one");
	cr_assert_eq(overlay_publish(made.overlay, NULL), view);
	cr_assert(overlay_drain(made.overlay, 1000));
	view_unref(view); /* the overlay's count */
	view_unref(view); /* the one of scene_view() */
}

Test(overlay, the_current_view_is_counted)
{
	overlay_scene_auto made = overlay_scene_make("echo -n one >file");
	struct view *view;

	cr_assert_null(overlay_view(made.overlay));
	patch(&made, "a", "echo -n two >file");
	view = overlay_view(made.overlay);
	cr_assert_eq(view, made.view);
	publish(&made, NULL);
	cr_assert_gt(view_count(view), 1);
	view_unref(view);
}

/* ---- switches under load ---- */

struct load {
	struct overlay *overlay;
	atomic_bool stop;
	atomic_ulong done;
};

/* "x" holds its view's letter throughout, and "same" is the same node for ever. */
static void *read_under_switches(void *arg)
{
	struct load *load = arg;
	uint64_t same = find_id(load->overlay, "d/same");

	while (!atomic_load(&load->stop)) {
		cleanup_strbuf struct strbuf content = STRBUF_INIT;
		struct overlay_entry d, x, entry;

		{
			cleanup_overlay_guard struct overlay_guard guard;

			overlay_enter(load->overlay, &guard);
			cr_assert_eq(overlay_lookup(&guard, NODE_ROOT, "d", &d), 0);
			cr_assert_eq(overlay_lookup(&guard, d.id, "x", &x), 0);
			cr_assert_eq(overlay_lookup(&guard, d.id, "same", &entry), 0);
			cr_assert_eq(entry.id, same);
		}
		read_id(load->overlay, x.id, &content);
		cr_assert_eq((off_t)content.len, x.st.st_size);
		for (size_t i = 1; i < content.len; i++)
			cr_assert_eq(content.buf[i], content.buf[0]);
		overlay_forget(load->overlay, entry.id, 1);
		overlay_forget(load->overlay, x.id, 1);
		overlay_forget(load->overlay, d.id, 1);
		atomic_fetch_add(&load->done, 1);
	}
	return NULL;
}

Test(overlay, switches_under_load)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo -n bbb >d/x; echo -n s >d/same");
	struct oid commits[2] = { scene_patch(&made.scene, "p", "echo -n ppppp >d/x"),
		scene_patch(&made.scene, "q", "echo -n qqqqqqq >d/x; echo -n new >d/new") };
	struct view *views[3] = { scene_view(&made.scene, &commits[0]), scene_view(&made.scene, &commits[1]), NULL };
	struct load load = { .overlay = made.overlay };
	pthread_t threads[3];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, read_under_switches, &load), 0);
	for (int i = 0; i < 500 || atomic_load(&load.done) < 1000; i++) {
		struct view *view = views[i % 3];

		view_unref(overlay_publish(made.overlay, view));
		cr_assert(overlay_drain(made.overlay, 10000));
	}
	atomic_store(&load.stop, true);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	view_unref(views[0]);
	view_unref(views[1]);
}
