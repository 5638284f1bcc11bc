/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount_options.h"

const char *io_mode_name(enum io_mode io)
{
	return io == IO_CACHED ? "cached" : io == IO_PASSTHROUGH ? "passthrough" : "auto";
}

const char *write_mode_name(enum write_mode write)
{
	return write == WRITE_DENY ? "deny" : "through";
}
