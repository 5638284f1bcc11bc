/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is damaged or missing of git's objects: told with the paths that need it, and made again where its bytes are still to be had.
 * In this order: the blobs that are missing, then damaged loose files and packs go, so that none of them hides a good one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"
#include "store/base/parallel.h"
#include "store/base/path.h"
#include "store/fsck_internal.h"
#include "store/git/repack.h"
#include "store/object.h"

#define COMPONENT_PREFIX "refs/veneer/"
#define DIRECTORY_COUNT 256u

/* What the walk needs and no copy has. */
struct mend {
	struct fsck *fsck;
	struct oid_set wanted; /* blobs */
	bool *made; /* owned; of each of WANTED */
	size_t lost; /* of those that are needed, and whatever else: could not be made again */
	pthread_mutex_t lock; /* guards MADE and the writing */
	char **objects; /* owned; paths below objects/ that are looked at */
	size_t object_count;
};

static int out_of_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "note what is wrong");
}

static void mend_release(struct mend *mend)
{
	oid_set_release(&mend->wanted);
	free(mend->made);
	for (size_t i = 0; i < mend->object_count; i++)
		free(mend->objects[i]);
	free(mend->objects);
}

/* ---- which ---- */

static bool is_needed(const struct fsck *fsck, size_t number)
{
	return !fsck->reach.items[number].optional;
}

static int collect_wanted(struct mend *mend)
{
	const struct reach *reach = &mend->fsck->reach;

	for (size_t i = 0; i < reach->ids.count; i++) {
		const struct reach_item *item = &reach->items[i];

		if (item->state == REACH_WHOLE || !is_needed(mend->fsck, i))
			continue;
		if (item->kind == RAW_BLOB && item->state != REACH_OTHER_KIND) {
			if (oid_set_add(&mend->wanted, &reach->ids.ids[i], NULL) < 0)
				return -ENOMEM;
		} else {
			mend->lost++;
		}
	}
	mend->made = calloc(mend->wanted.count + 1, sizeof *mend->made);
	return mend->made ? 0 : -ENOMEM;
}

/* These bytes are a blob: is it wanted? Then it is written. */
static int offer(struct mend *mend, const void *data, size_t size, struct error *err)
{
	struct oid oid = raw_object_id(RAW_BLOB, data, size);
	size_t number;
	int r;

	if (!oid_set_find(&mend->wanted, &oid, &number))
		return 0;
	SCOPED_LOCK(&mend->lock);
	if (mend->made[number])
		return 0;
	r = repack_put_blob(mend->fsck->inventory, &oid, data, size, err);
	mend->made[number] = r == 0;
	return r;
}

static bool all_made(const struct mend *mend)
{
	for (size_t i = 0; i < mend->wanted.count; i++)
		if (!mend->made[i])
			return false;
	return true;
}

/* ---- from the objects that are served ---- */

static int list_objects(struct mend *mend, unsigned directory)
{
	int objects_fd = mend->fsck->store->objects_fd;
	const struct dirent *entry;
	cleanup_closedir DIR *dir = NULL;
	char name[3];
	int fd;

	snprintf(name, sizeof name, "%02x", directory);
	fd = objects_fd < 0 ? -EBADF : openat(objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		cleanup_closep(&fd);
		return 0;
	}
	while ((entry = readdir(dir)) != NULL) {
		char **grown;

		if (strlen(entry->d_name) != OBJECT_PATH_LENGTH - 3)
			continue;
		grown = reallocarray(mend->objects, mend->object_count + 1, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		mend->objects = grown;
		grown[mend->object_count] = path_join(name, entry->d_name);
		if (!grown[mend->object_count])
			return -ENOMEM;
		mend->object_count++;
	}
	return 0;
}

static int offer_object(void *arg, size_t index, struct error *err)
{
	struct mend *mend = arg;
	cleanup_strbuf struct strbuf data = STRBUF_INIT;
	int r = io_read_file_at(mend->fsck->store->objects_fd, mend->objects[index], OBJECT_BYTES_MAX, &data, NULL);

	/* Whatever its name says: what it holds is what counts. */
	return r < 0 ? 0 : offer(mend, strbuf_text(&data), data.len, err);
}

static int mend_from_objects(struct mend *mend, struct error *err)
{
	struct parallel parallel;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < DIRECTORY_COUNT; i++)
		r = list_objects(mend, i);
	if (r < 0)
		return out_of_memory(err);
	parallel_begin(&parallel, mend->object_count, offer_object, mend);
	return parallel_end(&parallel, err);
}

/* ---- from the base ---- */

static int offer_link(struct mend *mend, int basefd, const char *path, struct error *err)
{
	cleanup_close int fd = path_open(basefd, path, O_PATH, 0);
	char target[PATH_LENGTH_MAX + 1];
	ssize_t len = fd < 0 ? -1 : readlinkat(fd, "", target, sizeof target);

	return len < 0 || len == sizeof target ? 0 : offer(mend, target, (size_t)len, err);
}

