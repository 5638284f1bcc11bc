/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_CLEANUP_H
#define VENEER_BASE_CLEANUP_H

/*
 * Cleanup attributes: every owned local is released at the end of its scope, so an early return is
 * the norm. TAKE_PTR and TAKE_FD hand ownership on. The idea is systemd's cleanup-fundamental.h.
 */

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

/* DEFINE_CLEANUP(foo_free, struct foo *): makes foo_freep for CLEANUP(foo_freep). */
#define DEFINE_CLEANUP(function, type)                                                             \
	static inline void function##p(type *pointer)                                              \
	{                                                                                          \
		if (*pointer)                                                                      \
			function(*pointer);                                                        \
	}                                                                                          \
	struct error

static inline void cleanup_freep(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline void cleanup_closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static inline void cleanup_fclosep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void cleanup_unlockp(pthread_mutex_t **mutex)
{
	if (*mutex)
		pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

#define cleanup_free CLEANUP(cleanup_freep)
#define cleanup_close CLEANUP(cleanup_closep)
#define cleanup_closedir CLEANUP(cleanup_closedirp)
#define cleanup_fclose CLEANUP(cleanup_fclosep)

/* SCOPED_LOCK(&mutex): held to the end of the enclosing block. */
#define SCOPED_LOCK_JOIN(a, b) a##b
#define SCOPED_LOCK_NAME(line) SCOPED_LOCK_JOIN(scoped_lock_, line)
#define SCOPED_LOCK(mutex)                                                                         \
	__attribute__((cleanup(cleanup_unlockp), unused)) pthread_mutex_t *SCOPED_LOCK_NAME(       \
		__LINE__) = cleanup_lock(mutex)

#define TAKE_PTR(pointer)                                                                          \
	({                                                                                         \
		__typeof__(pointer) taken_ = (pointer);                                            \
		(pointer) = NULL;                                                                  \
		taken_;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_fd_ = (fd);                                                              \
		(fd) = -EBADF;                                                                     \
		taken_fd_;                                                                         \
	})

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
