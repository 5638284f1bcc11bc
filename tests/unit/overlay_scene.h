/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_UNIT_OVERLAY_SCENE_H
#define VENEER_TESTS_UNIT_OVERLAY_SCENE_H

/* For the tests of the overlay: one laid over a scene's base without a mount, and short ways to ask it. */

#include "tests/unit/scene.h"

#include "fs/overlay.h"
#include "fs/overlay_write.h"
#include "fs/readdir.h"
#include "store/base/path.h"

struct overlay_scene {
	struct scene scene;
	struct overlay *overlay;
	struct view *view; /* the one that was published last; counted */
};

static inline struct overlay *overlay_over(int base_fd, const struct scene *scene, bool deny, struct view *view)
{
	struct overlay_config config = { .base_fd = base_fd, .deny_write = deny, .fd_capacity = 16,
		.objects_fd = scene ? scene->bench.store->objects_fd : -EBADF };
	struct overlay *overlay = NULL;

	cr_assert_eq(overlay_new(&config, view, &overlay), 0);
	return overlay;
}

static inline struct overlay_scene overlay_scene_make(const char *script)
{
	struct overlay_scene made = { .scene = scene_make(script) };

	made.overlay = overlay_over(made.scene.basefd, &made.scene, false, NULL);
	return made;
}

static inline void overlay_scene_remove(struct overlay_scene *made)
{
	overlay_free(made->overlay);
	view_unref(made->view);
	scene_remove(&made->scene);
}

#define overlay_scene_auto __attribute__((cleanup(overlay_scene_remove))) struct overlay_scene

/* VIEW (counted here; NULL: the bare base) is served from now on. */
static inline void publish(struct overlay_scene *made, struct view *view)
{
	view_unref(overlay_publish(made->overlay, view));
	cr_assert(overlay_drain(made->overlay, 1000));
	view_unref(made->view);
	made->view = view;
}

/* Serve the base with what SCRIPT makes of it; target/ is then what a plain directory would be. */
static inline void patch(struct overlay_scene *made, const char *label, const char *script)
{
	struct oid commit = scene_patch(&made->scene, label, script);

	publish(made, scene_view(&made->scene, &commit));
}

/* GUARDED(overlay, call): CALL may use `&guard`. */
#define GUARDED(overlay, call)                                                                     \
	({                                                                                         \
		cleanup_overlay_guard struct overlay_guard guard;                                  \
                                                                                                   \
		overlay_enter(overlay, &guard);                                                    \
		(call);                                                                            \
	})

/* Look PATH up name by name: 0 with *RET, or what the name that failed said. Each is counted once and never forgotten. */
static inline int try_find(struct overlay *overlay, const char *path, struct overlay_entry *ret)
{
	cleanup_free char *copy = strdup(path);
	char *rest = copy, *name;

	*ret = (struct overlay_entry){ .id = NODE_ROOT };
	while ((name = strsep(&rest, "/")) && *name) {
		int r = GUARDED(overlay, overlay_lookup(&guard, ret->id, name, ret));

		if (r < 0)
			return r;
	}
	return 0;
}

static inline struct overlay_entry find(struct overlay *overlay, const char *path)
{
	struct overlay_entry entry;
	int r = try_find(overlay, path, &entry);

	cr_assert_eq(r, 0, "look up '%s': %d", path, r);
	return entry;
}

static inline uint64_t find_id(struct overlay *overlay, const char *path)
{
	return find(overlay, path).id;
}

static inline struct stat stat_of(struct overlay *overlay, uint64_t id)
{
	struct stat st;
	int r = GUARDED(overlay, overlay_getattr(&guard, id, &st));

	cr_assert_eq(r, 0, "getattr: %d", r);
	return st;
}

static inline void read_id(struct overlay *overlay, uint64_t id, struct strbuf *sb)
{
	cleanup_fdref struct fdref ref = FDREF_INIT;
	char buffer[4096];
	ssize_t n;
	int r = overlay_open(overlay, id, FD_READ, &ref);

	cr_assert_eq(r, 0, "open: %d", r);
	for (off_t at = 0; (n = pread(ref.fd, buffer, sizeof buffer, at)) > 0; at += n)
		strbuf_add(sb, buffer, (size_t)n);
	cr_assert_eq(n, 0);
	strbuf_addstr(sb, "");
}

static inline void expect_content(struct overlay *overlay, uint64_t id, const char *wanted)
{
	cleanup_strbuf struct strbuf is = STRBUF_INIT;

	read_id(overlay, id, &is);
	cr_assert_str_eq(is.buf, wanted);
}

/* ---- whole trees as text, through the overlay and from a plain directory ---- */

struct name_list {
	char *names[512];
	size_t count;
};

static inline void name_list_release(struct name_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
}

static inline int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline bool name_list_add(void *arg, const char *name, uint64_t offset, ino_t inode, mode_t type)
{
	struct name_list *list = arg;

	if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
		cr_assert_lt(list->count, ARRAY_SIZE(list->names));
		list->names[list->count++] = strdup(name);
	}
	return true;
}

