/* SPDX-License-Identifier: Apache-2.0 */
#include "store/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/view_internal.h"

/* ---- entries ---- */

int view_set_xattrs(struct pool *pool, struct view_entry *entry, const struct meta *meta,
	struct error *err)
{
	struct meta_xattr *xattrs;

	entry->xattrs = NULL;
	entry->xattr_count = 0;
	if (!(meta->present & META_XATTRS) || meta->xattr_count == 0)
		return 0;
	xattrs = pool_alloc(pool, meta->xattr_count * sizeof *xattrs);
	if (!xattrs)
		return pool_error(pool, err);
	for (size_t i = 0; i < meta->xattr_count; i++) {
		const struct meta_xattr *from = &meta->xattrs[i];

		xattrs[i].name = pool_strndup(pool, from->name, strlen(from->name));
		xattrs[i].value = pool_alloc(pool, from->size);
		xattrs[i].size = from->size;
		if (!xattrs[i].name || !xattrs[i].value)
			return pool_error(pool, err);
		if (from->size > 0)
			memcpy(xattrs[i].value, from->value, from->size);
	}
	entry->xattrs = xattrs;
	entry->xattr_count = meta->xattr_count;
	return 0;
}

/* The fixed-size facts, without padding, so that equal facts are equal bytes. */
static void identity_facts(const struct view_entry *entry, struct strbuf *sb)
{
	const int64_t facts[] = {
		(int64_t)entry->kind, (int64_t)entry->present, (int64_t)entry->mode, (int64_t)entry->uid,
		(int64_t)entry->gid, (int64_t)entry->mtime.tv_sec, (int64_t)entry->mtime.tv_nsec,
		(int64_t)entry->size, (int64_t)entry->device, (int64_t)entry->xattr_count,
	};

	strbuf_add(sb, facts, sizeof facts);
	for (size_t i = 0; i < entry->xattr_count; i++) {
		const struct meta_xattr *xattr = &entry->xattrs[i];
		const uint64_t size = xattr->size;

		strbuf_add(sb, xattr->name, strlen(xattr->name) + 1);
		strbuf_add(sb, &size, sizeof size);
		strbuf_add(sb, xattr->value, xattr->size);
	}
}

int view_set_identity(struct view_entry *entry, struct strbuf *path)
{
	strbuf_addch(path, '\0');
	if (view_kind_is_directory(entry->kind)) {
		strbuf_addstr(path, "directory");
	} else {
		identity_facts(entry, path);
		/* The object where it is known; the blob says as much until then. */
		if (entry->kind == VIEW_FILE && (entry->present & META_OBJECT))
			strbuf_add(path, &entry->object, sizeof entry->object);
		else if (entry->kind == VIEW_FILE)
			strbuf_add(path, &entry->blob, sizeof entry->blob);
		if (entry->kind == VIEW_SYMLINK)
			strbuf_addstr(path, entry->target);
	}
	if (strbuf_failed(path))
		return -ENOMEM;
	entry->identity = hash128_of(path->buf, path->len);
	return 0;
}

/* ---- loading ---- */

static struct view *view_new(void)
{
	struct view *view = calloc(1, sizeof *view);

	if (view)
		atomic_init(&view->references, 1);
	return view;
}

/* Collect and build; what view_load() and view_check() have in common. */
static int view_fill(struct view *view, struct repo *repo, const struct oid *base_tree,
	const struct oid *tree, struct error *err)
{
	cleanup_differences struct differences differences = DIFFERENCES_INIT;
	int r = differences_collect(repo, &view->pool, base_tree, tree, &differences, err);

	return r < 0 ? r : view_build(repo, view, tree, &differences, err);
}

/* Is BASE a base of the component NAME? Its message was found to be a base's. */
static int check_component(struct store *store, const struct oid *base, const char *name, struct error *err)
{
	cleanup_commit struct commit commit = { 0 };
	cleanup_free char *owner = NULL;
	int r = repo_commit_read(store->repo, base, &commit, err);

	if (r < 0)
		return r;
	owner = trailer_get(commit.message, "Component", 0);
	if (owner && strcmp(owner, name) == 0)
		return 0;
	return error_set(err, -EINVAL, "it stands on a base of component '%.80s', not of '%s'", owner ? owner : "",
		name);
}

