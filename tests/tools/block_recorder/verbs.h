/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_BLOCK_RECORDER_VERBS_H
#define VENEER_TESTS_BLOCK_RECORDER_VERBS_H

#include <stddef.h>
#include <stdint.h>

/* Each: exit status. What fails is said on standard error. */

/* Serve a disk of SIZE bytes at MOUNTPOINT until it is unmounted (disk.c). */
int verb_record(const char *mountpoint, const char *log, uint64_t size);
/* One line a record (cuts.c). */
int verb_list(const char *log);
/* One line a cut: before and after each flush, at each mark, and BETWEEN more at random within each run of writes (cuts.c). */
int verb_cuts(const char *log, size_t between, uint64_t seed);
/* What is on the disk when the power goes after INDEX records (image.c). */
int verb_image(const char *log, size_t index, uint64_t seed, size_t sector, const char *image);

struct random {
	uint64_t state;
};
/* SplitMix64 (Steele, Lea, Flood 2014): a good sequence from any seed. */
uint64_t random_next(struct random *random);

int complain(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
