/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_CLOCK_H
#define VENEER_BASE_CLOCK_H

/* How long something takes. */

#include <stdint.h>
#include <time.h>

/* Nanoseconds since some moment in the past that is always the same; it never goes back (clock_gettime(2)). */
static inline uint64_t clock_monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#define CLOCK_TEXT_MAX 32
/* US, in microseconds since the epoch, as ISO 8601 in UTC, to the second. */
static inline void clock_format(int64_t us, char text[CLOCK_TEXT_MAX])
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(text, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm))
		text[0] = '\0';
}

#endif
