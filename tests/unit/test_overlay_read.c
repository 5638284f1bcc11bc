/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>


static const char base_script[] =
	"umask 022; mkdir dir gone gone/sub deep deep/er; echo -n one >file; echo -n in >dir/in; echo -n x >gone/x; "
	"echo -n y >gone/sub/y; echo -n z >deep/er/z; ln -s file link; mkfifo pipe; ln file hard; mknod null c 1 3; "
	"chown 3:4 dir/in; chmod 4755 dir/in; setfattr -n user.base -v 1 file";

/* ---- a file, to be read ---- */

/* Open PATH to read FROM…TO-1. Is a descriptor KEPT after that, and is its size said to be SIZE? */
static void expect_open(struct overlay *overlay, const char *path, uint64_t from, uint64_t to, uint64_t size, bool kept)
{
	struct fdref file = FDREF_INIT, again = FDREF_INIT;
	uint64_t id = find_id(overlay, path), said = 0;

	cr_assert_eq(overlay_open_to_read(overlay, id, from, to, &file, &said), 0, "%s", path);
	cr_assert_eq(said, size, "%s: size %ju", path, (uintmax_t)said);
	cr_assert_geq(file.fd, 0);
	fdref_release(&file);
	cr_assert_eq(fdcache_get(overlay_fds(overlay), id, FD_READ, &again), kept, "%s", path);
	fdref_release(&again);
}

/* What is read whole at once is not kept open; what will be asked for again is. */
Test(overlay_read, open_to_read)
{
	overlay_scene_auto made = overlay_scene_make("mkdir dir; echo -n 12345 >dir/in; echo -n 12345678 >other; : >empty");
	static const char *const paths[] = { "dir/in", "other" };

	patch(&made, "a", "echo -n 87654321 >other");
	expect_open(made.overlay, "empty", 0, 4096, 0, false);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		uint64_t size = i ? 8 : 5;

		expect_open(made.overlay, paths[i], 0, 4096, size, false);
		expect_open(made.overlay, paths[i], 0, size, size, false);
		expect_open(made.overlay, paths[i], 0, size - 1, size, true);
		/* A descriptor that was there says nothing of the size: it may have been opened long ago. */
		expect_open(made.overlay, paths[i], 0, 4096, UINT64_MAX, true);
	}
	fdcache_forget(overlay_fds(made.overlay), find_id(made.overlay, "other"));
	expect_open(made.overlay, "other", 1, 4096, 8, true);
}

Test(overlay_read, what_cannot_be_opened_to_read)
{
	overlay_scene_auto made = overlay_scene_make("mkdir dir; echo -n 12345 >dir/in");
	struct fdref file = FDREF_INIT;
	uint64_t size = 1, id = find_id(made.overlay, "dir/in");

	bench_run(&made.scene.bench, "rm base/dir/in");
	cr_assert_eq(overlay_open_to_read(made.overlay, id, 0, 10, &file, &size), -ESTALE);
	cr_assert_eq(overlay_open_to_read(made.overlay, 12345, 0, 10, &file, &size), -ESTALE);
	cr_assert_eq(file.fd, -EBADF);
}

/* A name that another file has got, of another size, while an fd of the first is kept: its end is the first's, and nobody asked for it. */
Test(overlay_read, size_is_of_the_file_that_is_opened)
{
	overlay_scene_auto made = overlay_scene_make("echo -n 12345678 >f");
	uint64_t size = 0, id = find_id(made.overlay, "f");
	cleanup_fdref struct fdref file = FDREF_INIT;
	char bytes[16];

	cr_assert_eq(fdcache_pin(overlay_fds(made.overlay), id, openat(made.scene.basefd, "f", O_PATH | O_CLOEXEC)), 0);
	bench_run(&made.scene.bench, "echo -n 1 >base/t; mv base/t base/f");
	cr_assert_eq(overlay_open_to_read(made.overlay, id, 0, 4096, &file, &size), 0);
	cr_assert_eq(size, UINT64_MAX, "size %ju", (uintmax_t)size);
	cr_assert_eq(read(file.fd, bytes, sizeof bytes), 8);
}

/* ---- objects ---- */

struct healer {
	struct store *store;
	int calls;
	bool refuse;
};

static int heal(void *arg, const struct hash128 *object, const struct oid *blob, uint64_t size)
{
	struct healer *healer = arg;
	struct error seen = ERROR_INIT;

	healer->calls++;
	if (healer->refuse)
		return -EIO;
	must_pass(object_heal(healer->store, blob, object, size, &seen, &err));
	return 0;
}

