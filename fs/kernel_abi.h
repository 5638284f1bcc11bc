/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_KERNEL_ABI_H
#define VENEER_FS_KERNEL_ABI_H

/*
 * What the FUSE wire protocol has and the oldest headers that we build with (protocol 7.36) do not
 * name. Values are of the kernel's include/uapi/linux/fuse.h; a feature is used only where the
 * kernel's INIT request offers it.
 */

#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define ABI_INIT_EXT (1ull << 30)
#define ABI_INIT_EXPIRE (1ull << 35)		 /* 7.38, Linux 6.2: FUSE_HAS_EXPIRE_ONLY; it is not asked for */
#define ABI_INIT_PASSTHROUGH (1ull << 37)	 /* 7.40, Linux 6.9 */

#define ABI_FOPEN_PASSTHROUGH (1u << 7)

/* fuse_notify_inval_entry_out of 7.38: the last word, once padding, is the flags. */
struct abi_inval_entry_out {
	uint64_t parent;
	uint32_t name_length, flags;
};
#define ABI_INVAL_EXPIRE_ONLY 1u

/* ioctl(2)s on /dev/fuse: a backing file is registered, and let go of. */
struct abi_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define ABI_DEV_IOC_BACKING_OPEN _IOW(229, 1, struct abi_backing_map)
#define ABI_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* fuse_open_out of 7.40: the last word, once padding, is the backing id. */
struct abi_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

/* fuse_init_out of 7.40: same 64 bytes; max_stack_depth stands behind flags2. */
struct abi_init_out {
	uint32_t major, minor, max_readahead, flags;
	uint16_t max_background, congestion_threshold;
	uint32_t max_write, time_gran;
	uint16_t max_pages, map_alignment;
	uint32_t flags2, max_stack_depth;
	uint32_t unused[6];
};

#endif
