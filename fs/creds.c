/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/creds.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Most callers have it: then it need not be changed and changed back. */
#define USUAL_UMASK 022

/* This thread has a umask of its own, which is the usual one between requests. */
static _Thread_local bool usual;

int creds_thread_init(void)
{
	/* The umask belongs to the fs_struct, which threads share unless told otherwise. */
	if (unshare(CLONE_FS) < 0)
		return -errno;
	umask(USUAL_UMASK);
	usual = true;
	return 0;
}

static long set_fs_ids(uid_t uid, gid_t gid)
{
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	/* Both return the old value, also on failure: ask again. */
	if ((uid_t)syscall(SYS_setfsuid, -1) != uid || (gid_t)syscall(SYS_setfsgid, -1) != gid)
		return -EPERM;
	return 0;
}

/* setfsuid() to a user drops the filesystem capabilities from the effective set; raise what we need again. */
static int raise_override(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective |= data[0].permitted & (1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int creds_assume(struct creds *creds, uid_t uid, gid_t gid, mode_t mask)
{
	creds->masked = !(usual && mask == USUAL_UMASK);
	if (creds->masked)
		creds->old_umask = umask(mask);
	creds->uid = uid;
	creds->gid = gid;
	creds->active = true;
	if (uid == 0 && gid == 0)
		return 0;
	if (set_fs_ids(uid, gid) < 0 || (uid != 0 && raise_override() < 0)) {
		creds_restore(creds);
		return -EPERM;
	}
	return 0;
}

void creds_restore(struct creds *creds)
{
	if (!creds->active)
		return;
	creds->active = false;
	/* Back to 0 the kernel gives the filesystem capabilities back by itself. */
	if (creds->uid != 0 || creds->gid != 0)
		set_fs_ids(0, 0);
	if (creds->masked)
		umask(creds->old_umask);
}
