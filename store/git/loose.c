/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"

/* objects/ab/, made (and made durable) where it is missing: *RET_MADE, also on failure. */
static int fanout_open(int objects_fd, const char *name, bool *ret_made)
{
	int fd;

	*ret_made = mkdirat(objects_fd, name, 0777) == 0;
	if (*ret_made) {
		int rc = io_sync_dir(objects_fd);

		if (rc < 0)
			return rc;
	} else if (errno != EEXIST) {
		return -errno;
	}
	fd = openat(objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* "type size" and a NUL, then the content: one stream. */
static int loose_deflate(const struct batch_object *object, struct deflated *ret)
{
	CLEANUP(deflater_freep) struct deflater *deflater = deflater_new();
	cleanup_strbuf struct strbuf whole = STRBUF_INIT;

	strbuf_addf(&whole, "%s %zu", libgit2.object_type2string(object->type), object->size);
	strbuf_addch(&whole, '\0');
	strbuf_add(&whole, object->data, object->size);
	if (!deflater || strbuf_failed(&whole))
		return -ENOMEM;
	return deflater_run(deflater, whole.buf, whole.len, ret);
}

static int loose_publish(int fd, const char *name, const struct deflated *deflated)
{
	CLEANUP(durable_freep) struct durable *file = NULL;
	int rc = durable_begin(fd, &file);

	if (rc < 0)
		return rc;
	durable_write(file, deflated->data, deflated->size);
	rc = durable_publish(file, name);
	return rc < 0 ? rc : io_sync_dir(fd);
}

static int loose_write_one(int objects_fd, const struct batch_object *object)
{
	CLEANUP(deflated_release) struct deflated deflated = { NULL, 0 };
	cleanup_close int fd = -EBADF;
	char hex[OID_HEX_LENGTH + 1], fanout[3];
	bool made = false;
	int rc = loose_deflate(object, &deflated);

	if (rc < 0)
		return rc;
	oid_to_hex(&object->oid, hex);
	snprintf(fanout, sizeof fanout, "%.2s", hex);
	fd = fanout_open(objects_fd, fanout, &made);
	rc = fd < 0 ? fd : loose_publish(fd, hex + 2, &deflated);
	/* On a full disk the block of an empty directory may be the one that is needed now. */
	if (rc < 0 && made)
		unlinkat(objects_fd, fanout, AT_REMOVEDIR);
	return rc;
}

/* In the order of the batch: an object is there only when all that it names is. */
int loose_write(int objects_fd, const struct batch *batch, struct error *err)
{
	for (size_t i = 0; i < batch->count; i++) {
		int rc = loose_write_one(objects_fd, &batch->objects[i]);

		if (rc < 0)
			return error_errno(err, -rc, "write object '%s'", OID_HEX(&batch->objects[i].oid));
	}
	return 0;
}
