/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Loose objects, read by us: libgit2 (up to and including 1.9) spins for ever on one that was cut short,
 * which is just what a full disk or a bad block leaves. This backend takes the place of libgit2's own.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "store/base/hash.h"
#include "store/base/io.h"
#include "store/git/internal.h"

#define HEADER_MAX 32	      /* "commit 18446744073709551615" and a NUL */
#define DEFLATE_RATIO_MAX 1032 /* zlib's: a header that promises more lies, and gets no memory */
#define READ_BYTES (32u << 10)
#define OUTPUT_MAX (1u << 30) /* zlib counts in unsigned int */

struct loose_backend {
	git_odb_backend base; /* first: libgit2 hands back its address */
	int objects_fd;
};

struct loose_reader {
	int fd;
	uint64_t file_size;
	z_stream inflate;
	bool inflating, ended;
	uint8_t in[READ_BYTES];
};

static void reader_release(struct loose_reader *reader)
{
	if (reader->inflating)
		inflateEnd(&reader->inflate);
	if (reader->fd >= 0)
		close(reader->fd);
}

static int loose_fail(int klass, const char *message)
{
	libgit2.error_set_str(klass, message);
	return GIT_ERROR;
}

static int objects_fd_of(git_odb_backend *backend)
{
	return ((struct loose_backend *)backend)->objects_fd;
}

static void loose_path(const git_oid *id, char path[OID_HEX_LENGTH + 2])
{
	hex_encode(id->id, 1, path);
	path[2] = '/';
	hex_encode(id->id + 1, sizeof id->id - 1, path + 3);
}