/* NAME NULL: of any component. SERVED: as view_load_served(). */
static int load(struct store *store, const char *name, const struct oid *commit, bool served, struct view **ret, struct error *err)
{
	cleanup_view struct view *view = view_new();
	cleanup_commit struct commit facts = { 0 };
	char hex[OID_HEX_LENGTH + 1];
	struct oid base_tree;
	int r;

	if (!view)
		return error_set(err, -ENOMEM, "out of memory");
	oid_to_hex(commit, hex);
	r = repo_commit_read(store->repo, commit, &facts, err);
	if (r < 0)
		return r;
	r = commit_find_base(store, commit, &view->base, &base_tree, err);
	if (r < 0)
		return r;
	r = name ? check_component(store, &view->base, name, err) : 0;
	if (r < 0)
		return error_prefix(err, r, "commit '%.12s'", hex);
	view->commit = *commit;
	view->time = facts.time;
	view->known = served ? store->blobs : NULL;
	r = view_fill(view, store->repo, &base_tree, &facts.tree, err);
	if (r < 0)
		return error_prefix(err, r, "commit '%.12s'", hex);
	*ret = TAKE_PTR(view);
	return 0;
}

int view_load(struct store *store, const struct oid *commit, struct view **ret, struct error *err)
{
	return load(store, NULL, commit, false, ret, err);
}

int view_load_of(struct store *store, const char *name, const struct oid *commit, struct view **ret,
	struct error *err)
{
	return load(store, name, commit, false, ret, err);
}

int view_load_served(struct store *store, const char *name, const struct oid *commit, struct view **ret, struct error *err)
{
	return load(store, name, commit, true, ret, err);
}

int view_check(struct store *store, const struct oid *base_tree, const struct oid *tree, struct error *err)
{
	cleanup_view struct view *view = view_new();

	if (!view)
		return error_set(err, -ENOMEM, "out of memory");
	return view_fill(view, store->repo, base_tree, tree, err);
}

int view_check_over(struct store *store, const struct oid *base_tree, const struct oid *tree, int basefd, struct error *err)
{
	cleanup_view struct view *view = view_new();
	cleanup_free char *path = NULL;
	enum view_fit fit;
	int r;

	if (!view)
		return error_set(err, -ENOMEM, "out of memory");
	r = view_fill(view, store->repo, base_tree, tree, err);
	if (r == 0)
		r = view_fit(view, store, basefd, &fit, &path, err);
	if (r < 0 || fit == VIEW_FITS)
		return r;
	return error_set(err, -ESTALE, "the base has changed since it was recorded: %s%s%s: record it anew, with 'veneer add NAME DIR --base-version V'",
		path ? "'" : "it has ", path ? path : "all of this already", path ? "' is something else now" : "");
}

struct view *view_ref(struct view *view)
{
	atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
	return view;
}

void view_unref(struct view *view)
{
	/* acq_rel: the last user sees all that the others did before they let go. */
	if (!view || atomic_fetch_sub_explicit(&view->references, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; view->entries && i < view->count; i++)
		object_blocks_unref(view->entries[i].blocks);
	pool_release(&view->pool);
	view_unref(view->origin);
	free(view->entries);
	free(view->records);
	free(view->recorded);
	free(view->beneath);
	free(view->ended);
	free(view->found);
	free(view);
}

static void *memory_copy(const void *data, size_t size)
{
	void *copy = malloc(size);

	return copy ? memcpy(copy, data, size) : NULL;
}

int view_copy(struct view *view, struct view **ret)
{
	cleanup_view struct view *copy = view_new();

	if (!copy)
		return -ENOMEM;
	copy->commit = view->commit;
	copy->base = view->base;
	copy->time = view->time;
	copy->count = view->count;
	copy->entries = memory_copy(view->entries, view->count * sizeof *view->entries);
	copy->records = memory_copy(view->records, view->count * sizeof *view->records);
	copy->recorded = memory_copy(view->recorded, view->count * sizeof *view->recorded);
	copy->beneath_count = view->beneath_count;
	if (view->beneath_count)
		copy->beneath = memory_copy(view->beneath, view->beneath_count * sizeof *view->beneath);
	if (!copy->entries || !copy->records || !copy->recorded || (view->beneath_count && !copy->beneath))
		return -ENOMEM;
	copy->origin = view_ref(view);
	*ret = TAKE_PTR(copy);
	return 0;
}

/* ---- reading ---- */

const struct oid *view_commit(const struct view *view)
{
	return &view->commit;
}

const struct oid *view_base(const struct view *view)
{
	return &view->base;
}

size_t view_count(const struct view *view)
{
	return view->count;
}

size_t view_bytes(const struct view *view)
{
	size_t of_entry = sizeof *view->entries + sizeof *view->records + sizeof *view->recorded +
		(view->found ? sizeof *view->found : 0) + (view->ended ? sizeof *view->ended : 0);

	return sizeof *view + view->count * of_entry + view->beneath_count * sizeof *view->beneath + view->pool.allocated;
}

const struct view_entry *view_at(const struct view *view, uint32_t index)
{
	return &view->entries[index];
}

const struct view_found *view_found_at(const struct view *view, uint32_t index)
{
	return view->found ? &view->found[index] : NULL;
}

static int name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (r != 0)
		return r;
	return a_len < b_len ? -1 : a_len > b_len;
}

