/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SERVICE_H
#define VENEER_FS_SERVICE_H

/*
 * A daemon that a service manager has started says to it when it serves (sd_notify(3), Type=notify), and has it keep copies of what must
 * not be lost (its file descriptor store): were the supervisor killed, the one that is started instead goes on with the mount.
 * The protocol is that of sd_notify(3) and sd_listen_fds(3), which systemd promises to keep; datagrams with descriptors, so that no library
 * is needed for it.
 *
 * The supervisor waits for nobody: what the manager has no room for is sent later. A file without a name is kept by it only if it
 * was one for some seconds: most are gone sooner.
 *
 * All functions take NULL for a service, which is none.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "fs/keeper.h"
#include "fs/shared.h"
#include "store/base/error.h"

#define SERVICE_GRACE_MS 700 /* that a killed supervisor's mount waits for the next one before it is taken off */
#define SERVICE_ROUND_MS 1000

struct service;

/* SOCKET: of the environment's NOTIFY_SOCKET; "": no service manager. The others are borrowed. NULL: there is none, or no memory. */
struct service *service_new(const char *socket, const struct shared *shared, struct keeper *keeper);
void service_free(struct service *service);
/* It serves, and PID is its main process. A manager that has no room for that hears it from service_store(). */
void service_ready(struct service *service, pid_t pid);
/* Another process is its main one from now on. Waits for some seconds until the manager has room for that: this process has nothing else to do. */
void service_main_process(struct service *service, pid_t pid);
/* What there is to be kept is sent, at most once in SERVICE_ROUND_MS. How many milliseconds the next time is away; -1: nothing waits. */
int service_store(struct service *service);
/* Nothing is to be kept any more. */
void service_forget(struct service *service);

/* What this process was started with is of no use: it is to keep none of it, nor to mix it with what comes. Waits for room as above. */
void service_disclaim(void);

/*
 * What the service manager has kept of a daemon that was killed, from descriptors and environment that this process was started with.
 * 1: *RET_SHARED and *RET_KEEPER are set, the caller's. 0: there is nothing. -EPROTO: it is of no use.
 */
int service_adopt(struct shared **ret_shared, struct keeper **ret_keeper, struct error *err);

#endif
