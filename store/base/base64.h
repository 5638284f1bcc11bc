/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_BASE64_H
#define VENEER_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/strbuf.h"

/* Base64 of RFC 4648, section 4, with padding, without line breaks. */
void base64_encode(const void *data, size_t len, struct strbuf *sb);
/* Appends the decoded bytes to SB; strict: wrong length, foreign characters and stray bits are -EINVAL. */
int base64_decode(const char *text, size_t len, struct strbuf *sb);

#endif
