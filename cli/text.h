/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_TEXT_H
#define VENEER_CLI_TEXT_H

/*
 * Text from elsewhere (paths, messages, command lines) made fit to be shown. A name in a hostile commit
 * may hold escape sequences for the reader's terminal, or bytes that are not UTF-8.
 */

#include <stddef.h>
#include <stdint.h>

#include "store/base/strbuf.h"

/* TEXT with control characters and broken bytes as \n, \t, \xNN. KEEP_LINES: newlines and tabs stay. */
void text_add_printable(struct strbuf *sb, const char *text, bool keep_lines);
/* TEXT as valid UTF-8, for JSON: each broken byte becomes U+FFFD. */
void text_add_utf8(struct strbuf *sb, const char *text);
/* Columns that TEXT takes: its code points. */
size_t text_width(const char *text);

/* 1234567 → "1,234,567" */
void text_add_count(struct strbuf *sb, uint64_t count);
/* "512 B", "1.5 MiB" */
void text_add_bytes(struct strbuf *sb, uint64_t bytes);
/* "850 µs", "4.2 ms", "1.3 s" */
void text_add_duration(struct strbuf *sb, uint64_t nanoseconds);
/* 2026-01-02T03:04:05Z, with MICROSECONDS ≥ 0: 2026-01-02T03:04:05.000006Z. "" for a time beyond the calendar. */
void text_add_time(struct strbuf *sb, int64_t seconds, int microseconds);

#endif
