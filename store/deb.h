/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_DEB_H
#define VENEER_STORE_DEB_H

/*
 * Reading the members of a Debian binary package, deb(5): an ar archive of debian-binary ("2.x"),
 * control.tar and data.tar, the latter plain or compressed by gzip, xz, lzma, bzip2 or zstd. The only
 * user of libarchive; nothing is unpacked to disk here.
 *
 * Calling sequence: deb_open(); deb_next() until it returns 0, deb_read() in between; deb_close().
 *
 * Error handling: -EINVAL: it is no package, or a damaged or truncated one; the message names FILE and
 *   says which. -E2BIG: beyond a limit below. The end of the package is looked at before deb_next()
 *   returns 0, so that what is cut off is seen even behind the last member.
 */

#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "store/base/error.h"

#define DEB_AR_MEMBERS_MAX 16u
#define DEB_MEMBERS_MAX 1000000u
#define DEB_UNPACKED_MAX (16ull << 30) /* bytes of all files together */

struct deb;

struct deb_member {
	const char *path;   /* relative, no "." or "..", no empty name; "" is the root directory. Borrowed until the next */
	mode_t type;	    /* S_IFREG, S_IFLNK, …; 0: another name (hard link) of the earlier member TARGET */
	const char *target; /* of a symlink, as it stands; of a hard link, in the form of PATH. Borrowed */
	mode_t mode;	    /* 07777 */
	uint32_t uid, gid;
	const char *user, *group; /* "" where the package does not say. Borrowed */
	int64_t mtime;		  /* seconds since the epoch */
	uint64_t size;		  /* bytes of a file; at most OBJECT_BYTES_MAX */
	uint32_t device_major, device_minor;
};

int deb_open(const char *file, struct deb **ret, struct error *err);
/* The name that its control file gives the package; "" where it does not. Borrowed. */
const char *deb_package(const struct deb *deb);
/* 1: *RET is the next member; 0: that was the last. */
int deb_next(struct deb *deb, struct deb_member *ret, struct error *err);
/* The content of the member, from its beginning, written to FD; exactly size bytes or an error. */
int deb_write_content(struct deb *deb, const struct deb_member *member, int fd, struct error *err);
void deb_close(struct deb *deb);

static inline void deb_closep(struct deb **deb)
{
	if (*deb)
		deb_close(*deb);
}
#define cleanup_deb __attribute__((cleanup(deb_closep)))

#endif
