/* SPDX-License-Identifier: Apache-2.0 */
#include "store/deb.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "store/archive_library.h"
#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"
#include "store/object.h"

#define READ_BYTES (64u << 10)
#define VERSION_BYTES_MAX 64
#define CONTROL_FILES_MAX 64u /* of control.tar, looked through for one */
#define CONTROL_FILE_MAX (16 << 20)
#define CONTROL_BYTES_MAX (256u << 10)
#define DEB_PACKAGE_MAX 255

struct deb {
	char *file; /* owned; as the caller named it */
	int fd;
	struct archive *outer; /* ar */
	struct archive *inner; /* tar, fed with the bytes of the outer's member data.tar */
	struct strbuf path, target; /* of the current member */
	char package[DEB_PACKAGE_MAX + 1]; /* "": not known */
	uint64_t unpacked;
	size_t count;
};

void deb_close(struct deb *deb)
{
	if (!deb)
		return;
	/* The inner one reads from the outer one: first. */
	if (deb->inner)
		libarchive.read_free(deb->inner);
	if (deb->outer)
		libarchive.read_free(deb->outer);
	if (deb->fd >= 0)
		close(deb->fd);
	strbuf_release(&deb->path);
	strbuf_release(&deb->target);
	free(deb->file);
	free(deb);
}

static int not_a_package(const struct deb *deb, const char *why, struct error *err)
{
	return error_set(err, -EINVAL, "'%s' is not a Debian package: %s", deb->file, why);
}

static int damaged(const struct deb *deb, const char *why, struct error *err)
{
	return error_set(err, -EINVAL, "'%s' is a damaged Debian package: %s; fetch it again", deb->file, why);
}

static const char *archive_problem(struct archive *archive)
{
	const char *text = libarchive.error_string(archive);

	return text ? text : "it cannot be read";
}

/* ---- the outer archive ---- */

/* 1: *RET is the next member of the ar archive, 0: none is left. */
static int next_outer(struct deb *deb, struct archive_entry **ret, struct error *err)
{
	int r = libarchive.read_next_header(deb->outer, ret);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return damaged(deb, archive_problem(deb->outer), err);
	return 1;
}

/* debian-binary: "2." and a minor number, deb(5). */
static int check_version(struct deb *deb, struct error *err)
{
	struct archive_entry *entry;
	char text[VERSION_BYTES_MAX + 1];
	la_ssize_t n;

	/* Whatever libarchive has to say of the first member says only that this is something else. */
	if (libarchive.read_next_header(deb->outer, &entry) != ARCHIVE_OK)
		return not_a_package(deb, "not an ar archive", err);
	if (!libarchive.entry_pathname(entry) || strcmp(libarchive.entry_pathname(entry), "debian-binary") != 0)
		return not_a_package(deb, "its first member is not 'debian-binary'", err);
	n = libarchive.read_data(deb->outer, text, VERSION_BYTES_MAX);
	if (n < 0)
		return damaged(deb, archive_problem(deb->outer), err);
	text[n] = '\0';
	if (strncmp(text, "2.", 2) != 0)
		return not_a_package(deb, "its format is not version 2", err);
	return 0;
}

/* The forms of a tar, and the one filter that reads each: a member is never anything but what it is called. */
static const struct tar_form {
	const char *suffix;
	int (**support)(struct archive *archive); /* of libarchive, which is loaded later */
} tar_forms[] = {
	{ ".tar", &libarchive.read_support_filter_none },
	{ ".tar.gz", &libarchive.read_support_filter_gzip },
	{ ".tar.xz", &libarchive.read_support_filter_xz },
	{ ".tar.zst", &libarchive.read_support_filter_zstd },
	{ ".tar.bz2", &libarchive.read_support_filter_bzip2 },
	{ ".tar.lzma", &libarchive.read_support_filter_lzma },
};

/* Of the member NAME, which is "data" or "control" (STEM) with a suffix; NULL: it is not. */
static const struct tar_form *find_form(const char *name, const char *stem)
{
	size_t len = strlen(stem);

	for (size_t i = 0; i < ARRAY_SIZE(tar_forms) && strncmp(name, stem, len) == 0; i++)
		if (strcmp(name + len, tar_forms[i].suffix) == 0)
			return &tar_forms[i];
	return NULL;
}

/* ---- the inner archive ---- */

