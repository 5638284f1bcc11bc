/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/served_objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/control.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"

#define ASK_TIMEOUT_MS 15000 /* the store is locked meanwhile */
#define BEGIN_TRIES 40 /* for a daemon that is about to mount: it holds its lock before it listens */
#define BEGIN_PAUSE_MS 250
#define WRITE_BYTES (256u << 10)

/* ---- the daemon's side ---- */

static void add_record(struct strbuf *records, const struct oid *blob, const struct hash128 *object)
{
	strbuf_add(records, blob->id, sizeof blob->id);
	strbuf_add(records, object->bytes, sizeof object->bytes);
}

static int flush(int fd, struct strbuf *records)
{
	int r = strbuf_failed(records) ? -ENOMEM : io_write(fd, strbuf_text(records), records->len);

	strbuf_reset(records);
	return r;
}

static int add_view(int fd, const struct view *view, struct strbuf *records)
{
	int r = 0;

	for (uint32_t i = 0; view && r == 0 && i < view_count(view); i++) {
		const struct view_entry *entry = view_at(view, i);

		if (entry->kind == VIEW_FILE)
			add_record(records, &entry->blob, &entry->object);
		if (records->len > WRITE_BYTES)
			r = flush(fd, records);
	}
	return r < 0 ? r : flush(fd, records);
}

static int add_nodes(int fd, struct node_table *nodes, struct strbuf *records)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	struct node_met met;
	uint32_t slot = 0;
	int r;

	while ((r = node_walk(nodes, &slot, &met, &path)) > 0) {
		cleanup_node_info struct node_info info = NODE_INFO_INIT;

		if (!met.patched || !S_ISREG(met.type) || node_get(nodes, met.id, &info) < 0 || !info.content)
			continue;
		add_record(records, &info.content->blob, &info.content->object);
		r = records->len > WRITE_BYTES ? flush(fd, records) : 0;
		if (r < 0)
			return r;
	}
	return r < 0 ? r : flush(fd, records);
}

int served_objects_list(struct overlay *overlay, int *ret_fd, struct error *err)
{
	cleanup_close int fd = memfd_create("served-objects", MFD_CLOEXEC);
	cleanup_strbuf struct strbuf records = STRBUF_INIT;
	cleanup_view struct view *before = overlay_view(overlay), *after = NULL;
	int r;

	if (fd < 0)
		return error_errno(err, errno, "list what is served");
	/* Nodes of a view that is published in between are among those of the one or the other. */
	r = add_view(fd, before, &records);
	if (r == 0)
		r = add_nodes(fd, overlay_nodes(overlay), &records);
	after = overlay_view(overlay);
	if (r == 0 && after != before)
		r = add_view(fd, after, &records);
	if (r < 0)
		return error_errno(err, -r, "list what is served");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- the command's side ---- */

static int read_records(int fd, struct gc_use **ret, size_t *ret_count)
{
	cleanup_free struct gc_use *uses = NULL;
	cleanup_strbuf struct strbuf records = STRBUF_INIT;
	size_t count;
	int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : io_read_all(fd, (size_t)SERVED_RECORDS_MAX * SERVED_RECORD_BYTES, &records);

	if (r < 0)
		return r;
	if (records.len % SERVED_RECORD_BYTES)
		return -EBADMSG;
	count = records.len / SERVED_RECORD_BYTES;
	uses = calloc(count + 1, sizeof *uses);
	if (!uses)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const char *record = records.buf + i * SERVED_RECORD_BYTES;

		memcpy(uses[i].blob.id, record, sizeof uses[i].blob.id);
		memcpy(uses[i].object.bytes, record + sizeof uses[i].blob.id, sizeof uses[i].object.bytes);
	}
	*ret = TAKE_PTR(uses);
	*ret_count = count;
	return 0;
}

static int no_answer(const char *name, const struct error *why, struct error *err)
{
	return error_set(err, -EBUSY,
		"component '%s' is mounted and does not answer: what it has open is not known, so nothing is removed; "
		"see 'veneer status %s', or take the mount off (%s)",
		name, name, why->message);
}

/* 0: nobody listens, and nobody holds the lock that a daemon has. 1: somebody holds it. */
static int look_for_daemon(struct store *store, const char *name, struct error *err)
{
	struct error held = ERROR_INIT;
	int lock = control_lock(store->run_fd, name, BEGIN_PAUSE_MS, &held);

	if (lock < 0)
		return lock == -ETIMEDOUT ? 1 : error_set(err, lock, "%s", held.message);
	control_unlock(store->run_fd, name, lock);
	return 0;
}

/* 1: *RET; 0: there is no daemon. */
static int reach_daemon(struct store *store, const char *name, struct control **ret, struct error *err)
{
	struct error why = ERROR_INIT;

	for (int i = 0; i < BEGIN_TRIES; i++) {
		int r = control_open(store, name, ret, &why);

		if (r == 0)
			return 1;
		if (r != -ENOENT)
			break;
		r = look_for_daemon(store, name, err);
		if (r <= 0)
			return r;
	}
	return no_answer(name, &why, err);
}

int served_objects_ask(struct store *store, const char *name, struct gc_use **ret, size_t *ret_count, struct error *err)
{
	cleanup_control struct control *control = NULL;
	cleanup_close int fd = -EBADF;
	struct error why = ERROR_INIT;
	int r = reach_daemon(store, name, &control, err);

	*ret = NULL;
	*ret_count = 0;
	if (r <= 0)
		return r;
	control_set_timeout(control, ASK_TIMEOUT_MS);
	r = control_simple(control, "objects", NULL, &why);
	if (r == 0) {
		fd = control_take_fd(control);
		r = fd < 0 ? error_set(&why, -EBADMSG, "it has sent no list") : 0;
	}
	if (r < 0)
		return no_answer(name, &why, err);
	r = read_records(fd, ret, ret_count);
	return r < 0 ? error_errno(err, -r, "read what the daemon of component '%s' serves", name) : 0;
}
