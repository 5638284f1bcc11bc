/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_SHARED_LIBRARY_H
#define VENEER_BASE_SHARED_LIBRARY_H

/*
 * Shared libraries loaded when they are first needed. A linked one costs every start of the program its
 * own loading, and that of all it is linked with.
 */

#include <stddef.h>

#include "store/base/error.h"

struct shared_symbol {
	const char *name;
	size_t offset; /* in the table, of the pointer to the function */
};

/*
 * Load FILE (a SONAME, found as ld.so(8) says) and fill TABLE with the addresses of COUNT SYMBOLS. It stays
 * loaded to the end of the process. On failure TABLE is as it was. -EOPNOTSUPP: not there, or a symbol is not.
 */
int shared_library_load(const char *file, const struct shared_symbol *symbols, size_t count, void *table,
	struct error *err);

#endif
