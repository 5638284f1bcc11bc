/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_TREE_REMOVE_H
#define VENEER_BASE_TREE_REMOVE_H

/*
 * Remove DIRFD/NAME with all that is in it, like `rm -rf`: no symlink is followed, and nothing on another
 * filesystem is touched (-EXDEV). What others remove at the same time is no failure, nor is it that there is
 * nothing. At most as deep as PATH_LENGTH_MAX allows names of one letter, by one open directory a level.
 * On failure some of it may be gone. 0 or a negative errno.
 */
int tree_remove(int dirfd, const char *name);

#endif
