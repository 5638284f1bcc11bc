/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/strbuf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_release(struct strbuf *sb)
{
	free(sb->buf);
	*sb = (struct strbuf)STRBUF_INIT;
}

void strbuf_reset(struct strbuf *sb)
{
	sb->len = 0;
	sb->failed = false;
	if (sb->buf)
		sb->buf[0] = '\0';
}

int strbuf_grow(struct strbuf *sb, size_t extra)
{
	size_t want, alloc;
	char *buf;

	if (sb->failed)
		return -ENOMEM;
	if (extra > SIZE_MAX / 2 - sb->len - 1) {
		sb->failed = true;
		return -ENOMEM;
	}
	want = sb->len + extra + 1;
	if (want <= sb->alloc)
		return 0;
	alloc = sb->alloc + sb->alloc / 2;
	if (alloc < want)
		alloc = want < 64 ? 64 : want;
	buf = realloc(sb->buf, alloc);
	if (!buf) {
		sb->failed = true;
		return -ENOMEM;
	}
	if (!sb->buf)
		buf[0] = '\0';
	sb->buf = buf;
	sb->alloc = alloc;
	return 0;
}

void strbuf_add(struct strbuf *sb, const void *data, size_t len)
{
	if (strbuf_grow(sb, len) < 0)
		return;
	if (len)
		memcpy(sb->buf + sb->len, data, len);
	sb->len += len;
	sb->buf[sb->len] = '\0';
}

void strbuf_addstr(struct strbuf *sb, const char *string)
{
	strbuf_add(sb, string, strlen(string));
}

void strbuf_addch(struct strbuf *sb, char c)
{
	strbuf_add(sb, &c, 1);
}

void strbuf_vaddf(struct strbuf *sb, const char *format, va_list args)
{
	va_list again;
	int need;

	va_copy(again, args);
	need = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (need < 0) {
		sb->failed = true;
		return;
	}
	if (strbuf_grow(sb, (size_t)need) < 0)
		return;
	vsnprintf(sb->buf + sb->len, (size_t)need + 1, format, args);
	sb->len += (size_t)need;
}

void strbuf_addf(struct strbuf *sb, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	strbuf_vaddf(sb, format, args);
	va_end(args);
}

void strbuf_truncate(struct strbuf *sb, size_t len)
{
	if (len < sb->len) {
		sb->len = len;
		sb->buf[len] = '\0';
	}
}

char *strbuf_detach(struct strbuf *sb, size_t *ret_len)
{
	char *buf;

	if (!sb->failed)
		strbuf_grow(sb, 0);
	if (sb->failed) {
		strbuf_release(sb);
		return NULL;
	}
	buf = sb->buf;
	if (ret_len)
		*ret_len = sb->len;
	*sb = (struct strbuf)STRBUF_INIT;
	return buf;
}
