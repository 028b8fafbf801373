"""What every decoder of this room gives and the two shapes a decoder has.

Flow: bytes of a serial line or socket -> `StreamDecoder.feed`, or one MQTT message -> `MessageDecoder.decode`;
both answer with whole, checked `Telegram`s and count in `refused` why other bytes were none. No decoder raises,
whatever the bytes; none reads a clock, so a telegram without a datable meter clock has `taken_at_s` None.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from device_profiles.measurement import MEASUREMENTS

__all__ = ["MessageDecoder", "Refusal", "StreamDecoder", "Telegram", "evidence_of", "plausible"]


class Refusal(StrEnum):
    """Why bytes were not a telegram, in order of precedence: the first that holds is the one counted."""

    NOISE = "noise"
    """Bytes outside of any frame; counted once per run of them."""
    OVERLONG = "overlong"
    """A frame, or a part of one, longer than the standard or our bound allows."""
    INCOMPLETE = "incomplete"
    """A new frame began, or the frame ended, before the announced length or the needed parts had come."""
    CHECKSUM = "checksum"
    """Whole, but checksum or parity says that it changed on the way."""
    UNCONFIRMED = "unconfirmed"
    """Protected by no or a weak checksum, and not of the same shape as the one before; its repetition will be taken."""
    MALFORMED = "malformed"
    """Whole and unchanged, but not what its standard says."""
    UNSUPPORTED = "unsupported"
    """Well formed, of a kind or version we do not read (encrypted, another message type)."""
    EMPTY = "empty"
    """Well formed, with nothing in it we measure."""
    STRANGER = "stranger"
    """An answer of another meter of the line than the one that was asked."""
    IMPLAUSIBLE = "implausible"
    """A value no home can have, or one told twice and differently; it is left out, the rest of the telegram stands."""
    SIGNATURE = "signature"
    """A signed telegram whose signature or signer is not the expected one."""
    REPLAYED = "replayed"
    """A telegram with a sequence number that was already used."""


@dataclass(frozen=True, slots=True)
class Telegram:
    """One checked telegram: integers by measurement name, texts by name, when the meter says it was, its hash.

    `values` has names and units of `device_profiles.measurement`, load convention, missing is absent.
    `texts` may hold `serial`, `manufacturer`, `model`, `version`. `taken_at_s` is the meter's own clock in UTC.
    `evidence` is the SHA-256 of the telegram exactly as it came, 32 bytes.
    """

    values: Mapping[str, int]
    texts: Mapping[str, str]
    taken_at_s: int | None
    evidence: bytes


class StreamDecoder(Protocol):
    """Takes a byte stream (serial, TCP) in chunks of any cut; keeps a bounded buffer and finds back by itself."""

    refused: Counter[Refusal]

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The telegrams that became whole with `chunk`, oldest first; never raises."""
        ...


class MessageDecoder(Protocol):
    """Takes one MQTT message at a time."""

    refused: Counter[Refusal]

    def decode(self, topic: str, payload: bytes) -> list[Telegram]:
        """The telegrams in this message, usually one or none; never raises."""
        ...


def evidence_of(raw: bytes) -> bytes:
    """SHA-256 of a telegram as it came."""
    return hashlib.sha256(raw).digest()


def plausible(values: Mapping[str, int], refused: Counter[Refusal]) -> dict[str, int]:
    """`values` without those outside of the range of their measurement, which are counted as IMPLAUSIBLE.

    KeyError for a name that is not a measurement.
    """
    kept = {}
    for name, value in values.items():
        bounds = MEASUREMENTS[name]
        if bounds.minimum <= value <= bounds.maximum:
            kept[name] = value
        else:
            refused[Refusal.IMPLAUSIBLE] += 1
    return kept