static int offer_file(struct mend *mend, int basefd, const char *path, struct error *err)
{
	cleanup_close int fd = path_open(basefd, path, O_RDONLY | O_NONBLOCK, 0);
	cleanup_strbuf struct strbuf data = STRBUF_INIT;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > OBJECT_BYTES_MAX)
		return 0;
	return io_read_all(fd, OBJECT_BYTES_MAX, &data) < 0 ? 0 : offer(mend, strbuf_text(&data), data.len, err);
}

static int offer_path(struct mend *mend, int basefd, const char *path, struct error *err)
{
	struct stat st;

	if (path_check(path, NULL) < 0 || path_stat(basefd, path, &st) < 0)
		return 0;
	return S_ISLNK(st.st_mode) ? offer_link(mend, basefd, path, err) : offer_file(mend, basefd, path, err);
}

/* The base's file at each path by which the walk came to something wanted, for the component that it began with. */
static int mend_from_component(struct mend *mend, const char *name, struct error *err)
{
	struct fsck *fsck = mend->fsck;
	cleanup_component struct component *component = NULL;
	cleanup_close int basefd = -EBADF;
	cleanup_free char *prefix = NULL;
	int r = 0;

	if (component_load(fsck->store, name, &component, NULL) < 0 || fsck->options->open_base(fsck->store, component, &basefd, NULL) < 0)
		return 0;
	if (asprintf(&prefix, COMPONENT_PREFIX "%s/", name) < 0)
		return out_of_memory(err);
	for (size_t i = 0; r == 0 && i < mend->wanted.count; i++) {
		struct reach_way way;
		size_t number;

		if (mend->made[i] || !oid_set_find(&fsck->reach.ids, &mend->wanted.ids[i], &number))
			continue;
		if (reach_way(&fsck->reach, number, &way) < 0)
			return out_of_memory(err);
		if (strncmp(way.name, prefix, strlen(prefix)) == 0)
			r = offer_path(mend, basefd, way.path, err);
		free(way.path);
	}
	return r;
}

static int mend_blobs(struct mend *mend, struct error *err)
{
	struct fsck *fsck = mend->fsck;
	int r = mend->wanted.count ? mend_from_objects(mend, err) : 0;

	for (char **name = fsck->names; r == 0 && fsck->options->open_base && *name && !all_made(mend); name++)
		r = mend_from_component(mend, *name, err);
	for (size_t i = 0; i < mend->wanted.count; i++)
		mend->lost += !mend->made[i];
	return r;
}

/* ---- telling ---- */

/* "needed at 'lib/x' of commit 1a2b3c4d5e6f (refs/veneer/app/patches/a)" */
static int describe_need(const struct fsck *fsck, size_t number, struct strbuf *sb, char **ret_component)
{
	struct reach_way way;
	char hex[OID_HEX_LENGTH + 1];
	const char *name, *slash;

	if (reach_way(&fsck->reach, number, &way) < 0)
		return -ENOMEM;
	strbuf_addstr(sb, "needed ");
	if (*way.path)
		strbuf_addf(sb, "at '%s' ", way.path);
	if (!oid_is_zero(&way.commit)) {
		oid_to_hex(&way.commit, hex);
		strbuf_addf(sb, "of commit '%.12s' ", hex);
	}
	strbuf_addf(sb, "by '%s'", way.name);
	name = strncmp(way.name, COMPONENT_PREFIX, strlen(COMPONENT_PREFIX)) == 0 ? way.name + strlen(COMPONENT_PREFIX) : NULL;
	slash = name ? strchr(name, '/') : NULL;
	*ret_component = slash ? strndup(name, (size_t)(slash - name)) : NULL;
	free(way.path);
	return strbuf_failed(sb) || (slash && !*ret_component) ? -ENOMEM : 0;
}

static const char remedy_lost[] =
	"its bytes are nowhere here: fetch it from a repository that has it ('git fetch' into the store's git directory), "
	"or bring the store back from a backup";

