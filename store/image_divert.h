/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_IMAGE_DIVERT_H
#define VENEER_STORE_IMAGE_DIVERT_H

/*
 * What is diverted in a system image, dpkg-divert(1): files of a path go to another, but for those of the
 * package that diverts it. Read from var/lib/dpkg/diversions, three lines a record: the path, where its
 * files go, the package or ":" (the administrator: no package's files stay). A file that is
 * missing is empty; a record that is no good is passed over.
 */

#include "store/base/error.h"
#include "store/image_path.h"

#define IMAGE_DIVERT_FILE_MAX (16u << 20)

struct image_diversions;

int image_diversions_load(const struct image *image, struct image_diversions **ret, struct error *err);
void image_diversions_free(struct image_diversions *diversions);
/* Where PACKAGE's file of PATH goes; both relative, as the package names them. Borrowed; PATH itself: not diverted. */
const char *image_diversions_find(const struct image_diversions *diversions, const char *path, const char *package);

#endif
