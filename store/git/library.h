/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_GIT_LIBRARY_H
#define VENEER_GIT_LIBRARY_H

/*
 * libgit2, loaded when the first repository is opened. It brings Kerberos, two TLS libraries and SSH along,
 * and reads the system's certificates when it starts: two thirds of the time from a command's start to
 * its first line of work, which commands that the daemon answers do not need (docs/decisions/libgit2.md).
 *
 * Calling sequence: library_start(), then libgit2.FUNCTION() as git_FUNCTION().
 * The daemon has loaded it before it mounts: the library may lie under its own mountpoint.
 */

#include <git2.h>
#if __has_include(<git2/sys/errors.h>)
#include <git2/sys/errors.h> /* libgit2 1.7 and later */
#endif
#include <git2/sys/odb_backend.h>
#include <git2/sys/repository.h>

#include "store/base/error.h"

#define LIBGIT2_FUNCTIONS(X) \
	X(buf_dispose) X(commit_author) X(commit_free) X(commit_lookup) X(commit_message) \
	X(commit_parent_id) X(commit_parentcount) X(commit_time) X(commit_time_offset) \
	X(commit_tree_id) X(diff_free) X(diff_get_delta) X(diff_get_stats) X(diff_num_deltas) \
	X(diff_options_init) X(diff_print) X(diff_stats_free) X(diff_stats_to_buf) \
	X(diff_status_char) X(diff_tree_to_tree) X(error_last) X(error_set_str) X(libgit2_init) \
	X(libgit2_opts) X(object_free) X(object_id) X(object_peel) X(object_string2type) \
	X(object_type) X(object_type2string) X(object_typeisloose) X(odb_add_backend) \
	X(odb_backend_data_alloc) X(odb_backend_data_free) X(odb_backend_pack) X(odb_exists) \
	X(odb_exists_ext) X(odb_free) X(odb_hash) X(odb_init_backend) X(odb_new) X(odb_object_data) \
	X(odb_object_free) X(odb_object_size) X(odb_object_type) X(odb_read) X(odb_read_header) \
	X(odb_refresh) X(reference_free) \
	X(reference_name_is_valid) X(reference_name_to_id) \
	X(repository_commondir) X(repository_free) X(repository_init_ext) \
	X(repository_init_options_init) X(repository_open_bare) X(repository_set_odb) \
	X(revparse_single) X(transaction_commit) \
	X(transaction_free) X(transaction_lock_ref) X(transaction_new) X(transaction_remove) \
	X(tree_free) X(tree_lookup)

struct libgit2 {
#define LIBGIT2_MEMBER(name) typeof(git_##name) *name;
	LIBGIT2_FUNCTIONS(LIBGIT2_MEMBER)
#undef LIBGIT2_MEMBER
};

/* All NULL until library_start(). */
extern struct libgit2 libgit2;

/*
 * Loaded, started, and told what it may read; any number of times, by any thread. -EOPNOTSUPP: not
 * installed, or it lacks a function.
 */
int library_start(struct error *err);

#endif
