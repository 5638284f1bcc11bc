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

/* Of this thread; glibc's setgroups() is of all. */
static long set_groups(size_t count, const gid_t *groups)
{
#ifdef SYS_setgroups32
	return syscall(SYS_setgroups32, count, groups);
#else
	return syscall(SYS_setgroups, count, groups);
#endif
}

int creds_thread_init(void)
{
	/* Refused in a user namespace that may not change groups (user_namespaces(7)), and to who is not root. */
	set_groups(0, NULL);
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

/* The effective set without DROP, and with what of RAISE is permitted; bits of capabilities below 32. 0 or -errno. */
static int change_capabilities(uint32_t drop, uint32_t raise)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective = (data[0].effective & ~drop) | (data[0].permitted & raise);
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* setfsuid() to a user drops the filesystem capabilities from the effective set; raise what we need again. */
static int raise_override(void)
{
	return change_capabilities(0, 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
}

int creds_assume(struct creds *creds, uid_t uid, gid_t gid, mode_t mask)
{
	creds->masked = !(usual && mask == USUAL_UMASK);
	if (creds->masked)
		creds->old_umask = umask(mask);
	creds->uid = uid;
	creds->gid = gid;
	creds->active = true;
	creds->renounced = creds->grouped = false;
	if (uid == 0 && gid == 0)
		return 0;
	if (set_fs_ids(uid, gid) < 0 || (uid != 0 && raise_override() < 0)) {
		creds_restore(creds);
		return -EPERM;
	}
	return 0;
}

void creds_join(struct creds *creds, const gid_t *groups, size_t count)
{
	creds->grouped = count && set_groups(count, groups) == 0;
}

int creds_renounce(struct creds *creds, gid_t gid, const gid_t *groups, size_t count)
{
	*creds = (struct creds){ .active = true, .renounced = true, .gid = gid };
	/* Without his groups a set-gid bit ends that might have stayed. */
	creds->grouped = count && set_groups(count, groups) == 0;
	if ((gid != 0 && set_fs_ids(0, gid) < 0) || change_capabilities(1u << CAP_FSETID, 0) < 0) {
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
	if (creds->grouped)
		set_groups(0, NULL);
	if (creds->renounced)
		change_capabilities(0, 1u << CAP_FSETID);
	if (creds->masked)
		umask(creds->old_umask);
}