/* One object without a copy that is whole. A damaged copy is told by itself. */
static int tell_missing(struct mend *mend, size_t number)
{
	static const char *const problems[] = { [REACH_MISSING] = "is missing", [REACH_DAMAGED] = "says nothing that makes sense",
		[REACH_OTHER_KIND] = "is of another kind than what names it says", [REACH_TOO_LARGE] = "is too large" };
	struct fsck *fsck = mend->fsck;
	const struct reach_item *item = &fsck->reach.items[number];
	cleanup_strbuf struct strbuf need = STRBUF_INIT;
	cleanup_free char *component = NULL;
	char hex[OID_HEX_LENGTH + 1];
	size_t wanted;
	bool repaired;

	if (item->state == REACH_WHOLE || item->copy_damaged || !is_needed(fsck, number) || item->from == REACH_NONE)
		return 0; /* what a ref names is told with the refs */
	if (describe_need(fsck, number, &need, &component) < 0)
		return -ENOMEM;
	oid_to_hex(&fsck->reach.ids.ids[number], hex);
	repaired = oid_set_find(&mend->wanted, &fsck->reach.ids.ids[number], &wanted) && mend->made[wanted];
	return fsck_add(fsck, FSCK_ERROR,
		FSCK_TEXT("git-object", component, hex,
			repaired ? "made again" :
			fsck->options->repair || item->kind != RAW_BLOB ? remedy_lost :
				"'veneer fsck --repair' makes it again where its bytes are still to be had",
			repaired),
		"%s %s: %s", raw_kind_name(item->kind), problems[item->state], strbuf_text(&need));
}

static int tell_damaged(struct mend *mend, size_t copy)
{
	struct fsck *fsck = mend->fsck;
	struct oid oid = inventory_copy_at(fsck->inventory, copy).oid;
	cleanup_strbuf struct strbuf need = STRBUF_INIT, place = STRBUF_INIT;
	cleanup_free char *component = NULL;
	char hex[OID_HEX_LENGTH + 1];
	size_t number, wanted;
	bool reached = oid_set_find(&fsck->reach.ids, &oid, &number), whole = !reached || fsck->reach.items[number].state == REACH_WHOLE;
	bool made = oid_set_find(&mend->wanted, &oid, &wanted) && mend->made[wanted], repaired;
	const char *remedy;

	inventory_copy_place(fsck->inventory, copy, &place);
	if (reached && is_needed(fsck, number)) {
		if (describe_need(fsck, number, &need, &component) < 0)
			return -ENOMEM;
	} else {
		strbuf_addstr(&need, "nothing needs it");
		whole = true;
	}
	if (strbuf_failed(&need) || strbuf_failed(&place))
		return -ENOMEM;
	repaired = fsck->options->repair && (whole || made);
	remedy = repaired ? (made ? "made again" : reached && is_needed(fsck, number) ? "removed: another copy is whole" : "removed") :
		fsck->options->repair ? remedy_lost : "'veneer fsck --repair' mends it where its bytes are still to be had";
	oid_to_hex(&oid, hex);
	return fsck_add(fsck, FSCK_ERROR, FSCK_TEXT("git-object", component, hex, remedy, repaired),
		"its copy in 'objects/%s' is damaged: %s", strbuf_text(&place), strbuf_text(&need));
}

static int tell_pack(struct fsck *fsck, const struct inventory_pack *pack)
{
	cleanup_free char *subject = NULL;
	bool repaired = fsck->options->repair;

	if (!pack->problem)
		return 0;
	if (asprintf(&subject, "objects/pack/%s.pack", pack->stem) < 0) {
		subject = NULL;
		return -ENOMEM;
	}
	return fsck_add(fsck, FSCK_ERROR,
		FSCK_TEXT("git-pack", NULL, subject,
			repaired ? "written anew, of all that can be read of it" : "'veneer fsck --repair' writes it anew", repaired),
		"%s", pack->problem);
}

/* Temporary files and halves of packs. */
static int tell_stray(struct fsck *fsck, const struct inventory_stray *stray, struct error *err)
{
	cleanup_free char *subject = NULL;
	bool repaired = fsck->options->repair && stray->leftover;
	int r;

	if (stray->leftover && stray->changed_s + FSCK_LEFTOVER_SECONDS >= time(NULL))
		return 0;
	if (repaired) {
		r = inventory_remove_leftover(fsck->inventory, stray, &repaired, err);
		if (r < 0 || !repaired)
			return r;
	}
	if (asprintf(&subject, "%s/objects/%s", fsck->git_path, stray->path) < 0) {
		subject = NULL;
		return out_of_memory(err);
	}
	r = fsck_add(fsck, FSCK_WARNING,
		FSCK_TEXT(stray->leftover ? "leftover" : "stray", NULL, subject,
			repaired ? "removed" : stray->leftover ? "'veneer fsck --repair' removes it" : "see what it is, and take it away", repaired),
		stray->leftover ? "a file of a writer that was cut short" : "nothing of this name belongs here");
	return r < 0 ? out_of_memory(err) : 0;
}

