/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel is told, and all that it knows. */
#include "fs/refresh_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

#define BUFFER_BYTES 65536

/* ---- telling ---- */

void teller_note(struct teller *teller, int r)
{
	if (r < 0 && r != -ENOENT && !teller->failed)
		teller->failed = r;
}

static void count_node(struct teller *teller, mode_t type, int r)
{
	if (r == 0 && S_ISDIR(type))
		teller->counts.directories++;
	else if (r == 0)
		teller->counts.files++;
	teller_note(teller, r);
}

void teller_inode(struct teller *teller, uint64_t id, mode_t type)
{
	/* Append-only and immutable count when a file is opened: who writes from now on opens it anew. */
	if (!S_ISDIR(type))
		fdcache_drop(teller->overlay->fds, id, FD_WRITE);
	count_node(teller, type, teller->notices->inode(teller->notices->arg, id));
}

void teller_attributes(struct teller *teller, uint64_t id, mode_t type)
{
	if (!S_ISDIR(type))
		fdcache_drop(teller->overlay->fds, id, FD_WRITE);
	count_node(teller, type, teller->notices->attributes(teller->notices->arg, id));
}

static void count_name(struct teller *teller, int r)
{
	teller->counts.names += r == 0;
	teller_note(teller, r);
}

void teller_wrong_name(struct teller *teller, uint64_t parent, const char *name)
{
	count_name(teller, teller->notices->entry(teller->notices->arg, parent, name));
}

void teller_doubtful_name(struct teller *teller, uint64_t parent, const char *name, const struct node_key *key)
{
	struct node_table *nodes = teller->overlay->nodes;

	if (teller->notices->expire)
		count_name(teller, teller->notices->expire(teller->notices->arg, parent, name));
	else if (!key || !node_is_named(nodes, node_find(nodes, key), parent, name))
		teller_wrong_name(teller, parent, name);
}

/* ---- files that have lost their names ---- */

/* A descriptor of the node that is in the cache, as one to be kept; -EBADF: there is none. */
static int take_cached(struct fdcache *fds, uint64_t id)
{
	for (enum fd_kind kind = FD_PATH; kind <= FD_WRITE; kind++) {
		cleanup_fdref struct fdref ref = FDREF_INIT;
		char link[64];

		if (!fdcache_get(fds, id, kind, &ref))
			continue;
		snprintf(link, sizeof link, "/proc/self/fd/%d", ref.fd);
		return open(link, O_PATH | O_CLOEXEC);
	}
	return -EBADF;
}

static bool hold(struct overlay *overlay, uint64_t id)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	int fd = take_cached(overlay->fds, id);

	/* What is open is the old file: nobody shall come to it by way of the node any more but who has that open. */
	for (enum fd_kind kind = FD_PATH; kind <= FD_WRITE; kind++)
		fdcache_drop(overlay->fds, id, kind);
	if (fd < 0 || fdcache_pin(overlay->fds, id, fd) < 0)
		return false;
	if (node_set_pinned(overlay->nodes, id, true))
		fdcache_unpin(overlay->fds, id);
	/* Forgotten meanwhile: then nobody else closes it. */
	if (node_get(overlay->nodes, id, &info) < 0)
		fdcache_forget(overlay->fds, id);
	return true;
}

bool refresh_lose(struct teller *teller, uint64_t id, mode_t type, uint64_t parent, const char *name)
{
	if (!node_lose(teller->overlay->nodes, id, parent, name))
		return false;
	if (S_ISDIR(type))
		teller_inode(teller, id, type);
	else if (hold(teller->overlay, id))
		teller_attributes(teller, id, type); /* its pages are what they should be */
	return true;
}

int refresh_move(struct overlay *overlay, uint64_t id, const struct node_key *key, uint64_t old_parent, const char *old_name,
	uint64_t parent, const char *name)
{
	int r = node_move(overlay->nodes, key, parent, name);

	if (r > 0)
		fdcache_unpin_all(overlay->fds, id);
	if (r >= 0)
		node_unalias(overlay->nodes, id, old_parent, old_name);
	return r < 0 ? r : 0;
}

/* ---- everything ---- */

enum verdict {
	VERDICT_NONE,
	VERDICT_RIGHT,
	VERDICT_WRONG,
	VERDICT_COVERED, /* wrong, and the view says what is there */
	VERDICT_UNKNOWN, /* the base could not be asked */
};

/* A name in the base that no node bears. */
struct stranger {
	uint64_t directory;
	struct node_key key;
	size_t name; /* into the text of strangers */
};
struct strangers {
	struct stranger *list; /* owned */
	size_t count, alloc;
	struct strbuf text;
};

