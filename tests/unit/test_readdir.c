/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include <sched.h>
#include <sys/mount.h>

#define NAMES_MAX 25000

struct seen {
	char *name;
	uint64_t offset;
	ino_t inode;
	mode_t type;
};

/* One reading of a directory, piece by piece. */
struct reading {
	struct seen *list;
	size_t count;
	size_t room; /* entries of the piece at hand that are still taken */
	uint64_t offset; /* of the last entry that was taken */
};

static void reading_release(struct reading *reading)
{
	for (size_t i = 0; i < reading->count; i++)
		free(reading->list[i].name);
	free(reading->list);
}
#define reading_auto __attribute__((cleanup(reading_release))) struct reading

static bool take(void *arg, const char *name, uint64_t offset, ino_t inode, mode_t type)
{
	struct reading *reading = arg;

	if (!reading->room)
		return false;
	reading->room--;
	if (!reading->list)
		reading->list = malloc(NAMES_MAX * sizeof *reading->list);
	/* An assertion is a message to Criterion's runner, also where it holds: not one for each entry. */
	if (reading->count == NAMES_MAX)
		cr_assert_fail("no end");
	reading->list[reading->count++] = (struct seen){ strdup(name), offset, inode, type };
	reading->offset = offset;
	return true;
}

/* The next COUNT entries; false: there were none. */
static bool read_piece(struct overlay *overlay, struct readdir_cache *cache, uint64_t id, struct reading *reading,
	size_t count)
{
	size_t before = reading->count;
	int r;

	reading->room = count;
	r = GUARDED(overlay, readdir_list(cache, &guard, id, reading->offset, true, take, reading));
	cr_assert_eq(r, 0, "readdir: %d", r);
	return reading->count > before;
}

static struct reading read_all(struct overlay *overlay, uint64_t id, uint64_t offset)
{
	struct readdir_cache *cache = readdir_cache_new();
	struct reading reading = { .offset = offset };

	read_piece(overlay, cache, id, &reading, NAMES_MAX);
	readdir_cache_free(cache);
	return reading;
}

static size_t times_seen(const struct reading *reading, const char *name)
{
	size_t times = 0;

	for (size_t i = 0; i < reading->count; i++)
		times += strcmp(reading->list[i].name, name) == 0;
	return times;
}

static void expect_equal(const struct reading *a, size_t from, const struct reading *b)
{
	cr_assert_eq(a->count - from, b->count);
	for (size_t i = 0; i < b->count; i++) {
		const struct seen *left = &a->list[from + i], *right = &b->list[i];

		if (strcmp(left->name, right->name) != 0 || left->offset != right->offset || left->inode != right->inode ||
			left->type != right->type)
			cr_assert_fail("entry %zu: '%s' and '%s'", i, left->name, right->name);
	}
}

/* 60 names of the base, "stay…" and others; the patch takes some away, replaces some, and adds some. */
static const char mixed_base[] = "mkdir d; cd d; for i in {1..40}; do echo $i >stay$i; done; for i in {1..10}; do echo $i >old$i; "
				 "echo $i >change$i; done; mkdir subdir; ln -s x link";
static const char mixed_patch[] = "cd d; rm old*; for i in {1..10}; do echo two >change$i; echo n >new$i; done; "
				  "mkdir newdir; ln -s y newlink; rm -r subdir; echo f >subdir";

/* ---- order and offsets ---- */

Test(readdir, offsets_grow_and_begin_with_the_dots)
{
	overlay_scene_auto made = overlay_scene_make(mixed_base);
	reading_auto reading = { .count = 0 };

	patch(&made, "a", mixed_patch);
	reading = read_all(made.overlay, find_id(made.overlay, "d"), 0);
	cr_assert_eq(reading.count, 2 + 40 + 10 + 10 + 4);
	cr_assert(strcmp(reading.list[0].name, ".") == 0 && reading.list[0].offset == 1);
	cr_assert(strcmp(reading.list[1].name, "..") == 0 && reading.list[1].offset == 2);
	cr_assert(reading.list[0].type == S_IFDIR && reading.list[1].type == S_IFDIR);
	for (size_t i = 2; i < reading.count; i++) {
		cr_assert_gt(reading.list[i].offset, reading.list[i - 1].offset);
		cr_assert_geq(reading.list[i].offset, 16);
		cr_assert_leq(reading.list[i].offset, (uint64_t)INT64_MAX, "fits off_t");
		cr_assert_eq(reading.list[i].offset, readdir_offset(reading.list[i].name, strlen(reading.list[i].name)));
	}
}

