/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_IMAGE_PATH_H
#define VENEER_STORE_IMAGE_PATH_H

/*
 * Paths of a system image, resolved through the image's own symlinks as chroot(2) would: an absolute
 * target begins at the image's root, and ".." stops there. With merged /usr a package's "lib/x" is
 * "usr/lib/x". Whatever does not exist yet stands for itself.
 *
 * Resolved name by name, not by the kernel's RESOLVE_IN_ROOT: so a symlink that the package itself
 * brings counts as well, what lies below the component is looked at in its base and not through a
 * mount over it, and the canonical name needs no reading of /proc.
 */

#include <stdbool.h>

#include "store/base/error.h"
#include "store/base/strbuf.h"

#define IMAGE_LINKS_MAX 40 /* symlinks on one way, as in path_resolution(7) */

/* The target of a symlink that will stand at PATH (canonical), or NULL. Borrowed. */
typedef const char *(*image_link_fn)(void *arg, const char *path);

struct image {
	int rootfd;	       /* the image's root */
	const char *directory; /* the component's, relative to the root, canonical; "" is the root */
	int basefd;	       /* the component's directory itself */
	image_link_fn link;    /* symlinks to come, which win over files and symlinks that are there; may be NULL */
	void *link_arg;
};

/*
 * PATH, relative to the root, to its canonical form, which the caller frees; the last name is followed
 * too. -ELOOP: too many symlinks; -ENAMETOOLONG.
 */
int image_path_resolve(const struct image *image, const char *path, char **ret, struct error *err);
/* The same, but the last name stands for itself, as for a file that is put there. */
int image_path_resolve_parent(const struct image *image, const char *path, char **ret, struct error *err);

/* The part of a canonical path below the component ("" is its directory); NULL: outside. Borrowed from PATH. */
const char *image_path_in_component(const struct image *image, const char *path);
/* path_open() of a canonical path, beneath the base or the root; an fd or a negative errno. */
int image_path_open(const struct image *image, const char *path, int flags);
/* The file at PATH, through the image's symlinks, appended to SB; nothing where it is missing or no regular file. */
int image_read_file(const struct image *image, const char *path, size_t limit, struct strbuf *sb, struct error *err);

#endif
