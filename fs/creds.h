/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CREDS_H
#define VENEER_FS_CREDS_H

/*
 * Acting for the caller of a request: what is created belongs to the caller, with set-gid
 * directories and default ACLs obeyed by the base's own filesystem, umask included.
 *
 * The kernel has checked permissions already (default_permissions), with the caller's supplementary
 * groups, which we do not know: so the thread takes the caller's fsuid and fsgid (setfsuid(2),
 * credentials(7)) and keeps the right to override permission checks, but not CAP_FSETID, which would
 * keep set-gid bits that the caller may not set. It is in no supplementary group but those that creds_join() is told: ours
 * would count for the caller.
 *
 * Threads: per thread, by system calls that glibc does not spread to the others.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct creds {
	bool active, masked, renounced, grouped;
	uid_t uid;
	gid_t gid;
	mode_t old_umask;
};

/*
 * Once in each thread that will call creds_assume() or creds_renounce(): no supplementary groups, and a umask of its own, 022 between
 * requests. 0 or -errno: the umask is everybody's.
 */
int creds_thread_init(void);
/* To the end of the scope (cleanup_creds). 0 or -EPERM. */
int creds_assume(struct creds *creds, uid_t uid, gid_t gid, mode_t mask);
/* To the end of the scope: as root, in group GID and the COUNT supplementary GROUPS, without CAP_FSETID. 0 or -EPERM. */
int creds_renounce(struct creds *creds, gid_t gid, const gid_t *groups, size_t count);
/*
 * With CREDS assumed: in these supplementary groups, for a file whose set-gid bit depends on them. Where that is not allowed the bit
 * ends.
 */
void creds_join(struct creds *creds, const gid_t *groups, size_t count);
void creds_restore(struct creds *creds);
#define CREDS_INIT { .active = false }
#define cleanup_creds __attribute__((cleanup(creds_restore)))

#endif
