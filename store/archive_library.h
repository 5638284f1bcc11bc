/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_ARCHIVE_LIBRARY_H
#define VENEER_STORE_ARCHIVE_LIBRARY_H

/*
 * libarchive, loaded at the first package that is read. It brings an XML parser, ICU and a C++ runtime
 * along: linked in, they would cost every command more than half of its start, and each daemon their
 * memory, for what `create --deb` alone needs (docs/decisions/libarchive.md).
 *
 * Calling sequence: archive_library_load(), then libarchive.FUNCTION() as archive_FUNCTION(3).
 * Never in a daemon that has mounted: the library may lie under its own mountpoint.
 * Threads: archive_library_load() one at a time.
 */

#include <archive.h>
#include <archive_entry.h>

#include "store/base/error.h"

#define ARCHIVE_FUNCTIONS(X) \
	X(entry_filetype) X(entry_gid) X(entry_gname) X(entry_gname_utf8) X(entry_hardlink) \
	X(entry_hardlink_utf8) X(entry_mtime) X(entry_pathname) X(entry_pathname_utf8) \
	X(entry_perm) X(entry_rdevmajor) X(entry_rdevminor) X(entry_size) X(entry_symlink) \
	X(entry_symlink_utf8) X(entry_uid) X(entry_uname) X(entry_uname_utf8) X(error_string) \
	X(read_data) X(read_data_block) X(read_data_skip) X(read_free) X(read_new) \
	X(read_next_header) X(read_open) X(read_open_fd) X(read_support_filter_bzip2) \
	X(read_support_filter_gzip) X(read_support_filter_lzma) X(read_support_filter_none) \
	X(read_support_filter_xz) X(read_support_filter_zstd) X(read_support_format_ar) \
	X(read_support_format_tar) X(set_error)

struct archive_library {
#define ARCHIVE_MEMBER(name) typeof(archive_##name) *name;
	ARCHIVE_FUNCTIONS(ARCHIVE_MEMBER)
#undef ARCHIVE_MEMBER
};

/* All NULL until it is loaded. */
extern struct archive_library libarchive;

/* Once loaded it stays. -EOPNOTSUPP: it is not installed, or lacks a function. */
int archive_library_load(struct error *err);

#endif
