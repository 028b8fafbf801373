/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104); no heap, 112 bytes of state. */
#ifndef EG_SHA256_H
#define EG_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32u

typedef struct {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} sha256;

void sha256_begin(sha256 *hash);
void sha256_add(sha256 *hash, const void *bytes, size_t count);
void sha256_end(sha256 *hash, uint8_t digest[SHA256_BYTES]);
void sha256_of(const void *bytes, size_t count, uint8_t digest[SHA256_BYTES]);

typedef struct {
    sha256 inner;
    uint8_t pad[64];
} hmac256;

/* Keys of at most 64 bytes: all ours have 32. */
void hmac256_begin(hmac256 *mac, const uint8_t *key, size_t key_count);
void hmac256_add(hmac256 *mac, const void *bytes, size_t count);
void hmac256_end(hmac256 *mac, uint8_t tag[SHA256_BYTES]);

#endif
