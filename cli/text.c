/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Bytes of the well-formed UTF-8 sequence at S (Unicode, table 3-7); 0: it is none. */
static size_t utf8_length(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return len;
}

void text_add_printable(struct strbuf *sb, const char *text, bool keep_lines)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		size_t len = utf8_length(s);
		/* U+0080…U+009F are control characters too: some terminals obey them. */
		bool control = *s < 0x20 || *s == 0x7f || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);

		if (keep_lines && (*s == '\n' || *s == '\t')) {
			strbuf_addch(sb, (char)*s++);
		} else if (*s == '\n' || *s == '\t') {
			strbuf_addstr(sb, *s++ == '\n' ? "\\n" : "\\t");
		} else if (len == 0 || control) {
			for (size_t i = 0; i < (len ? len : 1); i++)
				strbuf_addf(sb, "\\x%02x", s[i]);
			s += len ? len : 1;
		} else {
			strbuf_add(sb, s, len);
			s += len;
		}
	}
}

void text_add_utf8(struct strbuf *sb, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		size_t len = utf8_length(s);

		if (len)
			strbuf_add(sb, s, len);
		else
			strbuf_addstr(sb, "\xef\xbf\xbd");
		s += len ? len : 1;
	}
}

size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

void text_add_count(struct strbuf *sb, uint64_t count)
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%" PRIu64, count);

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			strbuf_addch(sb, ',');
		strbuf_addch(sb, digits[i]);
	}
}

void text_add_bytes(struct strbuf *sb, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		strbuf_addf(sb, "%" PRIu64 " B", bytes);
		return;
	}
	for (value /= 1024; value >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
		value /= 1024;
	strbuf_addf(sb, "%.1f %s", value, units[unit]);
}

void text_add_duration(struct strbuf *sb, uint64_t nanoseconds)
{
	double value = (double)nanoseconds;

	if (nanoseconds < 1000000)
		strbuf_addf(sb, "%.0f µs", value / 1e3);
	else if (nanoseconds < 1000000000)
		strbuf_addf(sb, "%.1f ms", value / 1e6);
	else
		strbuf_addf(sb, "%.1f s", value / 1e9);
}

void text_add_time(struct strbuf *sb, int64_t seconds, int microseconds)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	/* gmtime_r reads no time zone file. */
	if (!gmtime_r(&when, &tm))
		return;
	strbuf_addf(sb, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (microseconds >= 0)
		strbuf_addf(sb, ".%06d", microseconds);
	strbuf_addch(sb, 'Z');
}