uint32_t view_child(const struct view *view, uint32_t index, const char *name, size_t len)
{
	const struct view_entry *parent = &view->entries[index];
	uint32_t low = 0, high = parent->child_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct view_entry *child = &view->entries[parent->first_child + middle];
		int r = name_compare(name, len, child->name, child->name_length);

		if (r == 0)
			return parent->first_child + middle;
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return VIEW_NONE;
}

/* ---- what has ended ---- */

static unsigned times_ended(const struct view *view, uint32_t index)
{
	return view->ended ? atomic_load_explicit(&view->ended[index], memory_order_acquire) : 0;
}

/* release, acquire: who sees that it has ended sees the base as it was changed before. */
void view_end(const struct view *view, uint32_t index)
{
	atomic_fetch_add_explicit(&view->ended[index], 1, memory_order_release);
}

bool view_is_ended(const struct view *view, uint32_t index)
{
	return times_ended(view, index) > 0;
}

bool view_any_ended(const struct view *view)
{
	for (size_t i = 0; i < view->count; i++)
		if (view_is_ended(view, (uint32_t)i))
			return true;
	return false;
}

unsigned *view_ended_now(const struct view *view)
{
	unsigned *ended = calloc(view->count, sizeof *ended);

	for (size_t i = 0; ended && i < view->count; i++)
		ended[i] = times_ended(view, (uint32_t)i);
	return ended;
}

bool view_serves_same(const struct view_entry *a, const struct view_entry *b)
{
	if (a->kind != b->kind)
		return false;
	return (a->kind != VIEW_FILE && a->kind != VIEW_SYMLINK) || oid_equal(&a->blob, &b->blob);
}

int view_carry_ended(const struct view *from, const struct view *to, const unsigned *settled, bool *ret_any)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;

	*ret_any = false;
	for (uint32_t i = 0; i < from->count; i++) {
		uint32_t index;

		if (times_ended(from, i) == (settled ? settled[i] : 0))
			continue;
		strbuf_reset(&path);
		view_path(from, i, &path);
		if (strbuf_failed(&path))
			return -ENOMEM;
		index = view_lookup(to, strbuf_text(&path));
		if (index == VIEW_NONE || view_is_ended(to, index) || !view_serves_same(&from->entries[i], &to->entries[index]))
			continue;
		view_end(to, index);
		*ret_any = true;
	}
	return 0;
}

uint32_t view_served_child(const struct view *view, uint32_t index, const char *name, size_t len)
{
	uint32_t child = view_child(view, index, name, len);

	if (child != VIEW_NONE && !view_kind_is_directory(view->entries[child].kind) && view_is_ended(view, child))
		return VIEW_NONE;
	return child;
}

enum view_kind view_served_kind(const struct view *view, uint32_t index)
{
	enum view_kind kind = view->entries[index].kind;

	return kind == VIEW_DIRECTORY && view_is_ended(view, index) ? VIEW_THROUGH : kind;
}

uint32_t view_lookup(const struct view *view, const char *path)
{
	uint32_t index = 0;

	while (*path && index != VIEW_NONE) {
		const char *end = strchrnul(path, '/');

		index = view_child(view, index, path, (size_t)(end - path));
		path = *end ? end + 1 : end;
	}
	return index;
}

void view_path(const struct view *view, uint32_t index, struct strbuf *sb)
{
	uint32_t chain[PATH_DEPTH_MAX + 1]; /* names from the entry up; the depth was checked at load */
	size_t depth = 0;

	for (; index != 0 && depth < ARRAY_SIZE(chain); index = view->entries[index].parent)
		chain[depth++] = index;
	while (depth-- > 0) {
		const struct view_entry *entry = &view->entries[chain[depth]];

		strbuf_add(sb, entry->name, entry->name_length);
		if (depth > 0)
			strbuf_addch(sb, '/');
	}
}
