"""Keys and signatures of metering nodes and of update signers: secp256k1 over SHA-256, 64 bytes ``r ‖ s``, low-s only.

The C twin is `node/secp256k1.c`; both make the same bytes for the same key and digest (RFC 6979). Public keys are
33 bytes compressed in configuration and 64 bytes ``x ‖ y`` on the node.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from coincurve import PrivateKey, PublicKey

SIGNATURE_BYTES = 64
PUBLIC_BYTES = 64
KEY_ID_BYTES = 8
TAG_BYTES = 16
"""Of HMAC-SHA-256; 2^-128 for a guess, and a node counts its refusals."""

NodeSigner = Callable[[bytes], bytes]
"""Signs a 32-byte digest with 64 bytes. The key itself stays in the shell."""


class LocalKeyError(ValueError):
    """Bytes that are no key were given as one: the caller's mistake."""


def public_key_of(key: bytes) -> bytes:
    """The 64 bytes ``x ‖ y`` of a private key, or of a public key in 33, 64 or 65 bytes. Raises LocalKeyError."""
    try:
        if len(key) == 32:
            point = PrivateKey(key).public_key
        else:
            point = PublicKey(b"\x04" + key if len(key) == PUBLIC_BYTES else key)
    except ValueError as error:
        raise LocalKeyError(f"no key of secp256k1: {len(key)} bytes") from error
    packed: bytes = point.format(compressed=False)
    return packed[1:]


def compressed(public_key: bytes) -> bytes:
    """The 33 bytes of a 64-byte public key, as they stand in a configuration."""
    return bytes([2 | public_key[63] & 1]) + public_key[:32]


def key_id(public_key: bytes) -> bytes:
    """Eight bytes that name a signer in an envelope."""
    return sha256(public_key).digest()[:KEY_ID_BYTES]


def node_signer_of(key: bytes) -> NodeSigner:
    """A signer holding the 32 bytes of ``key``."""
    private = PrivateKey(key)

    def sign(digest: bytes) -> bytes:
        recoverable: bytes = private.sign_recoverable(digest, hasher=None)
        return recoverable[:SIGNATURE_BYTES]

    return sign


def is_signed(digest: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the holder of ``public_key`` (64 bytes) signed; False for every malformed or malleable signature."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        verified: bool = PublicKey(b"\x04" + public_key).verify(_der(signature), digest, hasher=None)
    except ValueError:
        return False
    return verified


def _der(signature: bytes) -> bytes:
    """The signature as libsecp256k1 reads it: a DER sequence of two integers."""
    parts = b""
    for half in (signature[:32], signature[32:]):
        number = half.lstrip(b"\x00")
        if not number or number[0] & 0x80:
            number = b"\x00" + number
        parts += bytes((2, len(number))) + number
    return bytes((0x30, len(parts))) + parts


def link_key_of(private_key: bytes, public_key: bytes) -> bytes:
    """The 32 bytes that gateway and node share: SHA-256 of the compressed shared point. Raises LocalKeyError."""
    try:
        shared: bytes = PrivateKey(private_key).ecdh(b"\x04" + public_key)
    except ValueError as error:
        raise LocalKeyError("no key of secp256k1") from error
    return shared
