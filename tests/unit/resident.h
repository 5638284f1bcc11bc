/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_UNIT_RESIDENT_H
#define VENEER_TESTS_UNIT_RESIDENT_H

/* What this process holds: memory and file descriptors, by /proc. */

#include <criterion/criterion.h>
#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

/* Bytes resident, shared mappings included. */
static inline size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long size = 0, resident = 0;

	cr_assert(file && fscanf(file, "%lu %lu", &size, &resident) == 2, "/proc/self/statm");
	fclose(file);
	return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Open file descriptors. */
static inline size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	cr_assert(dir, "/proc/self/fd");
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 3; /* ".", ".." and the directory itself */
}

/* ThreadSanitizer keeps four bytes for each, and gives none of them back. */
#ifdef __SANITIZE_THREAD__
#define SHADOW 5u
#else
#define SHADOW 1u
#endif

#endif
