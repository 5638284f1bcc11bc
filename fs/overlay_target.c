/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/content.h"
#include "fs/worker_state.h"
#include "store/base/cleanup.h"
#include "store/base/path.h"

void overlay_target_release(struct overlay_target *target)
{
	if (*target->aside)
		renameat2(target->directory.fd, target->aside, target->directory.fd, target->name, RENAME_NOREPLACE);
	fdref_release(&target->directory);
	free(target->path);
}

void overlay_names_changed(struct overlay *overlay)
{
	atomic_fetch_add(&overlay->changes, 1);
}

/* ---- what the view has there ---- */

static bool is_directory(enum view_kind kind)
{
	return kind == VIEW_DIRECTORY || kind == VIEW_THROUGH;
}

/* Does the view say anything of what is below directory INDEX, deletions included? */
static bool says_anything(const struct view *view, uint32_t index)
{
	const struct view_entry *directory = view_at(view, index);

	for (uint32_t i = directory->first_child; i < directory->first_child + directory->child_count; i++) {
		const enum view_kind kind = view_served_kind(view, i);

		if (is_directory(kind) ? kind == VIEW_DIRECTORY || says_anything(view, i) : !view_is_ended(view, i))
			return true;
	}
	return false;
}

static int check_directory(const struct overlay_guard *guard, uint32_t index, enum overlay_target_use use, bool retire)
{
	const bool own = view_served_kind(guard->view, index) == VIEW_DIRECTORY;

	switch (use) {
	case TARGET_MAKE:
	case TARGET_FILL:
		return own || overlay_leads_somewhere(guard->view, index) ? -EEXIST : 0;
	case TARGET_REMOVE:
		return own || overlay_leads_somewhere(guard->view, index) ? -EISDIR : 0;
	case TARGET_REPLACE:
	case TARGET_REMOVE_DIRECTORY:
		if (overlay_leads_somewhere(guard->view, index))
			return -ENOTEMPTY;
		return own && !retire ? -EROFS : 0;
	case TARGET_MOVE:
		return own || says_anything(guard->view, index) ? -EROFS : 0;
	}
	return -EROFS;
}

static int check_leaf(const struct overlay_guard *guard, uint32_t index, enum overlay_target_use use, enum base_change policy)
{
	const bool deleted = view_at(guard->view, index)->kind == VIEW_DELETED;

	switch (use) {
	case TARGET_MAKE:
	case TARGET_FILL:
		if (!deleted)
			return -EEXIST;
		return policy == BASE_CHANGE_RETIRE ? 0 : -EROFS;
	case TARGET_REPLACE:
	case TARGET_REMOVE:
		if (deleted && use == TARGET_REMOVE)
			return -ENOENT;
		/* What is put where nothing is to be seen would not be seen. */
		if (deleted && policy == BASE_CHANGE_HOLD)
			return -EROFS;
		return policy == BASE_CHANGE_FAIL ? -EROFS : 0;
	case TARGET_REMOVE_DIRECTORY:
		return deleted ? -ENOENT : -ENOTDIR;
	case TARGET_MOVE:
		return deleted ? -ENOENT : -EROFS;
	}
	return -EROFS;
}

static int check_shadow(const struct overlay_guard *guard, uint32_t index, enum overlay_target_use use)
{
	const enum base_change policy = (enum base_change)atomic_load(&guard->overlay->base_change);

	if (is_directory(view_at(guard->view, index)->kind))
		return check_directory(guard, index, use, policy == BASE_CHANGE_RETIRE);
	return check_leaf(guard, index, use, policy);
}

/* ---- a directory that the base lacks ---- */

