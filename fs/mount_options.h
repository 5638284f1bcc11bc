/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_MOUNT_OPTIONS_H
#define VENEER_FS_MOUNT_OPTIONS_H

/* How a component is mounted. */

#include <stdbool.h>
#include <stdint.h>

enum io_mode { IO_AUTO, IO_CACHED, IO_PASSTHROUGH };
enum write_mode { WRITE_THROUGH, WRITE_DENY };
/* What is left when no worker can serve any more, or all processes of the daemon are killed: the bare directory, or a dead mount. */
enum failure_mode { FAILURE_BASE, FAILURE_CLOSED };

struct mount_options {
	enum io_mode io;
	enum write_mode write;
	enum failure_mode on_failure;
	uint64_t scrub;	 /* bytes a second at which objects are read to see whether they are whole; 0: they are not */
	bool watch;	 /* changes around the mount are seen at once */
	bool foreground; /* serve in this process; mount_start() returns when the mount is gone */
	bool verbose;
};

const char *io_mode_name(enum io_mode io);	 /* "auto", "cached", "passthrough" */
const char *write_mode_name(enum write_mode write); /* "through", "deny" */

#endif
