/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/shared.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#define PAGE_BYTES 4096u

static const struct {
	const char *name;
	size_t size;
} regions[SHARED_REGIONS] = {
	[SHARED_NODES] = { "veneer-nodes", (size_t)1 << 30 },	 /* 16 million nodes of 64 bytes */
	[SHARED_NAMES] = { "veneer-names", (size_t)1 << 30 },
	[SHARED_ALIASES] = { "veneer-aliases", (size_t)1 << 24 }, /* 4 million references */
	[SHARED_STATE] = { "veneer-state", (size_t)1 << 26 },
};

size_t shared_size(enum shared_region region)
{
	return regions[region].size;
}

static struct shared *shared_alloc(void)
{
	struct shared *shared = calloc(1, sizeof *shared);

	for (int i = 0; shared && i < SHARED_REGIONS; i++) {
		shared->fds[i] = -EBADF;
		shared->at[i] = MAP_FAILED;
	}
	return shared;
}

static bool map(struct shared *shared, int region)
{
	shared->at[region] = mmap(NULL, regions[region].size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, shared->fds[region], 0);
	return shared->at[region] != MAP_FAILED;
}

struct shared *shared_new(void)
{
	struct shared *shared = shared_alloc();

	for (int i = 0; shared && i < SHARED_REGIONS; i++) {
		shared->fds[i] = memfd_create(regions[i].name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
		if (shared->fds[i] < 0 && errno == EINVAL) /* Linux 6.3 has the second flag */
			shared->fds[i] = memfd_create(regions[i].name, MFD_CLOEXEC);
		if (shared->fds[i] < 0 || ftruncate(shared->fds[i], (off_t)regions[i].size) < 0 || !map(shared, i)) {
			shared_free(shared);
			return NULL;
		}
	}
	return shared;
}

int shared_adopt(const int fds[SHARED_REGIONS], struct shared **ret)
{
	struct shared *shared = shared_alloc();
	struct stat st;
	int r = shared ? 0 : -ENOMEM;

	for (int i = 0; i < SHARED_REGIONS; i++) {
		if (shared)
			shared->fds[i] = fds[i];
		else if (fds[i] >= 0)
			close(fds[i]);
	}
	for (int i = 0; i < SHARED_REGIONS && r == 0; i++) {
		/* What is shorter than what is mapped of it would end the process. */
		if (fstat(fds[i], &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != regions[i].size)
			r = -EPROTO;
		else if (!map(shared, i))
			r = -ENOMEM;
	}
	if (r < 0) {
		shared_free(shared);
		return r;
	}
	*ret = shared;
	return 0;
}

void shared_free(struct shared *shared)
{
	if (!shared)
		return;
	for (int i = 0; i < SHARED_REGIONS; i++) {
		if (shared->at[i] != MAP_FAILED)
			munmap(shared->at[i], regions[i].size);
		if (shared->fds[i] >= 0)
			close(shared->fds[i]);
	}
	free(shared);
}

void shared_discard(struct shared *shared, enum shared_region region, size_t from, size_t length)
{
	size_t begin = (from + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES, end = (from + length) / PAGE_BYTES * PAGE_BYTES;

	if (begin < end)
		madvise((uint8_t *)shared->at[region] + begin, end - begin, MADV_REMOVE);
}