struct refresh {
	struct teller teller;
	struct node_list known;	   /* sorted by directory and name */
	unsigned char *verdicts;   /* owned; of each of them */
	uint64_t *queue;	   /* owned; directories to be looked at: each is known once */
	size_t queued, visited;
	size_t *lost; /* owned; indices of known ones with a wrong name */
	size_t lost_count, lost_done;
	struct strangers found; /* where nodes are that may have lost their names */
	size_t found_sorted;	/* so many of them were there when they were sorted last */
};

static void strangers_release(struct strangers *strangers)
{
	free(strangers->list);
	strbuf_release(&strangers->text);
}

static int strangers_add(struct strangers *strangers, uint64_t directory, const char *name, const struct node_key *key)
{
	if (strangers->count == strangers->alloc) {
		size_t alloc = strangers->alloc ? strangers->alloc * 2 : 64;
		struct stranger *grown = realloc(strangers->list, alloc * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		strangers->list = grown;
		strangers->alloc = alloc;
	}
	strangers->list[strangers->count++] = (struct stranger){ directory, *key, strangers->text.len };
	strbuf_add(&strangers->text, name, strlen(name) + 1);
	return strbuf_failed(&strangers->text) ? -ENOMEM : 0;
}

static void refresh_release(struct refresh *refresh)
{
	node_list_release(&refresh->known);
	free(refresh->verdicts);
	free(refresh->queue);
	free(refresh->lost);
	strangers_release(&refresh->found);
}

static int compare_known(const void *left, const void *right, void *text)
{
	const struct node_named *a = left, *b = right;

	if (a->parent != b->parent)
		return a->parent < b->parent ? -1 : 1;
	return strcmp((const char *)text + a->name, (const char *)text + b->name);
}

/* The first of the known names that is not before NAME in DIRECTORY. */
static size_t known_at(const struct refresh *refresh, uint64_t directory, const char *name)
{
	size_t low = 0, high = refresh->known.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct node_named *named = &refresh->known.names[middle];

		if (named->parent < directory ||
			(named->parent == directory && strcmp(node_list_name(&refresh->known, named), name) < 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct refresh *refresh, size_t index, uint64_t directory, const char *name)
{
	const struct node_named *named = &refresh->known.names[index];

	return index < refresh->known.count && named->parent == directory &&
		(!name || strcmp(node_list_name(&refresh->known, named), name) == 0);
}

/* Does NAME lead to another known node, and rightly so? Then the kernel has that. */
static bool leads_right(const struct refresh *refresh, uint64_t directory, const char *name)
{
	for (size_t i = known_at(refresh, directory, name); is_at(refresh, i, directory, name); i++) {
		if (refresh->verdicts[i] == VERDICT_RIGHT)
			return true;
	}
	return false;
}

/* A directory while it is looked at. */
struct visit {
	struct overlay_guard guard;
	struct overlay_place place;
	struct fdref base;
	int failed; /* why the base cannot say what is in it; 0 */
	struct strangers strangers;
};

static void visit_release(struct visit *visit)
{
	overlay_leave(&visit->guard);
	overlay_place_release(&visit->place);
	fdref_release(&visit->base);
	strangers_release(&visit->strangers);
}

/* Does the view say what NAME is? */
static bool is_covered(const struct visit *visit, const char *name)
{
	return visit->place.gone || (visit->place.view_index != VIEW_NONE &&
		view_child(visit->guard.view, visit->place.view_index, name, strlen(name)) != VIEW_NONE);
}

/* A node of the base is where the base has it, also while the view hides that: who has it open reads it there. */
static int resolve(struct visit *visit, const struct node_named *named, const char *name, struct node_key *ret_key, mode_t *ret_type)
{
	cleanup_content struct content *content = NULL;
	struct stat st;
	int r = visit->failed;

	if (r < 0)
		return r;
	if (named->patched) {
		r = overlay_resolve(&visit->guard, &visit->place, visit->base.fd, name, &st, ret_key, &content);
	} else if (visit->base.fd < 0) {
		return -ENOENT;
	} else {
		r = fstatat(visit->base.fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
		*ret_key = node_key_of_base(st.st_dev, st.st_ino);
	}
	*ret_type = st.st_mode;
	return r;
}

static enum verdict judge(struct visit *visit, const struct node_named *named, const char *name)
{
	struct node_key key;
	mode_t type = 0;
	int r = resolve(visit, named, name, &key, &type);

	if (r == 0 && refresh_is(named, &key, type))
		return VERDICT_RIGHT;
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		return VERDICT_UNKNOWN;
	return is_covered(visit, name) ? VERDICT_COVERED : VERDICT_WRONG;
}

static int see_entry(struct refresh *refresh, struct visit *visit, uint64_t id, dev_t device, const struct dirent64 *entry)
{
	struct node_key key = node_key_of_base(device, entry->d_ino);
	int r;

	if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
		return 0;
	if (is_at(refresh, known_at(refresh, id, entry->d_name), id, entry->d_name))
		return 0;
	r = is_covered(visit, entry->d_name) ? 0 : strangers_add(&visit->strangers, id, entry->d_name, &key);
	if (r == 0 && node_find(refresh->teller.overlay->nodes, &key))
		r = strangers_add(&refresh->found, id, entry->d_name, &key);
	return r;
}

/* What the base has in the directory, and no node is known by. */
static int see_strangers(struct refresh *refresh, struct visit *visit, uint64_t id)
{
	cleanup_close int fd = path_open(visit->base.fd, "", O_RDONLY | O_DIRECTORY, 0);
	cleanup_free char *buffer = malloc(BUFFER_BYTES);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return fd;
	if (!buffer)
		return -ENOMEM;
	if (fstat(fd, &st) < 0)
		return -errno;
	while ((n = getdents64(fd, buffer, BUFFER_BYTES)) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
			int r = see_entry(refresh, visit, id, st.st_dev, entry);

			if (r < 0)
				return r;
			at += entry->d_reclen;
		}
	}
	return n < 0 ? -errno : 0;
}

static void tell_child(struct refresh *refresh, size_t index)
{
	const struct node_named *named = &refresh->known.names[index];
	const char *name = node_list_name(&refresh->known, named);

	if (refresh->verdicts[index] == VERDICT_WRONG || refresh->verdicts[index] == VERDICT_COVERED) {
		refresh->lost[refresh->lost_count++] = index;
		return;
	}
	if (refresh->verdicts[index] == VERDICT_UNKNOWN)
		teller_doubtful_name(&refresh->teller, named->parent, name, &named->key);
	if (named->alias)
		teller_note(&refresh->teller, strangers_add(&refresh->found, named->parent, name, &named->key));
	else if (S_ISDIR(named->type))
		refresh->queue[refresh->queued++] = named->id;
	else if (!named->patched)
		teller_inode(&refresh->teller, named->id, named->type);
}

static void look_at(struct refresh *refresh, struct visit *visit, uint64_t id, size_t first)
{
	struct overlay *overlay = refresh->teller.overlay;
	int r;

	overlay_enter(overlay, &visit->guard);
	visit->failed = overlay_place(&visit->guard, id, &visit->place);
	r = visit->failed ? 0 : overlay_base_directory(overlay, id, &visit->base);
	if (r < 0 && r != -ENOENT)
		visit->failed = r;
	for (size_t i = first; is_at(refresh, i, id, NULL); i++)
		refresh->verdicts[i] = (unsigned char)judge(visit, &refresh->known.names[i],
			node_list_name(&refresh->known, &refresh->known.names[i]));
	if (visit->base.fd >= 0)
		teller_note(&refresh->teller, see_strangers(refresh, visit, id));
	/* It went away meanwhile. */
	if (visit->failed != -ESTALE)
		teller_note(&refresh->teller, visit->failed);
	overlay_leave(&visit->guard);
}

static void visit_directory(struct refresh *refresh, uint64_t id)
{
	CLEANUP(visit_release)
	struct visit visit = { .place = { NULL, VIEW_NONE, false }, .base = FDREF_INIT };
	size_t first = known_at(refresh, id, "");

	look_at(refresh, &visit, id, first);
	/* From here on nothing is held that a handler could wait for. */
	for (size_t i = 0; i < visit.strangers.count; i++)
		teller_doubtful_name(&refresh->teller, id, visit.strangers.text.buf + visit.strangers.list[i].name,
			&visit.strangers.list[i].key);
	for (size_t i = first; is_at(refresh, i, id, NULL); i++)
		tell_child(refresh, i);
	teller_inode(&refresh->teller, id, S_IFDIR);
}

static int compare_found(const void *left, const void *right)
{
	const struct stranger *a = left, *b = right;

	return a->key.low != b->key.low ? (a->key.low < b->key.low ? -1 : 1) : 0;
}

/* The first found one whose inode is not before that of KEY. */
static size_t found_at(const struct refresh *refresh, const struct node_key *key)
{
	size_t low = 0, high = refresh->found.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (refresh->found.list[middle].key.low < key->low)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Where the file of a node is that has lost its name; NULL: nobody knows. */
static const struct stranger *find_again(struct refresh *refresh, const struct node_named *named)
{
	struct overlay *overlay = refresh->teller.overlay;

	if (refresh->found_sorted != refresh->found.count)
		qsort(refresh->found.list, refresh->found.count, sizeof *refresh->found.list, compare_found);
	refresh->found_sorted = refresh->found.count;
	for (size_t i = found_at(refresh, &named->key); i < refresh->found.count; i++) {
		const struct stranger *at = &refresh->found.list[i];
		cleanup_fdref struct fdref directory = FDREF_INIT;
		struct node_key key;
		struct stat st;

		if (at->key.low != named->key.low)
			break;
		if (at->key.high != named->key.high || overlay_base_directory(overlay, at->directory, &directory) < 0 ||
			fstatat(directory.fd, refresh->found.text.buf + at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		key = node_key_of_base(st.st_dev, st.st_ino);
		if (refresh_is(named, &key, st.st_mode))
			return at;
	}
	return NULL;
}

/* It is somewhere else now: whoever has it open goes on with it, and whoever stands in it. */
static void follow_lost(struct refresh *refresh, const struct node_named *named, const struct stranger *to)
{
	struct teller *teller = &refresh->teller;
	const char *name = node_list_name(&refresh->known, named);

	teller_note(teller, refresh_move(teller->overlay, named->id, &named->key, named->parent, name, to->directory,
		refresh->found.text.buf + to->name));
	if (!S_ISDIR(named->type)) {
		teller_inode(teller, named->id, named->type);
		return;
	}
	refresh->queue[refresh->queued++] = named->id;
}

/* What was in a directory that is gone is gone from there. */
static void lose_children(struct refresh *refresh, uint64_t id)
{
	for (size_t i = known_at(refresh, id, ""); is_at(refresh, i, id, NULL); i++) {
		if (refresh->verdicts[i] != VERDICT_NONE)
			continue;
		refresh->verdicts[i] = VERDICT_WRONG;
		refresh->lost[refresh->lost_count++] = i;
	}
}

static void tell_lost(struct refresh *refresh, size_t index)
{
	const struct node_named named = refresh->known.names[index];
	const char *name = node_list_name(&refresh->known, &named);
	struct teller *teller = &refresh->teller;
	const struct stranger *to = NULL;
	bool right = leads_right(refresh, named.parent, name);

	if (named.alias) {
		node_unalias(teller->overlay->nodes, named.id, named.parent, name);
		teller_attributes(teller, named.id, named.type);
	} else if (node_is_named(teller->overlay->nodes, named.id, named.parent, name)) {
		to = named.patched ? NULL : find_again(refresh, &named);
		if (to)
			follow_lost(refresh, &named, to);
		else if (!named.patched && refresh_lose(teller, named.id, named.type, named.parent, name) && S_ISDIR(named.type))
			lose_children(refresh, named.id);
	}
	/* A directory that was moved is moved by the kernel, too, with what is mounted beneath, once it is looked up at its new place. */
	if (right || named.patched || refresh->verdicts[index] == VERDICT_COVERED || (to && S_ISDIR(named.type)))
		teller_doubtful_name(teller, named.parent, name, right ? &named.key : NULL);
	else
		teller_wrong_name(teller, named.parent, name);
}

int refresh_all(struct overlay *overlay, const struct notices *notices, struct refresh_counts *ret)
{
	CLEANUP(refresh_release)
	struct refresh refresh = { .teller = { .overlay = overlay, .notices = notices } };
	size_t room;
	int r = node_list_names(overlay->nodes, NULL, NULL, &refresh.known);

	*ret = (struct refresh_counts){ 0 };
	if (r < 0)
		return r;
	room = refresh.known.count + 1;
	refresh.verdicts = calloc(room, sizeof *refresh.verdicts);
	refresh.queue = calloc(room, sizeof *refresh.queue);
	refresh.lost = calloc(room, sizeof *refresh.lost);
	if (!refresh.verdicts || !refresh.queue || !refresh.lost)
		return -ENOMEM;
	if (refresh.known.count)
		qsort_r(refresh.known.names, refresh.known.count, sizeof *refresh.known.names, compare_known,
			refresh.known.text.buf);
	refresh.queue[refresh.queued++] = NODE_ROOT;
	/* A directory that was moved is looked at at its new place, and may have taken in what others have lost. */
	while (refresh.visited < refresh.queued || refresh.lost_done < refresh.lost_count) {
		while (refresh.visited < refresh.queued)
			visit_directory(&refresh, refresh.queue[refresh.visited++]);
		while (refresh.lost_done < refresh.lost_count)
			tell_lost(&refresh, refresh.lost[refresh.lost_done++]);
	}
	*ret = refresh.teller.counts;
	return refresh.teller.failed;
}
