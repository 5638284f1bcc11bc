/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_STRBUF_H
#define VENEER_BASE_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * A growing buffer of bytes, always NUL-terminated once something was added. Its error is sticky:
 * when memory runs out every later call does nothing, and the writer checks strbuf_failed() once,
 * at the end. (The idea is git's strbuf.h, the sticky error libgit2's filebuf.)
 */
struct strbuf {
	char *buf; /* owned; NULL until the first addition */
	size_t len;
	size_t alloc;
	bool failed;
};

#define STRBUF_INIT { NULL, 0, 0, false }

void strbuf_release(struct strbuf *sb);
void strbuf_reset(struct strbuf *sb);            /* empty it, keep the memory */
int strbuf_grow(struct strbuf *sb, size_t extra); /* room for EXTRA more bytes; 0 or -ENOMEM */
void strbuf_add(struct strbuf *sb, const void *data, size_t len);
void strbuf_addstr(struct strbuf *sb, const char *string);
void strbuf_addch(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *sb, const char *format, va_list args);
void strbuf_truncate(struct strbuf *sb, size_t len); /* LEN at most sb->len */
static inline bool strbuf_failed(const struct strbuf *sb)
{
	return sb->failed;
}
/* The text; "" where nothing was added. Borrowed. */
static inline const char *strbuf_text(const struct strbuf *sb)
{
	return sb->buf ? sb->buf : "";
}
/* Hand the memory to the caller, who frees it; NULL if failed. Leaves SB empty. */
char *strbuf_detach(struct strbuf *sb, size_t *ret_len);

#define cleanup_strbuf __attribute__((cleanup(strbuf_release)))

#endif
