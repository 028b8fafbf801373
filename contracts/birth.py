"""What a home says of itself, unsigned and retained under `birth`: version, account, key, devices, attestation.

Nothing follows from it but what people are shown. Unknown fields are skipped, so that newer agents may say more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from contracts.attestation import AttestationRefusal, SignedAttestation, open_attestation
from contracts.bounded_json import load_json
from contracts.messages import ACCOUNT_LIMIT
from contracts.topics import METER_LIMIT, PAYLOAD_LIMIT_BYTES, Leaf

METERS_LIMIT = 64
"""More devices than any home's bus carries; with names of this length they fit into the topic's payload."""
NAME_LIMIT = 64


@dataclass(frozen=True, slots=True)
class MeterBirth:
    """One device: the profile it is read by and the sha256 of that profile's file, or the telegram it sends."""

    meter: int
    profile: str | None = None
    profile_hash: bytes | None = None
    telegram: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON form; what is absent is left out."""
        digest = None if self.profile_hash is None else "0x" + self.profile_hash.hex()
        said = {"profile": self.profile, "profile_hash": digest, "telegram": self.telegram}
        return {"meter": self.meter, **{name: value for name, value in said.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class Birth:
    """The home's words. ``attestation`` is MALFORMED where something stood there that is none, None without one."""

    version: str
    account: int
    address: bytes
    epoch: int
    meters: tuple[MeterBirth, ...]
    attestation: SignedAttestation | AttestationRefusal | None = None

    def pack(self) -> bytes:
        """The payload under `birth`."""
        document = {
            "version": self.version,
            "account": self.account,
            "address": "0x" + self.address.hex(),
            "epoch": self.epoch,
            "meters": [meter.to_json() for meter in self.meters],
        }
        if isinstance(self.attestation, SignedAttestation):
            document["attestation"] = self.attestation.to_json()
        return json.dumps(document, separators=(",", ":")).encode()


def open_birth(payload: bytes) -> Birth | None:
    """The birth in ``payload``; None for anything else. Never raises."""
    if len(payload) > PAYLOAD_LIMIT_BYTES[Leaf.BIRTH]:
        return None
    try:
        document = load_json(payload)
        rows = document["meters"]
        if not isinstance(rows, list) or len(rows) > METERS_LIMIT:
            return None
        meters = tuple(_meter(row) for row in rows)
        said = document.get("attestation")
        return Birth(
            _name(document["version"]),
            _number(document["account"], ACCOUNT_LIMIT),
            _bytes(document["address"], 20),
            _number(document["epoch"], 1 << 32),
            meters,
            None if said is None else open_attestation(said),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _meter(row: Any) -> MeterBirth:
    digest = row.get("profile_hash")
    return MeterBirth(
        _number(row["meter"], METER_LIMIT),
        _name(row["profile"]) if row.get("profile") else None,
        None if digest is None else _bytes(digest, 32),
        _name(row["telegram"]) if row.get("telegram") else None,
    )


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LIMIT or not value.isascii() or not value.isprintable():
        raise ValueError("not a name that can be shown")
    return value


def _number(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError("not a number within its bounds")
    return value


def _bytes(value: Any, width: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 + 2 * width or not value.startswith("0x"):
        raise ValueError("not bytes of that width")
    found = bytes.fromhex(value[2:])
    if len(found) != width:
        raise ValueError("not bytes of that width")
    return found
