/* SPDX-License-Identifier: Apache-2.0 */
#include "store/git/raw_object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <nettle/sha1.h>
#include <nettle/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define HEADER_MAX 32u /* "commit 18446744073709551615" and a NUL */

static const char *const kind_names[] = {
	[RAW_NONE] = "nothing", [RAW_COMMIT] = "commit", [RAW_TREE] = "tree", [RAW_BLOB] = "blob", [RAW_TAG] = "tag",
};

const char *raw_kind_name(enum raw_kind kind)
{
	return (size_t)kind < ARRAY_SIZE(kind_names) ? kind_names[kind] : "unknown";
}

void raw_object_release(struct raw_object *object)
{
	free(object->memory);
	*object = (struct raw_object)RAW_OBJECT_INIT;
}

static struct oid sha_final(struct sha1_ctx *sha)
{
	struct oid oid;

#if NETTLE_VERSION_MAJOR >= 4
	sha1_digest(sha, oid.id);
#else
	sha1_digest(sha, sizeof oid.id, oid.id);
#endif
	return oid;
}

struct oid raw_sha1(const void *data, size_t size)
{
	struct sha1_ctx sha;

	sha1_init(&sha);
	sha1_update(&sha, size, data);
	return sha_final(&sha);
}

struct oid raw_object_id(enum raw_kind kind, const void *data, size_t size)
{
	char header[HEADER_MAX];
	int length = snprintf(header, sizeof header, "%s %zu", raw_kind_name(kind), size);
	struct sha1_ctx sha;

	sha1_init(&sha);
	sha1_update(&sha, (size_t)length + 1, (const uint8_t *)header);
	if (size > 0)
		sha1_update(&sha, size, data);
	return sha_final(&sha);
}

DEFINE_CLEANUP(libdeflate_free_decompressor, struct libdeflate_decompressor *);

int raw_inflate(const void *data, size_t len, void *out, size_t size, size_t *ret_used)
{
	CLEANUP(libdeflate_free_decompressorp) struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
	size_t used = 0, made = 0;

	if (!decompressor)
		return -ENOMEM;
	if (libdeflate_zlib_decompress_ex(decompressor, data, len, out, size, &used, &made) != LIBDEFLATE_SUCCESS || made != size)
		return -EBADMSG;
	if (ret_used)
		*ret_used = used;
	return 0;
}

/* ---- loose objects ---- */

void raw_loose_path(const struct oid *oid, char path[RAW_LOOSE_PATH_LENGTH + 1])
{
	char hex[OID_HEX_LENGTH + 1];

	oid_to_hex(oid, hex);
	snprintf(path, RAW_LOOSE_PATH_LENGTH + 1, "%.2s/%s", hex, hex + 2);
}

struct loose_header {
	enum raw_kind kind;
	size_t length; /* of it, its NUL included */
	uint64_t size; /* of what follows */
};

/* "TYPE SIZE\0" */
static int parse_header(const char *text, size_t len, struct loose_header *ret)
{
	const char *end = memchr(text, '\0', len), *space = end ? strchr(text, ' ') : NULL;
	uint64_t size = 0;

	if (!space || space[1] == '\0')
		return -EBADMSG;
	for (const char *digit = space + 1; *digit; digit++) {
		if (*digit < '0' || *digit > '9' || size > UINT64_MAX / 16)
			return -EBADMSG;
		size = size * 10 + (uint64_t)(*digit - '0');
	}
	for (enum raw_kind kind = RAW_COMMIT; kind <= RAW_TAG; kind++) {
		if (strlen(kind_names[kind]) == (size_t)(space - text) && memcmp(kind_names[kind], text, (size_t)(space - text)) == 0) {
			*ret = (struct loose_header){ kind, (size_t)(end - text) + 1, size };
			return 0;
		}
	}
	return -EBADMSG;
}

/* The first bytes of the stream, which say how many there are. */
static int inflate_header(const struct strbuf *file, struct loose_header *ret)
{
	char text[HEADER_MAX];
	z_stream z = { .next_in = (uint8_t *)file->buf, .avail_in = (unsigned)(file->len < 4096 ? file->len : 4096),
		.next_out = (uint8_t *)text, .avail_out = sizeof text };
	int rc;

	if (inflateInit(&z) != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_SYNC_FLUSH);
	inflateEnd(&z);
	if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
		return -EBADMSG;
	return parse_header(text, sizeof text - z.avail_out, ret);
}

static int inflate_loose(const struct strbuf *file, uint64_t limit, struct raw_object *ret)
{
	cleanup_free uint8_t *memory = NULL;
	struct loose_header header;
	size_t used;
	int r = file->len > 0 ? inflate_header(file, &header) : -EBADMSG;

	if (r < 0)
		return r;
	if (header.size / RAW_RATIO_MAX > file->len || header.size > SIZE_MAX - HEADER_MAX)
		return -EBADMSG;
	if (header.size > limit)
		return -E2BIG;
	memory = malloc(header.length + header.size);
	if (!memory)
		return -ENOMEM;
	r = raw_inflate(file->buf, file->len, memory, header.length + header.size, &used);
	if (r == 0 && used != file->len)
		r = -EBADMSG; /* garbage behind it */
	if (r < 0)
		return r;
	*ret = (struct raw_object){ header.kind, memory, memory + header.length, header.size };
	TAKE_PTR(memory);
	return 0;
}

int raw_read_loose(int objects_fd, const struct oid *oid, uint64_t limit, struct raw_object *ret, struct error *err)
{
	cleanup_strbuf struct strbuf file = STRBUF_INIT;
	char path[RAW_LOOSE_PATH_LENGTH + 1];
	int r;

	raw_loose_path(oid, path);
	/* What does not compress is a little longer than itself. */
	r = io_read_file_at(objects_fd, path, limit > SIZE_MAX / 2 ? SIZE_MAX / 2 : limit + limit / 64 + 4096, &file, err);
	if (r < 0)
		return r == -EINVAL ? error_set(err, -EBADMSG, "loose object '%s' is no regular file", path) : r;
	r = inflate_loose(&file, limit, ret);
	if (r == -EBADMSG)
		return error_set(err, r, "loose object '%s' cannot be inflated", path);
	return r < 0 ? error_errno(err, -r, "loose object '%s'", path) : 0;
}
