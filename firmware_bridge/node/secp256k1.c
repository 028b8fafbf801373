#include "secp256k1.h"

#include <string.h>

#include "sha256.h"

#define LIMBS 8

typedef uint32_t number[LIMBS]; /* little-endian limbs, always below its modulus */

/* Both moduli are 2^256 - c with a small c, so that 2^256 = c and the high half of a product folds down by c. */
typedef struct {
    number value;
    uint32_t c[5];
    unsigned c_limbs;
} modulus;

static const modulus P = {{0xFFFFFC2Fu, 0xFFFFFFFEu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu,
                           0xFFFFFFFFu},
                          {0x000003D1u, 1u, 0, 0, 0},
                          2};
static const modulus N = {{0xD0364141u, 0xBFD25E8Cu, 0xAF48A03Bu, 0xBAAEDCE6u, 0xFFFFFFFEu, 0xFFFFFFFFu, 0xFFFFFFFFu,
                           0xFFFFFFFFu},
                          {0x2FC9BEBFu, 0x402DA173u, 0x50B75FC4u, 0x45512319u, 1u},
                          5};

/* Homogeneous coordinates x = X/Z, y = Y/Z; the neutral point is (0 : 1 : 0). */
typedef struct {
    number x, y, z;
} point;

static const point NEUTRAL = {{0}, {1}, {0}};
static const point GENERATOR = {{0x16F81798u, 0x59F2815Bu, 0x2DCE28D9u, 0x029BFCDBu, 0xCE870B07u, 0x55A06295u,
                                 0xF9DCBBACu, 0x79BE667Eu},
                                {0xFB10D4B8u, 0x9C47D08Fu, 0xA6855419u, 0xFD17B448u, 0x0E1108A8u, 0x5DA4FBFCu,
                                 0x26A3C465u, 0x483ADA77u},
                                {1}};

static void from_bytes(number to, const uint8_t from[32]) {
    for (unsigned i = 0; i < LIMBS; i++) {
        const uint8_t *b = from + 28 - 4 * i;
        to[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
}

static void to_bytes(uint8_t to[32], const number from) {
    for (unsigned i = 0; i < 32; i++) to[31 - i] = (uint8_t)(from[i / 4] >> (8 * (i % 4)));
}

/* to = a - b; returns the borrow, 0 or 1. */
static uint32_t subtracted(number to, const number a, const number b) {
    uint64_t borrow = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        uint64_t difference = (uint64_t)a[i] - b[i] - borrow;
        to[i] = (uint32_t)difference;
        borrow = difference >> 63;
    }
    return (uint32_t)borrow;
}

/* to = mask ? a : to, with mask all ones or all zeros. */
static void chosen(number to, const number a, uint32_t mask) {
    for (unsigned i = 0; i < LIMBS; i++) to[i] ^= mask & (to[i] ^ a[i]);
}

static bool is_zero(const number a) {
    uint32_t any = 0;
    for (unsigned i = 0; i < LIMBS; i++) any |= a[i];
    return any == 0;
}

static bool is_below(const number a, const number b) {
    number scratch;
    return subtracted(scratch, a, b) == 1;
}

/* One subtraction brings anything below 2 m under m; `carry` is bit 256. */
static void reduced_once(number a, uint32_t carry, const modulus *m) {
    number less;
    uint32_t borrow = subtracted(less, a, m->value);
    chosen(a, less, 0u - (carry | (1u - borrow)));
}

static void mod_add(number to, const number a, const number b, const modulus *m) {
    uint64_t carry = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        carry += (uint64_t)a[i] + b[i];
        to[i] = (uint32_t)carry;
        carry >>= 32;
    }
    reduced_once(to, (uint32_t)carry, m);
}