static void damage(const struct overlay_scene *made, const struct view *view, const char *path, const char *how)
{
	char object[OBJECT_PATH_LENGTH + 1], script[256];
	uint32_t index = view_lookup(view, path);

	cr_assert_neq(index, VIEW_NONE);
	object_path(&view_at(view, index)->object, object);
	snprintf(script, sizeof script, "cd store/objects; %s%s", how, object);
	bench_run(&made->scene.bench, script);
}

/* overlay_read() of SIZE bytes at FROM is what TARGET has there; or -EIO. */
static void expect_bytes(struct overlay *overlay, uint64_t id, const char *target, size_t target_size, uint64_t from, size_t size)
{
	cleanup_free char *buf = malloc(size + 1);
	size_t wanted = from >= target_size ? 0 : target_size - from < size ? target_size - from : size;

	cr_assert_eq(overlay_read(overlay, id, buf, from, size), (ssize_t)wanted, "%ju+%zu", (uintmax_t)from, size);
	cr_assert_eq(memcmp(buf, target + from, wanted), 0, "%ju+%zu", (uintmax_t)from, size);
}

/* Whatever part of it is read, and wherever the damage is in the blocks of that part. */
Test(overlay_read, no_wrong_byte_is_handed_out)
{
	static const char *const ways[] = { "dd conv=notrunc status=none bs=1 seek=40000 if=../../other of=", "truncate -s 40000 ", "rm " };
	static const struct { uint64_t from; size_t size; } parts[] = { { 40000, 1 }, { 0, 100000 }, { 32768, 16384 }, { 39999, 3 },
		{ 40000, 70000 }, { 16384, 32768 }, { 1, 99998 } };
	overlay_scene_auto made = overlay_scene_make("mkdir dir; echo old >large; echo old >small");
	struct healer healer = { .store = made.scene.bench.store };
	struct overlay_config config = { .base_fd = made.scene.basefd, .fd_capacity = 16, .heal = heal, .heal_arg = &healer,
		.objects_fd = made.scene.bench.store->objects_fd };
	struct oid commit = scene_patch(&made.scene, "a", "seq 20000 | head -c 100000 >large; echo -n tiny >small");
	cleanup_view struct view *view = scene_view(&made.scene, &commit);
	cleanup_strbuf struct strbuf target = STRBUF_INIT;
	struct overlay *overlay;
	uint64_t id;

	for (int i = 1; target.len < 100000; i++)
		strbuf_addf(&target, "%d\n", i);
	bench_run(&made.scene.bench, "printf X >other");
	cr_assert_eq(overlay_new(&config, view, &overlay), 0);
	id = find_id(overlay, "large");
	for (size_t way = 0; way < ARRAY_SIZE(ways); way++) {
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
			int calls = healer.calls;

			damage(&made, view, "large", ways[way]);
			fdcache_forget(overlay_fds(overlay), id);
			expect_bytes(overlay, id, target.buf, 100000, parts[i].from, parts[i].size);
			cr_assert_gt(healer.calls, calls, "%s %zu", ways[way], i);
		}
	}
	/* What is right is read, wherever else it is damaged. */
	damage(&made, view, "large", ways[0]);
	healer.refuse = true;
	expect_bytes(overlay, id, target.buf, 100000, 0, 32768);
	expect_bytes(overlay, id, target.buf, 100000, 49152, 60000);
	expect_bytes(overlay, id, target.buf, 100000, 100000, 10);
	expect_bytes(overlay, id, target.buf, 100000, 200000, 10);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		cleanup_free char *buf = malloc(parts[i].size);

		cr_assert_eq(overlay_read(overlay, id, buf, parts[i].from, parts[i].size), -EIO, "%zu", i);
	}
	damage(&made, view, "small", "dd conv=notrunc status=none bs=1 seek=2 if=../../other of=");
	cr_assert_eq(overlay_read(overlay, find_id(overlay, "small"), (char[4]){ 0 }, 0, 1), -EIO);
	healer.refuse = false;
	expect_bytes(overlay, find_id(overlay, "small"), "tiny", 4, 0, 1);
	overlay_free(overlay);
}

