/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_IMAGE_OWNER_H
#define VENEER_STORE_IMAGE_OWNER_H

/*
 * Who owns what in a system image: its own etc/passwd and etc/group, read here and not through NSS
 * (which knows the running system only), and what its administrator has told dpkg with
 * dpkg-statoverride(1). Files that are missing are empty; lines that are no good are passed over.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "store/base/error.h"
#include "store/image_path.h"

#define IMAGE_OWNER_FILE_MAX (16u << 20)

struct image_override {
	char *path; /* owned; absolute, as packages name it */
	uid_t uid;
	gid_t gid;
	mode_t mode; /* 07777 */
};

struct image_owners;

int image_owners_load(const struct image *image, struct image_owners **ret, struct error *err);
void image_owners_free(struct image_owners *owners);
/* false: no such name */
bool image_owners_user(const struct image_owners *owners, const char *name, uid_t *ret);
bool image_owners_group(const struct image_owners *owners, const char *name, gid_t *ret);
/* PATH relative, as the package names it. Borrowed; NULL: none. */
const struct image_override *image_owners_override(const struct image_owners *owners, const char *path);

static inline void image_owners_freep(struct image_owners **owners)
{
	if (*owners)
		image_owners_free(*owners);
}
#define cleanup_image_owners __attribute__((cleanup(image_owners_freep)))

#endif
