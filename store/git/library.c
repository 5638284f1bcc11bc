/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/library.h"

#include <pthread.h>

#include "store/base/cleanup.h"
#include "store/base/shared_library.h"

/*
 * The daemon's memory and descriptors are bounded (it runs under `ulimit -n 1024`), so are those that
 * libgit2 may keep: parsed objects, mapped parts of packs, open packs.
 */
#define LIBRARY_CACHE_BYTES (8 << 20)
#define LIBRARY_WINDOW_BYTES (4u << 20)
#define LIBRARY_MAPPED_BYTES (32u << 20)
#define LIBRARY_OPEN_PACKS 64u

struct libgit2 libgit2;

static const struct shared_symbol symbols[] = {
#define LIBGIT2_SYMBOL(name) { "git_" #name, offsetof(struct libgit2, name) },
	LIBGIT2_FUNCTIONS(LIBGIT2_SYMBOL)
#undef LIBGIT2_SYMBOL
};

static struct error load_error = ERROR_INIT;
static int load_result;

/*
 * libgit2's settings belong to the process, and setting them while another thread reads them is a
 * race: they are set once, before the first handle, and libgit2 stays until the process ends.
 */
static void load(void)
{
	static const int levels[] = { GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM,
		GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL };

	load_result = shared_library_load(VENEER_LIBGIT2, symbols, ARRAY_SIZE(symbols), &libgit2, &load_error);
	if (load_result < 0)
		return;
	libgit2.libgit2_init();
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		libgit2.libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
	libgit2.libgit2_opts(GIT_OPT_SET_TEMPLATE_PATH, "");
	libgit2.libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	libgit2.libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
	libgit2.libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 1);
	libgit2.libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, (ssize_t)LIBRARY_CACHE_BYTES);
	libgit2.libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, (size_t)LIBRARY_WINDOW_BYTES);
	libgit2.libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, (size_t)LIBRARY_MAPPED_BYTES);
	libgit2.libgit2_opts(GIT_OPT_SET_MWINDOW_FILE_LIMIT, (size_t)LIBRARY_OPEN_PACKS);
}

int library_start(struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return load_result < 0 ? error_set(err, load_result, "%s", load_error.message) : 0;
}
