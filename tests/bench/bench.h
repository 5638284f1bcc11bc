/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BENCH_H
#define VENEER_BENCH_H

/*
 * What the measuring programs share. Each of them does one thing many times and prints one number: the mean time of one
 * operation in nanoseconds. Medians, spreads and ratios are made of these by scripts/bench.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define BENCH_OPERATIONS_MAX 100000000UL

static inline uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* Exit status 1 with a message that names the path: a measurement of something that failed is worth nothing. */
__attribute__((noreturn, format(printf, 2, 3))) static inline void bench_fail(int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

/* A decimal number of 1 to BENCH_OPERATIONS_MAX; 0 where TEXT is none. */
static inline unsigned long bench_number(const char *text)
{
	char *end = NULL;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	return errno != 0 || end == text || *end != '\0' || value > BENCH_OPERATIONS_MAX ? 0 : value;
}

/* xorshift64: the same sequence on every machine. */
static inline uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void bench_print(uint64_t ns, uint64_t operations)
{
	printf("%.1f\n", (double)ns / (double)operations);
}

#endif
