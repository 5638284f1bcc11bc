/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_HIDDEN_H
#define VENEER_FS_HIDDEN_H

/*
 * Hard links of the base that a view hides: where it replaces or deletes one name of a file that has others, the file
 * has fewer links in the mount than in the base. Counted once for each view, from what it found in the base when it was
 * completed (and by a stat of all that is in a directory that it takes away), and never written again.
 *
 * A link that is made or removed around the mount is not seen until the next switch or refresh (switcher_refresh()).
 */

#include <stdbool.h>
#include <sys/stat.h>

#include "fs/node.h"
#include "store/view.h"

struct hidden;

/*
 * VIEW (completed; NULL: the bare base) over the base of BASE_FD; *RET is NULL where it hides no link. *RET_DIRECTORIES: it
 * hides a directory of the base, too, or may do so (set on failure). 0, or a negative errno.
 */
int hidden_count(const struct view *view, int base_fd, struct hidden **ret, bool *ret_directories);
void hidden_free(struct hidden *hidden); /* NULL is fine */
/* How many names of the base's inode KEY are hidden. HIDDEN may be NULL. */
nlink_t hidden_links(const struct hidden *hidden, const struct node_key *key);

/* Is the base's inode KEY a regular file or symlink that the view hides? HIDDEN may be NULL. */
bool hidden_has(const struct hidden *hidden, const struct node_key *key);
/* Calls FN for each of them. */
void hidden_each(const struct hidden *hidden, void (*fn)(void *arg, const struct node_key *key), void *arg);

/* Calls FN for each inode of which OLD and NEW (either may be NULL) hide different numbers. */
typedef void (*hidden_fn)(void *arg, const struct node_key *key);
void hidden_diff(const struct hidden *old, const struct hidden *new, hidden_fn fn, void *arg);

#endif