/* A file that the kernel is going to read by itself, and that was open already. */
Test(overlay_read, what_is_passed_has_the_right_length)
{
	overlay_scene_auto made = overlay_scene_make("echo old >f; echo plain >plain");
	struct healer healer = { .store = made.scene.bench.store };
	struct overlay_config config = { .base_fd = made.scene.basefd, .fd_capacity = 16, .heal = heal, .heal_arg = &healer,
		.objects_fd = made.scene.bench.store->objects_fd };
	struct oid commit = scene_patch(&made.scene, "a", "echo -n new >f");
	cleanup_view struct view *view = scene_view(&made.scene, &commit);
	struct overlay *overlay;
	uint64_t id;

	cr_assert_eq(overlay_new(&config, view, &overlay), 0);
	id = find_id(overlay, "f");
	for (int i = 0; i < 3; i++) {
		cleanup_fdref struct fdref file = FDREF_INIT;
		struct stat st;

		cr_assert_eq(overlay_open_to_pass(overlay, id, &file), 0);
		cr_assert_eq(fstat(file.fd, &st), 0);
		cr_assert_eq(st.st_size, 3, "%d", i);
		cr_assert_eq(healer.calls, i);
		damage(&made, view, "f", i ? "rm " : "truncate -s 9 ");
		if (i == 2) {
			cleanup_fdref struct fdref kept = FDREF_INIT;

			/* The name is gone, the bytes are right. */
			healer.refuse = true;
			cr_assert_eq(overlay_open_to_pass(overlay, id, &kept), 0);
		}
	}
	{
		cleanup_fdref struct fdref file = FDREF_INIT;

		cr_assert_eq(overlay_open_to_pass(overlay, find_id(overlay, "plain"), &file), 0);
	}
	overlay_free(overlay);
}

Test(overlay_read, missing_and_damaged_objects_are_made_again)
{
	static const char *const ways[] = { "rm ", "truncate -s 1 " };
	overlay_scene_auto made = overlay_scene_make(base_script);
	struct healer healer = { .store = made.scene.bench.store };
	struct overlay_config config = { .base_fd = made.scene.basefd, .fd_capacity = 16, .heal = heal, .heal_arg = &healer,
		.objects_fd = made.scene.bench.store->objects_fd };
	struct oid commit = scene_patch(&made.scene, "a", "echo -n two >dir/in");
	cleanup_view struct view *view = scene_view(&made.scene, &commit);

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		cleanup_fdref struct fdref ref = FDREF_INIT;
		struct overlay *overlay;
		uint64_t id;

		cr_assert_eq(overlay_new(&config, view, &overlay), 0);
		id = find_id(overlay, "dir/in");
		damage(&made, view, "dir/in", ways[i]);
		healer.refuse = true;
		cr_assert_eq(overlay_open(overlay, id, FD_READ, &ref), -EIO, "%s", ways[i]);
		healer.refuse = false;
		expect_content(overlay, id, "two");
		cr_assert_eq(healer.calls, 2 * (int)(i + 1), "%s", ways[i]);
		overlay_free(overlay);
	}
	/* Nobody to heal it. */
	publish(&made, view_ref(view));
	damage(&made, view, "dir/in", "rm ");
	{
		cleanup_fdref struct fdref ref = FDREF_INIT;

		cr_assert_eq(overlay_open(made.overlay, find_id(made.overlay, "dir/in"), FD_READ, &ref), -EIO);
	}
}

Test(overlay_read, what_cannot_be_opened)
{
	overlay_scene_auto made = overlay_scene_make(base_script);
	cleanup_fdref struct fdref ref = FDREF_INIT;
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	patch(&made, "a", "echo -n two >dir/in; ln -s t new; mkdir newdir");
	cr_assert_eq(overlay_open(made.overlay, find_id(made.overlay, "dir/in"), FD_WRITE, &ref), -EROFS);
	cr_assert_eq(overlay_open(made.overlay, find_id(made.overlay, "new"), FD_READ, &ref), -EINVAL);
	cr_assert_eq(overlay_open(made.overlay, 12345, FD_READ, &ref), -ESTALE);
	cr_assert_eq(overlay_readlink(made.overlay, find_id(made.overlay, "file"), &sb), -EINVAL);
	cr_assert_eq(overlay_readlink(made.overlay, 12345, &sb), -ESTALE);
	cr_assert_eq(overlay_open_path(made.overlay, find_id(made.overlay, "newdir"), &ref), -ENOENT);
	cr_assert_eq(overlay_base_directory(made.overlay, find_id(made.overlay, "newdir"), &ref), -ENOENT);
	cr_assert_eq(overlay_base_directory(made.overlay, find_id(made.overlay, "file"), &ref), -ENOTDIR);
	cr_assert_eq(ref.fd, -EBADF);
}

/* ---- extended attributes ---- */

