/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

#define PROGRESS_EVERY 512u

void reach_release(struct reach *reach)
{
	oid_set_release(&reach->ids);
	free(reach->items);
	strbuf_release(&reach->names);
	*reach = (struct reach)REACH_INIT;
}

bool reach_has(const struct reach *reach, const struct oid *oid)
{
	return oid_set_find(&reach->ids, oid, NULL);
}

/* ---- naming ---- */

/* The number of the name; names that follow one another and are the same are kept once. */
static int add_name(struct reach *reach, const char *name, size_t len, uint32_t *ret)
{
	if (reach->names.len + len + 1 > REACH_NAMES_BYTES_MAX)
		return -E2BIG;
	*ret = (uint32_t)reach->names.len;
	strbuf_add(&reach->names, name, len);
	strbuf_addch(&reach->names, '\0');
	return strbuf_failed(&reach->names) ? -ENOMEM : 0;
}

static int name_object(struct reach *reach, const struct oid *oid, const struct reach_item *item, const char *name, size_t len)
{
	struct reach_item *items;
	size_t number;
	int r;

	if (reach->known && reach_has(reach->known, oid))
		return 0;
	r = oid_set_add(&reach->ids, oid, &number);
	if (r < 0)
		return r;
	if (r == 0) {
		/* Whoever names it now may need it. */
		reach->items[number].optional &= item->optional;
		return 0;
	}
	if (reach->ids.count > reach->item_alloc) {
		items = reallocarray(reach->items, reach->ids.alloc, sizeof *items);
		if (!items)
			return -ENOMEM;
		reach->items = items;
		reach->item_alloc = reach->ids.alloc;
	}
	reach->items[number] = *item;
	return add_name(reach, name, len, &reach->items[number].name);
}

int reach_add(struct reach *reach, const struct oid *oid, enum raw_kind kind, const char *name, bool optional)
{
	struct reach_item item = { .from = REACH_NONE, .kind = (uint8_t)kind, .optional = optional };

	return name_object(reach, oid, &item, name, strlen(name));
}

/* ---- what objects name ---- */

static int name_from(struct reach *reach, size_t from, const struct oid *oid, enum raw_kind kind, uint32_t mode,
	const char *name, size_t len)
{
	struct reach_item item = { .from = (uint32_t)from, .mode = mode, .kind = (uint8_t)kind,
		.optional = reach->items[from].optional };

	return name_object(reach, oid, &item, name, len);
}

/* "KEY ID\n" at AT. */
static bool header_line(const struct raw_object *object, size_t at, const char *key, struct oid *ret)
{
	size_t len = strlen(key), whole = len + 1 + OID_HEX_LENGTH + 1;
	const char *text = (const char *)object->data + at;

	return object->size - at >= whole && memcmp(text, key, len) == 0 && text[len] == ' ' && text[whole - 1] == '\n' &&
		oid_from_hex(text + len + 1, OID_HEX_LENGTH, ret) == 0;
}

static int visit_commit(struct reach *reach, size_t number, const struct raw_object *object)
{
	struct oid oid;
	size_t at = strlen("tree ") + OID_HEX_LENGTH + 1;
	int r;

	if (!header_line(object, 0, "tree", &oid))
		return -EBADMSG;
	r = name_from(reach, number, &oid, RAW_TREE, 0, "", 0);
	for (; r == 0 && header_line(object, at, "parent", &oid); at += strlen("parent ") + OID_HEX_LENGTH + 1)
		r = name_from(reach, number, &oid, RAW_COMMIT, 0, "", 0);
	if (r == 0 && (object->size - at < 7 || memcmp(object->data + at, "author ", 7) != 0))
		return -EBADMSG;
	return r;
}

static int visit_tag(struct reach *reach, size_t number, const struct raw_object *object)
{
	struct oid oid;

	if (!header_line(object, 0, "object", &oid))
		return -EBADMSG;
	return name_from(reach, number, &oid, RAW_NONE, 0, "", 0);
}

