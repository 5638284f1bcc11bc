/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_VIEW_CHANGES_H
#define VENEER_CLI_VIEW_CHANGES_H

/* What a switch would change for those who look at the component: view_diff() with git's letters. */

#include "cli/output.h"
#include "store/store.h"
#include "store/view.h"

struct view_change {
	char *path;
	char status; /* A added, D deleted, M content, T type, m metadata alone */
};

struct view_changes {
	struct view_change *changes; /* in order of paths */
	size_t count;
};
#define VIEW_CHANGES_INIT { NULL, 0 }
void view_changes_release(struct view_changes *list);
#define cleanup_view_changes __attribute__((cleanup(view_changes_release)))

/* OLD may be NULL: the bare base. BASEFD is the bare base directory. RET fresh. */
int view_changes_find(struct store *store, int basefd, const struct view *old, const struct view *new,
	struct view_changes *ret, struct error *err);
/* Is PATH, or a directory above it that vanishes or changes its type, among them? */
bool view_changes_cover(const struct view_changes *list, const char *path);
/* [{"status","path"}] */
struct json_object *view_changes_rows(const struct view_changes *list);

#endif
