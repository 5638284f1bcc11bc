/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "store/base/base64.h"
#include "store/base/cleanup.h"
#include "store/meta.h"

#define OBJECT_HEX "99aa06d3014798d86001c324468d497f"

/* ---- reading and writing: what is read and formatted again ---- */

Test(meta, canonical_form)
{
	static const struct {
		const char *text;
		const char *canonical; /* NULL: the text itself */
	} rows[] = {
		{ "", NULL },
		{ "type directory\n", NULL },
		{ "type fifo\n", NULL },
		{ "type socket\n", NULL },
		{ "type char 1:3\n", NULL },
		{ "type block 4095:1048575\n", NULL },
		{ "mode 04755\n", NULL },
		{ "mode 0000\n", NULL },
		{ "mode 644\n", "mode 0644\n" },
		{ "mode 0\n", "mode 0000\n" },
		{ "mode 07777\n", NULL },
		{ "uid 0\ngid 4294967294\n", NULL },
		{ "mtime 1700000000.123456789\n", NULL },
		{ "mtime 0.000000000\n", NULL },
		{ "mtime -1.500000000\n", NULL },
		{ "mtime 9223372036854775807.999999999\n", NULL },
		{ "mtime 5\n", "mtime 5.000000000\n" },
		{ "mtime 5.1\n", "mtime 5.100000000\n" },
		{ "mtime 5.00000001\n", "mtime 5.000000010\n" },
		{ "xattr none\n", NULL },
		{ "xattr none base64:AA==\n", NULL }, /* an attribute that is called so */
		{ "xattr user.a base64:\n", NULL },
		{ "xattr user.%20%25%0A%7F base64:AQI=\n", NULL },
		{ "xattr user.b base64:AQ==\nxattr user.a base64:Ag==\n",
			"xattr user.a base64:Ag==\nxattr user.b base64:AQ==\n" },
		{ "object xxh3-128:" OBJECT_HEX " 0\n", NULL },
		{ "object xxh3-128:" OBJECT_HEX " 4294967296\n", NULL },
		{ "gid 7", "gid 7\n" },
		{ "xattr security.capability base64:AQAAAg==\nmtime 1.5\ngid 3\nuid 2\nmode 755\n"
		  "object xxh3-128:" OBJECT_HEX " 12",
			"mode 0755\nuid 2\ngid 3\nmtime 1.500000000\n"
			"xattr security.capability base64:AQAAAg==\n"
			"object xxh3-128:" OBJECT_HEX " 12\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_meta struct meta meta = META_INIT;
		cleanup_strbuf struct strbuf sb = STRBUF_INIT;
		struct error err = ERROR_INIT;
		int r = meta_parse(rows[i].text, strlen(rows[i].text), &meta, &err);

		cr_expect_eq(r, 0, "'%s': %s", rows[i].text, err.message);
		meta_format(&meta, &sb);
		cr_expect_str_eq(strbuf_text(&sb), rows[i].canonical ? rows[i].canonical : rows[i].text);
	}
}

Test(meta, values)
{
	static const char text[] = "type char 5:1\nmode 02755\nuid 1000\ngid 50\nmtime -3.25\n"
				   "xattr user.x%20y base64:AAH/\n";
	cleanup_meta struct meta meta = META_INIT;

	must_pass(meta_parse(text, strlen(text), &meta, &err));
	cr_assert_eq(meta.present, META_TYPE | META_MODE | META_UID | META_GID | META_MTIME | META_XATTRS);
	cr_assert(S_ISCHR(meta.type));
	cr_assert_eq(meta.device_major, 5);
	cr_assert_eq(meta.device_minor, 1);
	cr_assert_eq(meta.mode, 02755);
	cr_assert_eq(meta.uid, 1000);
	cr_assert_eq(meta.gid, 50);
	cr_assert_eq(meta.mtime.tv_sec, -3);
	cr_assert_eq(meta.mtime.tv_nsec, 250000000);
	cr_assert_eq(meta.xattr_count, 1);
	cr_assert_str_eq(meta.xattrs[0].name, "user.x y");
	cr_assert_eq(meta.xattrs[0].size, 3);
	cr_assert_arr_eq(meta.xattrs[0].value, "\0\1\xff", 3);
}

Test(meta, none_is_an_empty_set)
{
	cleanup_meta struct meta none = META_INIT, empty = META_INIT;

	must_pass(meta_parse("xattr none\n", 11, &none, &err));
	cr_assert_eq(none.present, META_XATTRS);
	cr_assert_eq(none.xattr_count, 0);
	must_pass(meta_parse("", 0, &empty, &err));
	cr_assert_eq(empty.present, 0);
}

/* ---- hostile text ---- */

#define ROW(text, line) { text, sizeof(text) - 1, line }

Test(meta, refuses)
{
	static const struct {
		const char *text;
		size_t len;
		const char *word; /* in the message */
	} rows[] = {
		ROW("garbage", "line 1"),
		ROW("\n", "line 1"),
		ROW("mode 0644\n\n", "line 2"),
		ROW("mode 0644\nuid 0\nowner root\n", "line 3: an unknown key"),
		ROW("Mode 0644\n", "unknown key"),
		ROW(" mode 0644\n", "unknown key"),
		ROW("mode\n", "key value"),
		ROW("mode \n", "octal"),
		ROW("mode  0644\n", "octal"),
		ROW("mode 0644 \n", "octal"),
		ROW("mode 0644\r\n", "octal"),
		ROW("mode\t0644\n", "key value"),
		ROW("mode 0648\n", "octal"),
		ROW("mode 10000\n", "octal"),
		ROW("mode 0100644\n", "octal"),
		ROW("mode -1\n", "octal"),
		ROW("mode 0644\nmode 0644\n", "line 2: a key that was given before"),
		ROW("uid 4294967295\n", "uid"),
		ROW("uid 4294967296\n", "uid"),
		ROW("uid 18446744073709551616\n", "uid"),
		ROW("uid -1\n", "uid"),
		ROW("uid +1\n", "uid"),
		ROW("uid 01\n", "uid"),
		ROW("uid 0x1\n", "uid"),
		ROW("uid root\n", "uid"),
		ROW("gid 4294967295\n", "gid"),
		ROW("mtime 1.\n", "mtime"),
		ROW("mtime .5\n", "mtime"),
		ROW("mtime 1.1234567890\n", "mtime"),
		ROW("mtime 1.5.5\n", "mtime"),
		ROW("mtime 1.5e3\n", "mtime"),
		ROW("mtime 1. 5\n", "mtime"),
		ROW("mtime -0.5\n", "mtime"),
		ROW("mtime --1\n", "mtime"),
		ROW("mtime 9223372036854775808\n", "mtime"),
		ROW("mtime 18446744073709551617\n", "mtime"), /* 1, were it to wrap around */
		ROW("type file\n", "type"),
		ROW("type directory \n", "type"),
		ROW("type char\n", "type"),
		ROW("type char 1\n", "device"),
		ROW("type char 1:\n", "device"),
		ROW("type char 4096:0\n", "device"),
		ROW("type block 1:1048576\n", "device"),
		ROW("type block 1:2:3\n", "device"),
		ROW("object xxh3-128:" OBJECT_HEX "\n", "object"),
		ROW("object xxh3-128:" OBJECT_HEX "0 1\n", "object"),
		ROW("object xxh3-128:99AA06d3014798d86001c324468d497f 1\n", "object"),
		ROW("object sha256:" OBJECT_HEX " 1\n", "object"),
		ROW("object xxh3-128:" OBJECT_HEX " 4294967297\n", "size"),
		ROW("object xxh3-128:" OBJECT_HEX " -1\n", "size"),
		ROW("object xxh3-128:" OBJECT_HEX " 1 2\n", "size"),
		ROW("type fifo\nobject xxh3-128:" OBJECT_HEX " 1\n", "exclude"),
		ROW("xattr user.a\n", "without a value"),
		ROW("xattr None\n", "without a value"),
		ROW("xattr none \n", "base64:"),
		ROW("xattr user.a AA==\n", "base64:"),
		ROW("xattr user.a base64:AA\n", "not base64"),
		ROW("xattr user.a base64:AA== \n", "not base64"),
		ROW("xattr  base64:AA==\n", "name"),
		ROW("xattr user.%2 base64:AA==\n", "name"),
		ROW("xattr user.% base64:AA==\n", "name"),
		ROW("xattr user.%00 base64:AA==\n", "name"),
		ROW("xattr user.%41 base64:AA==\n", "name"),
		ROW("xattr user.%0a base64:AA==\n", "name"),
		ROW("xattr user.\x01 base64:AA==\n", "name"),
		ROW("xattr user.a base64:AA==\nxattr user.a base64:AA==\n", "line 2: an attribute that was given before"),
		ROW("xattr none\nxattr none\n", "line 2"),
		ROW("xattr none\nxattr user.a base64:AA==\n", "line 2"),
		ROW("xattr user.a base64:AA==\nxattr none\n", "line 2"),
		ROW("mode 0644\0\n", "NUL"),
		ROW("mode 0644\n\0", "line 2: a NUL"),
		ROW("mo\0de 0644\n", "NUL"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct meta meta = { .present = 0x5a5a };
		struct error err = ERROR_INIT;
		/* On the heap, without a NUL behind: a sanitizer sees every byte too far. */
		cleanup_free char *text = malloc(rows[i].len);
		int r;

		memcpy(text, rows[i].text, rows[i].len);
		r = meta_parse(text, rows[i].len, &meta, &err);
		cr_expect_eq(r, -EBADMSG, "row %zu accepted: '%s'", i, rows[i].text);
		cr_expect(strstr(err.message, rows[i].word), "'%s': no '%s' in: %s", rows[i].text, rows[i].word,
			err.message);
		cr_expect_eq(meta.present, 0x5a5a, "'%s': the output was touched", rows[i].text);
	}
}

Test(meta, limit_of_bytes)
{
	cleanup_free char *text = malloc(META_BYTES_MAX + 1);
	struct meta meta = META_INIT;

	memset(text, 'x', META_BYTES_MAX + 1);
	must_fail(-EBADMSG, "more than", meta_parse(text, META_BYTES_MAX + 1, &meta, &err));
	must_fail(-EBADMSG, "line 1", meta_parse(text, META_BYTES_MAX, &meta, &err));
	memset(text, '\n', META_BYTES_MAX);
	must_fail(-EBADMSG, "line 1", meta_parse(text, META_BYTES_MAX, &meta, &err));
}

Test(meta, limits_of_attributes)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT, large = STRBUF_INIT, name = STRBUF_INIT;
	cleanup_free uint8_t *value = calloc(1, META_XATTR_VALUE_MAX + 1);
	cleanup_meta struct meta meta = META_INIT, one = META_INIT, other = META_INIT;

	for (unsigned i = 0; i < META_XATTRS_MAX; i++)
		strbuf_addf(&text, "xattr user.%u base64:\n", 1000 - i);
	must_pass(meta_parse(text.buf, text.len, &meta, &err));
	cr_assert_eq(meta.xattr_count, META_XATTRS_MAX);
	strbuf_addstr(&text, "xattr user.more base64:\n");
	must_fail(-EBADMSG, "line 257: too many", meta_parse(text.buf, text.len, &other, &err));

	strbuf_addstr(&large, "xattr user.a base64:");
	base64_encode(value, META_XATTR_VALUE_MAX, &large);
	must_pass(meta_parse(large.buf, large.len, &one, &err));
	cr_assert_eq(one.xattrs[0].size, META_XATTR_VALUE_MAX);
	strbuf_reset(&large);
	strbuf_addstr(&large, "xattr user.a base64:");
	base64_encode(value, META_XATTR_VALUE_MAX + 1, &large);
	must_fail(-EBADMSG, "too many or too large", meta_parse(large.buf, large.len, &other, &err));

	for (unsigned i = 0; i < META_XATTR_NAME_MAX; i++)
		strbuf_addch(&name, 'n');
	strbuf_addstr(&name, " base64:");
	strbuf_reset(&text);
	strbuf_addf(&text, "xattr %s", strbuf_text(&name));
	meta_release(&one);
	must_pass(meta_parse(text.buf, text.len, &one, &err));
	strbuf_reset(&text);
	strbuf_addf(&text, "xattr n%s", strbuf_text(&name));
	must_fail(-EBADMSG, "name", meta_parse(text.buf, text.len, &other, &err));
}

/* ---- attributes in memory ---- */

Test(meta, set_xattr_keeps_order)
{
	static const char *const names[] = { "user.m", "user.a", "user.z", "user.m", "user.b" };
	cleanup_meta struct meta meta = META_INIT, copy = META_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		cr_assert_eq(meta_set_xattr(&meta, names[i], &i, sizeof i), 0);
	cr_assert_eq(meta.xattr_count, 4);
	cr_assert_eq(meta.present, META_XATTRS);
	for (size_t i = 1; i < meta.xattr_count; i++)
		cr_assert(strcmp(meta.xattrs[i - 1].name, meta.xattrs[i].name) < 0);
	cr_assert_eq(*(size_t *)meta.xattrs[2].value, 3, "the later value wins");
	meta.mode = 0711;
	meta.present |= META_MODE;
	cr_assert_eq(meta_copy(&meta, &copy), 0);
	cr_assert_eq(copy.present, meta.present);
	cr_assert_eq(copy.mode, 0711);
	cr_assert(meta_xattrs_equal(&meta, &copy));
	copy.xattrs[1].value[0] ^= 1;
	cr_assert_not(meta_xattrs_equal(&meta, &copy));
	copy.xattrs[1].value[0] ^= 1;
	cr_assert_eq(meta_set_xattr(&copy, "user.c", "", 0), 0);
	cr_assert_not(meta_xattrs_equal(&meta, &copy));
	cr_assert_eq(meta_set_xattr(&copy, "user.c", "", META_XATTR_VALUE_MAX + 1), -E2BIG);
}

Test(meta, copy_of_an_empty_set)
{
	cleanup_meta struct meta none = { .present = META_XATTRS }, copy = META_INIT;

	cr_assert_eq(meta_copy(&none, &copy), 0);
	cr_assert_eq(copy.present, META_XATTRS);
}

/* ---- from files ---- */

Test(meta, from_stat)
{
	struct stat st = { .st_mode = S_IFREG | 06755, .st_uid = 12, .st_gid = 13, .st_mtim = { 5, 6 } };
	struct meta meta = META_INIT;

	meta_from_stat(&meta, &st);
	cr_assert_eq(meta.present, META_MODE | META_UID | META_GID | META_MTIME);
	cr_assert_eq(meta.mode, 06755);
	cr_assert_eq(meta.uid, 12);
	cr_assert_eq(meta.gid, 13);
	cr_assert_eq(meta.mtime.tv_nsec, 6);
	st.st_mode = S_IFBLK | 0600;
	st.st_rdev = makedev(8, 1);
	meta_from_stat(&meta, &st);
	cr_assert(meta.present & META_TYPE);
	cr_assert(S_ISBLK(meta.type));
	cr_assert_eq(meta.device_major, 8);
	cr_assert_eq(meta.device_minor, 1);
	st.st_mode = S_IFDIR | 01777;
	meta_from_stat(&meta, &st);
	cr_assert(S_ISDIR(meta.type));
	cr_assert_eq(meta.mode, 01777);
	st.st_mode = S_IFLNK | 0777;
	meta_from_stat(&meta, &st);
	cr_assert_not(meta.present & META_TYPE);
}

/* A file below /tmp on which user attributes work, else the test is skipped. */
static int xattr_file(const struct temporary_directory *dir)
{
	int fd = open(path_in(*dir, "file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	if (fsetxattr(fd, "user.probe", "x", 1, 0) < 0)
		cr_skip_test("no user attributes below /tmp");
	fremovexattr(fd, "user.probe");
	return fd;
}

Test(meta, read_xattrs)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int fd = xattr_file(&dir);
	cleanup_close int path_fd = open(path_in(dir, "file"), O_PATH | O_CLOEXEC);
	cleanup_meta struct meta meta = META_INIT;

	must_pass(meta_read_xattrs(&meta, path_fd, &err));
	cr_assert_eq(meta.present, META_XATTRS);
	cr_assert_eq(meta.xattr_count, 0);
	cr_assert_eq(fsetxattr(fd, "user.b", "1\0002", 3, 0), 0);
	cr_assert_eq(fsetxattr(fd, "user.a", "", 0, 0), 0);
	cr_assert_eq(fsetxattr(fd, "user.overlay.opaque", "y", 1, 0), 0);
	must_pass(meta_read_xattrs(&meta, path_fd, &err));
	cr_assert_eq(meta.xattr_count, 2);
	cr_assert_str_eq(meta.xattrs[0].name, "user.a");
	cr_assert_str_eq(meta.xattrs[1].name, "user.b");
	cr_assert_eq(meta.xattrs[1].size, 3);
	cr_assert_arr_eq(meta.xattrs[1].value, "1\0002", 3);
}

Test(meta, read_xattrs_of_a_symlink_itself)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int fd = xattr_file(&dir), link_fd = -EBADF;
	cleanup_meta struct meta meta = META_INIT;

	cr_assert_eq(fsetxattr(fd, "user.target", "x", 1, 0), 0);
	cr_assert_eq(symlink("file", path_in(dir, "link")), 0);
	link_fd = open(path_in(dir, "link"), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (lsetxattr(path_in(dir, "link"), "trusted.link", "l", 1, 0) < 0)
		cr_skip_test("no trusted attributes (not root)");
	must_pass(meta_read_xattrs(&meta, link_fd, &err));
	cr_assert_eq(meta.xattr_count, 1);
	cr_assert_str_eq(meta.xattrs[0].name, "trusted.link");
}

/* The kernel's form of an ACL: version 2, then tag, permissions, id of each entry. */
static size_t make_acl(uint8_t *acl, bool with_user)
{
	static const uint8_t tags[] = { 0x01, 0x02, 0x04, 0x10, 0x20 }; /* owner, user, group, mask, others */
	size_t len = 4;

	memcpy(acl, "\2\0\0\0", 4);
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		bool named = tags[i] == 0x02;

		if (!with_user && (named || tags[i] == 0x10))
			continue;
		memcpy(acl + len, "\0\0\4\0\xff\xff\xff\xff", 8);
		acl[len] = tags[i];
		if (named)
			memcpy(acl + len + 4, "\5\0\0\0", 4);
		len += 8;
	}
	return len;
}

Test(meta, acls)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_meta struct meta meta = META_INIT;
	uint8_t acl[64];
	size_t len = make_acl(acl, true);

	if (fsetxattr(fd, "system.posix_acl_access", acl, len, 0) < 0)
		cr_skip_test("no ACLs below /tmp");
	must_pass(meta_read_xattrs(&meta, fd, &err));
	cr_assert_eq(meta.xattr_count, 1);
	cr_assert_str_eq(meta.xattrs[0].name, "system.posix_acl_access");
	/* Three entries: as an access ACL the mode again, as a default ACL something of its own. */
	len = make_acl(acl, false);
	cr_assert_eq(fsetxattr(fd, "system.posix_acl_access", acl, len, 0), 0);
	cr_assert_eq(fsetxattr(fd, "system.posix_acl_default", acl, len, 0), 0);
	must_pass(meta_read_xattrs(&meta, fd, &err));
	cr_assert_eq(meta.xattr_count, 1);
	cr_assert_str_eq(meta.xattrs[0].name, "system.posix_acl_default");
	/* Or else what follows could not be removed by anyone but root. */
	cr_assert_eq(fchmod(fd, 0700), 0);
}