static la_ssize_t feed_inner(struct archive *inner, void *arg, const void **ret)
{
	struct deb *deb = arg;
	size_t size = 0;
	la_int64_t offset;
	int r;

	do
		r = libarchive.read_data_block(deb->outer, ret, &size, &offset);
	while (r == ARCHIVE_OK && size == 0);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
		libarchive.set_error(inner, EIO, "%s", archive_problem(deb->outer));
		return -1;
	}
	return (la_ssize_t)size;
}

static int open_inner(struct deb *deb, const struct tar_form *form, struct error *err)
{
	deb->inner = libarchive.read_new();
	if (!deb->inner)
		return error_errno(err, ENOMEM, "read '%s'", deb->file);
	/* ARCHIVE_WARN: it would run a program for this; what a patch is made of comes from no other program. */
	if ((*form->support)(deb->inner) != ARCHIVE_OK)
		return error_set(err, -EOPNOTSUPP, "'%s': this libarchive cannot read '%s' by itself", deb->file,
			form->suffix);
	if (libarchive.read_support_format_tar(deb->inner) != ARCHIVE_OK)
		return error_set(err, -EOPNOTSUPP, "'%s': %s", deb->file, archive_problem(deb->inner));
	if (libarchive.read_open(deb->inner, deb, NULL, feed_inner, NULL) != ARCHIVE_OK)
		return damaged(deb, archive_problem(deb->inner), err);
	return 0;
}

/* ---- control.tar: whose files these are ---- */

/* The value of "Package:" among the lines of TEXT. */
static void control_parse(struct deb *deb, const char *text)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		size_t len;

		line += *line == '\n';
		if (strncasecmp(line, "Package:", 8) != 0)
			continue;
		line += 8 + strspn(line + 8, " \t");
		len = strcspn(line, " \t\r\n");
		if (len <= DEB_PACKAGE_MAX)
			memcpy(deb->package, line, len);
		return;
	}
}

/* The file "control" of the inner archive, which stands among the first. */
static int control_read(struct deb *deb, struct error *err)
{
	cleanup_free char *text = malloc(CONTROL_BYTES_MAX + 1);
	struct archive_entry *entry;
	const char *name = NULL;
	la_ssize_t n;
	int r;

	if (!text)
		return error_errno(err, ENOMEM, "read '%s'", deb->file);
	for (unsigned i = 0; i < CONTROL_FILES_MAX; i++) {
		r = libarchive.read_next_header(deb->inner, &entry);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return damaged(deb, archive_problem(deb->inner), err);
		name = libarchive.entry_pathname(entry);
		if (name && (strcmp(name, "./control") == 0 || strcmp(name, "control") == 0))
			break;
		name = NULL;
		if (libarchive.entry_size(entry) > CONTROL_FILE_MAX)
			return damaged(deb, "a file of its control.tar is too large", err);
	}
	if (!name)
		return 0;
	n = libarchive.read_data(deb->inner, text, CONTROL_BYTES_MAX);
	if (n < 0)
		return damaged(deb, archive_problem(deb->inner), err);
	text[n] = '\0';
	control_parse(deb, text);
	return 0;
}

static int read_control(struct deb *deb, const struct tar_form *form, struct error *err)
{
	int r = open_inner(deb, form, err);

	if (r == 0)
		r = control_read(deb, err);
	if (deb->inner)
		libarchive.read_free(deb->inner);
	deb->inner = NULL;
	return r;
}

const char *deb_package(const struct deb *deb)
{
	return deb->package;
}

/* ---- opening ---- */

/* Stop at the member data.tar; control.tar comes before it. */
static int find_data(struct deb *deb, const struct tar_form **ret, struct error *err)
{
	for (size_t i = 0; i < DEB_AR_MEMBERS_MAX; i++) {
		const struct tar_form *control;
		struct archive_entry *entry;
		int r = next_outer(deb, &entry, err);
		const char *name;

		if (r < 0)
			return r;
		if (r == 0)
			return damaged(deb, "it has no member 'data.tar'", err);
		name = libarchive.entry_pathname(entry);
		if (!name)
			return damaged(deb, "a member without a name", err);
		*ret = find_form(name, "data");
		if (*ret)
			return 0;
		if (strncmp(name, "data.tar", 8) == 0)
			return error_set(err, -EINVAL, "'%s': its content is packed as '%.100s', which is not supported",
				deb->file, name);
		control = find_form(name, "control");
		r = control ? read_control(deb, control, err) : 0;
		if (r < 0)
			return r;
	}
	return damaged(deb, "too many members", err);
}