/* "MODE NAME\0" and an id. Bytes used; 0: malformed. */
static size_t parse_entry(const uint8_t *at, size_t len, uint32_t *ret_mode, const char **ret_name, size_t *ret_len, struct oid *ret)
{
	uint32_t mode = 0;
	size_t used = 0;
	const uint8_t *end;

	while (used < len && used < 7 && at[used] >= '0' && at[used] <= '7')
		mode = mode * 8 + (uint32_t)(at[used++] - '0');
	if (used == 0 || used == len || at[used++] != ' ')
		return 0;
	end = memchr(at + used, '\0', len - used);
	if (!end || (size_t)(at + len - end) < 1 + sizeof *ret)
		return 0;
	*ret_mode = mode;
	*ret_name = (const char *)at + used;
	*ret_len = (size_t)(end - at) - used;
	memcpy(ret->id, end + 1, sizeof ret->id);
	return (size_t)(end - at) + 1 + sizeof *ret;
}

static int visit_tree(struct reach *reach, size_t number, const struct raw_object *object)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && at < object->size) {
		size_t len, used;
		struct oid oid;
		uint32_t mode;
		const char *name;

		used = parse_entry(object->data + at, object->size - at, &mode, &name, &len, &oid);
		if (used == 0)
			return -EBADMSG;
		at += used;
		if ((mode & 0170000u) == TREE_MODE_COMMIT) /* of another repository */
			continue;
		r = name_from(reach, number, &oid, (mode & 0170000u) == TREE_MODE_DIRECTORY ? RAW_TREE : RAW_BLOB, mode, name, len);
	}
	return r;
}

static int visit_object(struct reach *reach, size_t number, const struct raw_object *object)
{
	switch (object->kind) {
	case RAW_COMMIT:
		return visit_commit(reach, number, object);
	case RAW_TREE:
		return visit_tree(reach, number, object);
	case RAW_TAG:
		return visit_tag(reach, number, object);
	default:
		return 0;
	}
}

/* ---- the walk ---- */

static int visit(struct reach *reach, const struct inventory *inventory, size_t number, uint64_t *bytes)
{
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
	struct reach_item *item = &reach->items[number];
	enum raw_kind named = item->kind;
	struct oid oid = reach->ids.ids[number];
	int r;

	if (named == RAW_BLOB) {
		item->state = inventory_has(inventory, &oid) ? REACH_WHOLE : REACH_MISSING;
		return 0;
	}
	r = inventory_read(inventory, &oid, REACH_OBJECT_BYTES_MAX, &object);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		item->state = r == -ENOENT ? REACH_MISSING : r == -E2BIG ? REACH_TOO_LARGE : REACH_DAMAGED;
		return 0;
	}
	item->kind = (uint8_t)object.kind;
	*bytes += object.size;
	if (named != RAW_NONE && named != object.kind) {
		item->state = REACH_OTHER_KIND;
		return 0;
	}
	r = visit_object(reach, number, &object);
	if (r == -EBADMSG) {
		reach->items[number].state = REACH_DAMAGED;
		return 0;
	}
	return r;
}

int reach_walk(struct reach *reach, const struct inventory *inventory, reach_progress_fn progress, void *arg, struct error *err)
{
	uint64_t bytes = 0;

	for (; reach->walked < reach->ids.count; reach->walked++) {
		int r = visit(reach, inventory, reach->walked, &bytes);

		if (r < 0)
			return error_errno(err, -r, "walk over the objects of '%s'", inventory->path);
		if (progress && reach->walked % PROGRESS_EVERY == 0)
			progress(arg, reach->walked, bytes);
	}
	return 0;
}

/* ---- the way ---- */

static const char *name_of(const struct reach *reach, size_t number)
{
	return reach->names.buf + reach->items[number].name;
}

/* NAME/PATH */
static int put_in_front(char **path, const char *name)
{
	char *joined = NULL;

	if (*name == '\0')
		return 0;
	if (asprintf(&joined, "%s%s%s", name, **path ? "/" : "", *path) < 0)
		return -ENOMEM;
	free(*path);
	*path = joined;
	return 0;
}

int reach_way(const struct reach *reach, size_t number, struct reach_way *ret)
{
	cleanup_free char *path = strdup("");
	struct oid commit = { { 0 } };
	uint32_t at = (uint32_t)number;

	if (!path)
		return -ENOMEM;
	for (; reach->items[at].from != REACH_NONE; at = reach->items[at].from) {
		uint32_t from = reach->items[at].from;

		if (oid_is_zero(&commit) && put_in_front(&path, name_of(reach, at)) < 0)
			return -ENOMEM;
		if (oid_is_zero(&commit) && reach->items[from].kind == RAW_COMMIT)
			commit = reach->ids.ids[from];
	}
	*ret = (struct reach_way){ TAKE_PTR(path), commit, name_of(reach, at) };
	return 0;
}