static void mod_sub(number to, const number a, const number b, const modulus *m) {
    uint32_t mask = 0u - subtracted(to, a, b);
    uint64_t carry = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        carry += (uint64_t)to[i] + (m->value[i] & mask);
        to[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

/* wide = low 256 bits + c times the `high` limbs above them. */
static void folded(uint32_t wide[2 * LIMBS], unsigned high, const modulus *m) {
    uint32_t top[LIMBS];
    memcpy(top, wide + LIMBS, sizeof top);
    memset(wide + LIMBS, 0, sizeof top);
    for (unsigned i = 0; i < high; i++) {
        uint64_t carry = 0;
        for (unsigned j = i; j < 2 * LIMBS; j++) {
            carry += wide[j];
            if (j - i < m->c_limbs) carry += (uint64_t)top[i] * m->c[j - i];
            wide[j] = (uint32_t)carry;
            carry >>= 32;
        }
    }
}

static void mod_mul(number to, const number a, const number b, const modulus *m) {
    uint32_t wide[2 * LIMBS] = {0};
    for (unsigned i = 0; i < LIMBS; i++) {
        uint64_t carry = 0;
        for (unsigned j = 0; j < LIMBS; j++) {
            carry += wide[i + j] + (uint64_t)a[i] * b[j];
            wide[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        wide[i + LIMBS] = (uint32_t)carry;
    }
    /* For the order, c has 129 bits: 512 -> 386 -> 260 -> 257 -> 256 bits. */
    folded(wide, LIMBS, m);
    folded(wide, m->c_limbs, m);
    folded(wide, 1, m);
    folded(wide, 1, m);
    memcpy(to, wide, sizeof(number));
    reduced_once(to, 0, m);
}

/* a^(m-2) = 1/a, as m is prime; 0 for 0. The exponent is public, so that branching on it tells nothing. */
static void inverted(number to, const number a, const modulus *m) {
    static const number TWO = {2};
    number exponent, result = {1};
    subtracted(exponent, m->value, TWO);
    for (int bit = 255; bit >= 0; bit--) {
        mod_mul(result, result, result, m);
        if (exponent[bit / 32] >> (bit % 32) & 1u) mod_mul(result, result, a, m);
    }
    memcpy(to, result, sizeof(number));
}

static void times_21(number to, const number a) {
    static const number TWENTY_ONE = {21};
    mod_mul(to, a, TWENTY_ONE, &P);
}

/* (ax + ay)(bx + by) - xx - yy = ax by + bx ay. */
static void crossed(number to, const number ax, const number ay, const number bx, const number by, const number xx,
                    const number yy) {
    number left, right;
    mod_add(left, ax, ay, &P);
    mod_add(right, bx, by, &P);
    mod_mul(left, left, right, &P);
    mod_sub(left, left, xx, &P);
    mod_sub(to, left, yy, &P);
}

/* Complete addition on y^2 = x^3 + 7 (Renes, Costello, Batina 2015): one formula for every pair of points, doubling
   and the neutral point included, so that there is no case to get wrong and none to be seen from outside.
     X3 = (X1Y2+X2Y1)(Y1Y2-21Z1Z2) - 21(Y1Z2+Y2Z1)(X1Z2+X2Z1)
     Y3 = (Y1Y2+21Z1Z2)(Y1Y2-21Z1Z2) + 63 X1X2 (X1Z2+X2Z1)
     Z3 = (Y1Z2+Y2Z1)(Y1Y2+21Z1Z2) + 3 X1X2 (X1Y2+X2Y1) */
static void added(point *to, const point *a, const point *b) {
    number xx, yy, zz, xy, yz, xz, minus, plus, scratch;
    mod_mul(xx, a->x, b->x, &P);
    mod_mul(yy, a->y, b->y, &P);
    mod_mul(zz, a->z, b->z, &P);
    crossed(xy, a->x, a->y, b->x, b->y, xx, yy);
    crossed(yz, a->y, a->z, b->y, b->z, yy, zz);
    crossed(xz, a->x, a->z, b->x, b->z, xx, zz);
    times_21(zz, zz);
    mod_sub(minus, yy, zz, &P);
    mod_add(plus, yy, zz, &P);
    mod_add(scratch, xx, xx, &P);
    mod_add(xx, scratch, xx, &P);
    times_21(xz, xz);
    mod_mul(to->x, xy, minus, &P);
    mod_mul(scratch, yz, xz, &P);
    mod_sub(to->x, to->x, scratch, &P);
    mod_mul(to->y, plus, minus, &P);
    mod_mul(scratch, xx, xz, &P);
    mod_add(to->y, to->y, scratch, &P);
    mod_mul(to->z, yz, plus, &P);
    mod_mul(scratch, xx, xy, &P);
    mod_add(to->z, to->z, scratch, &P);
}

/* j a + k b. Every bit does the same work and touches all four table entries, whatever the scalars are. */
static void combined(point *to, const number j, const point *a, const number k, const point *b) {
    point table[4] = {NEUTRAL, *a, *b, NEUTRAL}, sum = NEUTRAL;
    added(&table[3], a, b);
    for (int bit = 255; bit >= 0; bit--) {
        uint32_t which = (j[bit / 32] >> (bit % 32) & 1u) | (k[bit / 32] >> (bit % 32) & 1u) << 1;
        point term = NEUTRAL;
        for (uint32_t entry = 1; entry < 4; entry++) {
            uint32_t differs = entry ^ which, mask = 0u - (1u - ((differs | differs >> 1) & 1u));
            chosen(term.x, table[entry].x, mask);
            chosen(term.y, table[entry].y, mask);
            chosen(term.z, table[entry].z, mask);
        }
        added(&sum, &sum, &sum);
        added(&sum, &sum, &term);
    }
    *to = sum;
}

static void affine(number x, number y, const point *from) {
    number scale;
    inverted(scale, from->z, &P);
    mod_mul(x, from->x, scale, &P);
    mod_mul(y, from->y, scale, &P);
}

static bool read_scalar(number to, const uint8_t from[32]) {
    from_bytes(to, from);
    return !is_zero(to) && is_below(to, N.value);
}

static bool read_point(point *to, const uint8_t from[PUBLIC_BYTES]) {
    static const number SEVEN = {7};
    number left, right;
    *to = NEUTRAL;
    from_bytes(to->x, from);
    from_bytes(to->y, from + 32);
    to->z[0] = 1;
    if (!is_below(to->x, P.value) || !is_below(to->y, P.value)) return false;
    mod_mul(left, to->y, to->y, &P);
    mod_mul(right, to->x, to->x, &P);
    mod_mul(right, right, to->x, &P);
    mod_add(right, right, SEVEN, &P);
    return memcmp(left, right, sizeof left) == 0;
}

static void multiplied(number x, number y, const number k, const point *a) {
    static const number ZERO = {0};
    point product;
    combined(&product, k, a, ZERO, &NEUTRAL);
    affine(x, y, &product);
}

bool secp256k1_public(const uint8_t key[KEY_BYTES], uint8_t public_key[PUBLIC_BYTES]) {
    number d, x, y;
    if (!read_scalar(d, key)) return false;
    multiplied(x, y, d, &GENERATOR);
    to_bytes(public_key, x);
    to_bytes(public_key + 32, y);
    return true;
}

bool secp256k1_shared(const uint8_t key[KEY_BYTES], const uint8_t public_key[PUBLIC_BYTES], uint8_t secret[32]) {
    number d, x, y;
    point other;
    uint8_t compressed[33];
    if (!read_scalar(d, key) || !read_point(&other, public_key)) return false;
    multiplied(x, y, d, &other);
    compressed[0] = (uint8_t)(2u | (y[0] & 1u));
    to_bytes(compressed + 1, x);
    sha256_of(compressed, sizeof compressed, secret);
    return true;
}

/* RFC 6979, 3.2: k and v are replaced by HMACs over v, a mark and, for the seed, key and digest. */
static void stirred(uint8_t k[32], uint8_t v[32], uint8_t mark, const uint8_t *key, const uint8_t *digest) {
    hmac256 mac;
    hmac256_begin(&mac, k, 32);
    hmac256_add(&mac, v, 32);
    hmac256_add(&mac, &mark, 1);
    if (key != NULL) {
        hmac256_add(&mac, key, 32);
        hmac256_add(&mac, digest, 32);
    }
    hmac256_end(&mac, k);
    hmac256_begin(&mac, k, 32);
    hmac256_add(&mac, v, 32);
    hmac256_end(&mac, v);
}

bool secp256k1_sign(const uint8_t key[KEY_BYTES], const uint8_t digest[32], uint8_t signature[SIGNATURE_BYTES]) {
    number d, z, k, r, s, scratch;
    uint8_t hmac_key[32] = {0}, v[32];
    hmac256 mac;
    if (!read_scalar(d, key)) return false;
    from_bytes(z, digest);
    reduced_once(z, 0, &N);
    memset(v, 1, sizeof v);
    stirred(hmac_key, v, 0, key, digest);
    stirred(hmac_key, v, 1, key, digest);
    for (;;) {
        hmac256_begin(&mac, hmac_key, 32);
        hmac256_add(&mac, v, 32);
        hmac256_end(&mac, v);
        if (read_scalar(k, v)) {
            multiplied(r, scratch, k, &GENERATOR);
            reduced_once(r, 0, &N);
            mod_mul(s, r, d, &N);
            mod_add(s, s, z, &N);
            inverted(scratch, k, &N);
            mod_mul(s, s, scratch, &N);
            if (!is_zero(r) && !is_zero(s)) break;
        }
        stirred(hmac_key, v, 0, NULL, NULL);
    }
    subtracted(scratch, N.value, s);
    chosen(s, scratch, 0u - (uint32_t)is_below(scratch, s));
    to_bytes(signature, r);
    to_bytes(signature + 32, s);
    return true;
}

bool secp256k1_verify(const uint8_t public_key[PUBLIC_BYTES], const uint8_t digest[32],
                      const uint8_t signature[SIGNATURE_BYTES]) {
    number r, s, z, x, y;
    point other, sum;
    if (!read_scalar(r, signature) || !read_scalar(s, signature + 32) || !read_point(&other, public_key)) return false;
    subtracted(x, N.value, s);
    if (is_below(x, s)) return false;
    from_bytes(z, digest);
    reduced_once(z, 0, &N);
    inverted(s, s, &N);
    mod_mul(z, z, s, &N);
    mod_mul(s, r, s, &N);
    combined(&sum, z, &GENERATOR, s, &other);
    if (is_zero(sum.z)) return false;
    affine(x, y, &sum);
    reduced_once(x, 0, &N);
    return memcmp(x, r, sizeof x) == 0;
}
