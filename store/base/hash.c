/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

static struct hash128 canonical(XXH128_hash_t value)
{
	XXH128_canonical_t form;
	struct hash128 hash;

	XXH128_canonicalFromHash(&form, value);
	memcpy(hash.bytes, form.digest, sizeof hash.bytes);
	return hash;
}

struct hash128 hash128_of(const void *data, size_t len)
{
	return canonical(XXH3_128bits(data, len));
}

struct hash128_state *hash128_new(void)
{
	XXH3_state_t *state = XXH3_createState();

	if (state)
		XXH3_128bits_reset(state);
	return (struct hash128_state *)state;
}

void hash128_update(struct hash128_state *state, const void *data, size_t len)
{
	XXH3_128bits_update((XXH3_state_t *)state, data, len);
}

struct hash128 hash128_final(const struct hash128_state *state)
{
	return canonical(XXH3_128bits_digest((const XXH3_state_t *)state));
}

void hash128_free(struct hash128_state *state)
{
	XXH3_freeState((XXH3_state_t *)state);
}

uint64_t hash64_of(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

void hex_encode(const uint8_t *bytes, size_t len, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[2 * len] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int hex_decode(const char *hex, size_t hex_len, uint8_t *ret_bytes)
{
	if (hex_len % 2)
		return -EINVAL;
	for (size_t i = 0; i < hex_len; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		ret_bytes[i / 2] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

void hash128_to_hex(const struct hash128 *hash, char hex[HASH128_HEX_LENGTH + 1])
{
	hex_encode(hash->bytes, sizeof hash->bytes, hex);
}

int hash128_from_hex(const char *hex, size_t len, struct hash128 *ret)
{
	struct hash128 parsed;

	if (len != HASH128_HEX_LENGTH || hex_decode(hex, len, parsed.bytes) < 0)
		return -EINVAL;
	*ret = parsed;
	return 0;
}
