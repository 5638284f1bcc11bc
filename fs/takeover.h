/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_TAKEOVER_H
#define VENEER_FS_TAKEOVER_H

/*
 * A mount goes from one program to another, above all to veneer's own next version: no unmount, no failed operation. The process that
 * does this becomes the supervisor; what it needs comes from the one that was (fs/handover.h). Or from the service manager, if that one was
 * killed (fs/service.h; daemon_run() looks for it).
 *
 * Between the end of the last worker and the beginning of the next nobody serves, as when one is killed: some 20 ms.
 *
 * Whoever changes the store, or has a worker do it, is waited for: no command asks a worker that ends.
 *
 * Before anything ends it is seen that both programs mean the same by what is handed over (fs/state_format.h), that this process sees the
 * mount, and that it has nothing mapped that lies under a mount of veneer's: it would wait for itself (fs/bare.h).
 */

#include "fs/daemon.h"

/*
 * READY is called once: the component is served by this program (0), or it goes on being served by the other one, and why. -ENOENT: it is not mounted;
 * -EPROTO: another format; -EXDEV: the mount is in another mount namespace; -EDEADLK: this program lies under the mount; -ETIMEDOUT: the store
 * is locked.
 * Returns when the filesystem is gone: the exit status.
 */
int daemon_take_over(const char *store_path, const char *name, daemon_ready_fn ready, void *arg);

#endif
