/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount_query.h"

#include <errno.h>
#include <fcntl.h>

#include "fs/control.h"
#include "fs/mounts.h"
#include "store/base/cleanup.h"

int mount_query(struct store *store, const struct component *component, enum mount_state *ret,
	struct error *err)
{
	cleanup_control struct control *control = NULL;
	bool ours;
	int r = mounts_find(component->directory, &ours, err);

	if (r < 0)
		return r;
	if (!ours)
		*ret = MOUNT_NONE;
	else
		*ret = control_open(store, component->name, &control, NULL) < 0 ? MOUNT_DEAD : MOUNT_SERVING;
	return 0;
}

int mount_open_base(struct store *store, const struct component *component, int *ret_fd, struct error *err)
{
	cleanup_control struct control *control = NULL;
	cleanup_close int fd = -EBADF;
	enum mount_state state;
	int r = mount_query(store, component, &state, err);

	if (r < 0)
		return r;
	if (state == MOUNT_DEAD)
		return error_set(err, -ENOTCONN,
			"component '%s' is mounted, but its daemon does not answer: take the mount off with 'veneer umount %s'",
			component->name, component->name);
	if (state == MOUNT_NONE) {
		fd = open(component->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return error_errno(err, errno, "component '%s': open its directory '%s'", component->name,
				component->directory);
	} else {
		r = control_open(store, component->name, &control, err);
		if (r == 0)
			r = control_simple(control, "base", NULL, err);
		if (r < 0)
			return r;
		fd = control_take_fd(control);
		if (fd < 0)
			return error_set(err, -EIO, "the daemon of component '%s' did not hand out its base",
				component->name);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}