static int reader_open(struct loose_reader *reader, git_odb_backend *backend, const git_oid *id)
{
	char path[OID_HEX_LENGTH + 2];
	struct stat st;

	loose_path(id, path);
	reader->fd = openat(objects_fd_of(backend), path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (reader->fd < 0 && errno == ENOENT)
		return GIT_ENOTFOUND;
	if (reader->fd < 0 || fstat(reader->fd, &st) < 0)
		return loose_fail(GIT_ERROR_OS, error_text(errno));
	if (!S_ISREG(st.st_mode))
		return loose_fail(GIT_ERROR_ODB, "a loose object is no regular file");
	reader->file_size = (uint64_t)st.st_size;
	if (inflateInit(&reader->inflate) != Z_OK)
		return loose_fail(GIT_ERROR_NOMEMORY, "out of memory");
	reader->inflating = true;
	return 0;
}

/* Input for the next round; at the end of the file an error. */
static int reader_fill(struct loose_reader *reader)
{
	ssize_t got = io_read(reader->fd, reader->in, sizeof reader->in);

	if (got < 0)
		return loose_fail(GIT_ERROR_OS, error_text((int)-got));
	if (got == 0)
		return loose_fail(GIT_ERROR_ZLIB, "cut short");
	reader->inflate.next_in = reader->in;
	reader->inflate.avail_in = (unsigned)got;
	return 0;
}

/* LEN bytes, or fewer at the end of the stream: the number in *RET. */
static int reader_read(struct loose_reader *reader, uint8_t *out, size_t len, size_t *ret)
{
	z_stream *z = &reader->inflate;
	size_t done = 0;

	while (done < len && !reader->ended) {
		size_t part = len - done < OUTPUT_MAX ? len - done : OUTPUT_MAX;
		int rc = z->avail_in == 0 ? reader_fill(reader) : 0;

		if (rc < 0)
			return rc;
		z->next_out = out + done;
		z->avail_out = (unsigned)part;
		rc = inflate(z, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END)
			return loose_fail(GIT_ERROR_ZLIB, "cannot be inflated");
		reader->ended = rc == Z_STREAM_END;
		done += part - z->avail_out;
	}
	*ret = done;
	return 0;
}

/* "TYPE SIZE\0" */
static int reader_header(struct loose_reader *reader, git_object_t *ret_type, size_t *ret_size)
{
	char header[HEADER_MAX], *space, *digit;
	size_t used = 0, got = 0;
	uint64_t size = 0;

	do {
		int rc = reader_read(reader, (uint8_t *)header + used, 1, &got);

		if (rc < 0)
			return rc;
	} while (got == 1 && header[used] != '\0' && ++used < sizeof header);
	space = got == 1 && used < sizeof header ? strchr(header, ' ') : NULL;
	if (!space || space[1] == '\0')
		return loose_fail(GIT_ERROR_ODB, "malformed header");
	*space = '\0';
	for (digit = space + 1; *digit >= '0' && *digit <= '9' && size <= UINT64_MAX / 16;)
		size = size * 10 + (uint64_t)(*digit++ - '0');
	*ret_type = libgit2.object_string2type(header);
	if (*digit != '\0' || !libgit2.object_typeisloose(*ret_type))
		return loose_fail(GIT_ERROR_ODB, "malformed header");
	if (size / DEFLATE_RATIO_MAX > reader->file_size || size >= SIZE_MAX)
		return loose_fail(GIT_ERROR_ODB, "smaller than its header says");
	*ret_size = (size_t)size;
	return 0;
}

/* Nothing may follow: neither in the stream nor behind it. */
static int reader_end(struct loose_reader *reader)
{
	uint8_t more;
	size_t got;
	int rc = reader_read(reader, &more, 1, &got);

	if (rc < 0)
		return rc;
	if (got > 0)
		return loose_fail(GIT_ERROR_ODB, "larger than its header says");
	if (reader->inflate.avail_in > 0 || io_read(reader->fd, &more, 1) != 0)
		return loose_fail(GIT_ERROR_ODB, "garbage behind the object");
	return 0;
}

static int loose_read_header(size_t *ret_size, git_object_t *ret_type, git_odb_backend *backend,
	const git_oid *id)
{
	CLEANUP(reader_release) struct loose_reader reader = { .fd = -EBADF };
	int rc = reader_open(&reader, backend, id);

	return rc < 0 ? rc : reader_header(&reader, ret_type, ret_size);
}

static int loose_read(void **ret_data, size_t *ret_size, git_object_t *ret_type, git_odb_backend *backend,
	const git_oid *id)
{
	CLEANUP(reader_release) struct loose_reader reader = { .fd = -EBADF };
	size_t size, got;
	uint8_t *data;
	int rc;

	rc = reader_open(&reader, backend, id);
	if (rc == 0)
		rc = reader_header(&reader, ret_type, &size);
	if (rc < 0)
		return rc;
	data = libgit2.odb_backend_data_alloc(backend, size + 1);
	if (!data)
		return GIT_ERROR;
	rc = reader_read(&reader, data, size, &got);
	if (rc == 0 && got < size)
		rc = loose_fail(GIT_ERROR_ODB, "smaller than its header says");
	if (rc == 0)
		rc = reader_end(&reader);
	if (rc < 0) {
		libgit2.odb_backend_data_free(backend, data);
		return rc;
	}
	data[size] = '\0';
	*ret_data = data;
	*ret_size = size;
	return 0;
}

static int loose_exists(git_odb_backend *backend, const git_oid *id)
{
	char path[OID_HEX_LENGTH + 2];
	struct stat st;

	loose_path(id, path);
	return fstatat(objects_fd_of(backend), path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The one object whose id begins with the LEN digits of PREFIX (its other bits are 0). */
static int loose_exists_prefix(git_oid *ret, git_odb_backend *backend, const git_oid *prefix, size_t len)
{
	cleanup_closedir DIR *dir = NULL;
	char wanted[OID_HEX_LENGTH + 1], hex[OID_HEX_LENGTH + 1];
	struct dirent *entry;
	size_t found = 0;
	int fd;

	hex_encode(prefix->id, sizeof prefix->id, wanted);
	snprintf(hex, sizeof hex, "%.2s", wanted);
	fd = openat(objects_fd_of(backend), hex, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? GIT_ENOTFOUND : loose_fail(GIT_ERROR_OS, error_text(errno));
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return loose_fail(GIT_ERROR_NOMEMORY, "out of memory");
	}
	while ((entry = readdir(dir)) != NULL) {
		struct oid oid;

		if (strlen(entry->d_name) != OID_HEX_LENGTH - 2)
			continue;
		memcpy(hex + 2, entry->d_name, OID_HEX_LENGTH - 1);
		if (memcmp(hex, wanted, len) != 0 || oid_from_hex(hex, OID_HEX_LENGTH, &oid) < 0)
			continue;
		if (found++ > 0)
			return loose_fail(GIT_ERROR_ODB, "several objects begin so"), GIT_EAMBIGUOUS;
		*ret = oid_to_git(&oid);
	}
	return found ? 0 : GIT_ENOTFOUND;
}

static int loose_read_prefix(git_oid *ret, void **ret_data, size_t *ret_size, git_object_t *ret_type,
	git_odb_backend *backend, const git_oid *prefix, size_t len)
{
	git_oid id;
	int rc = loose_exists_prefix(&id, backend, prefix, len);

	if (rc == 0)
		rc = loose_read(ret_data, ret_size, ret_type, backend, &id);
	if (rc == 0)
		*ret = id;
	return rc;
}

static void loose_free(git_odb_backend *backend)
{
	close(objects_fd_of(backend));
	free(backend);
}

int loose_backend_new(int objects_fd, git_odb_backend **ret)
{
	struct loose_backend *backend = calloc(1, sizeof *backend);

	if (!backend)
		return -ENOMEM;
	libgit2.odb_init_backend(&backend->base, GIT_ODB_BACKEND_VERSION);
	backend->base.read = loose_read;
	backend->base.read_header = loose_read_header;
	backend->base.read_prefix = loose_read_prefix;
	backend->base.exists = loose_exists;
	backend->base.exists_prefix = loose_exists_prefix;
	backend->base.free = loose_free;
	backend->objects_fd = fcntl(objects_fd, F_DUPFD_CLOEXEC, 3);
	if (backend->objects_fd < 0) {
		free(backend);
		return -errno;
	}
	*ret = &backend->base;
	return 0;
}
