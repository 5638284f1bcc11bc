/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_HASH_H
#define VENEER_BASE_HASH_H

/*
 * XXH3-128, the address of served content, in its canonical (big-endian) form, so that the hex text
 * equals what `xxh128sum` prints. It finds bit rot fast and protects against nobody: what is
 * authentic is decided by git ids and signatures. Source: xxHash's XXH3 specification.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH128_HEX_LENGTH 32

struct hash128 {
	uint8_t bytes[16];
};

struct hash128_state; /* one running hash */

struct hash128 hash128_of(const void *data, size_t len);
struct hash128_state *hash128_new(void); /* NULL: out of memory */
void hash128_update(struct hash128_state *state, const void *data, size_t len);
struct hash128 hash128_final(const struct hash128_state *state);
void hash128_free(struct hash128_state *state);

/* XXH3-64 of DATA: for hash tables and directory offsets, never an address of content. */
uint64_t hash64_of(const void *data, size_t len);

/* 32 lower-case digits and a NUL into HEX. */
void hash128_to_hex(const struct hash128 *hash, char hex[HASH128_HEX_LENGTH + 1]);
/* Exactly 32 lower-case hex digits, ended by LEN; 0 or -EINVAL. */
int hash128_from_hex(const char *hex, size_t len, struct hash128 *ret);

static inline bool hash128_equal(const struct hash128 *a, const struct hash128 *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Lower-case hex of any bytes, and back (upper case is refused: one spelling for one id). */
void hex_encode(const uint8_t *bytes, size_t len, char *hex); /* 2 × LEN digits and a NUL */
int hex_decode(const char *hex, size_t hex_len, uint8_t *ret_bytes); /* HEX_LEN even; 0 or -EINVAL */

static inline void hash128_freep(struct hash128_state **state)
{
	if (*state)
		hash128_free(*state);
}
#define cleanup_hash128 __attribute__((cleanup(hash128_freep)))

#endif
