/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_HANDOVER_H
#define VENEER_FS_HANDOVER_H

/*
 * What one supervisor says to the next, over a pair of SOCK_SEQPACKET sockets that the next one has made:
 *
 *     who has the mount                                     who is to have it
 *     OFFER, the shared memory                        →     maps it, and looks whether it can go on with it
 *                                                     ←     ACCEPTED, or REFUSED and why
 *     ends its worker: nobody serves from here on
 *     KEPT, descriptors and their keys; …; END        →     starts a worker
 *                                                     ←     SERVES, or REFUSED and why
 *     writes who has the mount (worker_state.supervisor)
 *     YOURS                                           →     is the daemon
 *
 * Error handling: whatever goes wrong before that store leaves the mount with the one who had it: he ends the other and starts a worker of
 * his own. Each waits HANDOVER_WAIT_MS for the other's next word; but who has said SERVES waits for as long as the other one lives and has
 * the channel open: were it to give up, and the other one to store its number after that, nobody would answer for the mount.
 * -EPIPE: the other one is gone; -ETIMEDOUT: it says nothing; -EPROTO: it says something else; what it refused for, otherwise.
 */

#include <sys/types.h>

#include "fs/keeper.h"
#include "fs/shared.h"
#include "store/base/error.h"

#define HANDOVER_WAIT_MS 10000

/* ---- who has the mount ---- */

/*
 * To process PID, and what it is to write its log to (-EBADF: nothing). Returns when it is accepted. -EXDEV: it is in another process namespace, where
 * that number means something else.
 */
int handover_offer(int channel, pid_t pid, const struct shared *shared, int log_fd, struct error *err);
/* All that is kept. */
int handover_give(int channel, const struct keeper *keeper, struct error *err);
/* Returns when the other one serves. */
int handover_await(int channel, struct error *err);
int handover_confirm(int channel, struct error *err);

/* ---- who is to have it ---- */

/* What was offered is the caller's; *RET_LOG_FD is -EBADF where nothing is to be written to. */
int handover_receive(int channel, struct shared **ret, int *ret_log_fd, struct error *err);
int handover_accept(int channel, struct error *err);
void handover_refuse(int channel, const struct error *why);
/* Into KEEPER. */
int handover_take(int channel, struct keeper *keeper, struct error *err);
/* It serves. Returns when the mount is its own. */
int handover_serves(int channel, struct error *err);

/* Part of what both programs must have alike (fs/state_format.h). */
size_t handover_packet_bytes(void);

#endif
