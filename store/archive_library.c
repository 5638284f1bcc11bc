/* SPDX-License-Identifier: Apache-2.0 */
#include "store/archive_library.h"

#include "store/base/cleanup.h"
#include "store/base/shared_library.h"

struct archive_library libarchive;

static const struct shared_symbol symbols[] = {
#define ARCHIVE_SYMBOL(name) { "archive_" #name, offsetof(struct archive_library, name) },
	ARCHIVE_FUNCTIONS(ARCHIVE_SYMBOL)
#undef ARCHIVE_SYMBOL
};

int archive_library_load(struct error *err)
{
	int r;

	if (libarchive.read_new)
		return 0;
	r = shared_library_load(VENEER_LIBARCHIVE, symbols, ARRAY_SIZE(symbols), &libarchive, err);
	return r < 0 ? error_prefix(err, r, "read packages") : 0;
}
