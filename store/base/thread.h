/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_THREAD_H
#define VENEER_BASE_THREAD_H

/*
 * Threads that work for others: they take no signals, which are the main thread's (signal(7)).
 */

#include <pthread.h>

/* Like pthread_create(3), with every signal blocked in the new thread. 0 or a negative errno. */
int thread_start(pthread_t *ret, void *(*run)(void *arg), void *arg);

#endif
