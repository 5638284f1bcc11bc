/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/git/internal.h"

/* objects/ab/, made (and made durable) where it is missing. */
static int fanout_open(int objects_fd, const char *name)
{
	int fd;

	if (mkdirat(objects_fd, name, 0777) == 0) {
		int rc = io_sync_dir(objects_fd);

		if (rc < 0)
			return rc;
	} else if (errno != EEXIST) {
		return -errno;
	}
	fd = openat(objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int loose_write_one(int objects_fd, const struct batch_object *object)
{
	CLEANUP(durable_freep) struct durable *file = NULL;
	cleanup_close int fd = -EBADF;
	char hex[OID_HEX_LENGTH + 1], fanout[3], header[64];
	int len, rc;

	oid_to_hex(&object->oid, hex);
	snprintf(fanout, sizeof fanout, "%.2s", hex);
	fd = fanout_open(objects_fd, fanout);
	if (fd < 0)
		return fd;
	rc = durable_begin(fd, &file);
	if (rc < 0)
		return rc;
	len = snprintf(header, sizeof header, "%s %zu", libgit2.object_type2string(object->type), object->size);
	durable_deflate(file, header, (size_t)len + 1, false); /* with its NUL */
	durable_deflate(file, object->data, object->size, true);
	rc = durable_publish(file, hex + 2);
	return rc < 0 ? rc : io_sync_dir(fd);
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
