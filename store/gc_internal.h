/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_STORE_GC_INTERNAL_H
#define VENEER_STORE_GC_INTERNAL_H

/* Between gc.c (what is needed, and the order of it all) and gc_objects.c (served objects and leftovers). */

#include "store/base/hash.h"
#include "store/gc.h"
#include "store/git/inventory.h"
#include "store/git/reach.h"
#include "store/git/ref_files.h"
#include "store/git/repack.h"

/* A served object that nothing needs. */
struct gc_unneeded {
	char *path; /* owned; below objects/ */
	uint64_t size;
	int64_t changed_s; /* ctime */
};

struct gc {
	struct store *store; /* borrowed, as are the three below */
	const struct gc_options *options;
	struct gc_report *report;
	const char *git_path;
	int64_t older_than_s;
	struct ref_files refs;
	struct inventory *inventory; /* owned */
	struct reach reach; /* what is needed */
	struct reach young; /* what is young and not needed, and all that it leads to */
	struct repack repack;
	struct gc_use *uses; /* owned */
	size_t use_count;
	struct gc_unneeded *unneeded; /* owned */
	size_t unneeded_count, unneeded_alloc;
};

int gc_add_row(struct gc *gc, const char *kind, const char *name, uint64_t bytes, const char *reason);
void gc_progress(struct gc *gc, const char *what, uint64_t done, uint64_t bytes);

/* Names of sockets in run/ that are not among NAMES (NULL-terminated). */
int gc_each_socket(struct gc *gc, const char *const *names, int (*fn)(struct gc *gc, const char *name, struct error *err),
	struct error *err);
int gc_plan_objects(struct gc *gc, struct error *err);
int gc_remove_objects(struct gc *gc, struct error *err);
/* Temporary files of crashes: told, and but for a dry run removed. */
int gc_leftovers(struct gc *gc, struct error *err);
/* Bytes of what the plan keeps of packs and loose objects that go. */
uint64_t gc_estimate_kept(const struct gc *gc);

#endif
