/* ECDSA and key agreement on secp256k1 with 32-bit limbs, without heap, without branches on secrets.

   Signatures are r ‖ s, 64 bytes big-endian, with the nonce of RFC 6979 (HMAC-SHA-256) and the smaller s: byte for
   byte what libsecp256k1 makes. A public key is x ‖ y, 64 bytes big-endian. */
#ifndef EG_SECP256K1_H
#define EG_SECP256K1_H

#include <stdbool.h>
#include <stdint.h>

#define KEY_BYTES 32u
#define PUBLIC_BYTES 64u
#define SIGNATURE_BYTES 64u

/* False for a private key that is 0 or not below the order. */
bool secp256k1_public(const uint8_t key[KEY_BYTES], uint8_t public_key[PUBLIC_BYTES]);
bool secp256k1_sign(const uint8_t key[KEY_BYTES], const uint8_t digest[32], uint8_t signature[SIGNATURE_BYTES]);
/* False also for a point off the curve and for the larger s, which is the malleable twin of another signature. */
bool secp256k1_verify(const uint8_t public_key[PUBLIC_BYTES], const uint8_t digest[32],
                      const uint8_t signature[SIGNATURE_BYTES]);
/* SHA-256 of the shared point, compressed: what both sides of a link know and nobody else. */
bool secp256k1_shared(const uint8_t key[KEY_BYTES], const uint8_t public_key[PUBLIC_BYTES], uint8_t secret[32]);

#endif
