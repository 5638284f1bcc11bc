/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_UNIT_SUPPORT_H
#define VENEER_TESTS_UNIT_SUPPORT_H

/* What every unit test needs: errors that are printed, and a directory of its own. */

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/error.h"

/* A call that takes `&err` and may not fail: must_pass(store_open(path, &store, &err)). */
#define must_pass(call)                                                                            \
	({                                                                                         \
		struct error err = ERROR_INIT;                                                     \
		long result_ = (call);                                                             \
                                                                                                   \
		cr_assert(result_ >= 0, "%s: %ld: %s", #call, result_, err.message);               \
		result_;                                                                           \
	})

/* A call that must fail with WANTED and a message in which WORD occurs. */
#define must_fail(wanted, word, call)                                                                \
	({                                                                                         \
		struct error err = ERROR_INIT;                                                     \
		long result_ = (call);                                                             \
                                                                                                   \
		cr_assert(result_ == (wanted), "%s: %ld, not %ld: %s", #call, result_, (long)(wanted),  \
			err.message);                                                              \
		cr_assert(err.code == (wanted), "%s: err.code is %d", #call, err.code);              \
		cr_assert(strstr(err.message, word), "%s: no '%s' in: %s", #call, word,            \
			err.message);                                                              \
	})

static inline int temporary_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

/* temporary_directory_auto dir = temporary_directory_make(): gone, with all in it, at the end of the scope. */
struct temporary_directory {
	char path[40];
};

static inline struct temporary_directory temporary_directory_make(void)
{
	struct temporary_directory dir = { "/tmp/veneer-test-XXXXXX" };

	cr_assert(mkdtemp(dir.path), "mkdtemp");
	return dir;
}

static inline void temporary_directory_remove(struct temporary_directory *dir)
{
	nftw(dir->path, temporary_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define temporary_directory_auto                                                                   \
	__attribute__((cleanup(temporary_directory_remove))) struct temporary_directory

/* "DIR/NAME", in a static buffer of its own for each use. */
#define path_in(dir, name)                                                                         \
	({                                                                                         \
		static char path_[4096];                                                           \
		snprintf(path_, sizeof path_, "%s/%s", (dir).path, name);                          \
		(const char *)path_;                                                               \
	})

#endif
