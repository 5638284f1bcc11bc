/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/shared_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

int shared_library_load(const char *file, const struct shared_symbol *symbols, size_t count, void *table,
	struct error *err)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return error_set(err, -EOPNOTSUPP, "the library '%s' cannot be loaded: install it (%s)", file,
			dlerror());
	for (size_t i = 0; i < count; i++) {
		if (dlsym(library, symbols[i].name))
			continue;
		error_set(err, -EOPNOTSUPP, "the library '%s' has no '%s': install a newer one", file,
			symbols[i].name);
		dlclose(library);
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < count; i++) {
		void *address = dlsym(library, symbols[i].name);

		memcpy((char *)table + symbols[i].offset, &address, sizeof address);
	}
	return 0;
}