static int tell_lock(struct fsck *fsck, const char *path, struct error *err)
{
	cleanup_free char *subject = path_join(fsck->git_path, path);
	bool repaired = fsck->options->repair;

	if (!subject)
		return out_of_memory(err);
	if (repaired && unlink(subject) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove '%s'", subject);
	return fsck_add(fsck, FSCK_WARNING,
		       FSCK_TEXT("leftover", NULL, subject, repaired ? "removed" : "'veneer fsck --repair' removes it", repaired),
		       "a lock that nobody holds any more: git holds one for milliseconds") < 0 ?
		out_of_memory(err) : 0;
}

static int tell_all(struct mend *mend, struct error *err)
{
	struct fsck *fsck = mend->fsck;
	int r = 0;

	for (size_t i = 0; r == 0 && i < fsck->inventory->pack_count; i++)
		r = tell_pack(fsck, &fsck->inventory->packs[i]);
	for (size_t copy = 0; r == 0 && copy < fsck->inventory->copies; copy++)
		if (fsck->copy_bad[copy])
			r = tell_damaged(mend, copy);
	for (size_t i = 0; r == 0 && i < fsck->reach.ids.count; i++)
		r = tell_missing(mend, i);
	if (r < 0)
		return out_of_memory(err);
	for (size_t i = 0; r == 0 && !fsck->options->names && i < fsck->inventory->stray_count; i++)
		r = tell_stray(fsck, &fsck->inventory->strays[i], err);
	for (size_t i = 0; r == 0 && !fsck->options->names && i < fsck->refs.lock_count; i++)
		r = tell_lock(fsck, fsck->refs.locks[i], err);
	return r;
}

/* ---- what is damaged goes ---- */

/* A copy that is damaged goes where a good one takes its place, or where nothing needs it; else it is the last that is left of it. */
static int remove_loose(struct mend *mend, size_t copy, struct error *err)
{
	struct fsck *fsck = mend->fsck;
	struct inventory_copy at = inventory_copy_at(fsck->inventory, copy);
	size_t number, wanted;

	if (at.pack || !fsck->copy_bad[copy])
		return 0;
	if (oid_set_find(&mend->wanted, &at.oid, &wanted))
		return 0; /* made again in its place, or not */
	if (oid_set_find(&fsck->reach.ids, &at.oid, &number) && is_needed(fsck, number) && fsck->reach.items[number].state != REACH_WHOLE)
		return 0;
	return repack_remove_loose(fsck->inventory, &at.oid, err);
}

/* Is there something in the pack that is needed, and lost but for what its bytes may still tell? */
static bool has_lost(const struct mend *mend, const struct inventory_pack *pack)
{
	const struct fsck *fsck = mend->fsck;

	if (!pack->file || pack->unreadable)
		return mend->lost > 0;
	for (uint32_t i = 0; i < pack->file->count; i++) {
		const struct oid *oid = &pack->file->items[i].oid;
		size_t number, wanted;

		if (!fsck->copy_bad[pack->first + i] || !oid_set_find(&fsck->reach.ids, oid, &number) || !is_needed(fsck, number) ||
			fsck->reach.items[number].state == REACH_WHOLE)
			continue;
		if (!oid_set_find(&mend->wanted, oid, &wanted) || !mend->made[wanted])
			return true;
	}
	return false;
}

static bool pack_is_bad(const struct fsck *fsck, const struct inventory_pack *pack)
{
	if (pack->problem)
		return true;
	for (uint32_t i = 0; i < pack->file->count; i++)
		if (fsck->copy_bad[pack->first + i])
			return true;
	return false;
}

static int remove_damaged(struct mend *mend, struct error *err)
{
	struct fsck *fsck = mend->fsck;
	int r = 0;

	/* First: what is left of a pack may become loose, and a name that is taken is not replaced then. */
	for (size_t copy = fsck->inventory->copies - fsck->inventory->loose.count; r == 0 && copy < fsck->inventory->copies; copy++)
		r = remove_loose(mend, copy, err);
	for (size_t i = 0; r == 0 && i < fsck->inventory->pack_count; i++)
		if (pack_is_bad(fsck, &fsck->inventory->packs[i]))
			r = repack_without_damage(fsck->inventory, i, fsck->copy_bad, has_lost(mend, &fsck->inventory->packs[i]), err);
	return r;
}

static bool anything_bad(const struct fsck *fsck)
{
	for (size_t i = 0; i < fsck->inventory->pack_count; i++)
		if (fsck->inventory->packs[i].problem)
			return true;
	return fsck->bad.count > 0;
}

int fsck_mend(struct fsck *fsck, bool *ret_changed, struct error *err)
{
	CLEANUP(mend_release) struct mend mend = { .fsck = fsck, .wanted = OID_SET_INIT, .lock = PTHREAD_MUTEX_INITIALIZER };
	bool mending = fsck->options->repair && anything_bad(fsck);
	int r = collect_wanted(&mend) < 0 ? out_of_memory(err) : 0;

	if (r == 0 && mending)
		r = mend_blobs(&mend, err);
	if (r == 0)
		r = tell_all(&mend, err);
	if (r == 0 && mending)
		r = remove_damaged(&mend, err);
	*ret_changed = mending;
	return r;
}
