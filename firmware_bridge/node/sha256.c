#include "sha256.h"

#include <string.h>

static const uint32_t ROUND[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u};

static uint32_t rotated(uint32_t word, unsigned by) { return (word >> by) | (word << (32u - by)); }

static void compress(sha256 *hash) {
    uint32_t w[64], s[8];
    for (unsigned i = 0; i < 16; i++) {
        const uint8_t *b = hash->block + 4 * i;
        w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (unsigned i = 16; i < 64; i++) {
        uint32_t low = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t high = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    memcpy(s, hash->state, sizeof s);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t e = rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25);
        uint32_t first = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + ROUND[i] + w[i];
        uint32_t a = rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22);
        uint32_t second = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        for (unsigned j = 7; j > 0; j--) s[j] = s[j - 1];
        s[4] += first;
        s[0] = first + second;
    }
    for (unsigned i = 0; i < 8; i++) hash->state[i] += s[i];
}

void sha256_begin(sha256 *hash) {
    static const uint32_t START[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                      0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
    memcpy(hash->state, START, sizeof START);
    hash->length = 0;
}

void sha256_add(sha256 *hash, const void *bytes, size_t count) {
    const uint8_t *from = bytes;
    while (count > 0) {
        size_t at = (size_t)(hash->length % 64u), take = 64u - at < count ? 64u - at : count;
        memcpy(hash->block + at, from, take);
        hash->length += take;
        from += take;
        count -= take;
        if (hash->length % 64u == 0) compress(hash);
    }
}

void sha256_end(sha256 *hash, uint8_t digest[SHA256_BYTES]) {
    static const uint8_t PADDING[64] = {0x80};
    uint64_t bits = hash->length * 8u;
    uint8_t length[8];
    size_t at = (size_t)(hash->length % 64u);
    for (unsigned i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56u - 8u * i));
    sha256_add(hash, PADDING, at < 56 ? 56 - at : 120 - at);
    sha256_add(hash, length, sizeof length);
    for (unsigned i = 0; i < 32; i++) digest[i] = (uint8_t)(hash->state[i / 4] >> (24u - 8u * (i % 4)));
}

void sha256_of(const void *bytes, size_t count, uint8_t digest[SHA256_BYTES]) {
    sha256 hash;
    sha256_begin(&hash);
    sha256_add(&hash, bytes, count);
    sha256_end(&hash, digest);
}

void hmac256_begin(hmac256 *mac, const uint8_t *key, size_t key_count) {
    uint8_t inner[64];
    memset(mac->pad, 0, sizeof mac->pad);
    memcpy(mac->pad, key, key_count < 64 ? key_count : 64);
    for (unsigned i = 0; i < 64; i++) inner[i] = mac->pad[i] ^ 0x36u;
    sha256_begin(&mac->inner);
    sha256_add(&mac->inner, inner, sizeof inner);
}

void hmac256_add(hmac256 *mac, const void *bytes, size_t count) { sha256_add(&mac->inner, bytes, count); }

void hmac256_end(hmac256 *mac, uint8_t tag[SHA256_BYTES]) {
    uint8_t digest[SHA256_BYTES];
    sha256 outer;
    sha256_end(&mac->inner, digest);
    for (unsigned i = 0; i < 64; i++) mac->pad[i] ^= 0x5cu;
    sha256_begin(&outer);
    sha256_add(&outer, mac->pad, sizeof mac->pad);
    sha256_add(&outer, digest, sizeof digest);
    sha256_end(&outer, tag);
}
