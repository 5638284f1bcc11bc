/* SPDX-License-Identifier: Apache-2.0 */
#include "store/baseline_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/strbuf.h"

struct base_queue *base_queue_new(void)
{
	return calloc(1, sizeof(struct base_queue));
}

static uint64_t entry_bytes(const struct source_entry *entry)
{
	return S_ISREG(entry->st.st_mode) ? (uint64_t)entry->st.st_size : 0;
}

bool base_queue_full(const struct base_queue *queue, const struct source_entry *entry)
{
	uint64_t room = queue->bytes < BASE_QUEUE_BYTES ? BASE_QUEUE_BYTES - queue->bytes : 0;

	return queue->count == BASE_QUEUE_ITEMS || (queue->count > 0 && entry_bytes(entry) > room);
}

static int draft_meta(const struct source_entry *entry, const char *path, struct blob_draft *ret,
	struct error *err)
{
	cleanup_meta struct meta meta = META_INIT;
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	int r = source_entry_meta(entry, path, &meta, err);

	if (r < 0)
		return r;
	meta_format(&meta, &text);
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "record '%s'", path);
	r = blob_draft_copy(strbuf_text(&text), text.len, ret, err);
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

static void item_release(struct base_item *item)
{
	free(item->path);
	source_entry_release(&item->entry);
	blob_draft_release(&item->content);
	blob_draft_release(&item->meta);
}

/*
 * All that waits to be written is in memory that one thread has allocated: what threads that come and go allocate for long would
 * leave a part of the heap behind with each (malloc's arenas).
 */
static int content_reserve(struct base_item *item, const char *path, struct error *err)
{
	uint64_t bytes = entry_bytes(&item->entry);
	int r = bytes > 0 && bytes <= BASE_QUEUE_BYTES ? blob_draft_reserve(&item->content, bytes, err) : 0;

	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

int base_queue_add(struct base_queue *queue, struct source_entry *entry, const char *path, struct error *err)
{
	struct base_item *item = &queue->items[queue->count];
	cleanup_free char *owned = strdup(path);
	bool directory = S_ISDIR(entry->st.st_mode);
	int r = 0;

	if (!owned)
		return error_errno(err, ENOMEM, "record '%s'", path);
	*item = (struct base_item){ .entry = { -EBADF, entry->st } };
	if (directory)
		r = draft_meta(entry, path, &item->meta, err);
	else
		r = content_reserve(item, path, err);
	if (r < 0)
		return r;
	if (!directory)
		item->entry.fd = TAKE_FD(entry->fd);
	item->path = TAKE_PTR(owned);
	queue->bytes += entry_bytes(entry);
	queue->count++;
	return 0;
}

static int item_read(void *arg, size_t index, struct error *err)
{
	struct base_item *item = &((struct base_queue *)arg)->items[index];
	struct source_entry *entry = &item->entry;
	int r = 0;

	if (S_ISDIR(entry->st.st_mode))
		return 0;
	/* It may have been written to while it waited: that is no change while it is read. */
	if (fstat(entry->fd, &entry->st) < 0)
		return error_errno(err, errno, "stat '%s'", item->path);
	if (S_ISREG(entry->st.st_mode) || S_ISLNK(entry->st.st_mode))
		r = source_entry_draft(entry, item->path, &item->content, err);
	if (r == 0)
		r = draft_meta(entry, item->path, &item->meta, err);
	source_entry_release(entry);
	return r;
}

void base_queue_start(struct base_queue *queue)
{
	parallel_begin(&queue->reading, queue->count, item_read, queue);
	queue->started = true;
}

int base_queue_finish(struct base_queue *queue, struct error *err)
{
	if (!queue->started)
		return 0;
	queue->started = false;
	return parallel_end(&queue->reading, err);
}

void base_queue_clear(struct base_queue *queue)
{
	if (queue->started)
		parallel_cancel(&queue->reading);
	base_queue_finish(queue, NULL);
	for (size_t i = 0; i < queue->count; i++)
		item_release(&queue->items[i]);
	queue->count = 0;
	queue->bytes = 0;
}

void base_queue_free(struct base_queue *queue)
{
	if (!queue)
		return;
	base_queue_clear(queue);
	free(queue);
}
