/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "tests/tools/block_recorder/log.h"
#include "tests/tools/block_recorder/verbs.h"

#define SEED_NOTHING 0u
#define SEED_ALL 1u

struct image {
	int fd;
	uint8_t *data; /* mapped */
	uint64_t size;
	size_t sector;
	struct random random;
	/* Of a hundred writes that no flush has followed, so many are there whole, and so many of the rest in part. */
	unsigned whole, torn;
};

static bool chance(struct image *image, unsigned percent)
{
	return random_next(&image->random) % 100 < percent;
}

static void put(struct image *image, const struct log_cursor *cursor, uint64_t from, uint64_t length)
{
	uint64_t at = cursor->record->offset + from;

	if (cursor->record->kind == RECORD_WRITE)
		memcpy(image->data + at, cursor->data + from, length);
	/* A hole in the image, so that zeroes take no memory. */
	else if (fallocate(image->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length) < 0)
		memset(image->data + at, 0, length);
}

static void put_torn(struct image *image, const struct log_cursor *cursor)
{
	const uint64_t length = cursor->record->length;

	/* Of a discard that was not flushed no sector need be gone; to decide for each of thousands costs much and shows little. */
	if (cursor->record->kind != RECORD_WRITE) {
		put(image, cursor, 0, random_next(&image->random) % (length / image->sector + 1) * image->sector);
		return;
	}
	for (uint64_t from = 0; from < length; from += image->sector)
		if (chance(image, 50))
			put(image, cursor, from, length - from < image->sector ? length - from : image->sector);
}

static void put_record(struct image *image, const struct log_cursor *cursor, bool flushed)
{
	const bool data = cursor->record->kind == RECORD_WRITE || cursor->record->kind == RECORD_ZERO;

	if (!data || cursor->record->length == 0)
		return;
	if (flushed || chance(image, image->whole))
		put(image, cursor, 0, cursor->record->length);
	else if (chance(image, image->torn))
		put_torn(image, cursor);
}

/* How many records the last flush before INDEX ends. */
static size_t flushed_before(const struct log *log, size_t index)
{
	struct log_cursor cursor = { 0 };
	size_t flushed = 0;

	while (log_next(log, &cursor) && cursor.index < index)
		if (cursor.record->kind == RECORD_FLUSH)
			flushed = cursor.index + 1;
	return flushed;
}

static void choose_losses(struct image *image, size_t index, uint64_t seed)
{
	static const unsigned parts[] = { 15, 50, 85 };

	image->random = (struct random){ seed * 0x2545f4914f6cdd1du ^ index };
	image->whole = seed == SEED_NOTHING ? 0 : seed == SEED_ALL ? 100 : parts[random_next(&image->random) % ARRAY_SIZE(parts)];
	image->torn = seed == SEED_NOTHING ? 0 : 40;
}

static int image_map(const char *path, struct image *image)
{
	image->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (image->fd < 0 || ftruncate(image->fd, (off_t)image->size) < 0)
		return -errno;
	image->data = mmap(NULL, image->size, PROT_READ | PROT_WRITE, MAP_SHARED, image->fd, 0);
	return image->data == MAP_FAILED ? -errno : 0;
}

int verb_image(const char *path, size_t index, uint64_t seed, size_t sector, const char *image_path)
{
	struct image image = { .fd = -EBADF, .sector = sector };
	struct log_cursor cursor = { 0 };
	struct log log;
	size_t flushed;
	int r = log_open(path, &log);

	if (r < 0)
		return complain(-r, "read '%s'", path);
	if (sector == 0)
		return complain(EINVAL, "a sector of no bytes");
	image.size = log.disk_size;
	r = image_map(image_path, &image);
	if (r < 0)
		return complain(-r, "make '%s'", image_path);
	choose_losses(&image, index, seed);
	flushed = flushed_before(&log, index);
	while (log_next(&log, &cursor) && cursor.index < index)
		put_record(&image, &cursor, cursor.index < flushed);
	munmap(image.data, image.size);
	close(image.fd);
	log_close(&log);
	return 0;
}