int deb_open(const char *file, struct deb **ret, struct error *err)
{
	cleanup_deb struct deb *deb = calloc(1, sizeof *deb);
	const struct tar_form *form;
	struct stat st;
	int r;

	if (!deb)
		return error_errno(err, ENOMEM, "open '%s'", file);
	deb->fd = -EBADF;
	r = archive_library_load(err);
	if (r < 0)
		return r;
	deb->file = strdup(file);
	deb->outer = libarchive.read_new();
	if (!deb->file || !deb->outer)
		return error_errno(err, ENOMEM, "open '%s'", file);
	deb->fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (deb->fd < 0 || fstat(deb->fd, &st) < 0)
		return error_errno(err, errno, "open '%s'", file);
	if (!S_ISREG(st.st_mode))
		return not_a_package(deb, "not a regular file", err);
	libarchive.read_support_format_ar(deb->outer);
	if (libarchive.read_open_fd(deb->outer, deb->fd, READ_BYTES) != ARCHIVE_OK)
		return not_a_package(deb, archive_problem(deb->outer), err);
	r = check_version(deb, err);
	if (r == 0)
		r = find_data(deb, &form, err);
	if (r == 0)
		r = open_inner(deb, form, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(deb);
	return 0;
}

/* ---- members ---- */

/* "./usr//lib/x" and "/usr/lib/x" are "usr/lib/x". */
static int normalise(const struct deb *deb, const char *name, struct strbuf *sb, struct error *err)
{
	if (!name)
		return damaged(deb, "a file without a name", err);
	if (strnlen(name, PATH_LENGTH_MAX + 1) > PATH_LENGTH_MAX)
		return error_set(err, -E2BIG, "'%s': '%.60s…': a path longer than %d bytes", deb->file, name,
			PATH_LENGTH_MAX);
	strbuf_reset(sb);
	strbuf_addstr(sb, "");
	while (*name) {
		size_t len = strcspn(name, "/");

		if (len == 2 && memcmp(name, "..", 2) == 0)
			return error_set(err, -EINVAL, "'%s': a path with '..' in it", deb->file);
		if (len > 0 && !(len == 1 && *name == '.')) {
			if (sb->len)
				strbuf_addch(sb, '/');
			strbuf_add(sb, name, len);
		}
		name += len + (name[len] == '/');
	}
	return strbuf_failed(sb) ? error_errno(err, ENOMEM, "read '%s'", deb->file) : 0;
}

/* Names that a pax header gives in UTF-8 have no form in the C locale: their bytes are what is wanted. */
static const char *either(const char *native, const char *utf8)
{
	return native ? native : utf8;
}

static int member_target(struct deb *deb, struct archive_entry *entry, struct deb_member *member,
	struct error *err)
{
	const char *hardlink = either(libarchive.entry_hardlink(entry), libarchive.entry_hardlink_utf8(entry));
	const char *symlink;
	int r;

	if (hardlink) {
		r = normalise(deb, hardlink, &deb->target, err);
		member->type = 0;
		member->target = strbuf_text(&deb->target);
		return r;
	}
	if (member->type != S_IFLNK)
		return 0;
	symlink = either(libarchive.entry_symlink(entry), libarchive.entry_symlink_utf8(entry));
	if (!symlink || *symlink == '\0' || strnlen(symlink, PATH_MAX) >= PATH_MAX)
		return error_set(err, -EINVAL, "'%s': '%s' is a symlink without a good target", deb->file,
			member->path);
	member->target = symlink;
	return 0;
}

static int member_size(struct deb *deb, struct archive_entry *entry, struct deb_member *member,
	struct error *err)
{
	la_int64_t size = libarchive.entry_size(entry);

	if (size < 0 || (uint64_t)size > OBJECT_BYTES_MAX)
		return error_set(err, -E2BIG, "'%s': '%s' is larger than %llu bytes", deb->file, member->path,
			OBJECT_BYTES_MAX);
	deb->unpacked += (uint64_t)size;
	if (deb->unpacked > DEB_UNPACKED_MAX)
		return error_set(err, -E2BIG, "'%s' unpacks to more than %llu bytes", deb->file,
			DEB_UNPACKED_MAX);
	member->size = member->type == S_IFREG ? (uint64_t)size : 0;
	return 0;
}

static int check_member(struct deb *deb, struct archive_entry *entry, struct deb_member *member,
	struct error *err)
{
	static const mode_t types[] = { S_IFREG, S_IFLNK, S_IFDIR, S_IFIFO, S_IFCHR, S_IFBLK };
	la_int64_t uid = libarchive.entry_uid(entry), gid = libarchive.entry_gid(entry);

	for (size_t i = 0; member->type != 0; i++) {
		if (i == ARRAY_SIZE(types))
			return error_set(err, -EINVAL, "'%s': '%s' is of no type that a package can have",
				deb->file, member->path);
		if (types[i] == member->type)
			break;
	}
	if (uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return error_set(err, -EINVAL, "'%s': '%s' has an owner that is no number of a user or group",
			deb->file, member->path);
	member->uid = (uint32_t)uid;
	member->gid = (uint32_t)gid;
	return 0;
}

/*
 * The tar archive ends before its compressed stream, and that before the package: read on to the end.
 * A package that was cut off there is damaged as well.
 */
static int check_end(struct deb *deb, struct error *err)
{
	struct archive_entry *entry;
	const void *block;
	size_t size;
	la_int64_t offset;
	int r;

	do
		r = libarchive.read_data_block(deb->outer, &block, &size, &offset);
	while (r == ARCHIVE_OK);
	if (r != ARCHIVE_EOF)
		return damaged(deb, archive_problem(deb->outer), err);
	for (size_t i = 0; i < DEB_AR_MEMBERS_MAX; i++) {
		r = next_outer(deb, &entry, err);
		if (r <= 0)
			return r;
		if (libarchive.read_data_skip(deb->outer) != ARCHIVE_OK)
			return damaged(deb, archive_problem(deb->outer), err);
	}
	return damaged(deb, "too many members", err);
}

int deb_next(struct deb *deb, struct deb_member *ret, struct error *err)
{
	struct archive_entry *entry;
	struct deb_member member = { 0 };
	int r = libarchive.read_next_header(deb->inner, &entry);

	if (r == ARCHIVE_EOF)
		return check_end(deb, err);
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return damaged(deb, archive_problem(deb->inner), err);
	if (++deb->count > DEB_MEMBERS_MAX)
		return error_set(err, -E2BIG, "'%s' has more than %u files", deb->file, DEB_MEMBERS_MAX);
	r = normalise(deb, either(libarchive.entry_pathname(entry), libarchive.entry_pathname_utf8(entry)),
		&deb->path, err);
	if (r < 0)
		return r;
	member.path = strbuf_text(&deb->path);
	member.type = libarchive.entry_filetype(entry);
	member.mode = libarchive.entry_perm(entry) & 07777;
	member.user = either(libarchive.entry_uname(entry), libarchive.entry_uname_utf8(entry));
	member.group = either(libarchive.entry_gname(entry), libarchive.entry_gname_utf8(entry));
	member.user = member.user ? member.user : "";
	member.group = member.group ? member.group : "";
	member.mtime = libarchive.entry_mtime(entry);
	member.device_major = (uint32_t)libarchive.entry_rdevmajor(entry);
	member.device_minor = (uint32_t)libarchive.entry_rdevminor(entry);
	r = member_target(deb, entry, &member, err);
	if (r == 0)
		r = check_member(deb, entry, &member, err);
	if (r == 0)
		r = member_size(deb, entry, &member, err);
	if (r < 0)
		return r;
	*ret = member;
	return 1;
}

int deb_write_content(struct deb *deb, const struct deb_member *member, int fd, struct error *err)
{
	const void *block;
	size_t size;
	la_int64_t offset;
	int r;

	/* Blocks come with their offsets: what a sparse file leaves out stays a hole. */
	if (ftruncate(fd, (off_t)member->size) < 0)
		return error_errno(err, errno, "unpack '%s' of '%s'", member->path, deb->file);
	while ((r = libarchive.read_data_block(deb->inner, &block, &size, &offset)) == ARCHIVE_OK) {
		if (offset < 0 || (uint64_t)offset + size > member->size)
			return damaged(deb, "a file is longer than it says", err);
		r = io_pwrite(fd, block, size, (uint64_t)offset);
		if (r < 0)
			return error_errno(err, -r, "unpack '%s' of '%s'", member->path, deb->file);
	}
	if (r != ARCHIVE_EOF)
		return damaged(deb, archive_problem(deb->inner), err);
	return 0;
}
