/* SPDX-License-Identifier: Apache-2.0 */
#include <libdeflate.h>
#include <stdlib.h>

#include "store/git/internal.h"

/* The fastest: `git gc` compresses again, at leisure. */
#define DEFLATE_LEVEL 1

struct deflater {
	struct libdeflate_compressor *compressor; /* owned */
};

void deflated_release(struct deflated *deflated)
{
	free(deflated->data);
	*deflated = (struct deflated){ NULL, 0 };
}

struct deflater *deflater_new(void)
{
	struct deflater *deflater = calloc(1, sizeof *deflater);

	if (!deflater)
		return NULL;
	deflater->compressor = libdeflate_alloc_compressor(DEFLATE_LEVEL);
	if (!deflater->compressor) {
		free(deflater);
		return NULL;
	}
	return deflater;
}

void deflater_free(struct deflater *deflater)
{
	if (!deflater)
		return;
	libdeflate_free_compressor(deflater->compressor);
	free(deflater);
}

int deflater_run(struct deflater *deflater, const void *data, size_t size, struct deflated *ret)
{
	size_t bound = libdeflate_zlib_compress_bound(deflater->compressor, size);
	struct deflated deflated = { malloc(bound), 0 };
	void *fitted;

	if (!deflated.data)
		return -ENOMEM;
	deflated.size = libdeflate_zlib_compress(deflater->compressor, size ? data : "", size, deflated.data, bound);
	if (!deflated.size) { /* not with so much room */
		deflated_release(&deflated);
		return -EIO;
	}
	/* Many wait at once: without the room that was not needed. */
	fitted = realloc(deflated.data, deflated.size);
	if (fitted)
		deflated.data = fitted;
	*ret = deflated;
	return 0;
}
