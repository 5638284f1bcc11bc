/* SPDX-License-Identifier: Apache-2.0 */
#include "store/meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "store/base/base64.h"
#include "store/base/cleanup.h"
#include "store/object.h"

/* What the kernel can express: 12 bits of major, 20 of minor. */
#define DEVICE_MAJOR_MAX 4095u
#define DEVICE_MINOR_MAX 1048575u
/* Room for all lines that are not attributes. */
#define META_FIXED_BYTES 512u

static const char xattr_value_prefix[] = "base64:";
static const char object_prefix[] = "xxh3-128:";
/* A problem that is not the text's; recognised by its address. */
static const char out_of_memory[] = "out of memory";

static void drop_xattrs(struct meta *meta)
{
	for (size_t i = 0; i < meta->xattr_count; i++) {
		free(meta->xattrs[i].name);
		free(meta->xattrs[i].value);
	}
	free(meta->xattrs);
	meta->xattrs = NULL;
	meta->xattr_count = 0;
}

void meta_release(struct meta *meta)
{
	drop_xattrs(meta);
	*meta = (struct meta)META_INIT;
}

/* ---- attributes: a sorted array ---- */

/* Index of NAME, or where it would stand. */
static size_t xattr_position(const struct meta *meta, const char *name, bool *ret_found)
{
	size_t low = 0, high = meta->xattr_count;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(meta->xattrs[middle].name, name);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int meta_set_xattr(struct meta *meta, const char *name, const void *value, size_t size)
{
	bool found;
	size_t at = xattr_position(meta, name, &found);
	cleanup_free char *name_copy = NULL;
	cleanup_free uint8_t *value_copy = NULL;
	struct meta_xattr *grown;

	if (size > META_XATTR_VALUE_MAX || strnlen(name, META_XATTR_NAME_MAX + 1) > META_XATTR_NAME_MAX)
		return -E2BIG;
	if (!found && meta->xattr_count >= META_XATTRS_MAX)
		return -E2BIG;
	value_copy = malloc(size ? size : 1);
	if (!value_copy)
		return -ENOMEM;
	if (size)
		memcpy(value_copy, value, size);
	if (found) {
		free(meta->xattrs[at].value);
		meta->xattrs[at].value = TAKE_PTR(value_copy);
		meta->xattrs[at].size = size;
		return 0;
	}
	name_copy = strdup(name);
	grown = reallocarray(meta->xattrs, meta->xattr_count + 1, sizeof *grown);
	if (grown)
		meta->xattrs = grown;
	if (!name_copy || !grown)
		return -ENOMEM;
	memmove(grown + at + 1, grown + at, (meta->xattr_count - at) * sizeof *grown);
	grown[at] = (struct meta_xattr){ TAKE_PTR(name_copy), TAKE_PTR(value_copy), size };
	meta->xattr_count++;
	meta->present |= META_XATTRS;
	return 0;
}

int meta_copy(const struct meta *from, struct meta *ret)
{
	cleanup_meta struct meta copy = *from;

	copy.xattrs = NULL;
	copy.xattr_count = 0;
	for (size_t i = 0; i < from->xattr_count; i++) {
		const struct meta_xattr *xattr = &from->xattrs[i];
		int r = meta_set_xattr(&copy, xattr->name, xattr->value, xattr->size);

		if (r < 0)
			return r;
	}
	*ret = copy;
	copy = (struct meta)META_INIT;
	return 0;
}

bool meta_xattrs_equal(const struct meta *a, const struct meta *b)
{
	if (a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++) {
		const struct meta_xattr *x = &a->xattrs[i], *y = &b->xattrs[i];

		if (strcmp(x->name, y->name) != 0 || x->size != y->size ||
			memcmp(x->value, y->value, x->size) != 0)
			return false;
	}
	return true;
}

/* ---- parsing: each function returns NULL or what is wrong (static text) ---- */

struct span {
	const char *text;
	size_t len;
};

static bool span_is(struct span span, const char *word)
{
	return span.len == strlen(word) && memcmp(span.text, word, span.len) == 0;
}

/* Cut PREFIX off; false: it is not there. */
static bool span_skip(struct span *span, const char *prefix)
{
	size_t len = strlen(prefix);

	if (span->len < len || memcmp(span->text, prefix, len) != 0)
		return false;
	span->text += len;
	span->len -= len;
	return true;
}

/* The part before SEPARATOR in *RET_HEAD, the part behind stays in SPAN; false: no separator. */
static bool span_cut(struct span *span, char separator, struct span *ret_head)
{
	const char *at = memchr(span->text, separator, span->len);

	if (!at)
		return false;
	*ret_head = (struct span){ span->text, (size_t)(at - span->text) };
	span->len -= ret_head->len + 1;
	span->text = at + 1;
	return true;
}

/* Digits only; no sign, no blank, no leading zero. */
static bool parse_decimal(struct span span, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (span.len == 0 || (span.len > 1 && span.text[0] == '0'))
		return false;
	for (size_t i = 0; i < span.len; i++) {
		unsigned digit = (unsigned)(unsigned char)span.text[i] - '0';

		if (digit > 9 || value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
		if (value > max)
			return false;
	}
	*ret = value;
	return true;
}

static const char *parse_type(struct meta *meta, struct span value)
{
	uint64_t number_major, number_minor;
	struct span text_major;

	if (span_is(value, "directory")) {
		meta->type = S_IFDIR;
	} else if (span_is(value, "fifo")) {
		meta->type = S_IFIFO;
	} else if (span_is(value, "socket")) {
		meta->type = S_IFSOCK;
	} else {
		if (span_skip(&value, "char "))
			meta->type = S_IFCHR;
		else if (span_skip(&value, "block "))
			meta->type = S_IFBLK;
		else
			return "the type is not one of directory, fifo, socket, char MAJOR:MINOR, block MAJOR:MINOR";
		if (!span_cut(&value, ':', &text_major) ||
			!parse_decimal(text_major, DEVICE_MAJOR_MAX, &number_major) ||
			!parse_decimal(value, DEVICE_MINOR_MAX, &number_minor))
			return "the device is not MAJOR:MINOR, at most 4095:1048575";
		meta->device_major = (uint32_t)number_major;
		meta->device_minor = (uint32_t)number_minor;
	}
	return NULL;
}

static const char *parse_mode(struct meta *meta, struct span value)
{
	static const char problem[] = "the mode is not octal, at most 07777";
	mode_t mode = 0;

	if (value.len == 0 || value.len > 5)
		return problem;
	for (size_t i = 0; i < value.len; i++) {
		if (value.text[i] < '0' || value.text[i] > '7')
			return problem;
		mode = mode << 3 | (mode_t)(value.text[i] - '0');
	}
	if (mode > 07777)
		return problem;
	meta->mode = mode;
	return NULL;
}

/* (uid_t)-1 means "unchanged" to the kernel: it is nobody's id. */
static const char *parse_uid(struct meta *meta, struct span value)
{
	uint64_t id;

	if (!parse_decimal(value, UINT32_MAX - 1, &id))
		return "the uid is not a decimal number below 4294967295";
	meta->uid = (uid_t)id;
	return NULL;
}

static const char *parse_gid(struct meta *meta, struct span value)
{
	uint64_t id;

	if (!parse_decimal(value, UINT32_MAX - 1, &id))
		return "the gid is not a decimal number below 4294967295";
	meta->gid = (gid_t)id;
	return NULL;
}

static const char *parse_mtime(struct meta *meta, struct span value)
{
	static const char problem[] = "the mtime is not SECONDS.NANOSECONDS";
	bool negative = span_skip(&value, "-");
	struct span whole = value;
	uint64_t seconds;
	long nanoseconds = 0;

	if (span_cut(&value, '.', &whole)) {
		if (value.len == 0 || value.len > 9)
			return problem;
		for (size_t i = 0; i < 9; i++) {
			char c = i < value.len ? value.text[i] : '0';

			if (c < '0' || c > '9')
				return problem;
			nanoseconds = nanoseconds * 10 + (c - '0');
		}
	}
	if (!parse_decimal(whole, INT64_MAX, &seconds) || (negative && seconds == 0))
		return problem;
	meta->mtime.tv_sec = negative ? -(time_t)seconds : (time_t)seconds;
	meta->mtime.tv_nsec = nanoseconds;
	return NULL;
}

static int upper_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool must_escape(unsigned char c)
{
	return c <= ' ' || c == 0x7f || c == '%';
}

/* NAME has META_XATTR_NAME_MAX + 1 bytes. */
static bool unescape_xattr_name(struct span span, char *name)
{
	size_t len = 0;

	for (size_t i = 0; i < span.len; i++) {
		unsigned char c = (unsigned char)span.text[i];

		if (c == '%') {
			bool whole = span.len - i > 2;
			int high = whole ? upper_hex_digit(span.text[i + 1]) : -1;
			int low = whole ? upper_hex_digit(span.text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (unsigned char)(high << 4 | low);
			/* One spelling for one name. */
			if (c == '\0' || !must_escape(c))
				return false;
			i += 2;
		} else if (must_escape(c)) {
			return false;
		}
		if (len == META_XATTR_NAME_MAX)
			return false;
		name[len++] = (char)c;
	}
	name[len] = '\0';
	return len > 0;
}

static const char *parse_xattr(struct meta *meta, struct span value)
{
	char name[META_XATTR_NAME_MAX + 1];
	cleanup_strbuf struct strbuf bytes = STRBUF_INIT;
	struct span word;
	bool found;
	int r;

	if (span_is(value, "none"))
		return meta->present & META_XATTRS ? "'xattr none' beside other attributes" : NULL;
	if (meta->present & META_XATTRS && meta->xattr_count == 0)
		return "an attribute beside 'xattr none'";
	if (!span_cut(&value, ' ', &word))
		return "an attribute without a value";
	if (!unescape_xattr_name(word, name))
		return "the attribute's name is empty, too long or badly escaped";
	if (!span_skip(&value, xattr_value_prefix))
		return "the attribute's value does not begin with 'base64:'";
	if (value.len > (META_XATTR_VALUE_MAX + 2) / 3 * 4)
		return "the attribute's value is larger than 65536 bytes";
	r = base64_decode(value.text, value.len, &bytes);
	if (r == -ENOMEM)
		return out_of_memory;
	if (r < 0)
		return "the attribute's value is not base64";
	xattr_position(meta, name, &found);
	if (found)
		return "an attribute that was given before";
	r = meta_set_xattr(meta, name, strbuf_text(&bytes), bytes.len);
	if (r == -ENOMEM)
		return out_of_memory;
	return r < 0 ? "too many or too large attributes" : NULL;
}

static const char *parse_object(struct meta *meta, struct span value)
{
	struct span word;

	if (!span_skip(&value, object_prefix) || !span_cut(&value, ' ', &word) ||
		hash128_from_hex(word.text, word.len, &meta->object) < 0)
		return "the object is not 'xxh3-128:HEX SIZE'";
	if (!parse_decimal(value, OBJECT_BYTES_MAX, &meta->object_size))
		return "the object's size is not a decimal number, at most 4294967296";
	return NULL;
}

static const struct meta_key {
	const char *name;
	enum meta_keys flag;
	const char *(*parse)(struct meta *meta, struct span value);
} keys[] = {
	{ "type", META_TYPE, parse_type },    { "mode", META_MODE, parse_mode },
	{ "uid", META_UID, parse_uid },	      { "gid", META_GID, parse_gid },
	{ "mtime", META_MTIME, parse_mtime }, { "xattr", META_XATTRS, parse_xattr },
	{ "object", META_OBJECT, parse_object },
};

static const char *parse_line(struct meta *meta, struct span line)
{
	struct span word;

	if (memchr(line.text, '\0', line.len))
		return "a NUL byte";
	if (!span_cut(&line, ' ', &word))
		return "not of the form 'key value'";
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *problem;

		if (!span_is(word, keys[i].name))
			continue;
		if (meta->present & keys[i].flag && keys[i].flag != META_XATTRS)
			return "a key that was given before";
		problem = keys[i].parse(meta, line);
		if (!problem)
			meta->present |= keys[i].flag;
		return problem;
	}
	return "an unknown key";
}

int meta_parse(const char *text, size_t len, struct meta *ret, struct error *err)
{
	cleanup_meta struct meta meta = META_INIT;
	struct span rest = { text, len };

	if (len > META_BYTES_MAX)
		return error_set(err, -EBADMSG, "metadata of %zu bytes: more than %u", len, META_BYTES_MAX);
	for (size_t number = 1; rest.len > 0; number++) {
		struct span line;
		const char *problem;

		if (!span_cut(&rest, '\n', &line)) {
			line = rest;
			rest.len = 0;
		}
		problem = parse_line(&meta, line);
		if (problem == out_of_memory)
			return error_errno(err, ENOMEM, "metadata");
		if (problem)
			return error_set(err, -EBADMSG, "metadata, line %zu: %s", number, problem);
	}
	if (meta.present & META_TYPE && meta.present & META_OBJECT)
		return error_set(err, -EBADMSG, "metadata: 'type' and 'object' exclude each other");
	*ret = meta;
	meta = (struct meta)META_INIT;
	return 0;
}

/* ---- formatting ---- */

static void format_type(const struct meta *meta, struct strbuf *sb)
{
	switch (meta->type & S_IFMT) {
	case S_IFIFO:
		strbuf_addstr(sb, "type fifo\n");
		break;
	case S_IFSOCK:
		strbuf_addstr(sb, "type socket\n");
		break;
	case S_IFCHR:
	case S_IFBLK:
		strbuf_addf(sb, "type %s %u:%u\n", S_ISCHR(meta->type) ? "char" : "block",
			meta->device_major, meta->device_minor);
		break;
	default:
		strbuf_addstr(sb, "type directory\n");
	}
}

static void format_xattrs(const struct meta *meta, struct strbuf *sb)
{
	if (meta->xattr_count == 0)
		strbuf_addstr(sb, "xattr none\n");
	for (size_t i = 0; i < meta->xattr_count; i++) {
		const struct meta_xattr *xattr = &meta->xattrs[i];

		strbuf_addstr(sb, "xattr ");
		for (const char *c = xattr->name; *c; c++) {
			if (must_escape((unsigned char)*c))
				strbuf_addf(sb, "%%%02X", (unsigned char)*c);
			else
				strbuf_addch(sb, *c);
		}
		strbuf_addf(sb, " %s", xattr_value_prefix);
		base64_encode(xattr->value, xattr->size, sb);
		strbuf_addch(sb, '\n');
	}
}

void meta_format(const struct meta *meta, struct strbuf *sb)
{
	if (meta->present & META_TYPE)
		format_type(meta, sb);
	if (meta->present & META_MODE)
		strbuf_addf(sb, "mode 0%03o\n", (unsigned)meta->mode & 07777);
	if (meta->present & META_UID)
		strbuf_addf(sb, "uid %u\n", (unsigned)meta->uid);
	if (meta->present & META_GID)
		strbuf_addf(sb, "gid %u\n", (unsigned)meta->gid);
	if (meta->present & META_MTIME)
		strbuf_addf(sb, "mtime %lld.%09ld\n", (long long)meta->mtime.tv_sec, meta->mtime.tv_nsec);
	if (meta->present & META_XATTRS)
		format_xattrs(meta, sb);
	if (meta->present & META_OBJECT) {
		char hex[HASH128_HEX_LENGTH + 1];

		hash128_to_hex(&meta->object, hex);
		strbuf_addf(sb, "object %s%s %llu\n", object_prefix, hex,
			(unsigned long long)meta->object_size);
	}
}

/* ---- from files ---- */

void meta_from_stat(struct meta *meta, const struct stat *st)
{
	meta->mode = st->st_mode & 07777;
	meta->uid = st->st_uid;
	meta->gid = st->st_gid;
	meta->mtime = st->st_mtim;
	meta->present |= META_MODE | META_UID | META_GID | META_MTIME;
	meta->present &= ~(unsigned)META_TYPE;
	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		return;
	meta->type = st->st_mode & S_IFMT;
	meta->present |= META_TYPE;
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		meta->device_major = major(st->st_rdev);
		meta->device_minor = minor(st->st_rdev);
	}
}

/* The kernel's layout: a version of 4 bytes, then 8 bytes an entry. Owner, group and others alone are the mode again. */
#define ACL_MINIMAL_BYTES (4 + 3 * 8)

static bool xattr_is_served(const char *name, size_t size)
{
	if (strcmp(name, "system.posix_acl_access") == 0)
		return size > ACL_MINIMAL_BYTES;
	return strncmp(name, "trusted.overlay.", 16) != 0 && strncmp(name, "user.overlay.", 13) != 0;
}

/* The names of all attributes, each ended by NUL. No attributes on this filesystem: none. */
static int list_xattrs(const char *path, char **ret, size_t *ret_len)
{
	for (;;) {
		cleanup_free char *names = NULL;
		ssize_t need = listxattr(path, NULL, 0), len;

		if (need < 0 && errno != EOPNOTSUPP)
			return -errno;
		if (need <= 0) {
			*ret_len = 0;
			return 0;
		}
		names = malloc((size_t)need);
		if (!names)
			return -ENOMEM;
		len = listxattr(path, names, (size_t)need);
		/* ERANGE: one was added meanwhile. */
		if (len < 0 && errno == ERANGE)
			continue;
		if (len < 0)
			return -errno;
		*ret = TAKE_PTR(names);
		*ret_len = (size_t)len;
		return 0;
	}
}

int meta_read_xattrs(struct meta *meta, int fd, struct error *err)
{
	cleanup_meta struct meta found = META_INIT;
	cleanup_free char *names = NULL;
	cleanup_free uint8_t *value = malloc(META_XATTR_VALUE_MAX);
	size_t len = 0, text_bytes = META_FIXED_BYTES;
	char path[32];
	int r;

	if (!value)
		return error_errno(err, ENOMEM, "read attributes");
	/* What an O_PATH fd names is reached through /proc, a symlink itself included. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = list_xattrs(path, &names, &len);
	if (r < 0)
		return error_errno(err, -r, "list attributes");
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		ssize_t size = getxattr(path, name, value, META_XATTR_VALUE_MAX);

		if (size < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
			continue; /* gone meanwhile, or listed but not to be had */
		if (size < 0)
			return error_errno(err, errno, "read attribute '%s'", name);
		if (!xattr_is_served(name, (size_t)size))
			continue;
		/* As text: every byte of the name might be escaped. */
		text_bytes += 3 * strlen(name) + 16 + ((size_t)size + 2) / 3 * 4;
		r = text_bytes > META_BYTES_MAX ? -E2BIG : meta_set_xattr(&found, name, value, (size_t)size);
		if (r == -E2BIG)
			return error_set(err, r, "more than %u attributes, or more than %u bytes of them",
				META_XATTRS_MAX, META_BYTES_MAX);
		if (r < 0)
			return error_errno(err, -r, "read attributes");
	}
	drop_xattrs(meta);
	meta->xattrs = TAKE_PTR(found.xattrs);
	meta->xattr_count = found.xattr_count;
	found.xattr_count = 0;
	meta->present |= META_XATTRS;
	return 0;
}
