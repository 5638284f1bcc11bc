/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_CGROUP_H
#define VENEER_FS_CGROUP_H

#include <sys/types.h>

/*
 * This process joins the control groups (cgroups(7)) that process PID is in by its service manager's doing, so that it is ended with that service, and not
 * with whatever it was started from. What cannot be joined is said in the log.
 */
void cgroup_join(pid_t pid);

#endif