Test(readdir, continues_behind_every_offset)
{
	overlay_scene_auto made = overlay_scene_make(mixed_base);
	reading_auto whole = { .count = 0 };
	uint64_t id;

	patch(&made, "a", mixed_patch);
	id = find_id(made.overlay, "d");
	whole = read_all(made.overlay, id, 0);
	for (size_t i = 0; i < whole.count; i++) {
		reading_auto rest = read_all(made.overlay, id, whole.list[i].offset);

		expect_equal(&whole, i + 1, &rest);
	}
	{
		reading_auto behind = read_all(made.overlay, id, INT64_MAX);

		cr_assert_eq(behind.count, 0);
	}
}

Test(readdir, pieces_of_every_size)
{
	overlay_scene_auto made = overlay_scene_make(mixed_base);
	struct readdir_cache *cache = readdir_cache_new();
	reading_auto whole = { .count = 0 };
	uint64_t id;

	patch(&made, "a", mixed_patch);
	id = find_id(made.overlay, "d");
	whole = read_all(made.overlay, id, 0);
	for (size_t size = 1; size <= whole.count + 1; size++) {
		reading_auto reading = { .count = 0 };

		while (read_piece(made.overlay, cache, id, &reading, size))
			;
		expect_equal(&whole, 0, &reading);
	}
	readdir_cache_free(cache);
}

Test(readdir, offsets_need_no_memory)
{
	overlay_scene_auto made = overlay_scene_make(mixed_base);
	struct overlay *other;
	reading_auto one = { .count = 0 };
	reading_auto two = { .count = 0 };

	patch(&made, "a", mixed_patch);
	other = overlay_over(made.scene.basefd, &made.scene, false, made.view);
	one = read_all(made.overlay, find_id(made.overlay, "d"), 0);
	two = read_all(other, find_id(other, "d"), 0);
	expect_equal(&one, 0, &two);
	overlay_free(other);
}

/* ---- what is listed ---- */

Test(readdir, entries_are_as_stat_shows_them)
{
	overlay_scene_auto made = overlay_scene_make("mkdir dir gone; echo f >file; ln -s x link; mkfifo pipe; mknod null c 1 3; echo 1 >dir/f");
	reading_auto reading = { .count = 0 };

	patch(&made, "a", "mkdir newdir; echo 2 >new; ln -s y newlink; mkfifo newpipe; rm link; mkdir link; echo 2 >file; rm -r gone");
	reading = read_all(made.overlay, NODE_ROOT, 0);
	cr_assert_eq(reading.count, 2 + 9);
	for (size_t i = 2; i < reading.count; i++) {
		struct stat st = find(made.overlay, reading.list[i].name).st;

		cr_assert_eq(reading.list[i].inode, st.st_ino, "'%s'", reading.list[i].name);
		cr_assert_eq(reading.list[i].type, st.st_mode & S_IFMT, "'%s'", reading.list[i].name);
	}
	cr_assert_eq(times_seen(&reading, "gone"), 0);
}

struct count_row {
	const char *path;
	size_t count; /* the dots included */
};

Test(readdir, directories_of_every_kind)
{
	static const struct count_row rows[] = { { "empty", 2 }, { "emptied", 2 }, { "new", 3 }, { "new/sub", 2 }, { "through", 4 },
		{ "file", 4 }, { "", 7 } };
	overlay_scene_auto made = overlay_scene_make("mkdir empty emptied through; echo 1 >emptied/1; echo 1 >through/1; echo 1 >file");

	patch(&made, "a", "rm emptied/1; mkdir -p new/sub; echo 1 >through/2; rm file; mkdir file; echo a >file/a; echo b >file/b");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		reading_auto reading = read_all(made.overlay, find_id(made.overlay, rows[i].path), 0);

		cr_expect_eq(reading.count, rows[i].count, "'%s': %zu entries, not %zu", rows[i].path, reading.count, rows[i].count);
	}
}

