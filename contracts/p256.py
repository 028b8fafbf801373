"""ECDSA over P-256 (secp256r1), the curve of secure elements: 64 bytes ``r ‖ s``, low-s only, as the chain takes it.

Checking is a few milliseconds of plain Python over public numbers, so nobody needs a library for it, neither the
agent on its gateway nor an auditor. `sign` is for trials and tests: its timing depends on the key, which a real
element never lets out. Sources: FIPS 186-5 (ECDSA), SP 800-186 (P-256), RFC 6979 (nonces), Jacobian formulas for
a = −3 after Cohen, Miyaji and Ono.
"""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE_BYTES = 64
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HALF_ORDER = ORDER // 2
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

_Affine = tuple[int, int]
_Jacobian = tuple[int, int, int]
_NOWHERE: _Jacobian = (1, 1, 0)
"""The point at infinity: its third coordinate is nought."""


class LocalKeyError(ValueError):
    """A private key outside the curve's order: the caller's mistake."""


def is_on_curve(x: bytes, y: bytes) -> bool:
    """Whether ``x``, ``y`` (32 bytes each) are a public key."""
    if len(x) != 32 or len(y) != 32:
        return False
    a, b = int.from_bytes(x, "big"), int.from_bytes(y, "big")
    return a < PRIME and b < PRIME and (b * b - (a * a * a - 3 * a + _B)) % PRIME == 0


def has_high_s(signature: bytes) -> bool:
    """Whether it is the malleable twin of a signature."""
    return int.from_bytes(signature[32:64], "big") > HALF_ORDER


def with_low_s(signature: bytes) -> bytes:
    """The one of both twins that counts; elements give either."""
    if not has_high_s(signature):
        return signature
    return signature[:32] + ((ORDER - int.from_bytes(signature[32:64], "big")) % ORDER).to_bytes(32, "big")


def is_signed(digest: bytes, signature: bytes, x: bytes, y: bytes) -> bool:
    """Whether the key ``x``, ``y`` signed ``digest`` (32 bytes). False for another length or high s."""
    if len(digest) != 32 or len(signature) != SIGNATURE_BYTES or not is_on_curve(x, y):
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not 0 < r < ORDER or not 0 < s <= HALF_ORDER:
        return False
    inverse = pow(s, -1, ORDER)
    key = int.from_bytes(x, "big"), int.from_bytes(y, "big")
    point = _affine(_sum_of_multiples(int.from_bytes(digest, "big") * inverse % ORDER, r * inverse % ORDER, key))
    return point is not None and point[0] % ORDER == r


def public_key_of(key: bytes) -> tuple[bytes, bytes]:
    """The public key of a private one (32 bytes). Raises LocalKeyError."""
    point = _affine(_sum_of_multiples(_secret(key), 0, _G))
    assert point is not None  # the order is prime
    return point[0].to_bytes(32, "big"), point[1].to_bytes(32, "big")


def sign(key: bytes, digest: bytes) -> bytes:
    """A signature of ``digest`` (32 bytes) with low s, always the same one. For trials. Raises LocalKeyError."""
    if len(digest) != 32:
        raise LocalKeyError("a digest is 32 bytes")
    secret, number = _secret(key), int.from_bytes(digest, "big")
    for nonce in _nonces(key, digest):
        point = _affine(_sum_of_multiples(nonce, 0, _G))
        r = point[0] % ORDER if point is not None else 0
        s = pow(nonce, -1, ORDER) * (number + r * secret) % ORDER
        if r and s:
            return with_low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    raise LocalKeyError("no nonce signs this")  # not in the age of the universe


def _secret(key: bytes) -> int:
    secret = int.from_bytes(key, "big")
    if len(key) != 32 or not 0 < secret < ORDER:
        raise LocalKeyError("a private key is 32 bytes, from 1 to the order of P-256")
    return secret


def _nonces(key: bytes, digest: bytes) -> list[int]:
    """The first nonces of RFC 6979 with SHA-256; one in 2³² is beyond the order, and three never are."""
    state, mac = b"\x01" * 32, bytes(32)
    seed = key + (int.from_bytes(digest, "big") % ORDER).to_bytes(32, "big")
    for turn in (b"\x00", b"\x01"):
        mac = _hmac(mac, state + turn + seed)
        state = _hmac(mac, state)
    found: list[int] = []
    for _ in range(3):
        state = _hmac(mac, state)
        found.append(int.from_bytes(state, "big"))
        mac = _hmac(mac, state + b"\x00")
        state = _hmac(mac, state)
    return [nonce for nonce in found if 0 < nonce < ORDER]


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _sum_of_multiples(one: int, other: int, key: _Affine) -> _Jacobian:
    """``one`` times the generator plus ``other`` times ``key``, both at once from the highest bit down."""
    both = _affine(_plus((*_G, 1), key))
    total = _NOWHERE
    for place in range(max(one.bit_length(), other.bit_length()) - 1, -1, -1):
        total = _twice(total)
        bits = one >> place & 1, other >> place & 1
        if bits == (1, 1):
            total = total if both is None else _plus(total, both)
        elif bits == (1, 0):
            total = _plus(total, _G)
        elif bits == (0, 1):
            total = _plus(total, key)
    return total


def _twice(point: _Jacobian) -> _Jacobian:
    x, y, z = point
    if not z:
        return _NOWHERE
    square, z_square = y * y % PRIME, z * z % PRIME
    shared = 4 * x * square % PRIME
    slope = 3 * (x - z_square) * (x + z_square) % PRIME
    new_x = (slope * slope - 2 * shared) % PRIME
    return new_x, (slope * (shared - new_x) - 8 * square * square) % PRIME, 2 * y * z % PRIME


def _plus(point: _Jacobian, other: _Affine) -> _Jacobian:
    x, y, z = point
    if not z:
        return (*other, 1)
    z_square = z * z % PRIME
    across = (other[0] * z_square - x) % PRIME
    along = (other[1] * z_square * z - y) % PRIME
    if not across:
        return _NOWHERE if along else _twice(point)
    square = across * across % PRIME
    cube, shared = square * across % PRIME, x * square % PRIME
    new_x = (along * along - cube - 2 * shared) % PRIME
    return new_x, (along * (shared - new_x) - y * cube) % PRIME, z * across % PRIME


def _affine(point: _Jacobian) -> _Affine | None:
    x, y, z = point
    if not z:
        return None
    inverse = pow(z, -1, PRIME)
    square = inverse * inverse % PRIME
    return x * square % PRIME, y * square * inverse % PRIME