/* The names, sorted, blanks between them. */
static void list_names(struct overlay *overlay, uint64_t id, bool trusted, char *text)
{
	char *names[16], list[512];
	size_t count = 0;
	ssize_t n = GUARDED(overlay, overlay_listxattr(&guard, id, list, sizeof list, trusted));

	cr_assert_geq(n, 0, "%zd", n);
	cr_assert_eq(GUARDED(overlay, overlay_listxattr(&guard, id, NULL, 0, trusted)), n);
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
		names[count++] = list + at;
	qsort(names, count, sizeof *names, compare_names);
	*text = '\0';
	for (size_t i = 0; i < count; i++)
		sprintf(text + strlen(text), "%s%s", i ? " " : "", names[i]);
}

struct xattr_row {
	const char *path, *plain, *trusted; /* the names, without and with "trusted." ones */
};

Test(overlay_read, xattrs)
{
	static const struct xattr_row rows[] = {
		{ "both", "user.a user.b", "trusted.t user.a user.b" },
		{ "none", "", "" },
		{ "patched", "user.p", "trusted.q user.p" },
		{ "cleared", "", "" },
		{ "inherits", "user.i", "user.i" },
		{ "dir", "user.d", "user.d" },
		{ "overdir", "user.o", "user.o" },
		{ "newdir", "user.n", "user.n" },
		{ "newdir/plain", "", "" },
		{ "link", "", "trusted.l" },
	};
	overlay_scene_auto made = overlay_scene_make(
		"echo -n 1 >both; echo -n 1 >none; echo -n 1 >patched; echo -n 1 >cleared; echo -n 1 >inherits; mkdir dir overdir; "
		"ln -s x link; setfattr -hn trusted.l -v 1 link; setfattr -n user.a -v 1 both; setfattr -n user.b -v 22 both; "
		"setfattr -n trusted.t -v 3 both; setfattr -n user.old -v 1 patched; setfattr -n user.c -v 1 cleared; "
		"setfattr -n user.i -v 1 inherits; setfattr -n user.d -v 1 dir; setfattr -n user.d -v 1 overdir");
	char text[512], value[8];

	patch(&made, "a", "setfattr -x user.old patched; setfattr -n user.p -v pp patched; setfattr -n trusted.q -v 1 patched; "
			  "setfattr -x user.c cleared; echo -n 2 >inherits; echo -n 2 >dir/new; setfattr -x user.d overdir; "
			  "setfattr -n user.o -v 1 overdir; mkdir newdir; setfattr -n user.n -v 1 newdir; echo -n 1 >newdir/plain");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t id = find_id(made.overlay, rows[i].path);

		list_names(made.overlay, id, false, text);
		cr_expect_str_eq(text, rows[i].plain, "'%s': '%s'", rows[i].path, text);
		list_names(made.overlay, id, true, text);
		cr_expect_str_eq(text, rows[i].trusted, "'%s': '%s'", rows[i].path, text);
		cr_expect_eq(GUARDED(made.overlay, overlay_getxattr(&guard, id, "user.no", value, sizeof value)), -ENODATA, "'%s'",
			rows[i].path);
	}
}

Test(overlay_read, xattr_sizes)
{
	static const char *const paths[] = { "base", "patched" };
	overlay_scene_auto made = overlay_scene_make("echo -n 1 >base; echo -n 1 >patched; setfattr -n user.a -v 333 base; "
						     "setfattr -n user.bb -v '' base");
	char value[8] = "", list[32];

	patch(&made, "a", "setfattr -n user.a -v 333 patched; setfattr -n user.bb -v '' patched");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		uint64_t id = find_id(made.overlay, paths[i]);

		cr_expect_eq(GUARDED(made.overlay, overlay_getxattr(&guard, id, "user.a", NULL, 0)), 3);
		cr_expect_eq(GUARDED(made.overlay, overlay_getxattr(&guard, id, "user.a", value, 2)), -ERANGE);
		cr_expect_eq(GUARDED(made.overlay, overlay_getxattr(&guard, id, "user.a", value, 3)), 3);
		cr_expect_eq(memcmp(value, "333", 4), 0);
		cr_expect_eq(GUARDED(made.overlay, overlay_getxattr(&guard, id, "user.bb", value, 8)), 0);
		for (int trusted = 0; trusted < 2; trusted++) {
			cr_expect_eq(GUARDED(made.overlay, overlay_listxattr(&guard, id, list, 15, trusted)), 15);
			cr_expect_eq(GUARDED(made.overlay, overlay_listxattr(&guard, id, list, 14, trusted)), -ERANGE);
			cr_expect_eq(GUARDED(made.overlay, overlay_listxattr(&guard, id, list, 1, trusted)), -ERANGE);
		}
	}
}
