/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CALLER_H
#define VENEER_FS_CALLER_H

/*
 * What a request does not say of who made it, for the rare request on which it hangs whether set-id bits stay (fs/setid.h). It is
 * read from /proc, where he is found as long as he waits for the answer; who writes asynchronously may have gone.
 *
 * Where /proc does not show him (PID 0: he is in a PID namespace that the mount is not in), or shows another than the request comes
 * from (a server that acts for him; a thread that got his number), root may do everything, and nobody is in more than one group.
 *
 * Threads: any.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct caller {
	pid_t pid; /* of the thread; 0: not known */
	uid_t uid; /* as files see him */
	gid_t gid;
};

/* Has he CAP_FSETID, in our user namespace? */
bool caller_has_fsetid(const struct caller *caller);
/* Is he OWNER, or has he CAP_FOWNER? */
bool caller_is_owner(const struct caller *caller, uid_t owner);
bool caller_is_in_group(const struct caller *caller, gid_t group);
/* His supplementary groups, *RET_COUNT of them; to be freed. NULL: none are known. */
gid_t *caller_groups(const struct caller *caller, size_t *ret_count);
/* Is he in one of the chown(2) calls? Not where /proc does not say, or he is a program of another architecture than ours. */
bool caller_is_in_chown(const struct caller *caller);
/* The same of the calls that write to an open file; what is submitted (aio(7), io_uring(7)) is in none. */
bool caller_is_in_write(const struct caller *caller);

#endif
