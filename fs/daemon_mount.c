/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/mounts.h"
#include "store/base/log.h"

int daemon_open_device(struct error *err)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return error_set(err, -ENODEV,
			"this kernel has no FUSE (no '/dev/fuse'): load it with 'modprobe fuse', or build it in");
	return error_errno(err, errno, "open '/dev/fuse'");
}

int daemon_mount_over(struct daemon *daemon, int device_fd, struct error *err)
{
	char options[128], target[64];
	unsigned long flags = daemon->options->write == WRITE_DENY ? MS_RDONLY : 0;
	struct statvfs below;

	if (fstatvfs(daemon->base_fd, &below) < 0)
		return error_errno(err, errno, "look at the filesystem of '%s'", daemon->component->directory);
	flags |= mounts_flags(&below);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
		device_fd);
	snprintf(target, sizeof target, "/proc/self/fd/%d", daemon->base_fd);
	snprintf(daemon->state->directory, sizeof daemon->state->directory, "%s", daemon->component->directory);
	SHARED_PUBLISH(daemon->state->mounting, 1);
	if (mount(daemon->component->name, target, MOUNT_TYPE, flags, options) < 0) {
		daemon->state->mounting = 0;
		if (errno == ENODEV)
			return error_set(err, -ENODEV,
				"this kernel has no FUSE filesystem: load it with 'modprobe fuse', or build it in");
		return error_errno(err, errno, "mount component '%s' on '%s'", daemon->component->name,
			daemon->component->directory);
	}
	daemon->mounted = true;
	return 0;
}

bool daemon_unmount(struct daemon *daemon)
{
	const char *directory = daemon->component->directory;
	bool there, topmost;

	if (!daemon->mounted)
		return true;
	if (daemon->device != 0 && mounts_find_device(directory, daemon->device, &there, &topmost, NULL) == 0) {
		daemon->mounted = there;
		if (there && !topmost)
			log_message(LOG_ERR,
				"component '%s': another filesystem is mounted over it on '%s': take that off first; serving goes on",
				daemon->component->name, directory);
		if (!there || !topmost)
			return !there;
	}
	if (umount2(directory, UMOUNT_NOFOLLOW) < 0 && errno != EINVAL) {
		umount2(directory, UMOUNT_NOFOLLOW | MNT_DETACH);
		daemon->detached = true;
	}
	daemon->mounted = false;
	return true;
}

int daemon_mount_answers(struct daemon *daemon, struct error *err)
{
	struct stat st;

	if (stat(daemon->component->directory, &st) < 0)
		return error_errno(err, errno, "the new mount on '%s' does not answer", daemon->component->directory);
	if (!session_ready(daemon->session))
		return error_set(err, -EPROTO, "the new mount on '%s' answers, but not through this daemon",
			daemon->component->directory);
	daemon->device = daemon->state->device = st.st_dev;
	SHARED_PUBLISH(daemon->state->mounted, 1);
	return 0;
}

void daemon_give_up(const struct daemon *daemon)
{
	const char *directory = daemon->state->directory;
	bool there = false, topmost = false;
	struct error err = ERROR_INIT;
	int r;

	if (!daemon->state->mounting || daemon->state->detached)
		return;
	/* What was mounted a moment ago has no number yet. */
	r = daemon->state->mounted ? mounts_find_device(directory, daemon->state->device, &there, &topmost, &err) :
				     mounts_find(directory, &topmost, &err);
	there |= topmost;
	if (daemon->options->on_failure == FAILURE_CLOSED && daemon->state->mounted)
		log_message(LOG_ALERT, "'%s' stays a dead mount, as it was asked for: nobody reads the directory without its patches", directory);
	else if (r < 0)
		log_message(LOG_ERR, "'%s': %s", directory, err.message);
	else if (there && !topmost)
		log_message(LOG_ERR, "'%s' stays a dead mount: another filesystem is mounted over it", directory);
	/* Who waits for an answer gets an error, whoever else may have the connection open. */
	else if (there && umount2(directory, UMOUNT_NOFOLLOW | MNT_DETACH | MNT_FORCE) < 0)
		log_message(LOG_ERR, "'%s' stays a dead mount: %s", directory, error_text(errno));
}
