/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_META_H
#define VENEER_STORE_META_H

/*
 * What git cannot say of a file: the text blobs below `.veneer/meta/` of a commit's tree.
 * The format is docs/man/veneer-store.5; one `key value` a line:
 *
 *     type directory|fifo|socket|char MAJOR:MINOR|block MAJOR:MINOR
 *     mode 04755            octal, with the set-id and sticky bits, never the type
 *     uid 0                 decimal
 *     gid 0
 *     mtime 1700000000.123456789
 *     xattr security.capability base64:AQAAAg…
 *     xattr none            an explicit "no attributes at all" (exactly one word)
 *     object xxh3-128:HEX SIZE
 *
 * Where a file's meta stands: `.veneer/meta/<path>`; a directory's: `.veneer/meta/<path>/.veneer`
 * (a tree cannot hold a blob and a tree of one name; no file may be called ".veneer"). Reading also
 * accepts `.veneer/meta/<path>` with `type directory`.
 *
 * The nanoseconds of mtime count forward, as in struct timespec, also where the seconds are negative;
 * one to nine digits are read, as a decimal fraction (none: 0), nine are written. In an attribute's
 * name a blank, '%', and control bytes are written %XX (upper-case hex); nothing else may be. A final
 * newline may be missing; an empty text is good and says nothing. `type` excludes `object`.
 *
 * A key left out is inherited from the base file at that path, and where there is none from the
 * defaults. Where any `xattr` line stands, they are all the attributes there are.
 *
 * Formatting is canonical (fixed order of keys, attributes sorted by name, no key twice): equal
 * metadata is one blob.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "store/base/error.h"
#include "store/base/hash.h"
#include "store/base/strbuf.h"

#define META_BYTES_MAX (512u << 10)	/* a meta blob larger than this is refused unread */
#define META_XATTRS_MAX 256u
#define META_XATTR_VALUE_MAX 65536u	/* the kernel's XATTR_SIZE_MAX */
#define META_XATTR_NAME_MAX 255u
#define META_DIRECTORY "/.veneer"	/* behind a directory's path, see above */

enum meta_keys {
	META_TYPE = 1 << 0,
	META_MODE = 1 << 1,
	META_UID = 1 << 2,
	META_GID = 1 << 3,
	META_MTIME = 1 << 4,
	META_XATTRS = 1 << 5, /* the set is given, maybe empty */
	META_OBJECT = 1 << 6,
};

struct meta_xattr {
	char *name;	/* owned */
	uint8_t *value; /* owned */
	size_t size;	/* bytes of value */
};

struct meta {
	unsigned present; /* enum meta_keys */
	mode_t type;	  /* S_IFDIR, S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK */
	uint32_t device_major, device_minor;
	mode_t mode; /* 07777 */
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	struct hash128 object;
	uint64_t object_size;
	struct meta_xattr *xattrs; /* owned, sorted by name */
	size_t xattr_count;
};

#define META_INIT { .present = 0 }

void meta_release(struct meta *meta);
#define cleanup_meta __attribute__((cleanup(meta_release)))

/* Hostile input is expected: -EBADMSG names the line and what is wrong with it. RET is untouched on failure. */
int meta_parse(const char *text, size_t len, struct meta *ret, struct error *err);
/* Canonical text appended to SB; check strbuf_failed(). */
void meta_format(const struct meta *meta, struct strbuf *sb);

/* mode, uid, gid, mtime (and for directories and specials: type) of ST; xattrs are not touched. */
void meta_from_stat(struct meta *meta, const struct stat *st);
/*
 * All extended attributes of what FD (O_PATH is enough) names, into META, which then has META_XATTRS.
 * Left out: "system.posix_acl_*" that only repeats the mode, "trusted.overlay.*" and "user.overlay.*".
 * Filesystems without attributes: an empty set.
 */
int meta_read_xattrs(struct meta *meta, int fd, struct error *err);
/* Add or replace one attribute (bytes are copied), keeping the order; 0 or -ENOMEM or -E2BIG. */
int meta_set_xattr(struct meta *meta, const char *name, const void *value, size_t size);
int meta_copy(const struct meta *from, struct meta *ret); /* RET fresh; 0 or -ENOMEM */
bool meta_xattrs_equal(const struct meta *a, const struct meta *b);

#endif