/* One line: type and mode, owner, links, size and time but of directories, path. */
static inline void describe_stat(const char *path, const struct stat *st, struct strbuf *sb)
{
	strbuf_addf(sb, "%s %06o %u:%u links %u", path, st->st_mode, st->st_uid, st->st_gid, (unsigned)st->st_nlink);
	if (!S_ISDIR(st->st_mode))
		strbuf_addf(sb, " size %jd at %jd.%09ld device %jx", (intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec,
			st->st_mtim.tv_nsec, (uintmax_t)st->st_rdev);
}

static inline void tree_of_overlay(struct overlay *overlay, uint64_t id, const char *path, struct strbuf *sb)
{
	__attribute__((cleanup(name_list_release))) struct name_list list = { .count = 0 };
	struct readdir_cache *cache = readdir_cache_new();
	struct stat st = stat_of(overlay, id);

	describe_stat(path, &st, sb);
	if (S_ISREG(st.st_mode)) {
		strbuf_addstr(sb, " = ");
		read_id(overlay, id, sb);
	}
	if (S_ISLNK(st.st_mode)) {
		strbuf_addstr(sb, " -> ");
		cr_assert_eq(overlay_readlink(overlay, id, sb), 0);
	}
	strbuf_addch(sb, '\n');
	if (S_ISDIR(st.st_mode))
		cr_assert_eq(GUARDED(overlay, readdir_list(cache, &guard, id, 0, false, name_list_add, &list)), 0);
	readdir_cache_free(cache);
	qsort(list.names, list.count, sizeof *list.names, compare_names);
	for (size_t i = 0; i < list.count; i++) {
		cleanup_free char *below = path_join(path, list.names[i]);
		struct overlay_entry entry;
		int r = GUARDED(overlay, overlay_lookup(&guard, id, list.names[i], &entry));

		cr_assert_eq(r, 0, "'%s' is listed but: %d", below, r);
		st = stat_of(overlay, entry.id);
		cr_assert(entry.st.st_ino == st.st_ino && entry.st.st_mode == st.st_mode && entry.st.st_nlink == st.st_nlink,
			"'%s': look-up and getattr differ", below);
		tree_of_overlay(overlay, entry.id, below, sb);
		overlay_forget(overlay, entry.id, 1);
	}
}

static inline void tree_of_directory(int parent, const char *name, const char *path, struct strbuf *sb)
{
	__attribute__((cleanup(name_list_release))) struct name_list list = { .count = 0 };
	cleanup_close int fd = -EBADF;
	char target[4096] = "";
	struct stat st;

	cr_assert_eq(fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW), 0, "'%s'", path);
	describe_stat(path, &st, sb);
	if (S_ISREG(st.st_mode)) {
		strbuf_addstr(sb, " = ");
		must_pass(io_read_file_at(parent, name, 1 << 20, sb, &err));
	}
	if (S_ISLNK(st.st_mode)) {
		cr_assert_geq(readlinkat(parent, name, target, sizeof target - 1), 0);
		strbuf_addf(sb, " -> %s", target);
	}
	strbuf_addch(sb, '\n');
	if (!S_ISDIR(st.st_mode))
		return;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	{
		cleanup_closedir DIR *dir = fdopendir(dup(fd));
		struct dirent *entry;

		while ((entry = readdir(dir)))
			name_list_add(&list, entry->d_name, 0, 0, 0);
	}
	qsort(list.names, list.count, sizeof *list.names, compare_names);
	for (size_t i = 0; i < list.count; i++) {
		cleanup_free char *below = path_join(path, list.names[i]);

		tree_of_directory(fd, list.names[i], below, sb);
	}
}

/* The overlay shows what the plain directory NAME of the scene holds. */
static inline void expect_like(struct overlay_scene *made, const char *name)
{
	cleanup_strbuf struct strbuf is = STRBUF_INIT;
	cleanup_strbuf struct strbuf wanted = STRBUF_INIT;

	tree_of_overlay(made->overlay, NODE_ROOT, "", &is);
	tree_of_directory(AT_FDCWD, path_in(made->scene.bench.dir, name), "", &wanted);
	cr_assert_str_eq(is.buf, wanted.buf, "is:\n%swanted:\n%s", is.buf, wanted.buf);
}

/* setattr by root. */
static inline int set(struct overlay *overlay, uint64_t id, const struct stat *attributes, unsigned which)
{
	const struct overlay_cred root = { 0, 0, 022, 0 };
	struct stat st;

	return GUARDED(overlay, overlay_setattr(&guard, &root, id, attributes, which, &st));
}

/* Of the file beneath. */
static inline struct stat base_stat(const struct overlay_scene *made, const char *path)
{
	struct stat st;

	cr_assert_eq(fstatat(made->scene.basefd, path, &st, AT_SYMLINK_NOFOLLOW), 0, "'%s'", path);
	return st;
}

#endif