Test(readdir, a_directory_that_is_gone_is_empty)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d e; echo 1 >d/1; echo 1 >file");
	uint64_t d = find_id(made.overlay, "d"), new, file = find_id(made.overlay, "file");
	struct readdir_cache *cache = readdir_cache_new();
	struct reading none = { .room = 10 };

	patch(&made, "a", "rm -r d; mkdir new; echo 1 >new/1");
	new = find_id(made.overlay, "new");
	{
		reading_auto reading = read_all(made.overlay, d, 0);

		cr_assert_eq(reading.count, 2, "taken away by the patch");
	}
	publish(&made, NULL);
	{
		reading_auto reading = read_all(made.overlay, new, 0);

		cr_assert_eq(reading.count, 2, "gone with its patch");
	}
	{
		reading_auto reading = read_all(made.overlay, d, 0);

		cr_assert_eq(reading.count, 3);
	}
	cr_assert_eq(GUARDED(made.overlay, readdir_list(cache, &guard, file, 0, false, take, &none)), -ENOTDIR);
	cr_assert_eq(GUARDED(made.overlay, readdir_list(cache, &guard, 12345, 0, true, take, &none)), -ESTALE);
	readdir_cache_free(cache);
}

/* Another filesystem mounted below the base: numbers of its own, apart from the base's. */
Test(readdir, inodes_of_another_device)
{
	overlay_scene_auto made = overlay_scene_make("mkdir sub; echo 1 >file");
	reading_auto reading = { .count = 0 };

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", path_in(made.scene.bench.dir, "base/sub"), "tmpfs", 0, NULL) < 0)
		cr_skip_test("no mount namespace of one's own here");
	bench_run(&made.scene.bench, "echo 1 >base/sub/a; echo 2 >base/sub/b");
	close(made.scene.basefd); /* it was opened in the namespace that we left */
	made.scene.basefd = bench_open(&made.scene.bench, "base");
	overlay_free(made.overlay);
	made.overlay = overlay_over(made.scene.basefd, &made.scene, false, NULL);
	reading = read_all(made.overlay, find_id(made.overlay, "sub"), 0);
	cr_assert_eq(reading.count, 4);
	for (size_t i = 2; i < reading.count; i++) {
		char path[16];
		ino_t inode;

		snprintf(path, sizeof path, "sub/%s", reading.list[i].name);
		inode = find(made.overlay, path).st.st_ino;
		cr_assert_eq(inode >> 62, 2);
		cr_assert_eq(reading.list[i].inode, inode, "'%s'", path);
	}
	umount(path_in(made.scene.bench.dir, "base/sub"));
}

/* ---- changes between two pieces ---- */

static void expect_stayed(const struct reading *reading)
{
	for (int i = 1; i <= 40; i++) {
		char name[16];

		snprintf(name, sizeof name, "stay%d", i);
		if (times_seen(reading, name) != 1)
			cr_assert_fail("'%s' %zu times", name, times_seen(reading, name));
	}
	for (size_t i = 0; i < reading->count; i++) {
		if (times_seen(reading, reading->list[i].name) != 1)
			cr_assert_fail("'%s' twice", reading->list[i].name);
	}
}

Test(readdir, a_switch_between_two_pieces)
{
	overlay_scene_auto made = overlay_scene_make(mixed_base);
	struct oid commit = scene_patch(&made.scene, "a", mixed_patch);
	cleanup_view struct view *view = scene_view(&made.scene, &commit);
	struct readdir_cache *cache = readdir_cache_new();
	uint64_t id = find_id(made.overlay, "d");

	for (size_t size = 1; size < 20; size++) {
		reading_auto reading = { .count = 0 };
		bool patched = false;

		while (read_piece(made.overlay, cache, id, &reading, size)) {
			patched = !patched;
			publish(&made, patched ? view_ref(view) : NULL);
		}
		expect_stayed(&reading);
	}
	readdir_cache_free(cache);
}