/* Not by name: whoever may write in the directory above may have put something else there since. */
static int give_metadata(int parent, const char *name, const struct stat *st)
{
	cleanup_close int fd = path_open(parent, name, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	return fchown(fd, st->st_uid, st->st_gid) < 0 || fchmod(fd, st->st_mode & 07777) < 0 ? -errno : 0;
}

/* One directory, as the view has it. */
static int make_directory(const struct overlay_guard *guard, int base_fd, const char *path)
{
	const uint32_t index = view_lookup(guard->view, path);
	cleanup_close int parent = -EBADF;
	const char *name;
	struct stat st = { .st_mode = S_IFDIR | 0755 };
	int r = path_open_parent(base_fd, path, &parent, &name);

	if (r < 0)
		return r;
	if (index != VIEW_NONE)
		content_stat(view_at(guard->view, index), &st);
	/* With no more rights than it is to have, and as a rule with all of them, for nobody repairs it if the worker is killed just now. */
	if (mkdirat(parent, name, st.st_mode & 0755) < 0)
		return errno == EEXIST ? 0 : -errno;
	return give_metadata(parent, name, &st);
}

static int make_directories(const struct overlay_guard *guard, const char *path)
{
	cleanup_free char *prefix = strdup(path);
	int r = 0;

	if (!prefix)
		return -ENOMEM;
	for (char *slash = strchr(prefix, '/'); r == 0; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		r = make_directory(guard, guard->overlay->config.base_fd, prefix);
		if (!slash)
			break;
		*slash = '/';
	}
	return r;
}

/* ---- the file whose name goes ---- */

void victim_release(struct victim *victim)
{
	if (victim->id)
		fdcache_unpin(victim->overlay->fds, victim->id);
	if (victim->fd >= 0)
		close(victim->fd);
}

/* The file is found at NAME_NOW in DIRECTORY; it is, or was, NAME in PARENT. */
static int pin(struct overlay *overlay, int directory, const char *name_now, uint64_t parent, const char *name,
	const struct node_key *except, struct victim *ret)
{
	cleanup_close int fd = path_open(directory, name_now, O_PATH, 0);
	struct node_key key;
	struct stat st;
	uint64_t id;
	int aside, r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	key = node_key_of_base(st.st_dev, st.st_ino);
	if (except && except->high == key.high && except->low == key.low)
		return 0;
	id = node_find(overlay->nodes, &key);
	if (!id)
		return 0;
	aside = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (aside < 0)
		return -errno;
	r = fdcache_pin(overlay->fds, id, aside);
	if (r == 0)
		*ret = (struct victim){ overlay, id, TAKE_FD(fd), node_is_named(overlay->nodes, id, parent, name) };
	return r;
}

int victim_pin(struct overlay *overlay, int directory, uint64_t parent, const char *name,
	const struct node_key *except, struct victim *ret)
{
	return pin(overlay, directory, name, parent, name, except, ret);
}

/*
 * Of names that go at the same time the last one sees that none is left. Then one fd for each node is enough: one that had others
 * before has its own already.
 */
void victim_gone(struct victim *victim, uint64_t parent, const char *name)
{
	struct overlay *overlay = victim->overlay;
	struct stat st;

	if (!victim->id)
		return;
	node_unalias(overlay->nodes, victim->id, parent, name);
	if (fstatat(victim->fd, "", &st, AT_EMPTY_PATH) == 0 && !S_ISDIR(st.st_mode) && st.st_nlink > 0) {
		if (!victim->named)
			return;
		if (overlay_keep_handle(overlay, victim->id, victim->fd, st.st_dev) == 0) {
			node_set_pinned(overlay->nodes, victim->id, false);
			return;
		}
	}
	if (!node_set_pinned(overlay->nodes, victim->id, true))
		victim->id = 0;
}

/* ---- what the view has deleted and the base has ---- */

/* A name that nobody else has; of the process and a counter, for a crash may leave one behind. */
static int put_aside(struct overlay_target *target)
{
	static atomic_ullong counter;

	snprintf(target->aside, sizeof target->aside, ".veneer-%d-%llu", (int)getpid(), atomic_fetch_add(&counter, 1));
	if (renameat2(target->directory.fd, target->name, target->directory.fd, target->aside, RENAME_NOREPLACE) == 0)
		return 0;
	target->aside[0] = '\0';
	return errno == ENOENT ? 0 : -errno;
}

int overlay_target_make_way(struct overlay_guard *guard, struct overlay_target *target)
{
	struct stat st;

	if (target->shadow == VIEW_NONE || view_at(guard->view, target->shadow)->kind != VIEW_DELETED)
		return 0;
	if (fstatat(target->directory.fd, target->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISDIR(st.st_mode) ? -EROFS : put_aside(target);
}

/* What was put aside is not needed any more, or is wanted back. */
static void forget_aside(struct overlay_guard *guard, const struct overlay_target *target)
{
	cleanup_victim struct victim victim = VICTIM_INIT;

	if (!*target->aside)
		return;
	if (pin(guard->overlay, target->directory.fd, target->aside, target->parent, target->name, NULL, &victim) == 0 &&
		unlinkat(target->directory.fd, target->aside, 0) == 0)
		victim_gone(&victim, target->parent, target->name);
}

/* ---- a directory that looks empty ---- */

/* As unlinkat(2). */
static int remove_hidden(struct overlay_guard *guard, int directory, const char *name)
{
	cleanup_victim struct victim victim = VICTIM_INIT;
	int r = victim_pin(guard->overlay, directory, NODE_ROOT, name, NULL, &victim);

	if (r < 0 || unlinkat(directory, name, 0) < 0)
		return -1;
	victim_gone(&victim, NODE_ROOT, name);
	return 0;
}

/* Has the base nothing in directory FD but files that the view at INDEX has deleted? Then they go: they were gone for everyone. */
static int empty_directory(struct overlay_guard *guard, int parent, const char *name, uint32_t index)
{
	cleanup_close int fd = path_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
	cleanup_close int copy = fd < 0 ? -EBADF : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	cleanup_closedir DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (!directory)
		return -errno;
	copy = -EBADF;
	for (int pass = 0; pass < 2; pass++, rewinddir(directory)) {
		while ((errno = 0, entry = readdir(directory))) {
			uint32_t child;

			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			child = view_served_child(guard->view, index, entry->d_name, strlen(entry->d_name));
			if (child == VIEW_NONE || view_at(guard->view, child)->kind != VIEW_DELETED)
				return -ENOTEMPTY;
			if (pass == 1 && remove_hidden(guard, fd, entry->d_name) < 0)
				return errno == EISDIR || errno == EPERM ? -ENOTEMPTY : -errno;
		}
		if (errno)
			return -errno;
	}
	return 0;
}

int overlay_target_error(const struct overlay_guard *guard, const struct overlay_target *target, int r)
{
	if (target->shadow == VIEW_NONE || is_directory(view_at(guard->view, target->shadow)->kind))
		return r;
	return r == -EISDIR || r == -ENOTEMPTY ? -EROFS : r;
}

/* ---- the target ---- */

int overlay_target_open(struct overlay_guard *guard, uint64_t parent, const char *name, enum overlay_target_use use, struct overlay_target *ret)
{
	cleanup_place struct overlay_place place = { NULL, VIEW_NONE, false };
	size_t length = strnlen(name, PATH_NAME_MAX + 1);
	int r;

	if (length > PATH_NAME_MAX)
		return -ENAMETOOLONG;
	if (guard->overlay->config.deny_write)
		return -EROFS;
	r = overlay_place(guard, parent, &place);
	if (r < 0)
		return r;
	if (place.gone)
		return -ENOENT;
	ret->parent = parent;
	ret->name = name;
	if (place.view_index != VIEW_NONE) {
		ret->entry = view_child(guard->view, place.view_index, name, length);
		ret->shadow = view_served_child(guard->view, place.view_index, name, length);
	}
	if (ret->entry != VIEW_NONE)
		ret->path = path_join(place.path, name);
	if (ret->entry != VIEW_NONE && !ret->path)
		return -ENOMEM;
	r = ret->shadow != VIEW_NONE ? check_shadow(guard, ret->shadow, use) : 0;
	if (r < 0)
		return r;
	r = overlay_base_directory(guard->overlay, parent, &ret->directory);
	if (r == -ENOENT && (use == TARGET_MAKE || use == TARGET_REPLACE || use == TARGET_FILL)) {
		r = make_directories(guard, place.path);
		if (r == 0)
			r = overlay_base_directory(guard->overlay, parent, &ret->directory);
	} else if (r == -ENOENT && (use == TARGET_REMOVE || use == TARGET_REMOVE_DIRECTORY)) {
		r = 0;
	}
	if (r == 0 && use == TARGET_MAKE)
		return overlay_target_make_way(guard, ret);
	if (r == 0 && use == TARGET_REMOVE_DIRECTORY && ret->shadow != VIEW_NONE && ret->directory.fd >= 0 &&
		atomic_load(&guard->overlay->base_change) == BASE_CHANGE_RETIRE)
		return empty_directory(guard, ret->directory.fd, name, ret->shadow);
	return r == -ENOENT ? -EROFS : r;
}

/* For the next worker. */
static void note_ended(struct overlay *overlay, uint32_t index)
{
	if (overlay->config.shared)
		worker_state_ended(worker_state_of(overlay->config.shared), index);
}

void overlay_end(struct overlay_guard *guard, uint32_t index, const char *path)
{
	cleanup_view struct view *now = overlay_view(guard->overlay);
	uint32_t other;

	view_end(guard->view, index);
	if (now == guard->view)
		note_ended(guard->overlay, index);
	if (!now || now == guard->view)
		return;
	other = view_lookup(now, path);
	if (other != VIEW_NONE && view_serves_same(view_at(guard->view, index), view_at(now, other))) {
		view_end(now, other);
		note_ended(guard->overlay, other);
	}
}

void overlay_target_changed(struct overlay_guard *guard, struct overlay_target *target, enum overlay_event event)
{
	overlay_names_changed(guard->overlay);
	if (target->entry == VIEW_NONE)
		return;
	forget_aside(guard, target);
	target->aside[0] = '\0';
	/* Also where it has ended before: whoever is about to show it again must not. */
	overlay_end(guard, target->entry, target->path);
	overlay_tell(guard->overlay, event, 0, target->path, guard->pid, guard->uid);
}
