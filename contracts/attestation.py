"""A secure element says which key signs for a home: the element's key never leaves it, the session key may change.

    element (P-256) ── signs ──▶ KeyAttestation: account, address of the session key, from when until when

Readings and bids are signed by the session key (secp256k1) alone. The attestation never travels in an envelope and
moves no money: the home shows it in its `birth`, and whoever knows the element sees that the key was made beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar

from contracts.eip712 import U32, U64, Address, Bytes32, Domain, LocalValueError, Message, digest
from contracts.messages import ACCOUNT_LIMIT
from contracts.p256 import SIGNATURE_BYTES, has_high_s, is_on_curve, is_signed

VALIDITY_LIMIT_S = 10 * 366 * 86_400
"""Ten years: longer than a gateway lives, so that a forgotten attestation ends by itself."""
SIGNATURES_REMEMBERED = 4_096
"""Checked signatures of so many homes; one costs milliseconds, and operators look again and again."""


class AttestationRefusal(Enum):
    """Why an attestation does not count, in the order in which it is looked for."""

    MALFORMED = "it is no attestation with a signature of 64 bytes"
    NOT_ON_CURVE = "the element's key is no point of P-256"
    OTHER_ACCOUNT = "it is for another account"
    OTHER_KEY = "it is for another key"
    OTHER_ELEMENT = "it is by another element than the registered one"
    NOT_YET_VALID = "its time has not come"
    EXPIRED = "its time is over"
    HIGH_S = "its signature has the malleable high s"
    WRONG_SIGNATURE = "the element did not sign it for this market"


@dataclass(frozen=True, slots=True)
class KeyAttestation(Message):
    """The element with the key ``element_x``, ``element_y`` vouches for the key that signs for ``account``.

    Valid from ``valid_from_s`` on and before ``valid_until_s``.
    """

    SIGNED_BY: ClassVar[str] = "element"

    account: U32
    session_address: Address
    element_x: Bytes32
    element_y: Bytes32
    valid_from_s: U64
    valid_until_s: U64

    def check(self) -> None:
        if self.account >= ACCOUNT_LIMIT:
            raise LocalValueError(f"account {self.account} is beyond {ACCOUNT_LIMIT - 1}")
        if not self.valid_from_s < self.valid_until_s <= self.valid_from_s + VALIDITY_LIMIT_S:
            raise LocalValueError(f"an attestation is valid for 1 to {VALIDITY_LIMIT_S} s")


@dataclass(frozen=True, slots=True)
class SignedAttestation:
    """An attestation and the element's signature, 64 bytes ``r ‖ s``. Raises LocalValueError for another length."""

    attestation: KeyAttestation
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_BYTES:
            raise LocalValueError(f"a signature of P-256 has {SIGNATURE_BYTES} bytes, not {len(self.signature)}")

    @property
    def element(self) -> bytes:
        """The element's public key, 64 bytes ``x ‖ y``."""
        return self.attestation.element_x + self.attestation.element_y

    def to_json(self) -> dict[str, Any]:
        """JSON form, as the file beside the key and `birth` carry it."""
        return {"attestation": self.attestation.to_json(), "signature": "0x" + self.signature.hex()}

    def refusal(
        self, domain: Domain, account: int, address: bytes, now_s: int | None, element: bytes | None = None
    ) -> AttestationRefusal | None:
        """None where it vouches for ``address`` signing for ``account`` at ``now_s``, else the first reason against.

        ``now_s`` None leaves the time out, for whoever does not know it. ``element`` is the key (64 bytes) that must
        have signed; None takes any.
        """
        said = self.attestation
        if not is_on_curve(said.element_x, said.element_y):
            return AttestationRefusal.NOT_ON_CURVE
        if said.account != account:
            return AttestationRefusal.OTHER_ACCOUNT
        if said.session_address != address:
            return AttestationRefusal.OTHER_KEY
        if element is not None and self.element != element:
            return AttestationRefusal.OTHER_ELEMENT
        if now_s is not None and now_s < said.valid_from_s:
            return AttestationRefusal.NOT_YET_VALID
        if now_s is not None and now_s >= said.valid_until_s:
            return AttestationRefusal.EXPIRED
        if has_high_s(self.signature):
            return AttestationRefusal.HIGH_S
        if not _is_signed(digest(said, domain), self.signature, said.element_x, said.element_y):
            return AttestationRefusal.WRONG_SIGNATURE
        return None


_is_signed = lru_cache(SIGNATURES_REMEMBERED)(is_signed)


def open_attestation(document: object) -> SignedAttestation | AttestationRefusal:
    """The attestation of a JSON form; MALFORMED for anything else. Never raises."""
    if not isinstance(document, dict) or set(document) != {"attestation", "signature"}:
        return AttestationRefusal.MALFORMED
    text = document["signature"]
    try:
        if not isinstance(text, str) or not text.startswith("0x"):
            return AttestationRefusal.MALFORMED
        return SignedAttestation(KeyAttestation.from_json(document["attestation"]), bytes.fromhex(text[2:]))
    except ValueError:  # LocalValueError is one
        return AttestationRefusal.MALFORMED
