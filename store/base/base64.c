/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/base64.h"

#include <errno.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *data, size_t len, struct strbuf *sb)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t group = (uint32_t)bytes[i] << 16;
		char out[4];

		if (n > 1)
			group |= (uint32_t)bytes[i + 1] << 8;
		if (n > 2)
			group |= bytes[i + 2];
		out[0] = alphabet[group >> 18];
		out[1] = alphabet[group >> 12 & 63];
		out[2] = n > 1 ? alphabet[group >> 6 & 63] : '=';
		out[3] = n > 2 ? alphabet[group & 63] : '=';
		strbuf_add(sb, out, 4);
	}
}

static int value_of(char c)
{
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

int base64_decode(const char *text, size_t len, struct strbuf *sb)
{
	if (len % 4)
		return -EINVAL;
	for (size_t i = 0; i < len; i += 4) {
		size_t pad = 0;
		uint32_t group = 0;
		uint8_t out[3];

		if (i + 4 == len)
			pad = text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
		for (size_t k = 0; k < 4; k++) {
			int value = k < 4 - pad ? value_of(text[i + k]) : 0;

			if (value < 0)
				return -EINVAL;
			group = group << 6 | (uint32_t)value;
		}
		if ((pad == 1 && group & 0xff) || (pad == 2 && group & 0xffff))
			return -EINVAL;
		out[0] = (uint8_t)(group >> 16);
		out[1] = (uint8_t)(group >> 8);
		out[2] = (uint8_t)group;
		strbuf_add(sb, out, 3 - pad);
	}
	return strbuf_failed(sb) ? -ENOMEM : 0;
}