Test(readdir, a_base_that_changes_between_two_pieces)
{
	overlay_scene_auto made = overlay_scene_make(mixed_base);
	struct readdir_cache *cache = readdir_cache_new();
	int d = openat(made.scene.basefd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t id;

	patch(&made, "a", mixed_patch);
	id = find_id(made.overlay, "d");
	for (size_t size = 1; size < 20; size++) {
		reading_auto reading = { .count = 0 };
		int round = 0;

		while (read_piece(made.overlay, cache, id, &reading, size)) {
			char name[32], last[32];

			snprintf(name, sizeof name, "come%zu-%d", size, round);
			snprintf(last, sizeof last, "come%zu-%d", size, round - 1);
			close(openat(d, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
			unlinkat(d, last, 0);
			/* As the handlers do after a change of their own. */
			if (round++ % 3 == 0)
				readdir_cache_drop(cache, id);
			cr_assert_lt(round, 1000);
		}
		expect_stayed(&reading);
	}
	close(d);
	readdir_cache_free(cache);
}

Test(readdir, a_reading_that_begins_sees_what_is_there)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; echo 1 >d/a");
	struct readdir_cache *cache = readdir_cache_new();
	uint64_t id = find_id(made.overlay, "d");

	/* Faster than the clock of the filesystem ticks. */
	for (int i = 0; i < 100; i++) {
		reading_auto first = { .count = 0 };
		reading_auto reading = { .count = 0 };
		char path[32];

		read_piece(made.overlay, cache, id, &first, 1); /* leaves a snapshot behind */
		snprintf(path, sizeof path, "d/%d", i);
		close(openat(made.scene.basefd, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
		read_piece(made.overlay, cache, id, &reading, NAMES_MAX);
		cr_assert_eq(times_seen(&reading, path + 2), 1, "'%s'", path);
		cr_assert_eq(reading.count, 4 + (size_t)i);
	}
	readdir_cache_free(cache);
}

/* ---- several readers, large directories ---- */

Test(readdir, more_readers_than_are_kept)
{
	enum { READERS = 20 };
	overlay_scene_auto made = overlay_scene_make("for d in {1..20}; do mkdir $d; for i in {1..30}; do echo 1 >$d/f$d-$i; done; done");
	struct readdir_cache *cache = readdir_cache_new();
	struct reading readings[READERS] = { { .count = 0 } };
	uint64_t ids[READERS];
	bool more = true;

	for (int i = 0; i < READERS; i++) {
		char name[8];

		snprintf(name, sizeof name, "%d", i / 2 + 1); /* two of them in each directory */
		ids[i] = find_id(made.overlay, name);
	}
	while (more) {
		more = false;
		for (int i = 0; i < READERS; i++)
			more |= read_piece(made.overlay, cache, ids[i], &readings[i], 1 + (size_t)i % 5);
	}
	for (int i = 0; i < READERS; i++) {
		reading_auto whole = read_all(made.overlay, ids[i], 0);

		cr_assert_eq(whole.count, 32);
		expect_equal(&whole, 0, &readings[i]);
		reading_release(&readings[i]);
	}
	readdir_cache_free(cache);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

Test(readdir, twenty_thousand_names_in_small_pieces)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; cd d; seq -f 'some-name-of-a-file-%.0f' 20000 | xargs touch");
	struct readdir_cache *cache = readdir_cache_new();
	reading_auto whole = { .count = 0 };
	reading_auto reading = { .count = 0 };
	uint64_t id, start, once, pieces;

	patch(&made, "a", "cd d; rm *99; for i in {1..50}; do echo n >new$i; done");
	id = find_id(made.overlay, "d");
	start = now_us();
	whole = read_all(made.overlay, id, 0);
	once = now_us() - start;
	start = now_us();
	while (read_piece(made.overlay, cache, id, &reading, 50))
		;
	pieces = now_us() - start;
	expect_equal(&whole, 0, &reading);
	cr_assert_eq(whole.count, 2 + 20000 - 200 + 50);
	/* Listed anew for each piece it would be 400 times. */
	cr_assert_lt(pieces, 40 * once, "%lu us at once, %lu us in pieces", (unsigned long)once, (unsigned long)pieces);
	readdir_cache_free(cache);
}
