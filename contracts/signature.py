"""Signatures over digests: secp256k1, deterministic nonces (RFC 6979), low-s only, 65 bytes ``r ‖ s ‖ v``.

A party is known by its 20-byte address. Known keys are checked by verification, unknown ones by recovery;
both refuse the malleable twin of a signature, so that one message has one signature of one key.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from coincurve import PrivateKey, PublicKey

from contracts.eip712 import keccak

SIGNATURE_BYTES = 65
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_ORDER = CURVE_ORDER // 2

Signer = Callable[[bytes], bytes]
"""Signs a 32-byte digest. The key itself stays in the shell."""


class SignatureRefusal(Enum):
    """Why a signature does not count, in the order in which it is looked for."""

    WRONG_LENGTH = "signature is not 65 bytes"
    HIGH_S = "signature has the malleable high s"
    BAD_RECOVERY = "recovery value is neither 27 nor 28"
    NOT_ON_CURVE = "signature recovers no key"
    WRONG_SIGNER = "signature is by another key"


def signer_of(private_key: bytes) -> Signer:
    """A signer holding ``private_key`` (32 bytes). Raises ValueError for a key outside the curve's order."""
    key = PrivateKey(private_key)

    def sign(digest: bytes) -> bytes:
        compact: bytes = key.sign_recoverable(digest, hasher=None)
        return compact[:64] + bytes([compact[64] + 27])

    return sign


def address_of(private_key: bytes) -> bytes:
    """The 20-byte address of the key."""
    return _address(PrivateKey(private_key).public_key)


def _address(public_key: PublicKey) -> bytes:
    return keccak(public_key.format(compressed=False)[1:])[12:]


def recover(digest: bytes, signature: bytes) -> bytes | SignatureRefusal:
    """The address that signed ``digest``, or why none counts."""
    if len(signature) != SIGNATURE_BYTES:
        return SignatureRefusal.WRONG_LENGTH
    s = int.from_bytes(signature[32:64], "big")
    if s > HALF_ORDER:
        return SignatureRefusal.HIGH_S
    if signature[64] not in (27, 28):
        return SignatureRefusal.BAD_RECOVERY
    try:
        compact = signature[:64] + bytes([signature[64] - 27])
        return _address(PublicKey.from_signature_and_message(compact, digest, hasher=None))
    except Exception:  # coincurve raises bare ValueError and Exception for points off the curve
        return SignatureRefusal.NOT_ON_CURVE


def refusal_of(digest: bytes, signature: bytes, address: bytes) -> SignatureRefusal | None:
    """None when ``address`` signed ``digest``, else the reason it does not count."""
    signer = recover(digest, signature)
    if isinstance(signer, SignatureRefusal):
        return signer
    return None if signer == address else SignatureRefusal.WRONG_SIGNER
